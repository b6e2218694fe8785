import { randomUUID } from 'node:crypto'
import { createRequire } from 'node:module'
import { expect } from 'vitest'
import { test as served } from '../support/fixtures.ts'
import type { Person } from '../support/server.ts'

const load = createRequire(import.meta.url)
const PouchDB = load('pouchdb')
PouchDB.plugin(load('pouchdb-adapter-memory'))

// biome-ignore lint/suspicious/noExplicitAny: PouchDB has no types here
type Pouch = any

const local = (): Pouch => new PouchDB(randomUUID(), { adapter: 'memory' })

/** With a token, which each request has. */
function remote(url: string, name: string, { access }: Pick<Person, 'access'>): Pouch {
  return new PouchDB(`${url}/couch/${name}`, {
    fetch(address: string, options: { headers: Headers }) {
      options.headers.set('Authorization', `Bearer ${access}`)
      return PouchDB.fetch(address, options)
    },
  })
}

const test = served
  .extend(
    'couch',
    ({ server, ann }) =>
      (name: string) =>
        remote(server.url, name, ann),
  )
  .extend('phone', ({ couch }) => {
    const device = local()
    const sync = async () => {
      // It pushes and pulls at the same time, so it may pull before what it pushes is corrected.
      for (let round = 0; round < 2; round++) await device.sync(couch('all'), { batch_size: 10 })
    }
    return { device, sync }
  })

test('a document of PouchDB gets what it lacks, and is a task of REST', async ({ phone, ann }) => {
  const id = randomUUID()
  await phone.device.put({ _id: `task:${id}`, title: 'Milk' })
  await phone.sync()
  const { body } = await ann.call('GET', `/api/tasks/${id}/`)
  expect(body).toMatchObject({ title: 'Milk', completed: false, priority: 'medium' })
  const { _id, _rev, ...fields } = await phone.device.get(`task:${id}`)
  expect({ ...fields, id }).toEqual(body)
})

test('edits by REST reach PouchDB, and edits of PouchDB reach REST', async ({ phone, ann }) => {
  const { body: milk } = await ann.call('POST', '/api/tasks/', { title: 'Milk' })
  await phone.sync()
  const stored = await phone.device.get(`task:${milk.id}`)
  await phone.device.put({ ...stored, title: 'Oat milk' })
  await ann.call('PATCH', `/api/tasks/${milk.id}/`, { completed: true })
  await phone.sync()
  const { body } = await ann.call('GET', `/api/tasks/${milk.id}/`)
  expect(body).toMatchObject({ title: 'Oat milk', completed: true })
  expect(await phone.device.get(`task:${milk.id}`)).toMatchObject({
    title: 'Oat milk',
    completed: true,
  })
  await ann.call('DELETE', `/api/tasks/${milk.id}/`)
  await phone.sync()
  await expect(phone.device.get(`task:${milk.id}`)).rejects.toMatchObject({ status: 404 })
})

test('an edit that REST makes reaches a live replication', async ({ couch, ann }) => {
  const device = local()
  const replication = device.sync(couch('tasks'), { live: true, retry: true })
  const { body: milk } = await ann.call('POST', '/api/tasks/', { title: 'Milk' })
  await expect
    .poll(() => device.get(milk.id).catch(() => undefined))
    .toMatchObject({ title: 'Milk' })
  const stored = await device.get(milk.id)
  await device.put({ ...stored, title: 'Bread' })
  await expect
    .poll(async () => (await ann.call('GET', `/api/tasks/${milk.id}/`)).body.title)
    .toBe('Bread')
  replication.cancel()
})

test('a username and a password, or a personal token, are enough', async ({ server, ann }) => {
  await ann.call('POST', '/api/tasks/', { title: 'Milk' })
  const { body: token } = await ann.call('POST', '/api/account/tokens/', {
    password: ann.password,
    name: 'PouchDB',
    scopes: ['tasks:read', 'tasks:write', 'profile'],
  })
  for (const password of [ann.password, token.token]) {
    const auth = { username: ann.username, password }
    const device = local()
    await device.replicate.from(new PouchDB(`${server.url}/couch/all`, { auth }))
    const { rows } = await device.allDocs({ include_docs: true })
    expect(rows.map(({ doc }: Pouch) => doc.title ?? 'the profile')).toEqual([
      'the profile',
      'Milk',
    ])
  }
})
