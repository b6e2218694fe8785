import { Problem } from '../../protocol/index.ts'
import { type ConnectionTarget, connect, type Database } from '../database/connect.ts'
import { pendingMigrations } from '../database/migrate.ts'
import { withinTime } from '../runtime/time-limit.ts'

/** Load balancers ask every few seconds, and wait about as long. */
const LIMIT_MS = 2_000

export type Readiness = ReturnType<typeof createReadiness>

/**
 * Whether this node can serve. It asks the database on a connection of its own: a pool in which all
 * are busy is no reason to be sent nothing any more. However many ask at once, one question is asked.
 */
export function createReadiness(target: ConnectionTarget) {
  let db = open()
  let draining = false
  let asked: Promise<string[]> | undefined

  return {
    /** @throws Problem `unavailable` that says why it cannot */
    async check(): Promise<void> {
      if (draining) throw unready('This node is stopping; others will serve.')
      asked ??= pending().finally(() => {
        asked = undefined
      })
      const behind = await withinTime(LIMIT_MS, asked).catch((cause) => {
        throw unready('The database is unreachable; try again later.', cause)
      })
      if (behind.length > 0)
        throw unready('The database is behind this release: `npm run migrate` is to be run.')
    },
    /** Asks the database something on the same connection, behind no request. */
    ask: <T>(question: (db: Database) => Promise<T>): Promise<T> => question(db),
    /** From now on it cannot: what it has begun it still finishes. */
    drain() {
      draining = true
    },
    close: () => db.destroy(),
  }

  async function pending(): Promise<string[]> {
    try {
      return await pendingMigrations(db)
    } catch (error) {
      // The line may be dead without knowing: the next question has a new one.
      void db.destroy().catch(() => {})
      db = open()
      throw error
    }
  }

  function open() {
    return connect({ ...target, poolSize: 1, statementTimeoutMs: LIMIT_MS })
  }
}

const unready = (detail: string, cause?: unknown) =>
  new Problem('unavailable', detail, { retryAfter: 2, cause })
