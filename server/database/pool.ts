import knex, { type Knex } from 'knex'
import pg from 'pg'
import { type ConnectionConfig, DatabaseConnection } from './connection.ts'
import { createLockPatience, LOCK_PATIENCE_MS } from './lock-patience.ts'
import { createPoolQueue, type PoolQueue } from './pool-queue.ts'
import { createSlowWork, type SlowWork } from './slow-work.ts'

/** The client of knex for Postgres, which it does not export. */
const Postgres = knex({ client: 'pg' }).client.constructor as typeof Knex.Client

export class Pool extends Postgres {
  _driver() {
    return { ...pg, Client: DatabaseConnection }
  }

  override async acquireRawConnection() {
    const connection: DatabaseConnection = await super.acquireRawConnection()
    // The others are on the same line.
    connection.once('silent', () => {
      const { free } = this.pool as unknown as { free: { resource: DatabaseConnection }[] }
      for (const { resource } of free) resource.drop()
    })
    return connection
  }
}

/** A pool that neither locks nor slow work of a few users nor too many users can fill. */
export class PoolForRequests extends Pool {
  private readonly size: number = (this.config as Knex.Config).pool!.max!
  readonly queue = createPoolQueue(this.size)
  /** Those who wait for locks leave three quarters of the connections to others. */
  readonly patiently = createLockPatience(Math.max(1, Math.floor(this.size / 4)))
  readonly slowWork = createSlowWork(
    this.size,
    Number(
      (this.config as { connection: ConnectionConfig }).connection.settings?.statement_timeout ?? 0,
    ),
  )
  /** When each request for a connection began that has not got one, the oldest first. */
  readonly waiting = new Set<{ since: number }>()
  private readonly held = new Set<unknown>()

  override async acquireConnection() {
    const waiter = { since: performance.now() }
    this.waiting.add(waiter)
    try {
      await this.queue.enter()
      const connection = await super.acquireConnection().catch((error: unknown) => {
        this.queue.leave()
        throw error
      })
      this.held.add(connection)
      return connection
    } finally {
      this.waiting.delete(waiter)
    }
  }

  override releaseConnection(connection: unknown) {
    const released = super.releaseConnection(connection)
    if (this.held.delete(connection)) this.queue.leave()
    return released
  }

  override runner(builder: unknown) {
    const runner = super.runner(builder)
    // A transaction cannot try one of its statements again.
    if ((this as { transacting?: boolean }).transacting) return runner
    const run = runner.run.bind(runner)
    runner.run = () => this.patiently(run)
    return runner
  }

  override query(connection: unknown, query: unknown) {
    return super.query(connection, query === BEGIN ? BEGIN_WITH_PATIENCE : query)
  }
}

/** As knex begins a transaction. */
const BEGIN = 'BEGIN;'
const BEGIN_WITH_PATIENCE = `begin; set local lock_timeout = ${LOCK_PATIENCE_MS}`

/** A transaction has no pool, though its client is of the same class. */
const forRequests = ({ client }: Knex) =>
  client instanceof PoolForRequests && 'queue' in client ? client : undefined

/** The queue for the connections of a pool for requests. */
export const queueOf = (db: Knex): PoolQueue | undefined => forRequests(db)?.queue

/** What people can make slow on this pool. Elsewhere nobody waits for it, and it has no limit. */
export const slowWorkOf = (db: Knex): Pick<SlowWork, 'run'> =>
  forRequests(db)?.slowWork ?? { run: (_user, _kind, work) => work() }

/** How a pool for requests is doing, for those who decide whether to take more work. */
export function poolState(db: Knex) {
  const pool = forRequests(db)
  return {
    waiting: () => pool?.waiting.size ?? 0,
    /** For how many milliseconds somebody has been waiting for a connection. */
    longestWait(): number {
      const [oldest] = pool?.waiting ?? []
      return oldest ? performance.now() - oldest.since : 0
    },
    slowRunning: () => pool?.slowWork.running() ?? 0,
    slowWaiting: () => pool?.slowWork.waiting() ?? 0,
    isOverloaded: () => pool?.queue.isOverloaded() ?? false,
    /** Whether new work is better refused than begun. */
    isClosed: () => pool?.queue.isClosed() ?? false,
  }
}

export type PoolState = ReturnType<typeof poolState>

/** @param work acquires its own connection, and has no effect if it fails */
export const retriedForLocks = <T>(db: Knex, work: () => Promise<T>) =>
  forRequests(db)?.patiently(work) ?? work()
