import type { Config } from '../runtime/config.ts'
import type { Log } from '../runtime/log.ts'
import { type ConnectionTarget, connect, type Database } from './connect.ts'
import { startEmbeddedPostgres } from './embedded/embedded-postgres.ts'

export interface OpenDatabase {
  db: Database
  /** Where it is, for a connection beside the pool. */
  target: ConnectionTarget
  /** Runs work that may take longer than any request, such as a migration, on a connection of its own. */
  withoutTimeLimit<T>(work: (db: Database) => Promise<T>): Promise<T>
  /** Resolves when a Postgres of ours has ended without being asked to. */
  lost?: Promise<void>
  /** Closes the pool, and stops Postgres where it is ours. */
  close(): Promise<void>
}

/** The Postgres that the configuration names, or one of our own that is kept in DATA_DIR. */
export async function openDatabase(config: Config, log: Log): Promise<OpenDatabase> {
  const options = {
    poolSize: config.DATABASE_POOL_SIZE,
    statementTimeoutMs: config.DATABASE_STATEMENT_TIMEOUT_MS,
  }
  if (config.DATABASE_URL !== undefined) {
    const target = { url: config.DATABASE_URL, tls: config.DATABASE_TLS }
    const db = connect({ ...options, ...target })
    return { db, target, withoutTimeLimit: unlimited(target), close: () => db.destroy() }
  }
  const postgres = await startEmbeddedPostgres({ dataDir: config.DATA_DIR })
  log.info({ version: postgres.version, source: postgres.source }, 'embedded Postgres is running')
  const target = { url: postgres.url, tls: 'off' } as const
  const db = connect({ ...options, ...target })
  return {
    db,
    target,
    withoutTimeLimit: unlimited(target),
    ...(postgres.died && { lost: postgres.died }),
    async close() {
      await db.destroy()
      await postgres.stop()
    },
  }
}

function unlimited(target: ConnectionTarget) {
  return async <T>(work: (db: Database) => Promise<T>): Promise<T> => {
    const db = connect({ ...target, poolSize: 1, statementTimeoutMs: 0 })
    try {
      return await work(db)
    } finally {
      await db.destroy()
    }
  }
}
