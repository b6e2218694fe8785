import { Problem } from '../../protocol/index.ts'
import { CLOCK_TOLERANCE_MS } from '../database/clock.ts'
import { type ConnectionTarget, connect, type Database } from '../database/connect.ts'
import { READ_ONLY, READ_ONLY_STATE, readOnly } from '../database/connection.ts'
import { pendingMigrations } from '../database/migrate.ts'
import type { PoolState } from '../database/pool.ts'
import { withinTime } from '../runtime/time-limit.ts'

/** Load balancers probe every few seconds, with a similar timeout. */
const LIMIT_MS = 2_000

export type Readiness = ReturnType<typeof createReadiness>

/**
 * Whether this node can serve. It has a database connection of its own, because a busy pool must not
 * make the node unready, unless nobody gets a connection of it any more. Concurrent checks share one
 * query.
 *
 * @param pool the pool for requests
 * @param clockAheadMs how far the clock of this machine is ahead of the database's
 */
export function createReadiness(
  target: ConnectionTarget,
  pool: Pick<PoolState, 'longestWait' | 'isOverloaded'>,
  clockAheadMs = () => 0,
) {
  let db = open()
  let draining = false
  let asked: Promise<string[]> | undefined

  return {
    /** @throws Problem `unavailable` with the reason */
    async check(): Promise<void> {
      if (draining) throw unready('This node is stopping; use another one.')
      if (pool.isOverloaded()) throw unready('This node is overloaded; use another one.')
      if (pool.longestWait() > LIMIT_MS)
        throw unready('All database connections of this node are busy; use another one.')
      asked ??= ask(pending).finally(() => {
        asked = undefined
      })
      const behind = await asked.catch((cause) => {
        const state = cause.code === READ_ONLY_STATE ? 'read-only' : 'unreachable'
        throw unready(`The database is ${state}; try again later.`, cause)
      })
      if (behind.length > 0)
        throw unready('The database schema is outdated; run `npm run migrate`.')
      const seconds = Math.round(clockAheadMs() / 1000)
      if (Math.abs(clockAheadMs()) > CLOCK_TOLERANCE_MS)
        throw unready(
          `The clock of this machine is ${Math.abs(seconds)} seconds ${seconds > 0 ? 'ahead of' : 'behind'} the database's; synchronize it (NTP).`,
        )
    },
    /** Queries the database on the same connection, independent of requests. */
    ask,
    /** Unready from now on; running requests finish. */
    drain() {
      draining = true
    },
    close: () => db.destroy(),
  }

  async function ask<T>(question: (db: Database) => Promise<T>): Promise<T> {
    const asked = db
    try {
      return await withinTime(LIMIT_MS, question(asked))
    } catch (error) {
      // The connection may be dead unnoticed, so the next question opens a new one.
      void asked.destroy().catch(() => {})
      if (db === asked) db = open()
      throw error
    }
  }

  function open() {
    return connect({ ...target, poolSize: 1, patienceMs: LIMIT_MS })
  }
}

const unready = (detail: string, cause?: unknown) =>
  new Problem('unavailable', detail, { retryAfter: 2, cause })

async function pending(db: Database): Promise<string[]> {
  const { rows } = await db.raw(READ_ONLY)
  if (rows[0].is_read_only) throw readOnly()
  return pendingMigrations(db)
}
