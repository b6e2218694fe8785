import { type Database, ofPerson } from '../database/connect.ts'
import { addJob } from '../jobs/queue.ts'
import { post } from '../mail/outbox.ts'
import type { Events, Origin } from './events.ts'
import type { Factors, StepUp } from './factors.ts'
import type { Links } from './links.ts'
import { addressToNotify } from './mail-allowance.ts'
import { freeNames } from './names.ts'
import { lockOwnerBy, ownerBy } from './owners.ts'
import type { Passwords } from './passwords.ts'
import type { Sessions } from './sessions.ts'

export const PURGE_ACCOUNT = 'purge_account'

interface Dependencies {
  db: Database
  passwords: Passwords
  factors: Pick<Factors, 'stepUp'>
  sessions: Pick<Sessions, 'endAll' | 'announceEnd'>
  links: Links
  events: Events
  now: () => Date
}

/** Deletes an account: it is unusable at once, and a job erases its data. */
export function createDeletion({
  db,
  passwords,
  factors,
  sessions,
  links,
  events,
  now,
}: Dependencies) {
  /** @throws Problem `invalid` with the field if the password is wrong; `factor_required` */
  return async function deleteAccount(
    user: string,
    password: string,
    origin: Origin,
    stepUp: StepUp,
  ): Promise<void> {
    const event = { user, kind: 'deletion', origin } as const
    const known = await events.recordRefusal(event, () => ownerBy(db, passwords, user, password))
    await factors.stepUp(known, stepUp)
    const ended = await db.transaction(async (trx) => {
      const owner = await lockOwnerBy(trx, known)
      await events.record(trx, event)
      await beginDeletion(trx, user, now())
      await trx('deleted_accounts').insert({ user_id: user, deleted_at: now() })
      const ended = await sessions.endAll(trx, user)
      await links.end(trx, user, 'confirm_email')
      await links.end(trx, user, 'reset_password')
      const farewell = {
        cause: `account_deleted ${user}`,
        user,
        letter: 'account_deleted',
      } as const
      const to = await addressToNotify(trx, owner, now())
      if (to !== undefined) await post(trx, [{ ...farewell, to }], now())
      return ended
    })
    sessions.announceEnd(ended)
  }
}

/**
 * Makes an account unusable, and queues the job that erases it, in the caller's transaction. Its devices
 * are signed out and keep what they have, unless it is in `deleted_accounts` too.
 */
export async function beginDeletion(trx: Database, user: string, deleted_at: Date): Promise<void> {
  await trx('users').where({ id: user }).update({ deleted_at, is_active: false })
  await addJob(trx, PURGE_ACCOUNT, { user }, { key: `purge ${user}` })
}

export type DeleteAccount = ReturnType<typeof createDeletion>

/** The delay between checks that the last mail was sent: doubled each time, up to an hour. */
const PAUSE_MS = 500
const MAX_PAUSE_MS = 60 * 60 * 1000

/**
 * The job that erases a deleted account. It can be interrupted at any point and continues with the
 * rest. Afterwards the username and the address can be used again.
 *
 * @param purgeDocuments deletes all documents of a user
 */
export function accountPurge(db: Database, purgeDocuments: (user: string) => Promise<void>) {
  return async ({ user, looks = 0 }: { user: string; looks?: number }): Promise<void> => {
    // Never erase an account that is not deleted, whatever queued this job.
    if (await db('users').where({ id: user, deleted_at: null }).first('id')) return
    await deleteMails(user)
    await purgeDocuments(user)
    await db.transaction(async (trx) => {
      // Cascades to everything else of the user.
      await trx('users').where({ id: user }).delete().options(ofPerson(user))
      await freeNames(trx, user)
    })
    // The last mail is deleted when it has been sent or has expired.
    if (!(await db('mails').where({ user_id: user }).first('id'))) return
    const delayMs = Math.min(MAX_PAUSE_MS, PAUSE_MS * 2 ** looks)
    await addJob(db, PURGE_ACCOUNT, { user, looks: looks + 1 }, { delayMs })
  }

  /** Deletes all mails except an unsent last one. Does not wait for a mail that is being sent. */
  async function deleteMails(user: string): Promise<void> {
    await db.raw(
      `delete from mails where user_id = :user and id in (
         select id from mails
         where user_id = :user and (letter <> 'account_deleted' or outcome is not null)
         for update skip locked)`,
      { user },
    )
  }
}
