import { randomUUID } from 'node:crypto'
import { expect } from 'vitest'
import { test as served } from '../support/fixtures.ts'
import { rxCollection } from './couch-devices.ts'

const test = served.extend('phone', async ({ server, ann }, { onCleanup }) => {
  const phone = await rxCollection(server.url, 'tasks')
  onCleanup(() => phone.close())
  const replication = phone.replicate(() => ann.access)
  await replication.awaitInitialReplication()
  const read = async (id: string) => (await phone.collection.findOne(id).exec())?.toJSON()
  return { ...phone, replication, read }
})

// biome-ignore lint/suspicious/noExplicitAny: tests look into answers freely
type Any = any
const aTask = (fields: object = {}) => {
  const now = new Date().toISOString()
  const times = { created_at: now, updated_at: now }
  return { id: randomUUID(), title: 'Milk', completed: false, ...times, ...fields }
}

test('a task of RxDB gets what it lacks, and edits go both ways', async ({ phone, ann }) => {
  const milk = aTask()
  await phone.collection.insert(milk)
  await expect.poll(() => phone.read(milk.id)).toMatchObject({ priority: 'medium' })
  await ann.call('PATCH', `/api/tasks/${milk.id}/`, { priority: 'high' })
  await expect.poll(() => phone.read(milk.id)).toMatchObject({ priority: 'high' })
  const here: Any = await phone.collection.findOne(milk.id).exec()
  await here.incrementalPatch({ title: 'Oat milk', updated_at: new Date().toISOString() })
  const there = async () => (await ann.call('GET', `/api/tasks/${milk.id}/`)).body
  await expect.poll(there).toMatchObject({ title: 'Oat milk', priority: 'high' })
  await ann.call('DELETE', `/api/tasks/${milk.id}/`)
  await expect.poll(() => phone.read(milk.id)).toBeUndefined()
})

test('tasks that cannot be stored are corrected, and hold up no other', async ({ phone, ann }) => {
  const { body: bread } = await ann.call('POST', '/api/tasks/', { title: 'Bread' })
  await expect.poll(() => phone.read(bread.id)).toMatchObject({ title: 'Bread' })
  const [bad, good] = [aTask({ due_date: '2026-02-30' }), aTask()]
  const known: Any = await phone.collection.findOne(bread.id).exec()
  await known.incrementalPatch({ title: 'Rye bread', due_date: '2026-02-30' })
  await phone.collection.bulkInsert([bad, good])
  await expect.poll(() => phone.read(bread.id)).toMatchObject({ title: 'Bread', due_date: null })
  await expect.poll(() => phone.read(bad.id)).toBeUndefined()
  const status = async () => (await ann.call('GET', `/api/tasks/${good.id}/`)).status
  await expect.poll(status).toBe(200)
  const { body } = await ann.call('GET', '/api/conflicts/')
  expect(body.results.map(({ lost }: Any) => lost.title).sort()).toEqual(['Milk', 'Rye bread'])
  // What it would push for ever would hold up whatever comes after it.
  const later = aTask({ title: 'Later' })
  await phone.collection.insert(later)
  const landed = async () => (await ann.call('GET', `/api/tasks/${later.id}/`)).status
  await expect.poll(landed).toBe(200)
})

test('tasks that are too large or beyond the quota are corrected too', async ({ serverWith }) => {
  const server = await serverWith({ QUOTA_DOCUMENTS: '2' })
  const { access, call } = await server.person()
  const { body: bread } = await call('POST', '/api/tasks/', { title: 'Bread' })
  const phone = await rxCollection(server.url, 'tasks')
  await phone.replicate(() => access).awaitInitialReplication()
  const known: Any = await phone.collection.findOne(bread.id).exec()
  await known.incrementalPatch({ description: 'x'.repeat(70_000) })
  const tasks = [aTask({ title: 'One' }), aTask({ title: 'Two' }), aTask({ title: 'Three' })]
  for (const one of tasks) await phone.collection.insert(one)
  const titles = async () =>
    (await phone.collection.find().exec()).map(({ title }: Any) => title).sort()
  await expect.poll(titles, { timeout: 10_000 }).toEqual(['Bread', 'One'])
  await known.getLatest().incrementalPatch({ title: 'Rye bread' })
  const there = async () => (await call('GET', `/api/tasks/${bread.id}/`)).body.title
  await expect.poll(there, { timeout: 10_000 }).toBe('Rye bread')
  const { body } = await call('GET', '/api/conflicts/')
  const lost = body.results.map((entry: Any) => entry.lost.title ?? entry.lost.description.length)
  expect(lost.sort()).toEqual([70_000, 'Three', 'Two'])
  await phone.close()
})

test('an edit of what was deleted meanwhile does not bring it back', async ({ server, ann }) => {
  const { body: milk } = await ann.call('POST', '/api/tasks/', { title: 'Milk' })
  const phone = await rxCollection(server.url, 'tasks')
  const first = phone.replicate(() => ann.access)
  await first.awaitInitialReplication()
  await first.cancel()
  const here: Any = await phone.collection.findOne(milk.id).exec()
  await here.incrementalPatch({ title: 'Oat milk' })
  await ann.call('DELETE', `/api/tasks/${milk.id}/`)
  await phone.replicate(() => ann.access).awaitInSync()
  expect((await ann.call('GET', `/api/tasks/${milk.id}/`)).status).toBe(404)
  expect(await phone.collection.findOne(milk.id).exec()).toBeNull()
  await phone.close()
})

test('errors of longpolls are texts, so that its live replication goes on', async ({
  server,
  phone,
  ann,
}) => {
  for (const [headers, type] of [
    [{ Accept: '*/*' }, 'text/plain'],
    [{ Accept: 'application/json' }, 'application/json'],
  ] as const) {
    const path = '/couch/tasks/_changes?feed=longpoll&since=now'
    const answer = await server.call('GET', path, undefined, { headers })
    expect(answer.status).toBe(401)
    expect(answer.headers.get('content-type')).toContain(type)
  }
  const { body: milk } = await ann.call('POST', '/api/tasks/', { title: 'Milk' })
  await expect.poll(() => phone.read(milk.id)).toMatchObject({ title: 'Milk' })
})
