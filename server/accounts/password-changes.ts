import { v7 as uuidv7 } from 'uuid'
import { invalid } from '../../protocol/index.ts'
import type { Database } from '../database/connect.ts'
import { addJob, SOON } from '../jobs/queue.ts'
import { post } from '../mail/outbox.ts'
import { askerOf } from './accounts.ts'
import type { Events, Origin } from './events.ts'
import { forgetAttempts } from './factor-attempts.ts'
import type { Factors, StepUp } from './factors.ts'
import { type Links, linkNotValid } from './links.ts'
import { addressToNotify, mayMail } from './mail-allowance.ts'
import { userNamed } from './names.ts'
import { lockOwner, lockOwnerBy, type Owner, ownerBy } from './owners.ts'
import type { Passwords } from './passwords.ts'
import type { Sessions } from './sessions.ts'
import type { SignInBackoff } from './sign-in-backoff.ts'
import { weakness } from './weak-passwords.ts'

export const SEND_RESET_LINK = 'send_reset_link'

interface Dependencies {
  db: Database
  passwords: Passwords
  factors: Pick<Factors, 'stepUp'>
  sessions: Pick<Sessions, 'endAll' | 'announceEnd'>
  links: Links
  events: Events
  backoff: Pick<SignInBackoff, 'proved'>
  now: () => Date
}

/** Changes a password with the current one, or with a mailed link. */
export function createPasswordChanges({
  db,
  passwords,
  factors,
  sessions,
  links,
  events,
  backoff,
  now,
}: Dependencies) {
  return {
    /**
     * Changes the password and ends all other sessions.
     *
     * @throws Problem `invalid` with the field; `factor_required`
     */
    async change(
      { user, session }: { user: string; session: string },
      current: string,
      next: string,
      origin: Origin,
      stepUp: StepUp,
    ): Promise<void> {
      const event = { user, kind: 'password_change', origin } as const
      const known = await events.recordRefusal(event, () =>
        ownerBy(db, passwords, user, current, 'current_password'),
      )
      refuseWeak(next, known, 'new_password')
      await factors.stepUp(known, stepUp)
      const password_hash = await passwords.hash(next, { who: user })
      const ended = await db.transaction(async (trx) => {
        const owner = await lockOwnerBy(trx, known, 'current_password')
        await events.record(trx, event)
        return replace(trx, owner, { password_hash }, session)
      })
      sessions.announceEnd(ended)
    },

    /**
     * Mails a link to the address if an account has it. A worker looks up the account, so neither the
     * response nor its time reveals whether there is one.
     */
    async forgot(email: string, origin: Origin): Promise<void> {
      await addJob(db, SEND_RESET_LINK, { id: uuidv7(), email, origin }, { priority: SOON })
    },

    /**
     * Sets a new password with a mailed link and ends all sessions, without signing in. The link proves
     * the address, so this also confirms it.
     *
     * @throws Problem `link_not_valid`; `invalid` if the password is too weak (the link stays valid)
     */
    async reset(token: string, next: string, origin: Origin): Promise<void> {
      const link = await links.find(db, 'reset_password', token)
      const known = await db('users').where({ id: link.user_id }).first<Owner | undefined>()
      if (known) refuseWeak(next, known, 'password')
      const password_hash = await passwords.hash(next, askerOf(origin))
      const ended = await db.transaction(async (trx) => {
        const owner = await lockOwner(trx, link.user_id)
        // The link proves only the address that it was sent to.
        if (owner?.email !== link.email) throw linkNotValid()
        await links.take(trx, link)
        await events.record(trx, { user: owner.id, kind: 'password_reset', origin })
        const email_verified_at = owner.email_verified_at ?? now()
        return replace(trx, owner, { password_hash, email_verified_at })
      })
      sessions.announceEnd(ended)
      await backoff.proved(link.user_id, origin.site ?? '')
    },
  }

  /** @returns the ids of the ended sessions, for `announceEnd` */
  async function replace(
    trx: Database,
    owner: Owner,
    changes: { password_hash: string; email_verified_at?: Date },
    except?: string,
  ): Promise<string[]> {
    const { id: user, email } = owner
    await trx('users').where({ id: user }).update(changes)
    const ended = await sessions.endAll(trx, user, except)
    await links.end(trx, user, 'reset_password')
    // Whoever tried codes with the old password tries no more.
    await forgetAttempts(trx, user)
    // An attacker with the old password may have started to change the address to their own.
    await links.end(trx, user, 'confirm_email', { except: email })
    const to = await addressToNotify(trx, { ...owner, ...changes }, now())
    if (to === undefined) return ended
    const cause = `password_changed ${uuidv7()}`
    await post(trx, [{ cause, user, to, letter: 'password_changed' }], now())
    return ended
  }
}

export type PasswordChanges = ReturnType<typeof createPasswordChanges>

/**
 * The job that `forgot` queues. Idempotent, because the mail has the id of the job. Over the limit of the
 * address it silently sends nothing.
 */
export function resetLinkSender({
  db,
  links,
  events,
  now,
}: Pick<Dependencies, 'db' | 'links' | 'events' | 'now'>) {
  return async ({ id, email, origin = {} }: ResetRequest): Promise<void> => {
    await db.transaction(async (trx) => {
      const found = await userNamed(trx, 'email', email)
      const owner = found && (await lockOwner(trx, found))
      if (!owner || owner.email === null) return
      const { id: user, email: to } = owner
      const cause = `reset_password ${id}`
      if (await trx('mails').where({ user_id: user, cause }).first('id')) return
      await events.record(trx, { user, kind: 'password_reset_request', origin })
      if (!(await mayMail(trx, to, now()))) return
      const link = await links.create(trx, { user, purpose: 'reset_password', email: to })
      await post(trx, [{ cause, user, to, letter: 'reset_password', data: { link } }], now())
    })
  }
}

interface ResetRequest {
  id: string
  email: string
  /** Nodes of the release before do not tell. */
  origin?: Origin
}

function refuseWeak(password: string, owner: Owner, field: string): void {
  const weak = weakness(password, { ...owner, email: owner.email ?? '' })
  if (weak) throw invalid('body', { [field]: [weak] })
}
