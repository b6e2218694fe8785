import { migrate } from '../database/migrate.ts'
import { openDatabase } from '../database/open.ts'
import { readConfig, withoutBlanks } from '../runtime/config.ts'
import { createLog } from '../runtime/log.ts'
import { UNUSED_SECRET } from './command-database.ts'
import { exitOnError } from './startup-error.ts'

/** `npm run migrate`. */
export async function migrateFromEnvironment(): Promise<void> {
  await exitOnError(async () => {
    // Migrating signs no tokens, so it does not need the key.
    const config = readConfig({ SECRET_KEY: UNUSED_SECRET, ...withoutBlanks(process.env) })
    const log = createLog(config.LOG_LEVEL, { readable: !config.isProduction })
    const database = await openDatabase(config, log)
    try {
      const names = await database.withoutTimeLimit(migrate)
      log.info({ migrations: names }, names.length > 0 ? 'migrated' : 'the schema is up to date')
    } finally {
      await database.close()
    }
  })
}
