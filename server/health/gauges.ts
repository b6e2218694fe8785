import type { Database } from '../database/connect.ts'
import { queueState } from '../jobs/queue.ts'
import type { Metrics } from '../runtime/metrics.ts'
import type { Readiness } from './readiness.ts'

/** How the pool of connections for requests stands. */
export function watchPool(metrics: Pick<Metrics, 'gauge'>, db: Database): void {
  const { pool } = db.client
  const name = 'tasktide_database_pool'
  metrics.gauge(`${name}_in_use`, 'Connections that work for requests.', () => pool.numUsed())
  metrics.gauge(`${name}_idle`, 'Connections that wait for work.', () => pool.numFree())
  metrics.gauge(`${name}_waiting`, 'Pieces of work that wait for a connection.', () =>
    pool.numPendingAcquires(),
  )
}

/** How the queue of jobs stands, which is the same for every node. */
export function watchJobs(metrics: Pick<Metrics, 'gauge'>, { ask }: Pick<Readiness, 'ask'>): void {
  let asked: ReturnType<typeof queueState> | undefined
  const gauge = (name: string, help: string, key: keyof Awaited<ReturnType<typeof queueState>>) =>
    metrics.gauge(`tasktide_jobs_${name}`, help, async () => {
      // All three are read at once.
      asked ??= ask(queueState).finally(() => {
        asked = undefined
      })
      return (await asked)[key]
    })
  gauge('waiting', 'Jobs that are due and that no worker has taken.', 'waiting')
  gauge('oldest_seconds', 'How long the oldest of them has waited.', 'oldest_seconds')
  gauge('given_up', 'Jobs that failed too often to be tried again.', 'given_up')
}
