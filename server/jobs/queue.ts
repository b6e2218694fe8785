import type { Database } from '../database/connect.ts'

interface JobOptions {
  /** There is one job of a key: another takes its place. */
  key?: string
  /** Not before this; now unless given. */
  runAt?: Date
  /** Of those that wait, the lowest number is done first. 0 unless given. */
  priority?: number
}

/** Of what somebody waits for, while the rest would come unasked. */
export const SOON = -1

/**
 * Leaves a job to a worker, as part of the caller's transaction: there is no job without what caused
 * it. A job that fails is tried again, later and later, for some three days.
 */
export async function addJob(
  trx: Database,
  name: string,
  payload: object,
  { key, runAt, priority = 0 }: JobOptions = {},
): Promise<void> {
  await trx.raw(
    `select graphile_worker.add_job(
       ?, payload := ?::json, run_at := ?::timestamptz, max_attempts := ?, job_key := ?, priority := ?)`,
    [name, JSON.stringify(payload), runAt ?? null, MAX_ATTEMPTS, key ?? null, priority],
  )
}

/** How the queue stands: what waits though it could be done, for how long, and what was given up. */
export async function queueState(db: Database) {
  const { rows } = await db.raw(
    `select
       count(*) filter (where is_due)::int as waiting,
       coalesce(extract(epoch from now() - min(run_at) filter (where is_due)), 0)::float as oldest_seconds,
       count(*) filter (where attempts >= max_attempts)::int as given_up
     from graphile_worker.jobs
     cross join lateral (
       select run_at <= now() and locked_at is null and attempts < max_attempts as is_due) state`,
  )
  return rows[0] as { waiting: number; oldest_seconds: number; given_up: number }
}

/** The pause grows to six hours within the first ten. */
export const MAX_ATTEMPTS = 20
