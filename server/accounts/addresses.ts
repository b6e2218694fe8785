import { invalid, Problem } from '../../protocol/index.ts'
import type { Database } from '../database/connect.ts'
import { post } from '../mail/outbox.ts'
import { isUniqueViolation } from './accounts.ts'
import { confirmationOf } from './letters.ts'
import type { Links } from './links.ts'
import { mayMail, mayTell, tooMuchMail } from './mail-allowance.ts'
import { lockOwner, lockOwnerBy, ownerBy } from './owners.ts'
import type { Passwords } from './passwords.ts'
import { sessionEnded } from './tokens.ts'

interface Dependencies {
  db: Database
  passwords: Passwords
  links: Links
  now: () => Date
}

/** The email addresses of accounts: each is confirmed by whoever can read what is sent there. */
export function createAddresses({ db, passwords, links, now }: Dependencies) {
  return {
    /**
     * Confirms the address that the link was sent to: of a new account, or one that takes the place
     * of the former, which is told.
     *
     * @throws Problem `link_not_valid`
     */
    async confirm(token: string): Promise<void> {
      const link = await links.find(db, 'confirm_email', token)
      const { user_id: user, email } = link
      try {
        await db.transaction(async (trx) => {
          const owner = await lockOwner(trx, user)
          if (!owner) throw new Problem('link_not_valid')
          await links.take(trx, link)
          await trx('users').where({ id: user }).update({ email, email_verified_at: now() })
          if (owner.email === email) return
          // What was sent to the former address proves nothing any more.
          await links.end(trx, user, 'confirm_email')
          await links.end(trx, user, 'reset_password')
          if (!(await mayTell(trx, owner, now()))) return
          const notice = { letter: 'email_changed', data: { new_email: email } } as const
          const cause = `email_changed ${link.id}`
          await post(trx, [{ cause, user, to: owner.email, ...notice }], now())
        })
      } catch (error) {
        if (!isUniqueViolation(error)) throw error
        throw new Problem(
          'link_not_valid',
          'Another account has taken this address in the meantime, so yours keeps the one it has.',
        )
      }
    },

    /** Sends another mail to each address that waits to be confirmed. */
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
     * Begins to change the address: it changes once the new one is confirmed. The old one is told.
     *
     * @throws Problem `invalid` naming the field: the password, or an address in use
     */
    async change(user: string, email: string, password: string): Promise<void> {
      const known = await ownerBy(db, passwords, user, password)
      const taken = await db('users').whereRaw('lower(email) = lower(?)', [email]).first('id')
      if (taken?.id === user) throw invalid('body', { email: ['This is your address already.'] })
      if (taken) throw invalid('body', { email: ['Choose another: an account has this address.'] })
      await db.transaction(async (trx) => {
        const owner = await lockOwnerBy(trx, known)
        if ((await links.addressesOf(trx, user, lastDay())) >= ADDRESSES_A_DAY)
          throw tooManyAddresses()
        await links.end(trx, user, 'confirm_email', { except: owner.email })
        const link = await ask(trx, user, email)
        if (!(await mayTell(trx, owner, now()))) return
        const notice = { letter: 'email_changing', data: { new_email: email } } as const
        const cause = `email_changing ${link}`
        await post(trx, [{ cause, user, to: owner.email, ...notice }], now())
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

/** Each is a stranger's, as far as anybody knows. */
const ADDRESSES_A_DAY = 5
const DAY_SECONDS = 24 * 60 * 60

function tooManyAddresses(): Problem {
  return new Problem('too_many_requests', 'That is too many addresses for one day; try tomorrow.', {
    retryAfter: DAY_SECONDS,
  })
}

export type Addresses = ReturnType<typeof createAddresses>
