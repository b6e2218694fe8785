import type { DatabaseClock } from '../database/clock.ts'
import type { Database } from '../database/connect.ts'
import { poolState } from '../database/pool.ts'
import { type Replica, walPosition } from '../database/replica.ts'
import { queueState } from '../jobs/queue.ts'
import type { Hints } from '../realtime/hints.ts'
import { oldestDue } from '../reminders/reminders.ts'
import type { BytesInFlight } from '../runtime/bytes-in-flight.ts'
import type { Metrics } from '../runtime/metrics.ts'
import { type Readiness, UNREADY, type UnreadyReason } from './readiness.ts'

/** Gauges of the connection pool for requests. */
export function watchPool(metrics: Pick<Metrics, 'gauge'>, db: Database): void {
  const { pool } = db.client
  const name = 'tasktide_database_pool'
  metrics.gauge(`${name}_in_use`, 'Busy connections of the pool for requests.', () =>
    pool.numUsed(),
  )
  metrics.gauge(`${name}_idle`, 'Idle connections of the pool for requests.', () => pool.numFree())
  metrics.gauge(`${name}_waiting`, 'Requests that wait for a connection of the pool.', () =>
    poolState(db).waiting(),
  )
  metrics.gauge(`${name}_slow`, 'Busy connections of the pool with slow work.', () =>
    poolState(db).slowRunning(),
  )
  metrics.gauge(`${name}_slow_waiting`, 'Slow requests that wait for their turn.', () =>
    poolState(db).slowWaiting(),
  )
}

/** Metrics of the connection over which nodes send each other hints. */
export function watchHints(
  metrics: Pick<Metrics, 'gauge' | 'counter'>,
  { state }: Pick<Hints, 'state'>,
): void {
  metrics.gauge(
    'tasktide_hints_connected',
    'Whether the node has a connection for hints, to Postgres or Redis: 1 or 0.',
    () => Number(state().isConnected),
  )
  metrics.counter(
    'tasktide_hints_received_total',
    'Hints of other nodes that have arrived.',
    () => state().received,
  )
  metrics.counter(
    'tasktide_hints_unsent_total',
    'Hints that were not sent to other nodes, or of which that is not known.',
    () => state().unsent,
  )
}

/** Without a replica, it has no value. */
export function watchReplica(
  metrics: Pick<Metrics, 'gauge'>,
  { ask }: Pick<Readiness, 'ask'>,
  replica: Pick<Replica, 'position'> | undefined,
): void {
  metrics.gauge(
    'tasktide_replica_lag_bytes',
    'How much of the write-ahead log the replica (DATABASE_REPLICA_URL) has not replayed. The same on every node.',
    async () => {
      if (!replica) throw new Error('there is no replica')
      // First, because the other one moves on meanwhile.
      const replayed = await replica.position()
      return Math.max(0, (await ask(walPosition)) - replayed)
    },
  )
}

/** Gauges of the job queue and of reminders, the same on every node. */
export function watchJobs(metrics: Pick<Metrics, 'gauge'>, { ask }: Pick<Readiness, 'ask'>): void {
  let asked: ReturnType<typeof queueState> | undefined
  const gauge = (name: string, help: string, key: keyof Awaited<ReturnType<typeof queueState>>) =>
    metrics.gauge(`tasktide_jobs_${name}`, help, async () => {
      // One query for all four.
      asked ??= ask(queueState).finally(() => {
        asked = undefined
      })
      return (await asked)[key]
    })
  const everywhere = 'The same on every node.'
  gauge('waiting', `Due jobs that no worker has taken. ${everywhere}`, 'waiting')
  gauge('oldest_seconds', `The age of the oldest due job. ${everywhere}`, 'oldest_seconds')
  gauge(
    'failing',
    `Jobs whose last attempt failed and that are retried, mostly mails. ${everywhere}`,
    'failing',
  )
  gauge(
    'given_up',
    `Jobs that have failed for three days and are not retried any more. ${everywhere}`,
    'given_up',
  )
  metrics.gauge(
    'tasktide_reminders_oldest_seconds',
    `The age of the oldest due reminder or digest, except those over the hourly limit of their user. ${everywhere}`,
    () => ask(oldestDue),
  )
}

/** Metrics of the memory that requests and answers hold. */
export function watchBytes(
  metrics: Pick<Metrics, 'gauge' | 'counter'>,
  { held, refused }: Pick<BytesInFlight, 'held' | 'refused'>,
): void {
  metrics.gauge(
    'tasktide_bytes_in_flight',
    'Bytes of request bodies, answers and frames that the node holds (MAX_BYTES_IN_FLIGHT).',
    () => held(),
  )
  metrics.counter(
    'tasktide_bytes_refused_total',
    'How often a request, an answer or a frame did not fit into that budget or into the share of its user.',
    () => refused(),
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

export function watchClock(
  metrics: Pick<Metrics, 'gauge'>,
  { aheadMs }: Pick<DatabaseClock, 'aheadMs'>,
): void {
  metrics.gauge(
    'tasktide_clock_ahead_seconds',
    "How far the clock of the machine is ahead of the database's.",
    () => aheadMs() / 1000,
  )
}
