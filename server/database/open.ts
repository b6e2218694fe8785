import type { Config } from '../runtime/config.ts'
import { tlsOf } from '../runtime/encryption.ts'
import type { Log } from '../runtime/log.ts'
import { type ConnectionTarget, connect, type Database } from './connect.ts'
import { startEmbeddedPostgres } from './embedded/embedded-postgres.ts'
import { openReplica, type Replica } from './replica.ts'

export interface OpenDatabase {
  db: Database
  /** The one of DATABASE_REPLICA_URL. */
  replica?: Replica
  /** For a connection outside of the pool. */
  target: ConnectionTarget
  /** For a connection that needs a session: transaction mode of a pooler gives none. */
  sessionTarget: ConnectionTarget
  /** Runs long work of the owner, such as a migration, on a separate connection without a time limit. */
  withoutTimeLimit<T>(work: (db: Database) => Promise<T>): Promise<T>
  /** Resolves when the embedded Postgres has exited unexpectedly. */
  lost?: Promise<void>
  /** Closes the pool and stops an embedded Postgres. */
  close(): Promise<void>
}

/** The Postgres of DATABASE_URL, or an embedded one in DATA_DIR. */
export async function openDatabase(config: Config, log: Log): Promise<OpenDatabase> {
  const options = {
    poolSize: config.DATABASE_POOL_SIZE,
    statementTimeoutMs: config.DATABASE_STATEMENT_TIMEOUT_MS,
    servesRequests: true,
    isWalled: true,
  }
  if (config.DATABASE_URL !== undefined) {
    const targetOf = (url: string): ConnectionTarget => ({
      url,
      tls: tlsOf(url, config),
      ca: config.DATABASE_CA,
    })
    const target = targetOf(config.DATABASE_URL)
    const sessionTarget = targetOf(config.DATABASE_LISTEN_URL ?? target.url)
    const db = connect({ ...options, ...target })
    const replica =
      config.DATABASE_REPLICA_URL === undefined
        ? undefined
        : openReplica(
            { ...options, ...targetOf(config.DATABASE_REPLICA_URL), servesRequests: false },
            log,
          )
    return {
      db,
      ...(replica && { replica }),
      target,
      sessionTarget,
      withoutTimeLimit: unlimited(targetOf(config.DATABASE_OWNER_URL ?? sessionTarget.url)),
      async close() {
        await db.destroy()
        await replica?.close()
      },
    }
  }
  const postgres = await startEmbeddedPostgres({ dataDir: config.DATA_DIR })
  log.info({ version: postgres.version, source: postgres.source }, 'embedded Postgres is running')
  const target = { url: postgres.url, tls: 'off' } as const
  const db = connect({ ...options, ...target })
  return {
    db,
    target,
    sessionTarget: target,
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
