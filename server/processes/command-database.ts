import type { Database } from '../database/connect.ts'
import { DatabaseUnavailable } from '../database/embedded/database-unavailable.ts'
import { migrate, requireCurrentSchema } from '../database/migrate.ts'
import { type OpenDatabase, openDatabase } from '../database/open.ts'
import { type Config, readConfig, withoutBlanks } from '../runtime/config.ts'
import { createLog, type Log } from '../runtime/log.ts'
import { exitOnError } from './startup-error.ts'

/** For a command that signs nothing, and so needs no key. */
export const UNUSED_SECRET = 'not-used-by-this-command-0123456789'

/** Runs a command that needs only the database, without a time limit, and prints what `work` returns. */
export async function runOnDatabase(work: (db: Database) => Promise<string>): Promise<void> {
  await exitOnError(async () => {
    const config = readConfig({ SECRET_KEY: UNUSED_SECRET, ...withoutBlanks(process.env) })
    // Standard output is for the result.
    const log = createLog('warn', { readable: false, to: process.stderr })
    await withDatabase(config, log, ({ withoutTimeLimit }) =>
      withoutTimeLimit(async (db) => {
        process.stdout.write(`${await work(db)}\n`)
      }),
    )
  })
}

/** The database of the server for the length of a command, its schema up to date. */
export async function withDatabase(
  config: Config,
  log: Log,
  work: (database: OpenDatabase) => Promise<void>,
): Promise<void> {
  const database = await openDatabase(config, log).catch((error) => {
    if (!(error instanceof DatabaseUnavailable)) throw error
    throw new Error(
      `${error.message}\nThe running server has exclusive access to the embedded database: stop the server, run this command, and start the server again.`,
    )
  })
  try {
    if (config.migrateOnStart) await database.withoutTimeLimit(migrate)
    else await requireCurrentSchema(database.db)
    await work(database)
  } finally {
    await database.close()
  }
}
