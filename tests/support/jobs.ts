import { expect } from 'vitest'
import type { Database } from '../../server/database/connect.ts'
import { addJob } from '../../server/jobs/queue.ts'

/**
 * Runs a scheduled job now, and waits for it and for the jobs that it adds. Failed jobs are retried later, as
 * usual.
 */
export async function runJob(db: Database, name: string): Promise<void> {
  await addJob(db, name, {})
  await idle(db)
}

/** Resolves when the workers are idle. */
export async function idle(db: Database): Promise<void> {
  const waiting = () =>
    db('graphile_worker.jobs')
      .where('run_at', '<=', db.fn.now())
      .orWhereNotNull('locked_at')
      .count()
  await expect.poll(waiting, { timeout: 20_000, interval: 20 }).toEqual([{ count: '0' }])
}

/** Retries failed jobs now, and waits for them. */
export async function retryNow(db: Database): Promise<void> {
  await db('graphile_worker._private_jobs').whereNull('locked_at').update({ run_at: db.fn.now() })
  await idle(db)
}

/** These recurring jobs do not run meanwhile, as if no worker were running. */
export async function withoutRecurring(
  db: Database,
  names: readonly string[],
  work: () => Promise<unknown>,
): Promise<void> {
  await db.transaction(async (trx) => {
    // A locked job is passed over, and not queued again.
    for (const name of names) await addJob(trx, name, {}, { key: name })
    await idle(db)
    await work()
  })
}
