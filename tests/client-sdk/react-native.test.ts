import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import type { Client, createClient, Storage } from '../../client-sdk/index.ts'
import type { keyValueStorage } from '../../client-sdk/storage-key-value.ts'
import type { sqliteStorage } from '../../client-sdk/storage-sqlite.ts'
import { startServer, type TestServer } from '../support/server.ts'
import { deviceOf, tasksOf, until } from './device.ts'
import { sqliteFile } from './media.ts'
import { createNetwork } from './network.ts'
import { type Bundle, bundle, MMKV_3, MMKV_4 } from './react-native.ts'

const APP = `export { createClient } from '@tasktide/client'
export { keyValueStorage } from '@tasktide/client/key-value'
export { sqliteStorage } from '@tasktide/client/sqlite'`

interface App {
  createClient: typeof createClient
  keyValueStorage: typeof keyValueStorage
  sqliteStorage: typeof sqliteStorage
}

let server: TestServer
let app: Bundle
beforeAll(async () => {
  server = await startServer()
  app = await bundle(APP)
}, 120_000)
afterAll(() => server.stop())

/** What outlives the app, and how an app that starts makes a storage of it. */
const STORES: Record<
  string,
  () => { storage: (app: App) => Storage; keys: () => Promise<string[]> }
> = {
  'MMKV 3': () => onMmkv(MMKV_3),
  'MMKV 4': () => onMmkv(MMKV_4),
  SQLite() {
    const database = sqliteFile(':memory:')
    const places = 'select place from tasktide_owners'
    return {
      storage: ({ sqliteStorage }) => sqliteStorage(database),
      keys: async () => (await database.execute(places, [])).map((row) => Object.values(row)[0]),
    }
  },
}

function onMmkv(open: typeof MMKV_3 | typeof MMKV_4) {
  const kept = new Map<string, string>()
  return {
    storage: ({ keyValueStorage }: App) => keyValueStorage(open(kept)),
    keys: async () => [...kept.keys()],
  }
}

describe.each(Object.entries(STORES))('on %s', (name, open) => {
  test('an app signs in, works offline, starts again and syncs', async () => {
    const network = await createNetwork(server.url)
    const store = open()
    const start = (): Promise<Client> => {
      // Some library has made a `document`, as happens.
      const started: App = app.run({ document: {} })
      return started.createClient({ url: network.url, storage: store.storage(started) })
    }
    const username = `ann-${name.replace(' ', '')}`
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

test('without random values it says how to get them', async () => {
  const { createClient, keyValueStorage }: App = app.run({ crypto: undefined })
  const storage = keyValueStorage(MMKV_4(new Map()))
  await expect(createClient({ url: server.url, storage })).rejects.toMatchObject({
    code: 'no_random_values',
    message: expect.stringContaining("import 'react-native-get-random-values'"),
  })
})
