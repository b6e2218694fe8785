import type pg from 'pg'
import type { Log } from '../runtime/log.ts'
import { MAX_ATTEMPTS } from './queue.ts'

const LOOK_MS = 5_000

/**
 * A job that runs again and again waits in the queue under its name. It is queued when there is none,
 * and replaced when it would run later than its interval from now: because it failed often, was given
 * up, or was queued while the clock was wrong.
 */
const QUEUE_MISSING = `
  select graphile_worker.add_job(
    name, run_at := now() + make_interval(secs => seconds), max_attempts := ${MAX_ATTEMPTS}, job_key := name)
  from unnest($1::text[], $2::int[]) wanted (name, seconds)
  where not exists (
    select from graphile_worker.jobs
    where key = name and attempts < max_attempts and run_at <= now() + make_interval(secs => seconds))`

/**
 * Keeps jobs queued that run again and again. Only the database's clock and the queue decide when:
 * graphile-worker's crontab goes by the clock of each worker, and one whose clock is an hour ahead stops
 * it on all workers for that hour.
 *
 * @param intervals seconds by job
 */
export function keepQueued(
  pool: pg.Pool,
  intervals: ReadonlyMap<string, number>,
  log: Pick<Log, 'warn'>,
) {
  const values = [[...intervals.keys()], [...intervals.values()]]
  if (intervals.size === 0) return { stop() {} }
  const timer = setInterval(look, LOOK_MS)
  void look()
  return { stop: () => clearInterval(timer) }

  async function look(): Promise<void> {
    try {
      await pool.query(QUEUE_MISSING, values)
    } catch (error) {
      log.warn({ error }, 'recurring jobs could not be queued')
    }
  }
}
