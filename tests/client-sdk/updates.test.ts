import 'fake-indexeddb/auto'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { setImmediate } from 'node:timers/promises'
import { addRxPlugin } from 'rxdb'
import { disableWarnings, RxDBDevModePlugin } from 'rxdb/plugins/dev-mode'
import { getRxStorageMemory } from 'rxdb/plugins/storage-memory'
import { wrappedValidateAjvStorage } from 'rxdb/plugins/validate-ajv'
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from 'vitest'
import { dexieStorage } from '../../client-sdk/dexie.ts'
import type { Client, Storage } from '../../client-sdk/index.ts'
import { keyValueStorage } from '../../client-sdk/key-value.ts'
import { inForm } from '../../client-sdk/local/migration.ts'
import { type Definition, resources } from '../../client-sdk/local/resources.ts'
import { startServer, type TestServer } from '../support/server.ts'
import { device, deviceOf, shut, tasksOf, until } from './device.ts'
import { fileStore } from './file-store.ts'
import { createNetwork, type Network } from './network.ts'

const { tasks } = resources
const without = (absent: string): Definition => {
  const fieldNames = tasks.fieldNames.filter((name) => name !== absent)
  const fields = Object.fromEntries(fieldNames.map((name) => [name, tasks.fields[name]!]))
  const { [absent]: _, ...initial } = tasks.initial
  return { ...tasks, fieldNames, fields, initial }
}
/** The release before `description` came, the one that has it, and one after that. */
const RELEASES = [
  without('description'),
  { ...tasks, revision: 1 },
  { ...tasks, version: 1, revision: 2 },
]

let server: TestServer
let network: Network
let folder: string
beforeAll(async () => {
  server = await startServer()
  folder = await mkdtemp(path.join(tmpdir(), 'tasktide-updates-'))
})
beforeEach(async () => {
  network = await createNetwork(server.url)
})
afterEach(async () => {
  install(tasks)
  await network.close()
})
afterAll(async () => {
  await server.stop()
  await rm(folder, { recursive: true, force: true })
})

/** What the app knows of tasks from now on; the server has its own. */
function install(definition: Definition): void {
  Object.assign(resources, { tasks: definition })
}

const STORAGES: Record<string, () => Storage> = {
  memory: () => getRxStorageMemory(),
  'IndexedDB, through Dexie': () => dexieStorage(),
  'a synchronous key-value store': () => keyValueStorage(fileStore(path.join(folder, 'some'))),
}

describe.each(Object.entries(STORAGES))('in %s', (_name, storage) => {
  test('an app with a new field has all documents, and sends unsent edits', async () => {
    const ann = await server.person()
    const name = `updated-${ann.id}`
    const laptop = await deviceOf(server, ann)
    let isServerOlder = true
    network.websockets = false
    install(RELEASES[0]!)
    const before = await deviceOf(network, ann, {
      name,
      storage: storage(),
      fetch: async (...request) => {
        const response = await fetch(...request)
        return isServerOlder ? withoutDescription(response) : response
      },
    })
    install(tasks)
    const mine = await before.tasks.add({ title: 'Ferry' })
    const gone = await before.tasks.add({ title: 'Bus' })
    await before.sync.awaitInSync()
    expect((await tasksOf(before))[0]).not.toHaveProperty('description')
    isServerOlder = false
    const yours = await laptop.tasks.add({ title: 'Train', description: 'Window seat' })
    await laptop.sync.awaitInSync()
    await before.sync.awaitInSync()
    network.cut()
    await mine.incrementalPatch({ title: 'Night ferry' })
    const { id } = await before.tasks.add({ title: 'Bread' })
    await before.tasks.softDelete(gone.id)
    await shut(before)
    await (await laptop.tasks.findOne(mine.id).exec(true)).patch({
      priority: 'high',
      description: 'With a cabin',
    })
    await laptop.sync.awaitInSync()

    install(RELEASES[1]!)
    const after = await device(network, { name, storage: storage() })
    await until(after.sync.pending$, (pending) => pending === 3)
    expect(await tasksOf(after)).toMatchObject([
      { id: mine.id, title: 'Night ferry', description: '', priority: 'medium' },
      { id: yours.id, title: 'Train', description: 'Window seat' },
      { id, title: 'Bread', description: '' },
    ])
    network.mend()
    network.seen.length = 0
    after.sync.resume()
    await after.sync.awaitInSync()
    await laptop.sync.awaitInSync()
    expect(await tasksOf(after)).toMatchObject([
      { id: mine.id, title: 'Night ferry', description: 'With a cabin', priority: 'high' },
      { id: yours.id, title: 'Train', description: 'Window seat' },
      { id, title: 'Bread', description: '' },
    ])
    expect(await tasksOf(laptop)).toEqual(await tasksOf(after))
    expect((await ann.call('GET', '/api/conflicts/')).body.count).toBe(0)
    expect(network.seen).not.toContainEqual(expect.stringContaining('/tasks/0/pull?limit='))
  })

  test('an interrupted update is completed at the next start', async () => {
    const ann = await server.person()
    const name = `interrupted-${ann.id}`
    install(RELEASES[0]!)
    const before = await deviceOf(network, ann, { name, storage: storage() })
    const task = await before.tasks.add({ title: 'Ferry' })
    await before.sync.awaitInSync()
    network.cut()
    await task.incrementalPatch({ title: 'Night ferry' })
    await before.tasks.add({ title: 'Bread' })
    await shut(before)

    install(RELEASES[1]!)
    const full = { ...storage(), createStorageInstance: refusingMeta(storage()) } as Storage
    await expect(device(network, { name, storage: full })).rejects.toMatchObject({
      code: 'not_stored',
    })
    const after = await device(network, { name, storage: storage() })
    await until(after.sync.pending$, (pending) => pending === 2)
    expect(await tasksOf(after)).toMatchObject([{ title: 'Night ferry' }, { title: 'Bread' }])
  })

  test('an app may be updated again and again, and leaves nothing behind', async () => {
    const ann = await server.person()
    const name = `again-${ann.id}`
    install(RELEASES[0]!)
    const first = await deviceOf(network, ann, { name, storage: storage() })
    await first.sync.awaitInSync()
    network.cut()
    await first.tasks.add({ title: 'Ferry' })
    await shut(first)
    for (const release of RELEASES) {
      install(release)
      const phone = await device(network, { name, storage: storage() })
      await until(phone.sync.pending$, (pending) => pending === 1)
      expect(await tasksOf(phone)).toMatchObject([{ title: 'Ferry' }])
      if (release === RELEASES.at(-1)) await phone.session.signOut({ keepData: false })
      await shut(phone)
    }
    install(RELEASES[0]!)
    network.mend()
    network.onRequest = (path) => (path.startsWith('/replication/') ? 'lose' : 'pass')
    const fresh = await deviceOf(network, ann, { name, storage: storage() })
    expect(await tasksOf(fresh)).toEqual([])
  })
})

describe('a tab of the earlier release', () => {
  /** RxDB refuses to open a database twice on what it takes for one storage. */
  const tab = (number: number) => ({
    multiInstance: true,
    storage: Object.assign(dexieStorage(), { name: `dexie-${number}` }),
  })

  test('is outdated when another tab has the next release, and loses no write', async () => {
    const ann = await server.person()
    const name = `left-behind-${ann.id}`
    install(RELEASES[0]!)
    const old = await deviceOf(network, ann, { name, ...tab(1) })
    await old.sync.awaitInSync()
    network.cut()
    await old.tasks.add({ title: 'Before' })

    install(RELEASES[1]!)
    let isOver = false
    const opening = device(network, { name, ...tab(2) }).then((client) => {
      isOver = true
      return client
    })
    const kept = ['Before']
    const refused: unknown[] = []
    for (let count = 0; !isOver; count++) {
      await setImmediate()
      const title = `Meanwhile ${count}`
      await old.tasks.add({ title }).then(
        () => kept.push(title),
        (error) => refused.push(error),
      )
    }
    const next = await opening
    await until(old.sync.status$, (status) => status === 'outdated')
    await expect(old.tasks.add({ title: 'After' })).rejects.toThrow()
    expect(refused).not.toEqual([])
    const titles = (await tasksOf(next)).map(({ title }) => title)
    expect(titles).toEqual(expect.arrayContaining(kept))
    expect(kept.length).toBeGreaterThan(1)

    network.mend()
    await next.sync.awaitInSync()
    expect((await ann.call('GET', '/api/tasks/')).body.count).toBe(titles.length)
    await expect(old.session.signOut()).rejects.toMatchObject({ code: 'outdated_client' })
  })
})

test('an app that has been updated may use the dev-mode of RxDB', async () => {
  const ann = await server.person()
  const name = `checked-${ann.id}`
  const storage = wrappedValidateAjvStorage({ storage: getRxStorageMemory() })
  addRxPlugin(RxDBDevModePlugin)
  disableWarnings()
  install(RELEASES[0]!)
  const before = await deviceOf(network, ann, { name, storage })
  await before.sync.awaitInSync()
  network.cut()
  await editOf(before)
  await shut(before)
  install(RELEASES[1]!)
  network.mend()
  const after = await device(network, { name, storage })
  await editOf(after)
  await after.sync.awaitInSync()
  expect(await tasksOf(after)).toHaveLength(2)

  async function editOf(phone: Client) {
    const { id } = await phone.tasks.add({ title: 'Ferry' })
    await phone.tasks.complete(id)
    await phone.tasks.softDelete(id)
    await phone.tasks.restore(id)
  }
})

const OLD = {
  id: '019b0000-0000-7000-8000-000000000001',
  title: 'Ferry',
  completed: true,
  completed_at: '2026-12-01T10:00:00.000Z',
  position: 'a0',
  created_at: '2026-12-01T09:00:00.000Z',
  updated_at: '2026-12-01T11:00:00.000Z',
  _deleted: false,
}
const FULL = { ...tasks.initial, ...OLD }

test.each<[string, Record<string, unknown>, Record<string, unknown>]>([
  ['gets what is absent', OLD, FULL],
  ['keeps what is there', { ...OLD, description: 'Early' }, { ...FULL, description: 'Early' }],
  ['loses what is no field any more', { ...OLD, mood: 'good' }, FULL],
  [
    'keeps what is of RxDB',
    { ...OLD, _rev: '1-a', _meta: {} },
    { ...FULL, _rev: '1-a', _meta: {} },
  ],
  ['gets a place', { ...OLD, position: undefined }, { ...FULL, position: expect.any(String) }],
])('a document of an earlier release %s', (_what, document, expected) => {
  expect(inForm(tasks, document as typeof OLD)).toEqual(expected)
})

/** As of a server that does not have the field yet. */
async function withoutDescription(response: Response): Promise<Response> {
  return new Response((await response.text()).replaceAll('"description":"",', ''), response)
}

/** A storage that is full when the record of what is sent has its turn. */
function refusingMeta(storage: Storage): Storage['createStorageInstance'] {
  return async (parameters) => {
    const instance = await storage.createStorageInstance(parameters)
    if (parameters.schema.version === 1 && parameters.collectionName.includes('replication-meta'))
      instance.bulkWrite = async ([row]) => ({ error: [refusal(row!)] })
    return instance
  }
}

const refusal = (writeRow: object) =>
  ({ isError: true, status: 422, documentId: 'full', writeRow }) as never
