import { once } from 'node:events'
import { io } from 'socket.io-client'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { createDatabase, type TestDatabase } from '../../support/database.ts'
import { startServer } from '../../support/server.ts'
import { openTransactionPooler } from '../../support/transaction-pooler.ts'

let database: TestDatabase
let cleanups: (() => unknown)[]
beforeEach(async () => {
  database = await createDatabase()
  cleanups = [database.drop]
})
afterEach(async () => {
  for (const cleanup of cleanups.reverse()) await cleanup()
})

async function pooler(options?: Parameters<typeof openTransactionPooler>[1]) {
  const opened = await openTransactionPooler(database.url, options)
  cleanups.push(opened.close)
  return opened
}

async function serve(environment: Record<string, string>) {
  const server = await startServer(environment)
  cleanups.push(server.stop)
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

test('a pooler that loses prepared statements is refused at the start', async () => {
  const { url } = await pooler({ keepsStatements: false })
  await expect(serve({ DATABASE_URL: url, DATABASE_LISTEN_URL: database.url })).rejects.toThrow(
    /^The pooler of DATABASE_URL loses prepared statements: use PgBouncer 1.21/,
  )
})

test('everything works through a pooler in transaction mode if another way leads to Postgres itself', async () => {
  const { url } = await pooler()
  const way = { DATABASE_URL: url, DATABASE_LISTEN_URL: database.url }
  const [here, there] = [await serve(way), await serve(way)]
  const people = await Promise.all(Array.from({ length: 6 }, () => here.person()))
  const sockets = people.map(({ access }) =>
    io(there.url, { transports: ['websocket'], forceNew: true, auth: { token: access } }),
  )
  cleanups.push(() => sockets.map((socket) => socket.disconnect()))
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
})
