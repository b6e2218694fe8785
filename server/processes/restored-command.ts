import { parseArgs } from 'node:util'
import { readConfig, withoutBlanks } from '../runtime/config.ts'
import { createLog } from '../runtime/log.ts'
import { beginEpoch } from '../store/epoch.ts'
import { UNUSED_SECRET, withDatabase } from './command-database.ts'
import { exitOnError } from './startup-error.ts'

const USAGE = `Run this once after a restore of the database to an older point, before web and worker start.

  npm run restored
  npm run restored -- --keep-mail

Devices then read everything again and push what only they have. Due reminders and queued mails are
deleted, because they were sent after the backup; --keep-mail keeps them, so they are sent again.
Uses the configuration of the server: DATABASE_URL, DATA_DIR.
`

/** `npm run restored`. */
export async function runRestoredCommand(args: string[]): Promise<void> {
  const keepsMail = readArgs(args)
  if (keepsMail === undefined) {
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
        const done = await db.transaction(async (trx) => ({
          feeds: await beginEpoch(trx),
          reminders: keepsMail
            ? 0
            : await trx('reminders').where('due_at', '<', trx.fn.now()).delete(),
          mails: keepsMail ? 0 : await trx('mails').whereNull('outcome').delete(),
        }))
        process.stdout.write(
          `${done.feeds} accounts: their devices will read everything again. Deleted ${done.reminders} reminders and ${done.mails} mails.\n`,
        )
      }),
    )
  })
}

/** @returns whether to keep mail; undefined if the arguments are invalid */
function readArgs(args: string[]): boolean | undefined {
  try {
    const { values } = parseArgs({ args, options: { 'keep-mail': { type: 'boolean' } } })
    return values['keep-mail'] ?? false
  } catch {
    return undefined
  }
}
