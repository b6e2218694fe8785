import { afterEach, beforeEach, expect, test } from 'vitest'
import { addJob } from '../../../server/jobs/queue.ts'
import { SEND_REMINDERS } from '../../../server/reminders/reminders.ts'
import { createDatabase, type TestDatabase } from '../../support/database.ts'
import { addPeople } from '../../support/due-reminders.ts'
import { idle } from '../../support/jobs.ts'
import { type Mailbox, mailingTo, openMailbox } from '../../support/mailbox.ts'
import { clockAhead, startProcess } from '../../support/processes.ts'
import { SECRET } from '../../support/server.ts'

const CHILD_MS = 120_000
const HOUR_MS = 60 * 60 * 1000

let cleanups: (() => unknown)[]
let database: TestDatabase
beforeEach(async () => {
  cleanups = []
  database = await createDatabase()
  cleanups.push(database.drop)
})
afterEach(async () => {
  for (const cleanup of cleanups.reverse()) await cleanup()
})

async function startWorker(mailbox: Mailbox, environment: Record<string, string> = {}) {
  const all = {
    DATABASE_URL: database.url,
    SECRET_KEY: SECRET,
    ...mailingTo(mailbox),
    ...environment,
  }
  const worker = await startProcess('worker.mjs', all, 'waiting for jobs')
  cleanups.push(worker.kill)
  return worker
}

test(
  'a worker whose clock is an hour ahead sends no reminder early, and stops none of other workers',
  async () => {
    const mailbox = await openMailbox()
    cleanups.push(mailbox.close)
    const { db } = database
    const due = await addPeople(db, 1)
    await addPeople(db, 1, new Date(Date.now() + HOUR_MS / 2))
    const wrong = await startWorker(mailbox, clockAhead(HOUR_MS))
    await addJob(db, SEND_REMINDERS, {})
    await mailbox.next(due)
    await idle(db)
    expect(mailbox.delivered).toHaveLength(1)
    await wrong.kill()

    await startWorker(mailbox)
    const later = await addPeople(db, 1)
    await mailbox.next(later)
    expect(mailbox.delivered).toHaveLength(2)
  },
  CHILD_MS,
)
