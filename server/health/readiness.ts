import { Problem, type ProblemBody } from '../../protocol/index.ts'
import { CLOCK_TOLERANCE_MS } from '../database/clock.ts'
import { type ConnectionTarget, connect, type Database } from '../database/connect.ts'
import { READ_ONLY, READ_ONLY_STATE, readOnly } from '../database/connection.ts'
import { pendingMigrations } from '../database/migrate.ts'
import type { PoolState } from '../database/pool.ts'
import { withinTime } from '../runtime/time-limit.ts'

/** Load balancers probe every few seconds, with a similar timeout. */
const LIMIT_MS = 2_000

export type Readiness = ReturnType<typeof createReadiness>

/** Why a node is not ready, and what to do. Programs and runbooks go by the names. */
export const UNREADY = {
  stopping: 'This node is stopping; use another one.',
  overloaded: 'This node is overloaded; use another one.',
  connections_busy: 'All database connections of this node are busy; use another one.',
  database_unreachable: 'The database is unreachable; try again later.',
  database_read_only: 'The database is read-only; try again later.',
  schema_outdated: 'The database schema is outdated; run `npm run migrate`.',
  clock_wrong: "The clock of this machine differs from the database's; synchronize it (NTP).",
} as const

export type UnreadyReason = keyof typeof UNREADY

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
    /** @throws Problem `unavailable` with all reasons */
    async check(): Promise<void> {
      const { reasons, cause } = await look()
      if (reasons.length > 0) throw new Unready(reasons, clockAheadMs(), cause)
    },
    /** The reasons, none if the node is ready. */
    reasons: async (): Promise<readonly UnreadyReason[]> => (await look()).reasons,
    /** Queries the database on the same connection, independent of requests. */
    ask,
    /** Unready from now on; running requests finish. */
    drain() {
      draining = true
    },
    close: () => db.destroy(),
  }

  async function look(): Promise<{ reasons: UnreadyReason[]; cause?: unknown }> {
    if (draining) return { reasons: ['stopping'] }
    const reasons: UnreadyReason[] = []
    if (pool.isOverloaded()) reasons.push('overloaded')
    if (pool.longestWait() > LIMIT_MS) reasons.push('connections_busy')
    if (Math.abs(clockAheadMs()) > CLOCK_TOLERANCE_MS) reasons.push('clock_wrong')
    asked ??= ask(pending).finally(() => {
      asked = undefined
    })
    try {
      if ((await asked).length > 0) reasons.push('schema_outdated')
      return { reasons }
    } catch (cause) {
      const isReadOnly = (cause as { code?: unknown }).code === READ_ONLY_STATE
      reasons.push(isReadOnly ? 'database_read_only' : 'database_unreachable')
      return { reasons, cause }
    }
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

class Unready extends Problem {
  private readonly reasons: Readonly<Partial<Record<UnreadyReason, string>>>

  constructor(names: readonly UnreadyReason[], clockAheadMs: number, cause: unknown) {
    const texts = { ...UNREADY, clock_wrong: clockText(clockAheadMs) }
    super('unavailable', names.map((name) => texts[name]).join(' '), { retryAfter: 2, cause })
    this.reasons = Object.fromEntries(names.map((name) => [name, texts[name]]))
  }

  override body(requestId?: string): ProblemBody {
    return { ...super.body(requestId), reasons: this.reasons }
  }
}

function clockText(aheadMs: number): string {
  const seconds = Math.abs(Math.round(aheadMs / 1000))
  const direction = aheadMs > 0 ? 'ahead of' : 'behind'
  return `The clock of this machine is ${seconds} seconds ${direction} the database's; synchronize it (NTP).`
}

async function pending(db: Database): Promise<string[]> {
  const { rows } = await db.raw(READ_ONLY)
  if (rows[0].is_read_only) throw readOnly()
  return pendingMigrations(db)
}
