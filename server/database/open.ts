import type { Config } from '../config.ts'
import type { Log } from '../log.ts'
import { connect, type Database } from './connect.ts'
import { startEmbeddedPostgres } from './embedded-postgres.ts'

export interface OpenDatabase {
  db: Database
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
    const db = connect({ ...options, url: config.DATABASE_URL, tls: config.DATABASE_TLS })
    return { db, close: () => db.destroy() }
  }
  const postgres = await startEmbeddedPostgres({ dataDir: config.DATA_DIR })
  log.info({ version: postgres.version, source: postgres.source }, 'embedded Postgres is running')
  const db = connect({ ...options, url: postgres.url, tls: 'off' })
  return {
    db,
    async close() {
      await db.destroy()
      await postgres.stop()
    },
  }
}
