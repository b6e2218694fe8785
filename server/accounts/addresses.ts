import { type accounts, invalid, Problem } from '../../protocol/index.ts'
import type { Database } from '../database/connect.ts'
import { post } from '../mail/outbox.ts'
import { isUniqueViolation } from './accounts.ts'
import type { Events, Origin } from './events.ts'
import type { Factors, StepUp } from './factors.ts'
import { type Links, linkNotValid } from './links.ts'
import { addressToNotify, mayMail, tooMuchMail } from './mail-allowance.ts'
import { confirmationOf } from './mail-data.ts'
import { changeAddress, userNamed } from './names.ts'
import { lockOwner, lockOwnerBy, type Owner, ownerBy } from './owners.ts'
import type { Passwords } from './passwords.ts'
import { sessionEnded } from './tokens.ts'

interface Dependencies {
  db: Database
  passwords: Passwords
  factors: Pick<Factors, 'stepUp'>
  links: Links
  events: Events
  now: () => Date
}

/** Confirming and changing email addresses. */
export function createAddresses({ db, passwords, factors, links, events, now }: Dependencies) {
  return {
    /**
     * Confirms the address that the link was sent to: that of a new account, or a changed one. Notifies
     * the former address.
     *
     * @throws Problem `link_not_valid`
     */
    async confirm(token: string, origin: Origin): Promise<void> {
      const link = await links.find(db, 'confirm_email', token)
      const { user_id: user, email } = link
      try {
        await db.transaction(async (trx) => {
          const owner = await lockOwner(trx, user)
          if (!owner) throw linkNotValid()
          await links.take(trx, link)
          await changeAddress(trx, user, owner.email, email)
          await trx('users').where({ id: user }).update({ email, email_verified_at: now() })
          const kind = owner.email === email ? 'email_confirmed' : 'email_change'
          await events.record(trx, { user, kind, origin })
          if (owner.email === email) return
          // Links that were sent to the former address are no longer valid.
          await links.end(trx, user, 'confirm_email')
          await links.end(trx, user, 'reset_password')
          const to = await addressToNotify(trx, owner, now())
          if (to === undefined) return
          const notice = { letter: 'email_changed', data: { new_email: email } } as const
          const cause = `email_changed ${link.id}`
          await post(trx, [{ cause, user, to, ...notice }], now())
        })
      } catch (error) {
        if (!isUniqueViolation(error)) throw error
        throw new Problem(
          'link_not_valid',
          'Another account uses this address by now, so yours was not changed. Choose another one.',
        )
      }
    },

    /**
     * What a link would confirm, so that its reader can tell whether the account is theirs.
     *
     * @throws Problem `link_not_valid`
     */
    async show(token: string): Promise<accounts.Confirmation> {
      const { user_id, email } = await links.find(db, 'confirm_email', token)
      const owner = await db('users')
        .where({ id: user_id, is_active: true })
        .first<Owner | undefined>('username', 'email')
      if (!owner) throw linkNotValid()
      return { username: owner.username, email, is_change: owner.email !== email }
    },

    /**
     * The owner of the mailbox says that the account is not theirs: it gets no more mail there, and the
     * address is free. The account stays, because somebody who mistyped the address may have data in it.
     *
     * @throws Problem `link_not_valid`
     */
    async disown(token: string, origin: Origin): Promise<void> {
      const link = await links.find(db, 'confirm_email', token)
      const { user_id: user, email } = link
      await db.transaction(async (trx) => {
        const owner = await lockOwner(trx, user)
        if (!owner) throw linkNotValid()
        await links.take(trx, link)
        await events.record(trx, { user, kind: 'email_disowned', origin })
        if (owner.email !== email) return
        await links.end(trx, user, 'reset_password')
        await changeAddress(trx, user, email, null)
        await trx('users').where({ id: user }).update({ email: null, email_verified_at: null })
      })
    },

    /** Resends the mail to each unconfirmed address that the account has. */
    async resend(user: string): Promise<void> {
      await db.transaction(async (trx) => {
        const owner = await lockOwner(trx, user)
        if (!owner) throw sessionEnded()
        const pending = await links.pendingEmail(trx, user, owner.email)
        const waiting = [...(owner.email_verified_at ? [] : [owner.email]), pending]
        for (const email of waiting) if (email !== null) await ask(trx, user, email)
      })
    },

    /**
     * Starts a change of the address, which takes effect when the new one is confirmed. Notifies the
     * current address.
     *
     * @throws Problem `invalid` with the field: the password, or an address in use; `factor_required`
     */
    async change(
      user: string,
      { email, password }: { email: string; password: string },
      origin: Origin,
      stepUp: StepUp,
    ): Promise<void> {
      const event = { user, kind: 'email_change_request', origin } as const
      const known = await events.recordRefusal(event, () => ownerBy(db, passwords, user, password))
      const taken = await userNamed(db, 'email', email)
      if (taken === user) throw invalid('body', { email: ['This is already your address.'] })
      if (taken)
        throw invalid('body', { email: ['Another account has this address; choose another.'] })
      await factors.stepUp(known, stepUp)
      await db.transaction(async (trx) => {
        const owner = await lockOwnerBy(trx, known)
        if ((await links.addressesOf(trx, user, lastDay())) >= ADDRESSES_A_DAY)
          throw tooManyAddresses()
        await links.end(trx, user, 'confirm_email', { except: owner.email })
        const link = await ask(trx, user, email)
        await events.record(trx, event)
        const to = await addressToNotify(trx, owner, now())
        if (to === undefined) return
        const notice = { letter: 'email_changing', data: { new_email: email } } as const
        const cause = `email_changing ${link}`
        await post(trx, [{ cause, user, to, ...notice }], now())
      })
    },
  }

  function lastDay(): Date {
    return new Date(now().getTime() - DAY_SECONDS * 1000)
  }

  async function ask(trx: Database, user: string, email: string): Promise<string> {
    if (!(await mayMail(trx, email, now()))) throw tooMuchMail()
    const link = await links.create(trx, { user, purpose: 'confirm_email', email })
    await post(trx, [confirmationOf(user, email, link)], now())
    return link
  }
}

/** Limits mail to addresses that may belong to strangers. */
const ADDRESSES_A_DAY = 5
const DAY_SECONDS = 24 * 60 * 60

function tooManyAddresses(): Problem {
  return new Problem('too_many_requests', 'Too many address changes today; try again tomorrow.', {
    retryAfter: DAY_SECONDS,
  })
}

export type Addresses = ReturnType<typeof createAddresses>
