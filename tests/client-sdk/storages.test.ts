import 'fake-indexeddb/auto'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { indexedDB } from 'fake-indexeddb'
import { addRxPlugin, createRxDatabase } from 'rxdb'
import { RxDBDevModePlugin } from 'rxdb/plugins/dev-mode'
import { getRxStorageLocalstorage } from 'rxdb/plugins/storage-localstorage'
import { getRxStorageMemory } from 'rxdb/plugins/storage-memory'
import { wrappedValidateAjvStorage } from 'rxdb/plugins/validate-ajv'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { dexieStorage } from '../../client-sdk/dexie.ts'
import { keyValueStorage } from '../../client-sdk/key-value.ts'
import { creator } from '../../client-sdk/local/database.ts'
import { resources } from '../../client-sdk/local/resources.ts'
import { sqliteStorage } from '../../client-sdk/sqlite.ts'
import { startServer, type TestServer } from '../support/server.ts'
import { device, deviceOf, shut, tasksOf, until } from './device.ts'
import { fileStore } from './file-store.ts'
import { acceptAnyText } from './lax-rules.ts'
import { keyValueStore, MEDIA, type Medium, sqliteFile } from './media.ts'
import { createNetwork } from './network.ts'

afterAll(acceptAnyText())

let server: TestServer
let folder: string
beforeAll(async () => {
  server = await startServer()
  folder = await mkdtemp(path.join(tmpdir(), 'tasktide-store-'))
})
afterAll(async () => {
  await server.stop()
  await rm(folder, { recursive: true, force: true })
})

const STORAGES = {
  'IndexedDB, through Dexie': () => dexieStorage(),
  'a synchronous key-value store': () => keyValueStorage(fileStore(path.join(folder, 'some'))),
  SQLite: () => sqliteStorage(sqliteFile(path.join(folder, 'some.sqlite'))),
}

describe.each(Object.entries(STORAGES))('%s', (_name, storage) => {
  test('keeps the session, the documents and unsent edits over a restart', async () => {
    const ann = await server.person()
    const network = await createNetwork(server.url)
    const name = `kept-${ann.id}`
    const before = await deviceOf(network, ann, { name, storage: storage() })
    await before.tasks.add({ title: 'Ferry', due_date: '2026-12-01' })
    await before.tasks.add({ title: 'Train', category_id: null })
    await before.sync.awaitInSync()
    network.cut()
    await before.tasks.add({ title: '' })
    const expected = await tasksOf(before)
    await shut(before)

    const after = await device(network, { name, storage: storage() })
    expect(await tasksOf(after)).toEqual(expected)
    await until(after.sync.pending$, (pending) => pending === 1)
    network.mend()
    after.sync.resume()
    await after.sync.awaitInSync()
    expect(await after.tasks.count().exec()).toBe(2)
    await until(after.sync.rejected$, (rows) => rows.length === 1)
    expect(await after.tasks.overdue('2026-12-02').exec()).toHaveLength(1)
    await after.session.signOut({ keepData: false })
    await after.session.signIn(ann)
    await after.sync.awaitInSync()
    expect(await after.tasks.count().exec()).toBe(2)
    await network.close()
  })
})

test('signing out leaves no data of the user in IndexedDB', async () => {
  const ann = await server.person()
  const name = `left-${ann.id}`
  const phone = await deviceOf(server, ann, { name, storage: dexieStorage() })
  await phone.tasks.add({ title: 'Ferry' })
  await phone.tasks.add({ title: '' })
  await phone.sync.pause()
  await phone.sync.resume()
  await phone.sync.awaitInSync()
  expect((await databases(name)).length).toBeGreaterThan(4)
  await phone.session.signOut({ keepData: false })
  expect(await databases(name)).toEqual([`rxdb-dexie-${name}-session--0--session`])
  await phone.session.signIn(ann)
  await phone.sync.awaitInSync()
  expect(await tasksOf(phone)).toMatchObject([{ title: 'Ferry' }])
})

test('signing out leaves no data of the user in a key-value store', async () => {
  const ann = await server.person()
  const store = fileStore(path.join(folder, 'left'))
  const phone = await deviceOf(server, ann, { name: 'left', storage: keyValueStorage(store) })
  await phone.tasks.add({ title: 'Ferry' })
  await phone.sync.awaitInSync()
  await phone.session.signOut()
  await shut(phone)
  const kept = store.getAllKeys().filter((key) => !key.includes('left-session'))
  expect(kept).toEqual([])
})

async function databases(wanted: string): Promise<string[]> {
  const all: { name?: string }[] = await indexedDB.databases()
  return all.map(({ name }) => name!).filter((name) => name.includes(wanted))
}

test("two tabs on one IndexedDB see each other's writes, and sync as one", async () => {
  const ann = await server.person()
  const name = `tabs-${ann.id}`
  // RxDB refuses to open a database twice on what it takes for one storage.
  const tab = (number: number) => ({
    name,
    multiInstance: true,
    storage: Object.assign(dexieStorage(), { name: `dexie-${number}` }),
  })
  const first = await deviceOf(server, ann, tab(1))
  const second = await device(server, tab(2))
  await first.tasks.add({ title: 'From the first' })
  await until(second.tasks.count().$, (count) => count === 1)
  await second.tasks.add({ title: 'From the second' })
  await until(first.tasks.count().$, (count) => count === 2)
  await Promise.all([first.sync.awaitInSync(), second.sync.awaitInSync()])
  expect((await ann.call('GET', '/api/tasks/')).body.count).toBe(2)
})

describe.each(MEDIA)('%s', (kind, openMedium) => {
  const name = kind.replaceAll(' ', '-')
  let medium: Medium
  beforeAll(() => {
    medium = openMedium()
  })
  afterAll(() => medium.close())

  test('ten thousand unsent tasks survive a restart, and an edit writes little', async () => {
    const ann = await server.person()
    const network = await createNetwork(server.url)
    const before = await deviceOf(network, ann, { name, storage: medium.storage() })
    await before.sync.awaitInSync()
    network.cut()
    for (let i = 0; i < 10; i++) {
      const rows = Array.from({ length: 1_000 }, (_, j) => ({ title: `Task ${i * 1_000 + j}` }))
      await before.tasks.bulkInsert(rows as never)
    }
    await shut(before)
    const after = await device(network, { name, storage: medium.storage() })
    expect(await after.tasks.count().exec()).toBe(10_000)
    const [found] = await after.tasks.find({ selector: { title: 'Task 9999' } }).exec()
    const moved = medium.moved()
    await after.tasks.complete(found!.id)
    expect(medium.moved() - moved).toBeLessThan(100_000)
    await until(after.sync.pending$, (pending) => pending === 10_000)
    await shut(after)
    await network.close()
  })

  test('the first sync writes a few times the size of the documents, and a sent edit little', async () => {
    const ann = await server.person()
    const laptop = await deviceOf(server, ann)
    const rows = Array.from({ length: 2_000 }, (_, i) => ({ title: `Task ${i}` }))
    await laptop.tasks.bulkInsert(rows as never)
    await laptop.sync.awaitInSync()
    const size = JSON.stringify(await tasksOf(laptop)).length

    const start = medium.moved()
    const options = { name: `${name}-synced`, storage: medium.storage() }
    const phone = await deviceOf(server, ann, options)
    await phone.sync.awaitInSync()
    expect(await phone.tasks.count().exec()).toBe(2_000)
    expect(medium.moved() - start).toBeLessThan(5 * size)
    const moved = medium.moved()
    await phone.tasks.add({ title: 'One more' })
    await phone.sync.awaitInSync()
    expect(medium.moved() - moved).toBeLessThan(250_000)
  })
})

test('data of the former key-value storage is migrated, unsent edits included', async () => {
  const ann = await server.person()
  const network = await createNetwork(server.url)
  const kept = new Map<string, string>()
  const localStorage = {
    getItem: (key: string) => kept.get(key) ?? null,
    setItem: (key: string, value: string) => void kept.set(key, value),
    removeItem: (key: string) => void kept.delete(key),
  } as never
  const former = getRxStorageLocalstorage({ localStorage })
  const before = await deviceOf(network, ann, { name: 'former', storage: former })
  const ferry = await before.tasks.add({ title: 'Ferry' })
  await before.sync.awaitInSync()
  network.cut()
  await before.tasks.add({ title: 'Train' })
  await before.tasks.complete(ferry.id)
  const expected = await tasksOf(before)
  await shut(before)

  const storage = () => keyValueStorage(keyValueStore(kept))
  const after = await device(network, { name: 'former', storage: storage() })
  expect(await tasksOf(after)).toEqual(expected)
  expect([...kept.keys()].filter((key) => /^RxDB-ls-.*--tasks--/.test(key))).toEqual([])
  await shut(after)
  const again = await device(network, { name: 'former', storage: storage() })
  network.mend()
  again.sync.wake()
  await again.sync.awaitInSync()
  const { body } = await ann.call('GET', '/api/tasks/?ordering=title')
  expect(body.results).toMatchObject([{ title: 'Ferry', completed: true }, { title: 'Train' }])
  await again.session.signOut({ keepData: false })
  expect([...kept.keys()].filter((key) => !key.includes('former-session'))).toEqual([])
  await network.close()
})

test('the schemas are valid for RxDB, and match the documents of the server', async () => {
  addRxPlugin(RxDBDevModePlugin)
  const database = await createRxDatabase({
    name: 'checked',
    storage: wrappedValidateAjvStorage({ storage: getRxStorageMemory() }),
  })
  const collections = await database.addCollections(
    Object.fromEntries(
      Object.entries(resources).map(([name, resource]) => [name, creator(resource)]),
    ),
  )
  const ann = await server.person()
  await ann.call('POST', '/api/tasks/', { title: 'Ferry' })
  await ann.call('POST', '/api/categories/', { name: 'Travel' })
  for (const [name, resource] of Object.entries(resources)) {
    const { body } = await ann.call('GET', `/replication/${name}/${resource.version}/pull`)
    for (const { _deleted, ...document } of body.documents)
      await collections[name]!.insert(document)
    await expect(collections[name]!.insert({ id: 'a' } as never)).rejects.toThrow()
  }
  expect(await collections.tasks!.count().exec()).toBe(1)
  await database.close()
})
