import type { Database } from '../database/connect.ts'
import { addJob } from '../jobs/queue.ts'
import { post } from '../mail/outbox.ts'
import type { Links } from './links.ts'
import { mayTell } from './mail-allowance.ts'
import { lockOwnerBy, ownerBy } from './owners.ts'
import type { Passwords } from './passwords.ts'
import type { Sessions } from './sessions.ts'

export const PURGE_ACCOUNT = 'purge_account'

interface Dependencies {
  db: Database
  passwords: Passwords
  sessions: Pick<Sessions, 'endAll' | 'announceEnd'>
  links: Links
  now: () => Date
}

/** The end of an account: at once for whoever would use it, by and by for what is in it. */
export function createDeletion({ db, passwords, sessions, links, now }: Dependencies) {
  /** @throws Problem `invalid` naming the field when the password is another's */
  return async function deleteAccount(user: string, password: string): Promise<void> {
    const known = await ownerBy(db, passwords, user, password)
    const ended = await db.transaction(async (trx) => {
      const owner = await lockOwnerBy(trx, known)
      const deleted_at = now()
      await trx('users').where({ id: user }).update({ deleted_at, is_active: false })
      await trx('deleted_accounts').insert({ user_id: user, deleted_at })
      const ended = await sessions.endAll(trx, user)
      await links.end(trx, user, 'confirm_email')
      await links.end(trx, user, 'reset_password')
      const farewell = {
        cause: `account_deleted ${user}`,
        user,
        letter: 'account_deleted',
      } as const
      if (await mayTell(trx, owner, now()))
        await post(trx, [{ ...farewell, to: owner.email }], now())
      await addJob(trx, PURGE_ACCOUNT, { user }, { key: `purge ${user}` })
      return ended
    })
    sessions.announceEnd(ended)
  }
}

export type DeleteAccount = ReturnType<typeof createDeletion>

/** The pause between looks whether the last mail has gone out: doubled each time, up to an hour. */
const PAUSE_MS = 500
const MAX_PAUSE_MS = 60 * 60 * 1000

/**
 * The job that erases an account that was deleted. It may be cut off anywhere, and begins again with
 * what is left. The name and the address are free when it has ended.
 *
 * @param purgeDocuments deletes the documents of a person, however many they are
 */
export function accountPurge(db: Database, purgeDocuments: (user: string) => Promise<void>) {
  return async ({ user, looks = 0 }: { user: string; looks?: number }): Promise<void> => {
    // Who is there and was not deleted keeps everything, whatever left this job.
    if (await db('users').where({ id: user, deleted_at: null }).first('id')) return
    await deleteMails(user)
    await purgeDocuments(user)
    // Takes along whatever else is the person's, written meanwhile or of a kind that is few.
    await db('users').where({ id: user }).delete()
    // The farewell is the last to go, once it is sent, or is so old that it is forgotten.
    if (!(await db('mails').where({ user_id: user }).first('id'))) return
    const pause = Math.min(MAX_PAUSE_MS, PAUSE_MS * 2 ** looks)
    const runAt = new Date(Date.now() + pause)
    await addJob(db, PURGE_ACCOUNT, { user, looks: looks + 1 }, { runAt })
  }

  /** All but the farewell that is still to be sent. One that is being sent is not waited for. */
  async function deleteMails(user: string): Promise<void> {
    await db.raw(
      `delete from mails where id in (
         select id from mails
         where user_id = ? and (letter <> 'account_deleted' or outcome is not null)
         for update skip locked)`,
      [user],
    )
  }
}
