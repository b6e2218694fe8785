import { once } from 'node:events'
import { io } from 'socket.io-client'
import { beforeEach, expect, test } from 'vitest'
import { atEnd } from '../../support/at-end.ts'
import { createDatabase, type TestDatabase } from '../../support/database.ts'
import { hasRedis, startRedis } from '../../support/redis.ts'
import { startServer } from '../../support/server.ts'
import { openTransactionPooler } from '../../support/transaction-pooler.ts'

/** Nothing listens there. */
const NOWHERE = 'redis://127.0.0.1:1'

let database: TestDatabase
beforeEach(async () => {
  database = await createDatabase()
  atEnd(database.drop)
})
async function pooler(options?: Parameters<typeof openTransactionPooler>[1]) {
  const opened = await openTransactionPooler(database.url, options)
  atEnd(opened.close)
  return opened
}

async function serve(environment: Record<string, string>) {
  const server = await startServer(environment)
  atEnd(server.stop)
  return server
}

test('a pooler in transaction mode is refused at the start where it would lose notifications', async () => {
  const { url } = await pooler()
  await expect(serve({ DATABASE_URL: url })).rejects.toThrow(
    /^DATABASE_URL leads through a pooler in transaction mode.* set DATABASE_LISTEN_URL/,
  )
  await expect(serve({ DATABASE_URL: database.url, DATABASE_LISTEN_URL: url })).rejects.toThrow(
    /^DATABASE_LISTEN_URL leads through a pooler in transaction mode/,
  )
})

test('with REDIS_URL, a web node needs no other way, unless it runs jobs or migrations', async () => {
  const start = async (more: Record<string, string>) => {
    const { url } = await pooler()
    return serve({ DATABASE_URL: url, REDIS_URL: NOWHERE, MIGRATE_ON_START: '0', ...more })
  }
  for (const name of ['RUN_WORKER', 'MIGRATE_ON_START'])
    await expect(start({ [name]: '1' })).rejects.toThrow(
      /^DATABASE_URL leads through a pooler in transaction mode/,
    )
  const server = await start({})
  expect((await server.call('GET', '/readyz')).status, 'though Redis is down').toBe(200)
  expect((await server.call('GET', '/metrics')).text).toMatch(/^tasktide_hints_connected 0$/m)
  expect(server.logged.join('')).toContain('the connection for hints cannot be opened')
})

test('a pooler that loses prepared statements is refused at the start', async () => {
  const { url } = await pooler({ keepsStatements: false })
  const withRedis = { REDIS_URL: NOWHERE, MIGRATE_ON_START: '0' }
  for (const way of [{ DATABASE_LISTEN_URL: database.url }, withRedis])
    await expect(serve({ DATABASE_URL: url, ...way })).rejects.toThrow(
      /^The pooler of DATABASE_URL loses prepared statements: use PgBouncer 1.21/,
    )
})

test('everything works through a pooler in transaction mode if another way leads to Postgres itself', async () => {
  await expectEverything({ DATABASE_LISTEN_URL: database.url })
})

test.skipIf(!hasRedis())(
  'everything works through a pooler in transaction mode if Redis carries the hints',
  async () => {
    const redis = await startRedis()
    atEnd(redis.close)
    await expectEverything({ REDIS_URL: redis.url, MIGRATE_ON_START: '0' })
  },
)

async function expectEverything(besides: Record<string, string>) {
  const { url } = await pooler()
  const way = { DATABASE_URL: url, ...besides }
  const [here, there] = [await serve(way), await serve(way)]
  const people = await Promise.all(Array.from({ length: 6 }, () => here.person()))
  const sockets = people.map(({ access }) =>
    io(there.url, { transports: ['websocket'], forceNew: true, auth: { token: access } }),
  )
  atEnd(() => sockets.map((socket) => socket.disconnect()))
  await Promise.all(sockets.map((socket) => once(socket as never, 'ready')))
  for (let round = 0; round < 5; round++) {
    const frames = sockets.map((socket) => once(socket as never, 'changes'))
    const made = await Promise.all(
      people.map(({ call }) => call('POST', '/api/tasks/', { title: 'Milk' })),
    )
    expect(made.map(({ status }) => status)).toEqual(people.map(() => 201))
    await Promise.all(frames)
    const lists = await Promise.all(
      people.map(({ call }) => call('GET', '/api/tasks/?search=milk')),
    )
    expect(lists.map(({ body }) => body.count)).toEqual(people.map(() => round + 1))
    const rows = [{ newDocumentState: { id: crypto.randomUUID(), title: 'Bread' } }]
    const pushed = await Promise.all(
      people.map(({ call }) => call('POST', '/replication/tasks/0/push', rows)),
    )
    expect(pushed.map(({ body }) => body)).toEqual(people.map(() => []))
    await Promise.all(
      people.map(({ call }) => call('DELETE', `/api/tasks/${rows[0]!.newDocumentState.id}/`)),
    )
  }
  expect((await there.call('GET', '/readyz')).status).toBe(200)
  expect((await there.call('GET', '/metrics')).text).toMatch(/^tasktide_hints_lost_total 0$/m)
  const failures = here.logged.concat(there.logged).filter((line) => line.includes('"level":50'))
  expect(failures).toEqual([])
}
