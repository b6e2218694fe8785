import { accountPurge, PURGE_ACCOUNT } from '../accounts/deletion.ts'
import { createEvents } from '../accounts/events.ts'
import { createLinks } from '../accounts/links.ts'
import { accountMailData } from '../accounts/mail-data.ts'
import { resetLinkSender, SEND_RESET_LINK } from '../accounts/password-changes.ts'
import { createSeal } from '../accounts/seal.ts'
import { type Secrets, secretsOf } from '../accounts/secrets.ts'
import { renewSeals } from '../accounts/totp.ts'
import { CHECK_UNCONFIRMED, confirmationRules, unconfirmedCheck } from '../accounts/unconfirmed.ts'
import { followClock } from '../database/clock.ts'
import { type ConnectionTarget, connect } from '../database/connect.ts'
import { requireCurrentSchema } from '../database/migrate.ts'
import { openDatabase } from '../database/open.ts'
import { refusePooler } from '../database/poolers.ts'
import { warnWithoutWall } from '../database/wall.ts'
import { deleteOldAttempts } from '../http/attempt-limit.ts'
import { startWorker, type Worker } from '../jobs/worker.ts'
import { mailDelivery } from '../mail/delivery.ts'
import { createMailer } from '../mail/mailer.ts'
import { SEND_MAIL } from '../mail/outbox.ts'
import { dueDigests, SEND_DIGESTS } from '../reminders/digests.ts'
import { reminderMailData } from '../reminders/mail-data.ts'
import { dueReminders, SEND_REMINDERS } from '../reminders/reminders.ts'
import { createUnsubscribeTokens } from '../reminders/unsubscribing.ts'
import { type Config, readConfig } from '../runtime/config.ts'
import { createLog, type Log } from '../runtime/log.ts'
import { pruneJournal } from '../store/journal.ts'
import { postgresStore } from '../store/postgres.ts'
import { purgeDocuments, purgeTombstones } from '../store/purge.ts'
import { forgetSearches } from '../store/search-index.ts'
import { INDEX_SEARCH, indexing } from './index-search.ts'
import { deleteExpired } from './retention.ts'
import { exitOnError, warnUnencrypted } from './startup-error.ts'
import { stopOnSignal } from './stop-on-signal.ts'

/** How often due reminders and digests are looked for. */
const DUE_SECONDS = 20
const HOUR_SECONDS = 60 * 60
const DAY_SECONDS = 24 * 60 * 60

interface Dependencies {
  config: Config
  secrets: Secrets
  target: ConnectionTarget
  log: Log
  now: () => Date
}

/** Runs all background jobs, next to any number of other workers. */
export async function startJobs({
  config,
  secrets,
  target,
  log,
  now,
}: Dependencies): Promise<Worker> {
  // Separate connections, so that a slow SMTP server does not block requests.
  const db = connect({
    ...target,
    poolSize: config.SMTP_CONNECTIONS + config.WORKER_CONCURRENCY,
    statementTimeoutMs: config.DATABASE_STATEMENT_TIMEOUT_MS,
    isWalled: true,
  })
  if (config.isProduction && !config.SMTP_URL)
    log.warn('SMTP_URL is not set: no mail is sent, not even for password resets')
  const mailer = createMailer(config)
  const url = config.PUBLIC_URL ?? `http://localhost:${config.PORT}`
  const links = createLinks(secrets, now)
  const events = createEvents(db, log, now)
  const confirmation = confirmationRules(config)
  const readers = {
    ...accountMailData(links, url, confirmation, now),
    ...reminderMailData(url, createUnsubscribeTokens(secrets), now),
  }
  const workers = [
    // A separate worker for mail, so that a hanging SMTP server does not block other jobs.
    await startWorker({
      target,
      concurrency: config.SMTP_CONNECTIONS,
      log,
      jobs: { [SEND_MAIL]: { task: mailDelivery({ db, mailer, readers, log, now }) } },
    }),
    await startWorker({
      target,
      concurrency: config.WORKER_CONCURRENCY,
      log,
      jobs: {
        [SEND_REMINDERS]: { task: dueReminders(db, now), everySeconds: DUE_SECONDS },
        [SEND_DIGESTS]: { task: dueDigests(db, now), everySeconds: DUE_SECONDS },
        [SEND_RESET_LINK]: { task: resetLinkSender({ db, links, events, now }) },
        [PURGE_ACCOUNT]: { task: accountPurge(db, (user) => purgeDocuments(db, user)) },
        [CHECK_UNCONFIRMED]: {
          task: unconfirmedCheck({ db, links, events, confirmation, now }),
          everySeconds: HOUR_SECONDS,
        },
        forget_attempts: { task: () => deleteOldAttempts(db), everySeconds: 600 },
        forget_old: {
          task: () => deleteExpired(db, now(), config.EVENT_DAYS),
          everySeconds: DAY_SECONDS,
        },
        renew_seals: {
          async task() {
            const count = await renewSeals(db, createSeal(secrets))
            if (count > 0)
              log.warn({ count }, 'second factors are encrypted with an unknown SECRET_KEY')
          },
          everySeconds: DAY_SECONDS,
        },
        purge_tombstones: {
          async task() {
            const count = await purgeTombstones(db, config.TOMBSTONE_DAYS)
            if (count > 0) log.info({ count }, 'tombstones were purged')
          },
          everySeconds: DAY_SECONDS,
        },
        [INDEX_SEARCH]: { task: indexing(db) },
        forget_searches: {
          task: () => forgetSearches(db, config.TOMBSTONE_DAYS),
          everySeconds: DAY_SECONDS,
        },
        prune_journal: {
          async task() {
            const kept = { days: config.JOURNAL_DAYS, entries: config.JOURNAL_ENTRIES }
            const count = await pruneJournal(db, postgresStore(db), kept, now)
            if (count > 0) log.info({ count }, 'entries of the conflict journal were deleted')
          },
          everySeconds: DAY_SECONDS,
        },
      },
    }),
  ]
  return {
    async stop() {
      await Promise.all(workers.map((worker) => worker.stop()))
      mailer.close()
      await db.destroy()
    },
  }
}

/** The worker process: runs jobs until a signal. */
export async function runWorkerFromEnvironment(): Promise<void> {
  await exitOnError(async () => {
    const config = readConfig()
    const log = createLog(config.LOG_LEVEL, { readable: !config.isProduction })
    if (config.DATABASE_URL === undefined)
      throw new Error(
        'Set DATABASE_URL. With the embedded database, no worker is needed: the server runs the jobs itself.',
      )
    const database = await openDatabase(config, log)
    await refusePooler(config, database, { needsSession: true })
    await requireCurrentSchema(database.db)
    await warnWithoutWall(database.db, log)
    warnUnencrypted(config, log)
    const secrets = secretsOf(config)
    const clock = await followClock((question) => question(database.db), log)
    const { sessionTarget: target } = database
    const worker = await startJobs({ config, secrets, target, log, now: clock.now })
    stopOnSignal(log, async () => {
      await worker.stop()
      clock.stop()
      await database.close()
    })
    log.info('the worker is waiting for jobs')
  })
}
