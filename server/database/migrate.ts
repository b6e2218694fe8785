import { setTimeout as sleep } from 'node:timers/promises'
import { Logger, runMigrations } from 'graphile-worker'
import { migrationSource } from '../../migrations/index.ts'
import { type Database, openPool } from './connect.ts'
import { oneByOne } from './single-statements.ts'
import { raiseWall } from './wall.ts'

/** An arbitrary number. Every release must use the same. */
const MIGRATION_LOCK = 7_265_001

/** Queries queue behind a migration that waits for a lock, so it gives up and retries. */
const LOCK_MS = 2_000
const ATTEMPTS = 60
const LOCK_NOT_AVAILABLE = '55P03'

/**
 * Runs pending migrations one by one, each in its own transaction, so serving nodes wait for one of them
 * at most. Several nodes can call it at the same time. Uses a transaction lock instead of knex's lock row:
 * two nodes fail when they create that row on a fresh database, and a killed migrator leaves it set.
 *
 * @returns the names of the executed migrations
 * @throws if one fails: those before it stay, and the next attempt continues with it
 */
export async function migrate(db: Database): Promise<string[]> {
  const done: string[] = []
  for (let attempt = 1; ; ) {
    try {
      const names = await migrateOne(db, done.length === 0)
      if (names.length === 0) {
        await buildWall(db)
        return done
      }
      done.push(...names)
      attempt = 1
    } catch (error) {
      const isInTheWay = (error as { code?: string }).code === LOCK_NOT_AVAILABLE
      if (!isInTheWay || attempt++ === ATTEMPTS) throw error
      await sleep(LOCK_MS * Math.random())
    }
  }
}

/** On Citus. Otherwise a change of a function fails after one of a table in the same transaction. */
const ONE_SHARD_AT_A_TIME = `
  select set_config('citus.multi_shard_modify_mode', 'sequential', true) from pg_extension where extname = 'citus'`

function migrateOne(db: Database, isFirst: boolean): Promise<string[]> {
  return db.transaction(async (trx) => {
    await trx.raw('select pg_advisory_xact_lock(?)', [MIGRATION_LOCK])
    if (isFirst) await migrateJobs(db)
    await trx.raw(`set local lock_timeout = ${LOCK_MS}`)
    await trx.raw(ONE_SHARD_AT_A_TIME)
    const [, names] = await trx.migrate.up({ migrationSource: oneByOne(migrationSource) })
    return names as string[]
  })
}

/** After the migrations, so that it stands around the tables of all of them. */
function buildWall(db: Database): Promise<void> {
  return db.transaction(async (trx) => {
    await trx.raw('select pg_advisory_xact_lock(?)', [MIGRATION_LOCK])
    await trx.raw(`set local lock_timeout = ${LOCK_MS}`)
    await raiseWall(trx)
  })
}

/** graphile-worker has its own tables, in its own schema. */
async function migrateJobs(db: Database): Promise<void> {
  const lost = () => {} // the query on the connection fails anyway
  const pool = openPool({ ...db.client.config.connection, max: 1 }, lost)
  try {
    await runMigrations({ pgPool: pool, logger: SILENT })
  } finally {
    await pool.end()
  }
}

const SILENT = new Logger(() => () => {})

/** The names of pending migrations. */
export async function pendingMigrations(db: Database): Promise<string[]> {
  const names = await migrationSource.getMigrations([])
  // knex would create its tables for this, and fail if two nodes do so at the same time.
  const { rows } = await db.raw("select to_regclass('knex_migrations') is not null as exist")
  if (!rows[0].exist) return names
  const done: string[] = await db('knex_migrations').pluck('name')
  return names.filter((name) => !done.includes(name))
}

/** @throws Error with instructions */
export async function requireCurrentSchema(db: Database): Promise<void> {
  if ((await pendingMigrations(db)).length > 0)
    throw new Error('The database schema is outdated: run `npm run migrate` first.')
}
