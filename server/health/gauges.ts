import type { Database } from '../database/connect.ts'
import { poolState } from '../database/pool.ts'
import { queueState } from '../jobs/queue.ts'
import { oldestDue } from '../reminders/reminders.ts'
import type { Metrics } from '../runtime/metrics.ts'
import { type Readiness, UNREADY, type UnreadyReason } from './readiness.ts'

/** Gauges of the connection pool for requests. */
export function watchPool(metrics: Pick<Metrics, 'gauge'>, db: Database): void {
  const { pool } = db.client
  const name = 'tasktide_database_pool'
  metrics.gauge(`${name}_in_use`, 'Busy connections.', () => pool.numUsed())
  metrics.gauge(`${name}_idle`, 'Idle connections.', () => pool.numFree())
  metrics.gauge(`${name}_waiting`, 'Requests that wait for a connection.', () =>
    poolState(db).waiting(),
  )
}

/** Gauges of the job queue and of reminders, the same on every node. */
export function watchJobs(metrics: Pick<Metrics, 'gauge'>, { ask }: Pick<Readiness, 'ask'>): void {
  let asked: ReturnType<typeof queueState> | undefined
  const gauge = (name: string, help: string, key: keyof Awaited<ReturnType<typeof queueState>>) =>
    metrics.gauge(`tasktide_jobs_${name}`, help, async () => {
      // One query for all three.
      asked ??= ask(queueState).finally(() => {
        asked = undefined
      })
      return (await asked)[key]
    })
  gauge('waiting', 'Due jobs that no worker has taken.', 'waiting')
  gauge('oldest_seconds', 'The age of the oldest due job.', 'oldest_seconds')
  gauge('given_up', 'Jobs that failed too often to be retried.', 'given_up')
  metrics.gauge(
    'tasktide_reminders_oldest_seconds',
    'The age of the oldest due reminder or digest, except those over the hourly limit of their user.',
    () => ask(oldestDue),
  )
}

/** What `/readyz` answers, for alerts. */
export function watchReadiness(
  metrics: Pick<Metrics, 'states'>,
  { reasons }: Pick<Readiness, 'reasons'>,
): void {
  metrics.states(
    'tasktide_unready',
    'Why the node is not ready: 1 for each reason that applies, as in /readyz.',
    'reason',
    Object.keys(UNREADY) as UnreadyReason[],
    reasons,
  )
}
