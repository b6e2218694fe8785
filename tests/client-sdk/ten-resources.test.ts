import './six-more-resources.ts'
import { OPEN_COLLECTIONS } from 'rxdb'
import { getRxStorageMemory } from 'rxdb/plugins/storage-memory'
import { afterAll, beforeAll, beforeEach, expect, test } from 'vitest'
import type { Client, ClientOptions, ResourceName } from '../../client-sdk/index.ts'
import { createTable } from '../peers/added-resource.ts'
import { type Person, startServer, type TestServer } from '../support/server.ts'
import { deviceOf as anyDeviceOf, device, shut, until } from './device.ts'
import { createNetwork } from './network.ts'
import { ADDED } from './six-more-resources.ts'

type Device = Client & Record<'notes' | 'habits', Client['categories']>

const only = (...names: string[]) => ({ resources: names as ResourceName[] })

let server: TestServer
beforeAll(async () => {
  server = await startServer()
  for (const resource of ADDED) await createTable(server.testDatabase.db, resource)
})
beforeEach(() => expect(OPEN_COLLECTIONS.size).toBe(0))
afterAll(() => server.stop())

const deviceOf = (person: Person, options: Partial<ClientOptions> = {}) =>
  anyDeviceOf(server, person, options) as Promise<Device>

test('a device opens and syncs all ten, another one in the same process only those it uses', async () => {
  const ann = await server.person()
  const laptop = await deviceOf(ann)
  const seen: string[] = []
  const spying: typeof fetch = (input, init) => {
    seen.push(new URL(String(input)).pathname)
    return fetch(input, init)
  }
  const phone = await deviceOf(ann, { ...only('tasks', 'notes'), fetch: spying })
  expect(OPEN_COLLECTIONS.size).toBe(12)
  await laptop.notes.insert({ body: 'Two cabins' } as never)
  await laptop.habits.insert({ body: 'Swim' } as never)
  await laptop.sync.awaitInSync()
  await phone.sync.awaitInSync()
  expect((await phone.notes.find().exec()).map((one) => one.toJSON())).toMatchObject([
    { body: 'Two cabins' },
  ])
  expect(phone.habits).toBeUndefined()
  const pulled = seen.filter((path) => path.startsWith('/replication/'))
  expect(new Set(pulled)).toEqual(
    new Set(['/replication/tasks/0/pull', '/replication/notes/0/pull']),
  )
})

test('more than RxDB allows are refused with an explanation, and do not affect the others', async () => {
  const ann = await server.person()
  const laptop = await deviceOf(ann)
  await expect(deviceOf(ann)).rejects.toMatchObject({ code: 'too_many_collections' })
  expect(OPEN_COLLECTIONS.size).toBe(10)
  const phone = await deviceOf(ann, only('tasks', 'habits'))
  await laptop.habits.insert({ body: 'Swim' } as never)
  await laptop.sync.awaitInSync()
  await phone.sync.awaitInSync()
  expect(await phone.habits.count().exec()).toBe(1)
})

test.each([[['tasks', 'nots']], [[]]])('the resources %j are refused', async (names) => {
  await expect(device(server, only(...names))).rejects.toMatchObject({ code: 'invalid' })
})

test('a resource that is no longer used keeps its unsent edits, and a sign-out asks about them', async () => {
  const ann = await server.person()
  const network = await createNetwork(server.url)
  const kept = { url: network.url, name: `kept-${ann.id}`, storage: getRxStorageMemory() }
  const before = await deviceOf(ann, { ...kept, ...only('tasks', 'notes') })
  await before.sync.awaitInSync()
  network.cut()
  await before.notes.insert({ body: 'Two cabins' } as never)
  await shut(before)

  network.mend()
  const after = await device(server, { ...kept, ...only('tasks') })
  await after.sync.awaitInSync()
  expect(OPEN_COLLECTIONS.size).toBe(1)
  await expect(after.session.signOut()).rejects.toMatchObject({ code: 'unsent_edits' })
  expect(OPEN_COLLECTIONS.size).toBe(1)
  await shut(after)

  const again = await device(server, { ...kept, ...only('tasks', 'notes') })
  await again.sync.awaitInSync()
  expect((await ann.call('GET', '/api/notes/')).body.results).toMatchObject([
    { body: 'Two cabins' },
  ])
  await shut(again)
  const last = await device(server, { ...kept, ...only('tasks') })
  await last.session.signOut()
  await network.close()
})

test('a tab that lacks collections of another one is outdated, and does not sync for it', async () => {
  const ann = await server.person()
  const name = `tabs-${ann.id}`
  const storage = getRxStorageMemory()
  const tab = (number: number): Partial<ClientOptions> => ({
    name,
    multiInstance: true,
    storage: Object.assign({ ...storage }, { name: `memory-${number}` }),
  })
  const old = await deviceOf(ann, { ...tab(1), ...only('tasks') })
  await old.sync.awaitInSync()
  const next = (await device(server, { ...tab(2), ...only('tasks', 'notes') })) as Device
  await until(old.sync.status$, (status) => status === 'outdated')
  await next.notes.insert({ body: 'Two cabins' } as never)
  await next.sync.awaitInSync()
  expect((await ann.call('GET', '/api/notes/')).body.count).toBe(1)
  const late = await device(server, { ...tab(3), ...only('tasks') })
  await until(late.sync.status$, (status) => status === 'outdated')
})
