import { readFileSync } from 'node:fs'
import { setTimeout as sleep } from 'node:timers/promises'
import { io } from 'socket.io-client'
import { expect, test } from 'vitest'
import { addJob } from '../../server/jobs/queue.ts'
import { SEND_REMINDERS } from '../../server/reminders/reminders.ts'
import { device, tasksOf } from '../client-sdk/device.ts'
import { atEnd } from '../support/at-end.ts'
import { addPeople } from '../support/due-reminders.ts'
import { mailingTo, openMailbox } from '../support/mailbox.ts'
import { hasPgBouncer, startPgBouncer } from '../support/pgbouncer.ts'
import { startProcess } from '../support/processes.ts'
import { callerTo, SECRET } from '../support/server.ts'
import { startNode } from '../support/web-node.ts'
import { lineTo, setStage } from './stage.ts'

const PEOPLE = 3
const KILLS = 3
const isInstalled = hasPgBouncer()

/** The settings that the manual recommends. */
const manual = readFileSync(new URL('../../docs/operations.md', import.meta.url), 'utf8')
const SETTINGS = /^ {4}pool_mode = transaction\n(?: {4}.*\n)*/m.exec(manual)![0]

async function bouncedDatabase(settings = SETTINGS) {
  const { database } = await setStage({ nodes: 0 })
  const direct = (await lineTo(database.url)).url
  const pgbouncer = await startPgBouncer(direct, settings)
  atEnd(pgbouncer.close)
  return { database, direct, pgbouncer }
}

test.skipIf(!isInstalled)(
  'PgBouncer is killed and restarted under load: no acknowledged write is lost, and every device converges',
  async () => {
    const { database, direct, pgbouncer } = await bouncedDatabase()
    const environment = { DATABASE_URL: pgbouncer.url, DATABASE_LISTEN_URL: direct }
    const nodes = await Promise.all([startNode(environment), startNode(environment)])
    for (const node of nodes) atEnd(node.close)
    const [here, there] = nodes as [(typeof nodes)[0], (typeof nodes)[0]]
    const mailbox = await openMailbox()
    atEnd(mailbox.close)
    const worker = await startProcess(
      'worker',
      { ...environment, SECRET_KEY: SECRET, ...mailingTo(mailbox) },
      'waiting for jobs',
    )
    atEnd(worker.kill)
    const remind = async () => {
      const address = await addPeople(database.db, 1)
      await addJob(database.db, SEND_REMINDERS, {})
      await mailbox.next(address)
    }

    const people = await Promise.all(
      Array.from({ length: PEOPLE }, async (_, i) => {
        const credentials = { username: `user${i}`, password: 'a ferry to Lisbon' }
        const call = callerTo(here.url)
        const email = `user${i}@example.com`
        expect((await call('POST', '/api/register/', { ...credentials, email })).status).toBe(201)
        const { access } = (await call('POST', '/api/token/', credentials)).body
        const client = await device({ url: there.url })
        await client.session.signIn(credentials)
        await client.sync.awaitInSync()
        return { rest: callerTo(here.url, { authorization: `Bearer ${access}` }), client, access }
      }),
    )

    const [ann] = people
    const socket = io(there.url, { transports: ['websocket'], auth: { token: ann!.access } })
    atEnd(() => socket.disconnect())
    await new Promise((ready) => socket.once('ready', ready))
    const frame = new Promise((arrived) => socket.once('changes', arrived))
    const row = { newDocumentState: { id: crypto.randomUUID(), title: 'Pushed' } }
    expect((await ann!.rest('POST', '/replication/tasks/0/push', [row])).body).toEqual([])
    expect(await frame).toMatchObject({ documents: { tasks: [{ title: 'Pushed' }] } })
    const pulled = await ann!.rest('GET', '/replication/tasks/0/pull?limit=10')
    expect(pulled.body.documents).toMatchObject([{ title: 'Pushed' }])
    await remind()

    let isOver = false
    const statuses = new Set<number>()
    const stored = new Map(people.map((person) => [person, new Set<string>()]))
    const writers = people.map(async (person) => {
      for (let n = 0; !isOver; n++) {
        const id = crypto.randomUUID()
        const { status } = await person.rest('POST', '/api/tasks/', { id, title: `${n}` })
        statuses.add(status)
        if (status === 201) stored.get(person)!.add(id)
        if (n % 10 === 0)
          stored.get(person)!.add((await person.client.tasks.add({ title: `d${n}` })).id)
        await sleep(50)
      }
    })
    const stop = () => {
      isOver = true
      return Promise.all(writers)
    }
    atEnd(stop)
    const count = () => [...stored.values()].reduce((sum, { size }) => sum + size, 0)
    const grows = async () => {
      const before = count()
      await expect.poll(count, { timeout: 30_000 }).toBeGreaterThan(before + 30)
    }
    await grows()
    for (let i = 0; i < KILLS; i++) {
      await pgbouncer.kill()
      for (const { url } of nodes)
        await expect
          .poll(() => callerTo(url)('GET', '/readyz'), { timeout: 10_000 })
          .toMatchObject({
            status: 503,
            body: { reasons: { database_unreachable: expect.anything() } },
          })
      await pgbouncer.restart()
      for (const { url } of nodes)
        await expect
          .poll(async () => (await callerTo(url)('GET', '/readyz')).status, { timeout: 20_000 })
          .toBe(200)
      await grows()
    }
    await stop()
    await remind()

    expect([...statuses].sort()).toEqual([201, 503])
    for (const { client, rest } of people) {
      await client.sync.awaitInSync()
      const { documents } = (await rest('GET', '/replication/tasks/0/pull?limit=1000')).body
      const ids = documents.map(({ id }: { id: string }) => id).sort()
      await expect
        .poll(async () => (await tasksOf(client)).map(({ id }) => id), { timeout: 20_000 })
        .toEqual(ids)
    }
    for (const [{ client }, ids] of stored) {
      const kept = new Set((await tasksOf(client)).map(({ id }) => id))
      expect([...ids].filter((id) => !kept.has(id))).toEqual([])
    }
    for (const node of nodes) expect(node.log()).not.toMatch(/"status":500/)
  },
)

test.skipIf(!isInstalled)(
  'in transaction mode nothing starts without DATABASE_LISTEN_URL, nor without prepared statements',
  async () => {
    const { direct, pgbouncer } = await bouncedDatabase()
    const alone = { DATABASE_URL: pgbouncer.url }
    const refusal =
      /DATABASE_URL leads through a pooler in transaction mode.* set DATABASE_LISTEN_URL/
    await expect(startNode(alone)).rejects.toThrow(refusal)
    const worker = await startProcess(
      'worker',
      { ...alone, SECRET_KEY: SECRET },
      'set DATABASE_LISTEN_URL',
    )
    atEnd(worker.kill)
    expect(worker.output()).toMatch(refusal)
    expect(await worker.exit).toBe(1)

    const forgetful = await startPgBouncer(
      direct,
      SETTINGS.replace(/max_prepared_statements = \d+/, 'max_prepared_statements = 0'),
    )
    atEnd(forgetful.close)
    await expect(
      startNode({ DATABASE_URL: forgetful.url, DATABASE_LISTEN_URL: direct }),
    ).rejects.toThrow('The pooler of DATABASE_URL loses prepared statements: use PgBouncer 1.21')
  },
)
