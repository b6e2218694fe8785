import { once } from 'node:events'
import { io } from 'socket.io-client'
import { beforeEach, expect, test } from 'vitest'
import { addJob } from '../../../server/jobs/queue.ts'
import { SEND_REMINDERS } from '../../../server/reminders/reminders.ts'
import { atEnd } from '../../support/at-end.ts'
import { createDatabase, type TestDatabase } from '../../support/database.ts'
import { addPeople } from '../../support/due-reminders.ts'
import { idle } from '../../support/jobs.ts'
import { type Mailbox, mailingTo, openMailbox } from '../../support/mailbox.ts'
import { clockAhead, startProcess } from '../../support/processes.ts'
import { callerTo, SECRET, startServer } from '../../support/server.ts'

const CHILD_MS = 120_000
const HOUR_MS = 60 * 60 * 1000
const YEAR_MS = 365 * 24 * HOUR_MS

let database: TestDatabase
beforeEach(async () => {
  database = await createDatabase()
  atEnd(database.drop)
})
async function startWorker(mailbox: Mailbox, environment: Record<string, string> = {}) {
  const all = {
    DATABASE_URL: database.url,
    SECRET_KEY: SECRET,
    ...mailingTo(mailbox),
    ...environment,
  }
  const worker = await startProcess('worker', all, 'waiting for jobs')
  atEnd(worker.kill)
  return worker
}

test(
  'a worker whose clock is an hour ahead sends no reminder early, and stops none of other workers',
  async () => {
    const mailbox = await openMailbox()
    atEnd(mailbox.close)
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

test(
  'a node whose clock is a year ahead signs nobody out, and says that it is not ready',
  async () => {
    const right = await startServer({ DATABASE_URL: database.url })
    atEnd(right.stop)
    const { db } = database
    const [ann, bob] = [await right.person(), await right.person()]
    const wrong = await startProcess(
      'web',
      {
        DATABASE_URL: database.url,
        SECRET_KEY: SECRET,
        PORT: '0',
        RUN_WORKER: 'false',
        ...clockAhead(YEAR_MS),
      },
      'listens on',
    )
    atEnd(wrong.kill)
    const url = /listens on (\S+)/.exec(wrong.output())![1]!
    const call = callerTo(url)
    const bearer = ({ access }: { access: string }) => ({ authorization: `Bearer ${access}` })

    // Tokens of a right node are good here, and the other way round.
    expect((await callerTo(url, bearer(ann))('GET', '/api/tasks/')).status).toBe(200)
    const refreshed = await call('POST', '/api/token/refresh/', { refresh: ann.refresh })
    expect(refreshed.status).toBe(200)
    const { username, password } = ann
    const signedIn = await call('POST', '/api/token/', { username, password })
    for (const { body } of [refreshed, signedIn]) {
      expect((await callerTo(right.url, bearer(body))('GET', '/api/tasks/')).status).toBe(200)
      const { exp } = JSON.parse(Buffer.from(body.access.split('.')[1], 'base64url').toString())
      expect(exp * 1000).toBeLessThan(Date.now() + HOUR_MS)
    }
    expect(await db('sessions').where({ revoked_at: null }).count()).toEqual([{ count: '3' }])
    const latest = await db('sessions').max('expires_at as at').first()
    expect(latest!.at.getTime()).toBeLessThan(Date.now() + 31 * 24 * HOUR_MS)

    // Devices date their edits by this header.
    expect(Date.parse(signedIn.headers.get('date')!)).toBeLessThan(Date.now() + 60_000)

    const socket = io(url, { transports: ['websocket'], auth: { token: bob.access } })
    atEnd(() => socket.disconnect())
    await once(socket as never, 'ready')
    const frame = once(socket as never, 'changes')
    await bob.call('POST', '/api/tasks/', { title: 'Milk' })
    expect((await frame)[0].documents.tasks).toMatchObject([{ title: 'Milk' }])

    const ready = await call('GET', '/readyz')
    expect(ready).toMatchObject({ status: 503, body: { code: 'unavailable' } })
    expect(ready.body.detail).toMatch(/clock of this machine is 3153\d{4} seconds ahead/)
    expect((await call('GET', '/metrics')).text).toMatch(/^tasktide_clock_ahead_seconds 3153/m)
    expect(wrong.output()).toContain('the clock of this machine is wrong')
    expect((await right.call('GET', '/readyz')).status).toBe(200)
  },
  CHILD_MS,
)
