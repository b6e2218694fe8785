import type { Database } from '../database/connect.ts'

interface JobOptions {
  /** Unique: a job with the same key replaces this one. */
  key?: string
  /** The delay before its start, by the database's clock. Default: none. */
  delayMs?: number
  /** Lower numbers run first. Default: 0. */
  priority?: number
}

/** Priority for mail that a user is waiting for. */
export const SOON = -1

/**
 * Queues a job in the caller's transaction. A failed job is retried with back-off, for about three days.
 */
export async function addJob(
  trx: Database,
  name: string,
  payload: object,
  { key, delayMs = 0, priority = 0 }: JobOptions = {},
): Promise<void> {
  await trx.raw(
    `select graphile_worker.add_job(
       ?, payload := ?::json, run_at := now() + ? * interval '1 millisecond', max_attempts := ?, job_key := ?, priority := ?)`,
    [name, JSON.stringify(payload), delayMs, MAX_ATTEMPTS, key ?? null, priority],
  )
}

/** The number of due jobs, the age of the oldest one, and the numbers of jobs that fail and that were given up. */
export async function queueState(db: Database) {
  const { rows } = await db.raw(
    `select
       count(*) filter (where is_due)::int as waiting,
       coalesce(extract(epoch from now() - min(run_at) filter (where is_due)), 0)::float as oldest_seconds,
       count(*) filter (where attempts < max_attempts and last_error is not null)::int as failing,
       count(*) filter (where attempts >= max_attempts)::int as given_up
     from graphile_worker.jobs
     cross join lateral (
       select run_at <= now() and locked_at is null and attempts < max_attempts as is_due) state`,
  )
  return rows[0] as { waiting: number; oldest_seconds: number; failing: number; given_up: number }
}

/** The delay grows to six hours within the first ten attempts. */
export const MAX_ATTEMPTS = 20
