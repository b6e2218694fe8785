import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import type { Client, createClient, Storage } from '../../client-sdk/index.ts'
import type { keyValueStorage } from '../../client-sdk/key-value.ts'
import type { sqliteStorage } from '../../client-sdk/sqlite.ts'
import { startServer, type TestServer } from '../support/server.ts'
import { deviceOf, tasksOf, until } from './device.ts'
import { sqliteFile } from './media.ts'
import { createNetwork } from './network.ts'
import { type Bundle, bundle, install, MMKV_3, MMKV_4 } from './react-native.ts'

const IN_ONE = `export { createClient, keyValueStorage, sqliteStorage } from '@tasktide/client/react-native'`
const IN_PARTS = `export { createClient } from '@tasktide/client'
export { keyValueStorage } from '@tasktide/client/key-value'
export { sqliteStorage } from '@tasktide/client/sqlite'`

interface App {
  createClient: typeof createClient
  keyValueStorage: typeof keyValueStorage
  sqliteStorage: typeof sqliteStorage
}

let server: TestServer
let folder: string
let inOne: Bundle
let inParts: Bundle
beforeAll(async () => {
  server = await startServer()
  folder = await mkdtemp(path.join(tmpdir(), 'tasktide-react-native-'))
  await install(folder)
  inOne = await bundle(folder, IN_ONE)
  inParts = await bundle(folder, IN_PARTS)
}, 120_000)
afterAll(async () => {
  await rm(folder, { recursive: true, force: true })
  await server.stop()
})

/** What outlives the app, and how an app that starts makes a storage of it. */
interface Store {
  storage(app: App): Storage
  keys(): Promise<string[]>
}

function onMmkv(open: typeof MMKV_3 | typeof MMKV_4): Store {
  const kept = new Map<string, string>()
  return {
    storage: ({ keyValueStorage }) => keyValueStorage(open(kept)),
    keys: async () => [...kept.keys()],
  }
}

function onSqlite(): Store {
  const database = sqliteFile(':memory:')
  const places = 'select place from tasktide_owners'
  return {
    storage: ({ sqliteStorage }) => sqliteStorage(database),
    keys: async () => (await database.execute(places, [])).map((row) => Object.values(row)[0]),
  }
}

describe.each<[string, () => Bundle, () => Store]>([
  ['MMKV 3', () => inOne, () => onMmkv(MMKV_3)],
  ['MMKV 4', () => inOne, () => onMmkv(MMKV_4)],
  ['SQLite', () => inOne, () => onSqlite()],
  ['MMKV 4, in parts', () => inParts, () => onMmkv(MMKV_4)],
])('on %s', (name, app, open) => {
  test('an app signs in, works offline, starts again and syncs', async () => {
    const network = await createNetwork(server.url)
    const store = open()
    const start = (): Promise<Client> => {
      // Some library has made a `document`, as happens.
      const started: App = app().run({ document: {} })
      return started.createClient({ url: network.url, storage: store.storage(started) })
    }
    const username = `ann-${name.replace(/\W/g, '')}`
    const ann = { username, password: 'a ferry to Lisbon' }
    const phone = await start()
    await phone.session.register({ ...ann, email: `${username}@example.com` })
    await phone.tasks.add({ title: 'Ferry' })
    await phone.sync.awaitInSync()
    network.cut()
    await phone.tasks.add({ title: 'Train' })
    await phone.close()

    const again = await start()
    expect(await tasksOf(again)).toMatchObject([{ title: 'Ferry' }, { title: 'Train' }])
    network.mend()
    again.sync.wake()
    await again.sync.awaitInSync()
    const laptop = await deviceOf(server, ann as never)
    await laptop.sync.awaitInSync()
    expect(await tasksOf(laptop)).toEqual(JSON.parse(JSON.stringify(await tasksOf(again))))
    await laptop.tasks.add({ title: 'Bus' })
    await until(again.tasks.count().$, (count) => count === 3)

    await again.session.signOut({ keepData: false })
    await again.close()
    expect((await store.keys()).filter((key) => !key.includes('session'))).toEqual([])
    await network.close()
  })
})

test('without random values it says how to provide them', async () => {
  const { createClient, keyValueStorage }: App = inOne.run({ crypto: undefined })
  const storage = keyValueStorage(MMKV_4(new Map()))
  await expect(createClient({ url: server.url, storage })).rejects.toMatchObject({
    code: 'no_random_values',
    message: expect.stringContaining("import 'react-native-get-random-values'"),
  })
})

/** Minified, in KiB. Metro itself makes a bit more of the first, and twice as much of the second. */
test.each<[string, () => Bundle, number]>([
  ['with RxDB built in', () => inOne, 285],
  ['in parts, with the RxDB of the app', () => inParts, 461],
])('%s, it stays within its size budget', (_how, app, budget) => {
  expect(app().bytes / 1024).toBeLessThan(budget)
  const strangers = /\/(zod|dexie|ws|xmlhttprequest-ssl)\//
  expect(app().modules.filter((file) => strangers.test(file))).toEqual([])
})
