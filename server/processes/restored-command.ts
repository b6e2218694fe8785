import { parseArgs } from 'node:util'
import { forgetWarnings } from '../accounts/unconfirmed.ts'
import { beginEpoch } from '../store/epoch.ts'
import { runOnDatabase } from './command-database.ts'

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
  await runOnDatabase(async (db) => {
    const done = await db.transaction(async (trx) => {
      await forgetWarnings(trx)
      return {
        feeds: await beginEpoch(trx),
        reminders: keepsMail
          ? 0
          : await trx('reminders').where('due_at', '<', trx.fn.now()).delete(),
        mails: keepsMail ? 0 : await trx('mails').whereNull('outcome').delete(),
      }
    })
    return `${done.feeds} accounts: their devices will read everything again. Deleted ${done.reminders} reminders and ${done.mails} mails.`
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
