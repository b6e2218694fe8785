import { setTimeout as sleep } from 'node:timers/promises'
import { Logger, runMigrations } from 'graphile-worker'
import { migrationSource } from '../../migrations/index.ts'
import { type Database, openPool } from './connect.ts'

/** Any number will do, as long as every release uses the same. */
const MIGRATION_LOCK = 7_265_001

/** Whoever asks for a table waits behind a migration that waits for it, so that one gives way again. */
const LOCK_MS = 2_000
const ATTEMPTS = 60
const LOCK_NOT_AVAILABLE = '55P03'

/**
 * Brings the schema up to date, one migration after the other, each in a transaction of its own: nodes
 * that serve meanwhile are held up by one of them at most. Any number of nodes may try at once. knex
 * has a lock row of its own, but two nodes that meet on a fresh database fail over creating it, and a
 * migrator that is killed leaves it set. A lock of the transaction does neither.
 *
 * @returns the names of the migrations that were run
 * @throws when one fails: those before it stay, and the next attempt goes on with it
 */
export async function migrate(db: Database): Promise<string[]> {
  const done: string[] = []
  for (let attempt = 1; ; ) {
    try {
      const names = await migrateOne(db, done.length === 0)
      if (names.length === 0) return done
      done.push(...names)
      attempt = 1
    } catch (error) {
      const isInTheWay = (error as { code?: string }).code === LOCK_NOT_AVAILABLE
      if (!isInTheWay || attempt++ === ATTEMPTS) throw error
      await sleep(LOCK_MS * Math.random())
    }
  }
}

function migrateOne(db: Database, isFirst: boolean): Promise<string[]> {
  return db.transaction(async (trx) => {
    await trx.raw('select pg_advisory_xact_lock(?)', [MIGRATION_LOCK])
    if (isFirst) await migrateJobs(db)
    await trx.raw(`set local lock_timeout = ${LOCK_MS}`)
    const [, names] = await trx.migrate.up({ migrationSource })
    return names as string[]
  })
}

/** The queue of jobs is graphile-worker's, and so are its tables, in a schema of their own. */
async function migrateJobs(db: Database): Promise<void> {
  const lost = () => {} // whatever runs on the connection fails with it
  const pool = openPool({ ...db.client.config.connection, max: 1 }, lost)
  try {
    await runMigrations({ pgPool: pool, logger: SILENT })
  } finally {
    await pool.end()
  }
}

const SILENT = new Logger(() => () => {})

/** The names of the migrations that are still to be run. */
export async function pendingMigrations(db: Database): Promise<string[]> {
  const names = await migrationSource.getMigrations([])
  // knex would make its tables to answer this, and two nodes at once would fail over that.
  const { rows } = await db.raw("select to_regclass('knex_migrations') is not null as exist")
  if (!rows[0].exist) return names
  const done: string[] = await db('knex_migrations').pluck('name')
  return names.filter((name) => !done.includes(name))
}

/** @throws Error that says what to do */
export async function requireCurrentSchema(db: Database): Promise<void> {
  if ((await pendingMigrations(db)).length > 0)
    throw new Error('The database schema is outdated: run `npm run migrate` first.')
}
