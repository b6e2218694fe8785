import { randomUUID } from 'node:crypto'
import { getRxStorageMemory } from 'rxdb/plugins/storage-memory'
import { describe, expect } from 'vitest'
import { type Client, type ClientOptions, createClient } from '../../client-sdk/index.ts'
import { keyValueStorage } from '../../client-sdk/key-value.ts'
import type { TestServer } from '../support/server.ts'
import { device, shut } from './device.ts'
import { test } from './fixtures.ts'
import { MMKV_4 } from './react-native.ts'

const storage = () => getRxStorageMemory()
const named = () => ({ name: `again-${randomUUID()}`, storage: storage() })

describe('a client whose name is open', () => {
  test('is shared, and its data stays open until the last one is closed', async ({
    server,
    ann,
  }) => {
    const options = named()
    const first = await device(server, options)
    await first.session.signIn(ann)
    const second = await device(server, { ...options, storage: storage() })
    const { id } = await second.tasks.add({ title: 'Ferry' })
    await shut(first)
    expect(await second.tasks.findOne(id).exec()).toMatchObject({ title: 'Ferry' })
    await shut(second)
    const third = await device(server, options)
    expect(await third.tasks.findOne(id).exec()).toMatchObject({ title: 'Ferry' })
  })

  test('as when React opens in an effect, closes in its cleanup and opens again', async ({
    server,
    ann,
  }) => {
    const options = named()
    const before = await device(server, options)
    await before.session.signIn(ann)
    await shut(before)
    const opening = device(server, options)
    const closing = opening.then(shut)
    const again = await device(server, options)
    await closing
    await again.tasks.add({ title: 'Ferry' })
    // Closing and opening at once: the second waits.
    const closed = shut(again)
    const last = await device(server, options)
    expect(await last.tasks.count().exec()).toBe(1)
    await closed
  })

  test('is another client on another store', async ({ server, ann, bob }) => {
    const on = () => ({ name: 'tasktide', storage: keyValueStorage(MMKV_4(new Map())) })
    const [anns, bobs] = [await device(server, on()), await device(server, on())]
    await anns.session.signIn(ann)
    await bobs.session.signIn(bob)
    await anns.tasks.add({ title: 'Ferry' })
    expect(await bobs.tasks.count().exec()).toBe(0)
    // RxDB cannot open the documents of one user twice.
    const third = await device(server, on())
    await expect(third.session.signIn(ann)).rejects.toMatchObject({ code: 'opened_elsewhere' })
  })

  test.for<[string, Partial<ClientOptions>, string]>([
    ['with another URL', { url: 'https://other.example.com' }, 'url: a client named'],
    ['with more resources', { resources: ['tasks', 'categories'] }, 'is open without categories'],
  ])('is refused %s', async ([, other, message], { server }) => {
    const options = { ...named(), resources: ['tasks'] as const }
    await device(server, options as object)
    await expect(device(server, { ...options, ...other } as object)).rejects.toMatchObject({
      code: 'invalid',
      message: expect.stringContaining(message),
    })
  })

  test('opens again after it could not be opened', async ({ server }) => {
    const options = named()
    const broken = {
      ...storage(),
      createStorageInstance: () => Promise.reject(new Error('broken')),
    }
    await expect(device(server, { ...options, storage: broken })).rejects.toThrow('broken')
    await device(server, options)
  })
})

describe('a closed client', () => {
  test.for<[string, (client: Client) => unknown]>([
    ['session.signIn', ({ session }) => session.signIn({ username: 'ann', password: 'x' })],
    ['session.signOut', ({ session }) => session.signOut()],
    ['account.get', ({ account }) => account.get()],
    ['sync.awaitInSync', ({ sync }) => sync.awaitInSync()],
    ['tasks', async ({ tasks }) => tasks],
  ])('refuses %s', async ([, use], { server }) => {
    const client = await closedClient(server)
    await expect(use(client)).rejects.toMatchObject({ name: 'ClientError', code: 'closed' })
  })

  test('can be closed and woken again', async ({ server }) => {
    const client = await closedClient(server)
    client.sync.wake()
    await client.close()
  })

  async function closedClient(server: TestServer) {
    const options = named()
    // The data is open still, in another one.
    await device(server, options)
    const client = await device(server, options)
    await shut(client)
    return client
  }
})

describe('an option that is missing or wrong', () => {
  const good = { url: 'https://tasks.example.com', storage: storage() }
  test.for<[object, string]>([
    [{ url: undefined }, 'url: is missing. Use the URL of the server'],
    [{ url: 'tasks.example.com' }, 'url: "tasks.example.com" has no scheme'],
    [{ url: 'localhost:3000' }, 'url: "localhost:3000" has no scheme'],
    [{ url: 'https://example.com/tasks' }, 'is not valid. Use a URL without a path'],
    [{ url: 'ftp://example.com' }, 'url: "ftp://example.com" is not valid'],
    [{ url: new URL('https://example.com/tasks') }, 'is not valid. Use a URL without a path'],
    [{ url: 3000 }, 'url: "3000" has no scheme'],
    [{ storage: undefined }, 'storage: is missing. Use dexieStorage()'],
    [{ storage: getRxStorageMemory }, 'storage: is missing'],
    [{ resources: ['task'] }, 'resources: ["task"] is not valid. Use one or more of tasks'],
  ])('is named: %j', async ([wrong, message]) => {
    await expect(createClient({ ...good, ...wrong })).rejects.toMatchObject({
      code: 'invalid',
      message: expect.stringContaining(message),
    })
  })

  test('is named if nothing is given', async () => {
    await expect(createClient(undefined as never)).rejects.toMatchObject({
      code: 'invalid',
      message: expect.stringMatching(/^(url|storage): is missing/),
    })
  })
})
