import { PURGE_ACCOUNT } from '../accounts/deletion.ts'
import { deleteOldEvents } from '../accounts/events.ts'
import { deleteLinks } from '../accounts/links.ts'
import { deleteOldAllowances } from '../accounts/mail-allowance.ts'
import type { Database } from '../database/connect.ts'
import { keptSince } from '../mail/delivery.ts'
import { deleteOldAnswers } from '../store/kept-answers.ts'
import { forgetRevisions } from '../store/revisions.ts'

/** How long devices get `account_deleted`: longer than the lifetime of any token. */
const DELETED_DAYS = 90
const DAY_MS = 24 * 60 * 60 * 1000

/** Deletes expired data. */
export async function deleteExpired(db: Database, now: Date, eventDays: number): Promise<void> {
  const since = keptSince(now)
  await db('mails').where('created_at', '<', since).delete()
  await deleteOldAllowances(db, now)
  await deleteOldAnswers(db, now)
  await deleteLinks(db, since)
  await deleteOldEvents(db, daysBefore(now, eventDays))
  await forgetRevisions(db)
  await db('deleted_accounts').where('deleted_at', '<', daysBefore(now, DELETED_DAYS)).delete()
  // The erasure of an account was promised to its owner, so that job is never deleted.
  await db.raw(
    `select graphile_worker.complete_jobs(array_agg(id)) from graphile_worker.jobs
     where attempts >= max_attempts and updated_at < ? and task_identifier <> ?`,
    [since, PURGE_ACCOUNT],
  )
}

const daysBefore = (moment: Date, days: number) => new Date(moment.getTime() - days * DAY_MS)
