import { distribute } from '../database/distribute.ts'
import { runOnDatabase } from './command-database.ts'

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
  await runOnDatabase(async (db) => {
    const tables = await distribute(db)
    if (tables.length === 0) return 'All tables are distributed already.'
    return `Distributed ${tables.length} tables: ${tables.join(', ')}.`
  })
}
