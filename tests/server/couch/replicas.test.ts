import { randomUUID } from 'node:crypto'
import adapterHttp from 'pouchdb-adapter-http'
import adapterMemory from 'pouchdb-adapter-memory'
import PouchDB from 'pouchdb-core'
import replication from 'pouchdb-replication'
import { createRxDatabase } from 'rxdb'
import { type RxCouchDBReplicationState, replicateCouchDB } from 'rxdb/plugins/replication-couchdb'
import { getRxStorageMemory } from 'rxdb/plugins/storage-memory'
import { describe, expect, onTestFinished } from 'vitest'
import { beginEpoch } from '../../../server/store/epoch.ts'
import { test as served } from '../../support/fixtures.ts'

PouchDB.plugin(adapterHttp).plugin(adapterMemory).plugin(replication)

const test = served
  .extend('environment', { COUCH_TEST_MODE: '1' })
  .extend('url', async ({ server }) => {
    const path = `/couch-test/d${randomUUID()}`
    await server.call('PUT', path)
    return `${server.url}${path}`
  })
  .extend('remote', ({ url }) => new PouchDB(url))

function device() {
  const local = new PouchDB(randomUUID(), { adapter: 'memory' })
  onTestFinished(() => local.destroy())
  return local
}

async function contents(database: PouchDB) {
  const { rows } = await database.allDocs({ include_docs: true, conflicts: true })
  return rows.map(({ doc }) => doc)
}

describe('PouchDB', () => {
  test('replicas that edit offline end with the same leaves', async ({ url, remote }) => {
    const devices = [device(), device(), device()]
    await devices[0]!.put({ _id: 'a', n: 0 })
    for (const one of [...devices, ...devices]) await one.sync(url)
    for (const [n, one] of devices.entries()) {
      const { _rev } = await one.get('a')
      const { rev } = await one.put({ _id: 'a', _rev, n: n + 1 })
      if (n === 2) await one.remove('a', rev)
      await one.put({ _id: `own ${n}`, n })
    }
    for (const one of [...devices, ...devices]) await one.sync(url)
    const expected = await contents(remote)
    expect(expected).toHaveLength(4)
    expect(expected[0]).toMatchObject({ _id: 'a', _conflicts: [expect.stringMatching(/^2-/)] })
    for (const one of devices) expect(await contents(one)).toEqual(expected)
  })

  test('a live replica gets what others write, and a filtered one what it asked for', async ({
    url,
    remote,
  }) => {
    const [all, some] = [device(), device()]
    const live = all.sync(url, { live: true, retry: true })
    const filtered = some.replicate.from(url, { live: true, selector: { type: 'x' } })
    onTestFinished(() => void [live.cancel(), filtered.cancel()])
    await remote.put({ _id: 'a', type: 'y' })
    await remote.put({ _id: 'b', type: 'x' })
    await expect.poll(async () => (await contents(all)).length).toBe(2)
    await expect.poll(() => contents(some)).toMatchObject([{ _id: 'b' }])
    await all.put({ _id: 'c', type: 'x' })
    await expect.poll(async () => (await contents(some)).length).toBe(2)
  })

  test('a document that the server refuses is denied, and the others arrive', async ({
    url,
    remote,
  }) => {
    const local = device()
    const file = { content_type: 'text/plain', data: 'YQ==' }
    await local.bulkDocs([
      { _id: 'a' },
      { _id: 'b', _attachments: { file } },
      { _id: 'c', text: 'NUL \0, half a pair \ud800' },
    ] as object[])
    const denied: unknown[] = []
    const pushed = local.replicate.to(url)
    pushed.on('denied', (error: unknown) => denied.push(error))
    const { ok, doc_write_failures } = (await pushed) as { ok: boolean; doc_write_failures: number }
    expect([ok, doc_write_failures]).toEqual([true, 1])
    expect(denied).toMatchObject([{ id: 'b', name: 'forbidden' }])
    expect((await contents(remote)).map((one) => one!._id)).toEqual(['a', 'c'])
    expect(await remote.get('c')).toMatchObject({ text: 'NUL \0, half a pair \ud800' })
    // It passed what was denied.
    expect(await local.replicate.to(url)).toMatchObject({ docs_read: 0 })
  })

  test('a live replica finds its way in a restored database', async ({ url, remote, server }) => {
    const local = device()
    await remote.put({ _id: 'old' })
    const live = local.sync(url, { live: true, retry: true })
    onTestFinished(() => void live.cancel())
    await expect.poll(() => local.get('old').catch(() => undefined)).toBeDefined()
    await beginEpoch(server.testDatabase.db)
    await remote.put({ _id: 'new' })
    await expect
      .poll(() => local.get('new').catch(() => undefined), { timeout: 15_000 })
      .toBeDefined()
  })
})

describe("RxDB's replication with CouchDB", () => {
  const schema = {
    version: 0,
    primaryKey: 'id',
    type: 'object',
    properties: { id: { type: 'string', maxLength: 100 }, title: { type: 'string' } },
  } as const

  async function collection(url: string) {
    const database = await createRxDatabase({ name: randomUUID(), storage: getRxStorageMemory() })
    const { tasks } = await database.addCollections({ tasks: { schema } })
    const state = replicateCouchDB({
      replicationIdentifier: randomUUID(),
      collection: tasks!,
      url: `${url}/`,
      live: true,
      retryTime: 50,
      pull: { heartbeat: 1_000 },
      push: {},
    }) as RxCouchDBReplicationState<{ id: string; title: string }>
    onTestFinished(async () => {
      await state.cancel()
      await database.close()
    })
    await state.awaitInitialReplication()
    return { tasks: tasks!, state }
  }

  const titles = async ({ tasks }: Awaited<ReturnType<typeof collection>>) =>
    (await tasks.find().exec()).map((one) => one.toJSON().title).sort()

  test('two devices and a PouchDB exchange documents, edits and deletions', async ({
    url,
    remote,
  }) => {
    const [one, other] = [await collection(url), await collection(url)]
    await one.tasks.insert({ id: 'a', title: 'Milk' })
    await remote.put({ _id: 'b', title: 'Bread' } as object)
    await expect.poll(() => titles(other)).toEqual(['Bread', 'Milk'])
    const milk = await other.tasks.findOne('a').exec()
    await milk.patch({ title: 'Oat milk' })
    await expect.poll(() => titles(one)).toEqual(['Bread', 'Oat milk'])
    await (await one.tasks.findOne('b').exec()).remove()
    await expect.poll(() => titles(other)).toEqual(['Oat milk'])
    await expect.poll(() => contents(remote)).toMatchObject([{ _id: 'a', title: 'Oat milk' }])
    // A tombstone is written over.
    await other.tasks.insert({ id: 'b', title: 'Rolls' })
    await expect.poll(() => titles(one)).toEqual(['Oat milk', 'Rolls'])
  })
})
