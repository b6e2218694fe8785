import { randomBytes } from 'node:crypto'
import { readFileSync } from 'node:fs'
import { afterEach, expect, inject, test } from 'vitest'
import { connectTo, databaseUrl } from '../support/cluster.ts'
import { callerTo, type Person, startServer, type TestServer } from '../support/server.ts'

const ends: (() => unknown)[] = []
afterEach(async () => {
  for (const end of ends.splice(0).reverse()) await end()
})

const PROCEDURE = /<!-- run by tests\/deployment\/restoring\.test\.ts -->\s+```sql\n([\s\S]+?)```/

test('a device that is ahead of a restored database reads all that it has, and misses nothing after', async () => {
  const server = await startServer()
  let isRunning = true
  ends.push(() => isRunning && server.stop())
  const ann = await server.person()
  const category = await ann.call('POST', '/api/categories/', { name: 'Shopping' })
  const milk = await ann.call('POST', '/api/tasks/', {
    title: 'Milk',
    category_id: category.body.id,
  })
  const backup = await copyOf(server.testDatabase.url)
  // Lost with the database, but not to the device, which has read them.
  await ann.call('PATCH', `/api/tasks/${milk.body.id}/`, { title: 'Oat milk' })
  for (const title of ['Bread', 'Eggs', 'Salt']) await ann.call('POST', '/api/tasks/', { title })
  const { checkpoint } = await pull(ann.call, 'tasks')
  await server.stop()
  isRunning = false

  const admin = connectTo(backup)
  const [, procedure] = PROCEDURE.exec(
    readFileSync(new URL('../../docs/operations.md', import.meta.url), 'utf8'),
  )!
  await admin.raw(procedure!)
  await admin.destroy()
  const restored = await startServer({ DATABASE_URL: backup })
  ends.push(() => restored.stop())
  const call = personOn(restored, ann)
  const first = await pull(call, 'tasks', checkpoint)
  expect(first.documents).toMatchObject([{ id: milk.body.id, title: 'Milk' }])
  await call('POST', '/api/tasks/', { title: 'Tea' })
  expect((await pull(call, 'tasks', first.checkpoint)).documents).toMatchObject([{ title: 'Tea' }])
  expect((await pull(call, 'tasks', checkpoint)).documents).toHaveLength(2)
  expect((await pull(call, 'categories', checkpoint)).documents).toMatchObject([
    { id: category.body.id },
  ])
})

interface Pulled {
  documents: object[]
  checkpoint: { id: string; lwt: number }
}

async function pull(
  call: TestServer['call'],
  resource: string,
  { id, lwt }: Pulled['checkpoint'] = { id: '', lwt: 0 },
): Promise<Pulled> {
  const query = new URLSearchParams({ id, lwt: String(lwt) })
  const reply = await call('GET', `/replication/${resource}/0/pull?${query}`)
  expect(reply.status, reply.text).toBe(200)
  return reply.body
}

const personOn = (server: TestServer, { access }: Person) =>
  callerTo(server.url, { authorization: `Bearer ${access}` })

/** The database as it is now, gone after the test. @returns its address */
async function copyOf(url: string): Promise<string> {
  const name = `test_${randomBytes(6).toString('hex')}`
  const original = new URL(url).pathname.slice(1)
  const admin = connectTo(inject('adminUrl'))
  ends.push(async () => {
    await admin.raw(`drop database if exists ${name} with (force)`)
    await admin.destroy()
  })
  // Whoever is connected comes back by themselves.
  await admin.raw(`alter database ${original} allow_connections false`)
  await admin.raw('select pg_terminate_backend(pid) from pg_stat_activity where datname = ?', [
    original,
  ])
  await admin.raw(`create database ${name} template ${original}`)
  await admin.raw(`alter database ${original} allow_connections true`)
  return databaseUrl(inject('adminUrl'), name)
}
