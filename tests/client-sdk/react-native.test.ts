import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import type { Client, ClientOptions } from '../../client-sdk/index.ts'
import type { KeyValueStore } from '../../client-sdk/storage-key-value.ts'
import { startServer, type TestServer } from '../support/server.ts'
import { deviceOf, tasksOf, until } from './device.ts'
import { createNetwork } from './network.ts'
import { type Bundle, bundle, MMKV_3, MMKV_4 } from './react-native.ts'

const APP = `import { createClient } from '@tasktide/client'
import { keyValueStorage } from '@tasktide/client/key-value'
export const start = (store, options) =>
  createClient({ storage: keyValueStorage(store), ...options })`

let server: TestServer
let app: Bundle
beforeAll(async () => {
  server = await startServer()
  app = await bundle(APP)
}, 120_000)
afterAll(() => server.stop())

/** Some library has made a `document`, as happens. */
const start = (store: KeyValueStore, options: Partial<ClientOptions>): Promise<Client> =>
  app.run({ document: {} }).start(store, options)

describe.each([
  ['MMKV 3', MMKV_3],
  ['MMKV 4', MMKV_4],
])('with %s', (name, open) => {
  test('an app signs in, works offline, starts again and syncs', async () => {
    const network = await createNetwork(server.url)
    const kept = new Map<string, string>()
    const ann = { username: `ann-${name.at(-1)}`, password: 'a ferry to Lisbon' }
    const phone = await start(open(kept), { url: network.url })
    await phone.session.register({ ...ann, email: `${ann.username}@example.com` })
    await phone.tasks.add({ title: 'Ferry' })
    await phone.sync.awaitInSync()
    network.cut()
    await phone.tasks.add({ title: 'Train' })
    await phone.close()

    const again = await start(open(kept), { url: network.url })
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
    expect([...kept.keys()].filter((key) => !key.includes('session'))).toEqual([])
    await network.close()
  })
})

test('without random values it says how to get them', async () => {
  const failed = app.run({ crypto: undefined }).start(MMKV_4(new Map()), { url: server.url })
  await expect(failed).rejects.toMatchObject({
    code: 'no_random_values',
    message: expect.stringContaining("import 'react-native-get-random-values'"),
  })
})
