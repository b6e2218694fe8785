import 'fake-indexeddb/auto'
import { randomUUID } from 'node:crypto'
import { setTimeout } from 'node:timers/promises'
import { OPEN_COLLECTIONS } from 'rxdb'
import { getRxStorageMemory } from 'rxdb/plugins/storage-memory'
import { afterAll, describe, expect } from 'vitest'
import { dexieStorage } from '../../client-sdk/dexie.ts'
import type { Client, SyncState } from '../../client-sdk/index.ts'
import type { Storage } from '../../client-sdk/local/storage.ts'
import { test } from '../support/fixtures.ts'
import type { Person } from '../support/server.ts'
import { device, deviceOf, shut, tasksOf, until } from './device.ts'
import { type FailingStorage, failingStorage, type Moment, type Write } from './failing-storage.ts'
import { acceptAnyText } from './lax-rules.ts'
import { keyValueMedium, sqliteMedium } from './media.ts'
import { createNetwork } from './network.ts'

afterAll(acceptAnyText())

const STORAGES: [string, () => Storage][] = [
  ['memory', () => getRxStorageMemory()],
  ['IndexedDB, through Dexie', dexieStorage],
  ['a key-value store', () => keyValueMedium().storage()],
  ['SQLite', () => sqliteMedium().storage()],
]
/** More documents than one page has. */
const PAGES = 600
const MOMENTS: Moment[] = ['before', 'half', 'after']
const COLLECTIONS = ['tasks', 'categories', 'profile', 'conflicts'] as const
const isFromServer = ({ context }: Write) => context.startsWith('replication-')
const isKnownState = ({ collection }: Write) => collection.startsWith('rx-replication-meta')

describe.each(STORAGES)('on %s', (_name, storage) => {
  describe.each(MOMENTS)('a write that fails once, %s', (moment) => {
    test('leaves no hole in the first sync', async ({ server, ann }) => {
      await pushTasks(ann, PAGES)
      for (const nth of [1, 2, 3]) {
        const failing = failOnce(moment, nth, isFromServer, failingStorage(storage()))
        const phone = await impatient(await deviceOf(server, ann, failing))
        const synced = await until(phone.sync.state$, ({ status }) => status === 'synced')
        expect(synced.error).toBeNull()
        expect(failing.failures).toBe(1)
        expect(await phone.tasks.count().exec()).toBe(PAGES)
        await shut(phone)
      }
    })

    test.for(COLLECTIONS)(
      'leaves no hole in what is pulled of %s',
      async (collection, { server, ann }) => {
        await oneOfEach(ann)
        const isOf = (write: Write) => write.collection === collection
        const failing = failOnce(moment, 1, isOf, failingStorage(storage()))
        const phone = await impatient(await deviceOf(server, ann, failing))
        await until(phone.sync.status$, (status) => status === 'synced')
        expect(failing.failures).toBe(1)
        expect(await phone[collection].count().exec()).toBe(1)
        await expectAgreement(ann, phone)
      },
    )

    test.for(['documents', 'known states'])(
      'loses nothing of a frame: its %s',
      async (what, { server, ann }) => {
        const failing = failingStorage(storage())
        const phone = await impatient(await deviceOf(server, ann, failing))
        const { body } = await ann.call('POST', '/api/tasks/', { title: 'Ferry' })
        await phone.sync.awaitInSync()
        const isMeant = what === 'documents' ? isFromServer : isKnownState
        failOnce(moment, 1, (write) => isMeant(write), failing)
        await ann.call('PATCH', `/api/tasks/${body.id}/`, { title: 'Night ferry' })
        await until(phone.tasks.findOne(body.id).$, (task) => task?.title === 'Night ferry')
        await expect.poll(() => failing.failures).toBe(1)
        await until(phone.sync.status$, (status) => status === 'synced')
        await ann.call('PATCH', `/api/tasks/${body.id}/`, { title: 'Day ferry' })
        await until(phone.tasks.findOne(body.id).$, (task) => task?.title === 'Day ferry')
        await expectAgreement(ann, phone)
      },
    )

    test('makes no task deaf when it was to record a push', async ({ server, ann }) => {
      const failing = failingStorage(storage())
      const phone = await impatient(await deviceOf(server, ann, failing))
      await phone.sync.awaitInSync()
      failOnce(moment, 1, isKnownState, failing)
      const { id } = await phone.tasks.add({ title: 'Ferry' })
      await until(phone.sync.pending$, (pending) => pending === 0)
      expect(failing.failures).toBe(1)
      await ann.call('PATCH', `/api/tasks/${id}/`, { title: 'Night ferry' })
      await until(phone.tasks.findOne(id).$, (task) => task?.title === 'Night ferry')
      await phone.sync.awaitInSync()
      await expectAgreement(ann, phone)
      expect((await ann.call('GET', '/api/conflicts/')).body.count).toBe(0)
    })

    test('loses no edit, whichever write it is', async ({ server, ann }) => {
      for (let nth = 1; nth <= 6; nth++) {
        const failing = failingStorage(storage())
        const name = `edit-${randomUUID()}`
        const phone = await impatient(await deviceOf(server, ann, { name, ...failing }))
        const task = await phone.tasks.add({ title: 'Ferry' })
        await phone.sync.awaitInSync()
        failOnce(moment, nth, () => true, failing)
        const isTold = await task.incrementalPatch({ title: `Ferry ${nth}` }).then(
          () => false,
          () => true,
        )
        // Another edit, so that there are writes enough.
        await phone.tasks.add({ title: 'Other' }).catch(() => {})
        await until(phone.sync.pending$, (pending) => pending === 0)
        await phone.sync.awaitInSync()
        const { body } = await ann.call('GET', `/api/tasks/${task.id}/`)
        if (!isTold) expect(body.title).toBe(`Ferry ${nth}`)
        await expectAgreement(ann, phone)
        await shut(phone)
        const again = await device(server, { name, ...failing })
        await again.sync.awaitInSync()
        await expectAgreement(ann, again)
        await shut(again)
      }
    })

    test('loses no edit that the server refuses', async ({ server, ann }) => {
      const failing = failingStorage(storage())
      const phone = await impatient(await deviceOf(server, ann, failing))
      await phone.sync.awaitInSync()
      const isRejections = ({ rows }: Write) => rows.some(({ document }) => 'data' in document)
      failOnce(moment, 1, isRejections, failing)
      await phone.tasks.add({ title: ' ' })
      const [rejected] = await until(phone.sync.rejected$, (rows) => rows.length === 1)
      expect(rejected).toMatchObject({ code: 'invalid', document: { title: ' ' } })
      expect(failing.failures).toBe(1)
      await until(phone.sync.status$, (status) => status === 'synced')
      expect(await phone.tasks.count().exec()).toBe(0)
    })
  })

  test('while the storage is full, the status is an error that says so, and then all comes by itself', async ({
    server,
    ann,
  }) => {
    const failing = failingStorage(storage())
    const phone = await deviceOf(server, ann, failing)
    await phone.sync.awaitInSync()
    const states: SyncState[] = []
    phone.sync.state$.subscribe((state) => states.push(state))
    failing.onWrite = () => ({
      moment: 'before',
      error: new DOMException('The quota has been exceeded.', 'QuotaExceededError'),
    })
    await ann.call('POST', '/api/tasks/', { title: 'Ferry' })
    const { error } = await until(phone.sync.state$, ({ status }) => status === 'error')
    expect(error).toEqual({
      code: 'storage_full',
      message:
        'The storage of this device is full. Free some space; sync then continues by itself.',
    })
    await ann.call('POST', '/api/tasks/', { title: 'Train' })
    await expect.poll(() => failing.failures, { timeout: 10_000 }).toBeGreaterThan(2)
    expect(states.at(-1)!.status).toBe('error')
    failing.onWrite = () => undefined
    phone.sync.wake()
    await until(phone.tasks.count().$, (count) => count === 2)
    await until(phone.sync.status$, (status) => status === 'synced')
  })

  test('a task that is inserted where one of the server cannot be stored does not replace that silently', async ({
    server,
    ann,
  }) => {
    const failing = failingStorage(storage())
    const phone = await impatient(await deviceOf(server, ann, failing))
    await phone.sync.awaitInSync()
    const isFerry = ({ document }: Write['rows'][number]) => document.title === 'Ferry'
    failing.onWrite = ({ rows }) => (rows.some(isFerry) ? { moment: 'before' } : undefined)
    const { body } = await ann.call('POST', '/api/tasks/', { title: 'Ferry' })
    await until(phone.sync.status$, (status) => status === 'error')
    await phone.tasks.insert({ id: body.id, title: 'Night ferry' })
    phone.sync.wake()
    await phone.sync.awaitInSync()
    await expectAgreement(ann, phone)
    const { results } = (await ann.call('GET', '/api/conflicts/')).body
    expect(results).toMatchObject([{ lost: { title: 'Ferry' }, kept: { title: 'Night ferry' } }])
  })

  test('an app that ends while the storage fails goes on at the next start', async ({
    server,
    ann,
  }) => {
    for (const isMeant of [isFromServer, isKnownState]) {
      const failing = failingStorage(storage())
      const name = `ended-${randomUUID()}`
      const phone = await deviceOf(server, ann, { name, ...failing })
      const task = await phone.tasks.add({ title: 'Ferry' })
      await phone.sync.awaitInSync()
      failing.onWrite = (write) => (isMeant(write) ? { moment: 'half' } : undefined)
      await ann.call('POST', '/api/tasks/', { title: 'Train' })
      await task.incrementalPatch({ title: 'Night ferry' })
      await until(phone.sync.status$, (status) => status === 'error')
      await shut(phone)

      // Others go on meanwhile: one task is edited, and one that the device may have half is deleted.
      await ann.call('PATCH', `/api/tasks/${task.id}/`, { description: 'Late' })
      failing.onWrite = () => undefined
      const again = await device(server, { name, ...failing })
      await again.sync.awaitInSync()
      await expectAgreement(ann, again)
      const { body } = await ann.call('GET', `/api/tasks/${task.id}/`)
      expect(body).toMatchObject({ title: 'Night ferry', description: 'Late' })
      expect((await ann.call('GET', '/api/conflicts/')).body.count).toBe(0)
      await shut(again)
    }
  })

  test('an app that ends between the two states of a document takes none for an edit', async ({
    server,
    ann,
  }) => {
    const failing = failingStorage(storage())
    const name = `between-${ann.id}`
    const phone = await deviceOf(server, ann, { name, ...failing })
    const { id } = await phone.tasks.add({ title: 'Ferry' })
    await phone.sync.awaitInSync()
    const isState = ({ rows }: Write) => rows.some(({ document }) => document.isCheckpoint === '0')
    failing.onWrite = (write) => (isState(write) ? { moment: 'before' } : undefined)
    await ann.call('PATCH', `/api/tasks/${id}/`, { title: 'Night ferry' })
    await until(phone.tasks.findOne(id).$, (task) => task?.title === 'Night ferry')
    await until(phone.sync.status$, (status) => status === 'error')
    await shut(phone)

    await ann.call('PATCH', `/api/tasks/${id}/`, { title: 'Day ferry' })
    failing.onWrite = () => undefined
    const again = await device(server, { name, ...failing })
    await again.sync.awaitInSync()
    await expectAgreement(ann, again)
    expect((await ann.call('GET', '/api/conflicts/')).body.count).toBe(0)
  })

  test.for([
    ['opens no collection', 'categories', 'open'],
    ['does not read what stands beside them', 'plugin-local-documents', 'read'],
  ] as const)(
    'a start that %s leaves nothing open',
    async ([_what, broken, access], { server, ann }) => {
      const failing = failingStorage(storage())
      const name = `ajar-${ann.id}`
      await shut(await deviceOf(server, ann, { name, ...failing }))
      failing.isBroken = async (collection, doing) => {
        if (collection === 'profile') await setTimeout(20) // later than what fails
        return doing === access && collection.startsWith(broken)
      }
      for (let i = 0; i < 5; i++)
        await expect(device(server, { name, ...failing })).rejects.toThrow('does not answer')
      expect(failing.open.size).toBe(0)
      expect(OPEN_COLLECTIONS.size).toBe(0)
      failing.isBroken = () => false
      const phone = await device(server, { name, ...failing })
      await phone.sync.awaitInSync()
    },
  )

  test('a read that fails ends no stream', async ({ server, ann }) => {
    const failing = failingStorage(storage())
    const phone = await deviceOf(server, ann, failing)
    await phone.sync.awaitInSync()
    failing.failingReads = 1
    const rejected = until(phone.sync.rejected$, (rows) => rows.length === 1)
    await expect.poll(() => failing.failingReads).toBe(0)
    await phone.tasks.add({ title: ' ' })
    expect(await rejected).toMatchObject([{ code: 'invalid' }])
  })

  test('a sign-out that is kept, though its write failed, is completed', async ({
    server,
    ann,
  }) => {
    const failing = failingStorage(storage())
    const name = `out-${ann.id}`
    const phone = await deviceOf(server, ann, { name, ...failing })
    await phone.tasks.add({ title: 'Not sent, and dropped' })
    failOnce('after', 1, ({ collection }) => collection === 'session', failing)
    await phone.session.signOut({ keepData: false })
    expect(failing.failures).toBe(1)
    await until(phone.session.user$, (user) => user === null)
    await phone.session.signIn(ann)
    await phone.tasks.add({ title: 'Kept' })
    await shut(phone)
    const again = await device(server, { name, ...failing })
    expect((await tasksOf(again)).map(({ title }) => title)).toContain('Kept')
  })

  test.for([5_000, 86_400_000])(
    'a clock that was %i ms ahead once stops no edit, not over a restart either',
    async (ahead, { server, ann }) => {
      const network = await createNetwork(server.url)
      const failing = failingStorage(storage())
      const name = `ahead-${ann.id}`
      failing.clockOffset = ahead
      const before = await deviceOf(network, ann, { name, ...failing })
      const first = await before.tasks.add({ title: 'Ferry' })
      await before.sync.awaitInSync()
      await shut(before)

      failing.clockOffset = 0
      network.cut()
      const offline = await device(network, { name, ...failing })
      await offline.tasks.add({ title: 'Written offline' })
      const known = await offline.tasks.findOne(first.id).exec(true)
      await known.incrementalPatch({ title: 'Night ferry' })
      await until(offline.sync.pending$, (pending) => pending === 2)
      await expect(offline.session.signOut()).rejects.toMatchObject({ code: 'unsent_edits' })
      await shut(offline)

      const again = await device(network, { name, ...failing })
      await until(again.sync.pending$, (pending) => pending === 2)
      network.mend()
      again.sync.wake()
      await again.sync.awaitInSync()
      const { results } = (await ann.call('GET', '/api/tasks/?ordering=title')).body
      expect(results.map(({ title }: { title: string }) => title)).toEqual([
        'Night ferry',
        'Written offline',
      ])
      await network.close()
    },
  )
})

/** Fails the nth write of those that are meant. */
function failOnce(
  moment: Moment,
  nth: number,
  isMeant: (write: Write) => boolean,
  failing: FailingStorage,
): FailingStorage {
  let count = 0
  failing.onWrite = (write) => (isMeant(write) && ++count === nth ? { moment } : undefined)
  return failing
}

/** Tries again at once what its storage refuses. */
async function impatient(client: Client): Promise<Client> {
  client.sync.status$.subscribe((status) => {
    if (status === 'error') client.sync.wake()
  })
  return client
}

async function pushTasks(person: Person, count: number): Promise<void> {
  const rows = Array.from({ length: count }, (_, i) => ({
    newDocumentState: { id: randomUUID(), title: `Task ${i}` },
  }))
  for (let from = 0; from < count; from += 600)
    await person.call('POST', '/replication/tasks/0/push', rows.slice(from, from + 600))
}

/** A task, a category and a conflict; a profile is there from the start. */
async function oneOfEach(person: Person): Promise<void> {
  await person.call('POST', '/api/categories/', { name: 'Travel' })
  const { body: task } = await person.call('POST', '/api/tasks/', { title: 'Ferry' })
  await person.call('PATCH', `/api/tasks/${task.id}/`, { title: 'Day ferry' })
  const assumedMasterState = { ...task, _deleted: false }
  const newDocumentState = { ...assumedMasterState, title: 'Night ferry' }
  await person.call('POST', '/replication/tasks/0/push', [{ newDocumentState, assumedMasterState }])
}

async function expectAgreement(person: Person, client: Client): Promise<void> {
  const { results } = (await person.call('GET', '/api/tasks/?page_size=100')).body
  const byId = (a: { id: string }, b: { id: string }) => (a.id < b.id ? -1 : 1)
  expect(await tasksOf(client)).toEqual(results.sort(byId))
}
