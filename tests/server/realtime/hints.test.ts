import { once } from 'node:events'
import pg from 'pg'
import { io, type Socket } from 'socket.io-client'
import { afterAll, beforeAll, describe, expect, inject, test } from 'vitest'
import { openHints } from '../../../server/realtime/hints.ts'
import { postgresBus } from '../../../server/realtime/postgres-bus.ts'
import { createLog } from '../../../server/runtime/log.ts'
import { atEnd } from '../../support/at-end.ts'
import { connectTo } from '../../support/cluster.ts'
import { createDatabase, type TestDatabase } from '../../support/database.ts'
import { startServer, type TestServer } from '../../support/server.ts'

const ANN = '0190a5c2-7a4e-7cc3-98c4-dc0c0c07398f'
const BOB = '0190a5c2-7a4e-7cc3-98c4-dc0c0c073990'

describe('hints between two nodes', () => {
  let database: TestDatabase
  beforeAll(async () => {
    database = await createDatabase()
  })
  afterAll(() => database.drop())

  /** A node that notes what it hears. */
  async function node() {
    const log = createLog('silent', { readable: false, to: { write() {} } })
    const hints = await openHints(
      postgresBus({ url: database.url, tls: 'off' }, log),
      () => new Date(),
    )
    atEnd(() => hints.close())
    const heard: string[] = []
    let wake = () => {}
    const hear = (what: string) => {
      heard.push(what)
      wake()
    }
    hints.listen({
      changed: (user) => hear(`changed ${user}`),
      ended: (session) => hear(`ended ${session}`),
      gap: () => hear('gap'),
    })
    return {
      hints,
      heard,
      async until(what: string) {
        while (!heard.includes(what))
          await new Promise<void>((resolve) => {
            wake = resolve
          })
      },
    }
  }

  /** What is told on the wire, as another listener sees it. */
  async function wire() {
    const client = new pg.Client(database.url)
    await client.connect()
    atEnd(() => client.end())
    const told: string[] = []
    let wake = () => {}
    client.on('notification', ({ payload }) => {
      told.push(payload!.split(' ')[1]!)
      wake()
    })
    await client.query('listen tasktide')
    return async (last: string) => {
      while (told.at(-1) !== last)
        await new Promise<void>((resolve) => {
          wake = resolve
        })
      return told
    }
  }

  test('reach this one at once, and the other one', async () => {
    const [here, there] = [await node(), await node()]
    here.hints.changed(ANN)
    here.hints.ended(BOB)
    expect(here.heard).toEqual([`changed ${ANN}`, `ended ${BOB}`])
    await there.until(`ended ${BOB}`)
    expect(there.heard.sort()).toEqual([`changed ${ANN}`, `ended ${BOB}`])
    there.hints.changed(BOB)
    await here.until(`changed ${BOB}`)
    expect(here.heard, 'its own do not come back').toHaveLength(3)
  })

  test('are gathered: however many the writes, each user is told of once', async () => {
    const [here, there] = [await node(), await node()]
    const toldUpTo = await wire()
    for (let i = 0; i < 500; i++) here.hints.changed(ANN)
    here.hints.changed(BOB)
    await there.until(`changed ${BOB}`)
    here.hints.ended(ANN)
    expect(await toldUpTo(`s${ANN}`)).toEqual([`u${ANN}`, `u${BOB}`, `s${ANN}`])
  })

  test('that were not told yet are told before the end', async () => {
    const [here, there] = [await node(), await node()]
    here.hints.changed(ANN)
    await here.hints.close()
    await there.until(`changed ${ANN}`)
  })
})

describe('a change', () => {
  let here: TestServer
  let there: TestServer
  beforeAll(async () => {
    here = await startServer()
    there = await startServer({ DATABASE_URL: here.testDatabase.url })
  })
  afterAll(async () => {
    await there.stop()
    await here.stop()
  })

  test('is told of on a connection of its own, not on the one that wrote it', async () => {
    const client = new pg.Client(here.testDatabase.url)
    await client.connect()
    atEnd(() => client.end())
    await client.query('listen tasktide')
    const ann = await here.person()
    const tellers = (await listeners(here.testDatabase)).map(({ pid }) => pid)
    const writes = [
      () => ann.call('POST', '/api/tasks/', { title: 'Milk' }),
      () =>
        ann.call('POST', '/replication/tasks/0/push', [
          { newDocumentState: { id: ANN, title: 'Bread' } },
        ]),
    ]
    for (const write of writes) {
      const notified = once(client, 'notification')
      await write()
      const [{ processId }] = await notified
      expect(tellers).toContain(processId)
    }
  })

  test('that was made while the other node’s listener was away arrives all the same', async () => {
    const ann = await here.person()
    const socket = await connected(there, ann.access)
    const frame = once(socket as never, 'changes')
    await withoutConnections(here.testDatabase, async () => {
      await endListeners(here.testDatabase)
      await ann.call('POST', '/api/tasks/', { title: 'in the gap' })
    })
    const [{ documents }] = await frame
    expect(documents.tasks).toMatchObject([{ title: 'in the gap' }])
  })

  test('whose hint was lost is found by the sweep of the heads', async () => {
    const ann = await here.person()
    const bob = await here.person()
    const socket = await connected(there, ann.access)
    // So that the hint of this write does not come after the write that has none.
    const hinted = once(socket as never, 'changes')
    const { body } = await ann.call('POST', '/api/tasks/', { title: 'Milk' })
    await hinted
    const { store } = there.app
    const heads = store.heads
    const asked = new Promise<readonly string[]>((resolve) => {
      store.heads = (users) => {
        if (users.includes(ann.id)) resolve(users)
        return heads(users)
      }
    })
    try {
      const frame = once(socket as never, 'changes')
      await here.testDatabase.db('tasks').where({ id: body.id }).update({ title: 'by SQL' })
      const [{ documents }] = await frame
      expect(documents.tasks).toMatchObject([{ title: 'by SQL' }])
      expect(await asked, 'only of those who are connected').not.toContain(bob.id)
      const metrics = async () => (await there.call('GET', '/metrics')).text
      await expect.poll(metrics, { timeout: 10_000 }).toMatch(/^tasktide_hints_lost_total [1-9]/m)
    } finally {
      store.heads = heads
    }
  })
})

async function connected(server: TestServer, token: string): Promise<Socket> {
  const socket = io(server.url, { transports: ['websocket'], forceNew: true, auth: { token } })
  atEnd(() => socket.disconnect())
  await once(socket as never, 'ready')
  return socket
}

/** The connections of this database that listen, by what they did last. */
async function listeners({ url }: TestDatabase): Promise<{ pid: number }[]> {
  return asAdmin(
    `select pid from pg_stat_activity
     where datname = '${nameOf(url)}' and application_name = 'tasktide'
     and (query in ('listen "tasktide"', 'select ''beat''') or query like 'select pg_notify%')`,
  )
}

async function endListeners(database: TestDatabase): Promise<void> {
  const found = await listeners(database)
  expect(found).toHaveLength(2)
  for (const { pid } of found) await asAdmin(`select pg_terminate_backend(${pid}, 5000)`)
}

/** Does something while nobody can connect to the database; who is connected stays so. */
async function withoutConnections({ url }: TestDatabase, work: () => Promise<unknown>) {
  await asAdmin(`alter database ${nameOf(url)} allow_connections false`)
  try {
    await work()
  } finally {
    await asAdmin(`alter database ${nameOf(url)} allow_connections true`)
  }
}

async function asAdmin<Row>(sql: string): Promise<Row[]> {
  const admin = connectTo(inject('adminUrl'))
  try {
    return (await admin.raw(sql)).rows
  } finally {
    await admin.destroy()
  }
}

const nameOf = (url: string) => new URL(url).pathname.slice(1)
