import { Problem } from '../../protocol/index.ts'
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
 */
export function createReadiness(
  target: ConnectionTarget,
  pool: Pick<PoolState, 'longestWait' | 'isOverloaded'>,
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
      asked ??= withinTime(LIMIT_MS, pending())
        .catch((cause) => {
          // The connection may be dead unnoticed, so the next check opens a new one.
          void db.destroy().catch(() => {})
          db = open()
          const state = cause.code === READ_ONLY_STATE ? 'read-only' : 'unreachable'
          throw unready(`The database is ${state}; try again later.`, cause)
        })
        .finally(() => {
          asked = undefined
        })
      const behind = await asked
      if (behind.length > 0)
        throw unready('The database schema is outdated; run `npm run migrate`.')
    },
    /** Queries the database on the same connection, independent of requests. */
    ask: <T>(question: (db: Database) => Promise<T>): Promise<T> => question(db),
    /** Unready from now on; running requests finish. */
    drain() {
      draining = true
    },
    close: () => db.destroy(),
  }

  async function pending(): Promise<string[]> {
    const { rows } = await db.raw(READ_ONLY)
    if (rows[0].is_read_only) throw readOnly()
    return pendingMigrations(db)
  }

  function open() {
    return connect({ ...target, poolSize: 1, statementTimeoutMs: LIMIT_MS })
  }
}

const unready = (detail: string, cause?: unknown) =>
  new Problem('unavailable', detail, { retryAfter: 2, cause })
