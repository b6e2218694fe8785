import { distribute } from '../database/distribute.ts'
import { readConfig, withoutBlanks } from '../runtime/config.ts'
import { createLog } from '../runtime/log.ts'
import { UNUSED_SECRET, withDatabase } from './command-database.ts'
import { exitOnError } from './startup-error.ts'

const USAGE = `Run this once after \`npm run migrate\`, to distribute the tables over a Citus cluster.

  npm run distribute

Uses the configuration of the server: DATABASE_URL, of the coordinator.
`

/** `npm run distribute`. */
export async function runDistributeCommand(args: string[]): Promise<void> {
  if (args.length > 0) {
    process.stderr.write(USAGE)
    process.exitCode = 2
    return
  }
  await exitOnError(async () => {
    // It signs no tokens, so it does not need the key.
    const config = readConfig({ SECRET_KEY: UNUSED_SECRET, ...withoutBlanks(process.env) })
    const log = createLog('warn', { readable: false, to: process.stderr })
    await withDatabase(config, log, ({ withoutTimeLimit }) =>
      withoutTimeLimit(async (db) => {
        const tables = await distribute(db)
        process.stdout.write(
          tables.length === 0
            ? 'All tables are distributed already.\n'
            : `Distributed ${tables.length} tables: ${tables.join(', ')}.\n`,
        )
      }),
    )
  })
}
