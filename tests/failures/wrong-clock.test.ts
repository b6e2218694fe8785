import { io } from 'socket.io-client'
import { expect, test } from 'vitest'
import { addJob } from '../../server/jobs/queue.ts'
import { SEND_REMINDERS } from '../../server/reminders/reminders.ts'
import { device, tasksOf } from '../client-sdk/device.ts'
import { atEnd } from '../support/at-end.ts'
import { addPeople } from '../support/due-reminders.ts'
import { clockOfMachineAhead, hasFaketime } from '../support/faketime.ts'
import { idle } from '../support/jobs.ts'
import { mailingTo, openMailbox } from '../support/mailbox.ts'
import { startProcess } from '../support/processes.ts'
import { callerTo, SECRET } from '../support/server.ts'
import { startNode } from '../support/web-node.ts'
import { setStage } from './stage.ts'

const HALF_AN_HOUR_MS = 30 * 60 * 1000
const CREDENTIALS = { username: 'ann', password: 'a ferry to Lisbon' }
const isInstalled = hasFaketime()

test.skipIf(!isInstalled)(
  'a node on a machine whose clock is a year ahead signs nobody out, serves, and says why it is not ready',
  async () => {
    const { database } = await setStage({ nodes: 0 })
    const environment = { DATABASE_URL: database.url }
    const right = await startNode(environment)
    atEnd(right.close)
    const wrong = await startNode({ ...environment, ...clockOfMachineAhead('+365d') })
    atEnd(wrong.close)
    const [atRight, atWrong] = [callerTo(right.url), callerTo(wrong.url)]
    const account = { ...CREDENTIALS, email: 'ann@example.com' }
    expect((await atRight('POST', '/api/register/', account)).status).toBe(201)
    const [ours, theirs] = [
      await atRight('POST', '/api/token/', CREDENTIALS),
      await atWrong('POST', '/api/token/', CREDENTIALS),
    ]
    const laptop = await device({ url: right.url })
    const phone = await device({ url: wrong.url })
    for (const client of [laptop, phone]) {
      await client.session.signIn(CREDENTIALS)
      await client.sync.awaitInSync()
    }

    for (const { url } of [right, wrong])
      for (const { body } of [ours, theirs]) {
        const call = callerTo(url, { authorization: `Bearer ${body.access}` })
        expect((await call('GET', '/api/tasks/')).status).toBe(200)
      }
    const refreshed = await atWrong('POST', '/api/token/refresh/', { refresh: ours.body.refresh })
    expect(refreshed.status).toBe(200)
    const socket = io(wrong.url, {
      transports: ['websocket'],
      auth: { token: refreshed.body.access },
    })
    atEnd(() => socket.disconnect())
    await new Promise((ready) => socket.once('ready', ready))
    const frame = new Promise((arrived) => socket.once('changes', arrived))
    const milk = await laptop.tasks.add({ title: 'Milk' })
    expect(await frame).toMatchObject({ documents: { tasks: [{ title: 'Milk' }] } })
    await expect
      .poll(async () => (await tasksOf(phone)).map(({ id }) => id), { timeout: 10_000 })
      .toEqual([milk.id])
    // An edit on the phone is not dated a year ahead, so the later one of the laptop wins.
    const there = await phone.tasks.findOne(milk.id).exec(true)
    await there.incrementalPatch({ title: 'Milk, on the phone' })
    const titleOnLaptop = async () => (await tasksOf(laptop))[0]!.title
    await expect.poll(titleOnLaptop, { timeout: 10_000 }).toBe('Milk, on the phone')
    await milk.incrementalPatch({ title: 'Milk, on the laptop' })
    const titleOnPhone = async () => (await tasksOf(phone))[0]!.title
    await expect.poll(titleOnPhone, { timeout: 10_000 }).toBe('Milk, on the laptop')

    const sessions = await database.db('sessions').where({ revoked_at: null }).count()
    expect(sessions).toEqual([{ count: '4' }])
    expect(await atWrong('GET', '/readyz')).toMatchObject({
      status: 503,
      body: { reasons: { clock_wrong: expect.stringMatching(/3153\d{4} seconds ahead/) } },
    })
    expect(wrong.log()).toContain('the clock of this machine is wrong')
    expect((await atRight('GET', '/readyz')).status).toBe(200)
  },
)

test.skipIf(!isInstalled)(
  'a worker on a machine whose clock is an hour ahead sends what is due, and nothing early',
  async () => {
    const { database } = await setStage({ nodes: 0 })
    const { db } = database
    const mailbox = await openMailbox()
    atEnd(mailbox.close)
    const due = await addPeople(db, 1)
    await addPeople(db, 1, new Date(Date.now() + HALF_AN_HOUR_MS))
    const worker = await startProcess(
      'worker',
      {
        DATABASE_URL: database.url,
        SECRET_KEY: SECRET,
        ...mailingTo(mailbox),
        ...clockOfMachineAhead('+1h'),
      },
      'waiting for jobs',
    )
    atEnd(worker.kill)
    await addJob(db, SEND_REMINDERS, {})
    await mailbox.next(due)
    await idle(db)
    expect(mailbox.delivered).toHaveLength(1)
    expect(worker.output()).toContain('the clock of this machine is wrong')
  },
)
