import { setTimeout as sleep } from 'node:timers/promises'
import { expect, test } from 'vitest'
import type { Database } from '../../server/database/connect.ts'
import { addJob } from '../../server/jobs/queue.ts'
import { SEND_REMINDERS } from '../../server/reminders/reminders.ts'
import { atEnd } from '../support/at-end.ts'
import { addPeople } from '../support/due-reminders.ts'
import { mailingTo, openMailbox } from '../support/mailbox.ts'
import { startProcess } from '../support/processes.ts'
import { SECRET } from '../support/server.ts'
import { lineTo, setStage } from './stage.ts'

const MAX_DELAY_MS = 60_000

test.each([0, 20_000])(
  'a worker whose lines all died, and whose database was silent for %d ms, sends mail within a minute',
  async (silence) => {
    const { database } = await setStage({ nodes: 0 })
    const mailbox = await openMailbox()
    atEnd(mailbox.close)
    const line = await lineTo(database.url)
    const environment = { DATABASE_URL: line.url, SECRET_KEY: SECRET, ...mailingTo(mailbox) }
    const worker = await startProcess('worker', environment, 'waiting for jobs')
    atEnd(worker.kill)
    await mailbox.next(await remind(database.db))

    line.blackHole()
    await sleep(silence)
    line.pass()
    const began = performance.now()
    await mailbox.next(await remind(database.db))
    expect(performance.now() - began).toBeLessThan(MAX_DELAY_MS)
    expect(worker.output()).toMatch(/connection of the worker.* was lost/)
    expect(mailbox.delivered).toHaveLength(2)
  },
)

/** A reminder that is due, and is looked for now. @returns the address */
async function remind(db: Database): Promise<string> {
  const address = await addPeople(db, 1)
  await addJob(db, SEND_REMINDERS, {})
  return address
}
