import { randomUUID } from 'node:crypto'
import { once } from 'node:events'
import { describe, expect } from 'vitest'
import { backupOf } from '../support/backup.ts'
import { test as served } from '../support/fixtures.ts'
import {
  localDatabase,
  type Pouch,
  pouchFetch,
  remoteDatabase,
  remoteWithPassword,
} from './couch-devices.ts'

const test = served
  .extend('couch', ({ server, ann }) => {
    return (name: string) => remoteDatabase(`${server.url}/couch/${name}`, () => ann.access)
  })
  .extend('phone', ({ couch }) => {
    const device = localDatabase()
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
  const wanted = { title: 'Oat milk', completed: true }
  expect((await ann.call('GET', `/api/tasks/${milk.id}/`)).body).toMatchObject(wanted)
  expect(await phone.device.get(`task:${milk.id}`)).toMatchObject(wanted)
  await ann.call('DELETE', `/api/tasks/${milk.id}/`)
  await phone.sync()
  await expect(phone.device.get(`task:${milk.id}`)).rejects.toMatchObject({ status: 404 })
})

test('a username and a password, or a personal token, are enough', async ({ server, ann }) => {
  await ann.call('POST', '/api/tasks/', { title: 'Milk' })
  const { body: token } = await ann.call('POST', '/api/account/tokens/', {
    password: ann.password,
    name: 'PouchDB',
    scopes: ['tasks:read', 'tasks:write', 'profile'],
  })
  for (const password of [ann.password, token.token]) {
    const device = localDatabase()
    const auth = { username: ann.username, password }
    await device.replicate.from(remoteWithPassword(`${server.url}/couch/all`, auth))
    const { rows } = await device.allDocs({ include_docs: true })
    expect(rows.map(({ doc }: Pouch) => doc.title ?? 'the profile')).toEqual([
      'the profile',
      'Milk',
    ])
  }
})

test('a document that is put on the server can be put again with the revision of the answer', async ({
  couch,
  ann,
}) => {
  const remote = couch('tasks')
  const _id = randomUUID()
  const { rev } = await remote.put({ _id, title: 'Milk' })
  await remote.put({ _id, _rev: rev, title: 'Oat milk' })
  expect((await ann.call('GET', `/api/tasks/${_id}/`)).body.title).toBe('Oat milk')
})

test('one sign-in with a password serves all requests', async ({ server, ann }) => {
  const auth = { username: ann.username, password: ann.password }
  await localDatabase().replicate.from(remoteWithPassword(`${server.url}/couch/all`, auth))
  const { body } = await ann.call('GET', '/api/account/sessions/')
  expect(body.results ?? body).toHaveLength(2)
})

describe('of documents that cannot be stored', () => {
  test.for([
    ['a NUL character', { title: 'a\0b' }],
    ['half of a surrogate pair', { title: 'a\ud800b' }],
    ['a day that does not exist', { due_date: '2026-02-30' }],
    ['an unknown choice', { priority: 'urgent' }],
    ['a field that the server does not know', { colour: 'red' }],
    ['a number beyond all', { title: 1e308 }],
    ['another id', { id: 'something else' }],
  ] as const)(
    'one with %s is corrected, and holds up no other',
    async ([, fields], { phone, ann }) => {
      const { body: bread } = await ann.call('POST', '/api/tasks/', { title: 'Bread' })
      await phone.sync()
      const known = await phone.device.get(`task:${bread.id}`)
      await phone.device.put({ ...known, title: 'Rye bread', ...fields })
      const [fresh, good] = [randomUUID(), randomUUID()]
      await phone.device.put({ _id: `task:${fresh}`, title: 'Soap', ...fields })
      await phone.device.put({ _id: `task:${good}`, title: 'Milk' })
      await phone.sync()
      expect((await ann.call('GET', `/api/tasks/${good}/`)).body.title).toBe('Milk')
      for (const id of [bread.id, fresh]) {
        const { status, body } = await ann.call('GET', `/api/tasks/${id}/`)
        const here = await phone.device.get(`task:${id}`).catch(() => undefined)
        expect(here?.title).toBe(status === 200 ? body.title : undefined)
      }
    },
  )

  test.for([
    [
      'an attachment',
      { _attachments: { a: { content_type: 'text/plain', data: 'aGVsbG8=' } } },
      'attachments',
    ],
    ['deep nesting', { description: JSON.parse('['.repeat(40) + ']'.repeat(40)) }, 'nested'],
    ['more than 64 KiB', { description: 'x'.repeat(70_000) }, 'shorten'],
  ] as const)(
    'one with %s is denied, and stays as it is here',
    async ([, fields, reason], { phone, couch, ann }) => {
      const [id, good] = [randomUUID(), randomUUID()]
      await phone.device.put({ _id: `task:${id}`, title: 'Soap', ...fields })
      await phone.device.put({ _id: `task:${good}`, title: 'Milk' })
      const denied: Pouch[] = []
      await phone.device.replicate
        .to(couch('all'))
        .on('denied', (error: Pouch) => denied.push(error))
      expect(denied).toEqual([expect.objectContaining({ id: `task:${id}`, name: 'forbidden' })])
      expect(denied[0].reason).toContain(reason)
      expect((await phone.device.get(`task:${id}`)).title).toBe('Soap')
      expect((await ann.call('GET', `/api/tasks/${good}/`)).status).toBe(200)
      const stored = await phone.device.get(`task:${id}`)
      const { _attachments, description, ...rest } = stored
      await phone.device.put(rest)
      await phone.sync()
      expect((await ann.call('GET', `/api/tasks/${id}/`)).body.title).toBe('Soap')
    },
  )

  test('one whose id is no id of a task is denied', async ({ phone, couch }) => {
    for (const _id of ['note:1', 'task:1', '_design/tasks', `task:${randomUUID().toUpperCase()}`])
      await phone.device.put({ _id, title: 'Soap' })
    const denied: Pouch[] = []
    await phone.device.replicate.to(couch('all')).on('denied', (error: Pouch) => denied.push(error))
    expect(denied.map(({ name }) => name)).toEqual(Array(4).fill('forbidden'))
  })
})

describe('a live replication', () => {
  test('brings edits by REST, and takes edits there', async ({ couch, ann }) => {
    const device = localDatabase()
    const replication = device.sync(couch('tasks'), { live: true, retry: true })
    const { body: milk } = await ann.call('POST', '/api/tasks/', { title: 'Milk' })
    const here = () => device.get(milk.id).catch(() => undefined)
    await expect.poll(here).toMatchObject({ title: 'Milk' })
    await device.put({ ...(await here()), title: 'Bread' })
    const there = async () => (await ann.call('GET', `/api/tasks/${milk.id}/`)).body.title
    await expect.poll(there).toBe('Bread')
    replication.cancel()
  })

  test('goes on with a new token when the old one has expired', async ({ serverWith }) => {
    const server = await serverWith()
    const ann = await server.person()
    let { access } = ann
    const refused: string[] = []
    const remote = remoteDatabase(
      `${server.url}/couch/tasks`,
      () => access,
      async (address, options) => {
        const answer = await pouchFetch(address, options)
        if (answer.status !== 401) return answer
        refused.push(JSON.parse(await answer.clone().text()).error)
        const { body } = await server.call('POST', '/api/token/refresh/', { refresh: ann.refresh })
        access = body.access
        options.headers.set('Authorization', `Bearer ${access}`)
        return pouchFetch(address, options)
      },
    )
    const device = localDatabase()
    const replication = device.sync(remote, { live: true, retry: true })
    await once(replication, 'paused')
    server.clock.advance(16 * 60_000)
    const id = randomUUID()
    await device.put({ _id: id, title: 'Milk' })
    const there = async () => {
      const headers = { Authorization: `Bearer ${access}` }
      return (await server.call('GET', `/api/tasks/${id}/`, undefined, { headers })).status
    }
    await expect.poll(there).toBe(200)
    expect(new Set(refused)).toEqual(new Set(['token_expired']))
    replication.cancel()
  })

  test('is told to stop when its session has ended', async ({ server, couch, ann }) => {
    const device = localDatabase()
    const replication = device.sync(couch('tasks'), { live: true, retry: true })
    await once(replication, 'paused')
    const failed = once(replication, 'error')
    await server.call('POST', '/api/logout/', { refresh: ann.refresh })
    await device.put({ _id: randomUUID(), title: 'Milk' })
    expect((await failed)[0]).toMatchObject({ status: 401, name: 'unauthorized' })
    expect((await device.allDocs()).rows).toHaveLength(1)
  })

  test('of a restored server begins anew: what only devices had comes back, and all agree', async ({
    server,
    ann,
    couch,
  }) => {
    const [phone, laptop] = [localDatabase(), localDatabase()]
    const follow = (device: Pouch) =>
      device.sync(couch('tasks'), { live: true, retry: true, back_off_function: () => 50 })
    const { body: milk } = await ann.call('POST', '/api/tasks/', { title: 'Milk' })
    const restore = await backupOf(server.testDatabase, ann)
    let replications = [phone, laptop].map(follow)
    const titlesOn = async (device: Pouch) =>
      (await device.allDocs({ include_docs: true })).rows.map(({ doc }: Pouch) => doc.title).sort()
    await phone.put({ _id: randomUUID(), title: 'Bread' })
    await expect.poll(() => titlesOn(laptop)).toEqual(['Bread', 'Milk'])
    await phone.put({ ...(await phone.get(milk.id)), title: 'Oat milk' })
    await expect.poll(() => titlesOn(laptop)).toEqual(['Bread', 'Oat milk'])
    for (const one of replications) one.cancel()
    await restore()
    await ann.call('POST', '/api/tasks/', { title: 'Soap' })
    replications = [phone, laptop].map(follow)
    const all = ['Bread', 'Oat milk', 'Soap']
    for (const device of [phone, laptop]) await expect.poll(() => titlesOn(device)).toEqual(all)
    const there = async () =>
      (await ann.call('GET', '/api/tasks/')).body.results.map(({ title }: Pouch) => title).sort()
    await expect.poll(there).toEqual(all)
    for (const one of replications) one.cancel()
  })
})

test('another person, and nobody, gets nothing', async ({ server, ann, bob, couch }) => {
  const { body: milk } = await ann.call('POST', '/api/tasks/', { title: 'Milk' })
  await couch('all').info()
  for (const [headers, status, error] of [
    [{ Authorization: `Bearer ${bob.access}` }, 404, 'not_found'],
    [{}, 401, 'unauthorized'],
    [{ Cookie: `access=${ann.access}` }, 401, 'unauthorized'],
    [{ Authorization: `Basic ${btoa(`${ann.username}:wrong`)}` }, 401, 'unauthorized'],
  ] as const) {
    const answer = await server.call('GET', `/couch/tasks/${milk.id}`, undefined, { headers })
    expect(answer).toMatchObject({ status, body: { error } })
    const body = { docs: [{ _id: milk.id, _rev: '9-a', title: 'Taken' }], new_edits: false }
    await server.call('POST', '/couch/tasks/_bulk_docs', body, { headers })
  }
  expect((await ann.call('GET', `/api/tasks/${milk.id}/`)).body.title).toBe('Milk')
})
