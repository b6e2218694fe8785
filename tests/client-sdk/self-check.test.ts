import 'fake-indexeddb/auto'
import { randomUUID } from 'node:crypto'
import { getRxStorageMemory } from 'rxdb/plugins/storage-memory'
import { firstValueFrom } from 'rxjs'
import { describe, expect } from 'vitest'
import { dexieStorage } from '../../client-sdk/dexie.ts'
import type { Storage } from '../../client-sdk/local/storage.ts'
import type { WireDocument } from '../../protocol/index.ts'
import type { Person } from '../support/server.ts'
import { device, deviceOf, shut, tasksOf, until } from './device.ts'
import { type FaultyStorage, faultyStorage } from './faulty-storage.ts'
import { test } from './fixtures.ts'
import { keyValueMedium, sqliteMedium } from './media.ts'
import { problem } from './network.ts'

const STORAGES: [string, () => Storage][] = [
  ['memory', () => getRxStorageMemory()],
  ['IndexedDB, through Dexie', dexieStorage],
  ['a key-value store', () => keyValueMedium().storage()],
  ['SQLite', () => sqliteMedium().storage()],
]
const COUNT = 40

const ROWS = ['pulled', 'followed', 'own'] as const

describe.each(STORAGES)('on %s, a self-check', (_name, open) => {
  test('of an intact device writes nothing', async ({ server, ann }) => {
    const { phone, faulty } = await deviceWithTasks(server, ann, { storage: open() })
    faulty.watch()
    expect(await phone.sync.verify()).toBe(0)
    expect(faulty.written).toEqual({})
  })

  test.for<[what: string, row: (typeof ROWS)[number], fault: Fault]>([
    ...ROWS.flatMap((row): [string, typeof row, Fault][] => [
      [
        `the title of a ${row} document`,
        row,
        (faulty, id) => faulty.corrupt(id, { title: 'Tusk' }),
      ],
      [
        `a ${row} document marked as deleted`,
        row,
        (faulty, id) => faulty.corrupt(id, { _deleted: true }),
      ],
      [
        `the known state of a ${row} document`,
        row,
        (faulty, id) => faulty.corruptKnown(id, { title: 'Tusk' }),
      ],
      [`a ${row} document that is missing`, row, (faulty, id) => faulty.lose(id)],
    ]),
    [
      'a date',
      'followed',
      (faulty, id) => faulty.corrupt(id, { updated_at: '2099-01-01T00:00:00.000Z' }),
    ],
    ['a date that is none', 'followed', (faulty, id) => faulty.corrupt(id, { updated_at: '' })],
  ])('finds and repairs only %s', async ([_what, row, fault], { server, ann }) => {
    const { phone, faulty, ids } = await deviceWithTasks(server, ann, { storage: open() })
    const before = await tasksOf(phone)
    await fault(faulty, ids[row])
    faulty.watch()
    expect(await phone.sync.verify()).toBe(1)
    const { tasks = [], known = [] } = faulty.written
    expect(new Set([...tasks, ...known])).toEqual(new Set([ids[row]]))
    expect(await tasksOf(phone)).toEqual(before)
    expect(await tasksOf(phone)).toEqual(await storedFor(ann))
    faulty.watch()
    expect(await phone.sync.verify()).toBe(0)
    expect(faulty.written).toEqual({})
    // It follows the server as before.
    await ann.call('PATCH', `/api/tasks/${ids[row]}/`, { description: 'By night' })
    await until(phone.tasks.findOne(ids[row]).$, (task) => task?.description === 'By night')
    await until(phone.sync.pending$, (pending) => pending === 0)
    expect(await tasksOf(phone)).toEqual(await storedFor(ann))
  })

  test('keeps an unsent edit, and repairs the state that it was made on', async ({
    server,
    network,
    ann,
  }) => {
    const { phone, faulty, ids } = await deviceWithTasks(network, ann, { storage: open() })
    network.onRequest = (path, method) =>
      method === 'POST' && path.includes('/push') ? problem('unavailable') : 'pass'
    const id = ids.followed
    const task = await phone.tasks.findOne(id).exec(true)
    await task.incrementalPatch({ description: 'At dawn' })
    await faulty.corruptKnown(id, { title: 'Tusk', priority: 'high' })
    faulty.watch()
    expect(await phone.sync.verify()).toBe(1)
    expect(faulty.written.tasks).toBeUndefined()
    expect((await phone.tasks.findOne(id).exec(true)).description).toBe('At dawn')
    // Another device changes another field meanwhile: with the faulty state as base, it would be lost.
    const laptop = await deviceOf(server, ann)
    await laptop.sync.awaitInSync()
    await (await laptop.tasks.findOne(id).exec(true)).incrementalPatch({ title: 'Sunrise' })
    await laptop.sync.awaitInSync()
    network.onRequest = () => 'pass'
    phone.sync.wake()
    await phone.sync.awaitInSync()
    await laptop.sync.awaitInSync()
    expect(await laptop.tasks.findOne(id).exec(true)).toMatchObject({
      title: 'Sunrise',
      description: 'At dawn',
      priority: 'medium',
    })
    expect(await tasksOf(laptop)).toEqual(await tasksOf(phone))
  })

  test('leaves the base of an unsent edit alone, which others have changed since', async ({
    network,
    ann,
  }) => {
    const { phone, faulty, ids } = await deviceWithTasks(network, ann, { storage: open() })
    network.onRequest = (path, method) =>
      method === 'POST' && path.includes('/push') ? problem('unavailable') : 'pass'
    const id = ids.followed
    await (await phone.tasks.findOne(id).exec(true)).incrementalPatch({ description: 'At dawn' })
    await ann.call('PATCH', `/api/tasks/${id}/`, { title: 'Sunrise' })
    await ann.call('POST', '/api/tasks/', { title: 'Last' })
    await until(phone.tasks.findOne({ selector: { title: 'Last' } }).$, Boolean)
    faulty.watch()
    expect(await phone.sync.verify()).toBe(0)
    expect(faulty.written).toEqual({})
    network.onRequest = () => 'pass'
    phone.sync.wake()
    await phone.sync.awaitInSync()
    const { body } = await ann.call('GET', `/api/tasks/${id}/`)
    expect(body).toMatchObject({ title: 'Sunrise', description: 'At dawn' })
    expect((await ann.call('GET', '/api/conflicts/')).body.count).toBe(0)
  })

  test.for(ROWS)(
    'sends a copy of a %s document under an id that only this device has',
    async (row, { server, ann }) => {
      const { phone, faulty, ids } = await deviceWithTasks(server, ann, { storage: open() })
      const extra = randomUUID()
      await faulty.copy(ids[row], extra)
      await phone.sync.verify()
      await phone.sync.awaitInSync()
      const { body } = await ann.call('GET', `/api/tasks/${extra}/`)
      expect(body.created_at).toBe((await phone.tasks.findOne(ids[row]).exec(true)).created_at)
      expect(await phone.sync.verify()).toBe(0)
      expect(await tasksOf(phone)).toHaveLength(COUNT + 2)
      expect(await tasksOf(phone)).toEqual(await storedFor(ann))
    },
  )

  test.for(ROWS)(
    'finds a fault of a %s document from before a restart, which is not sent',
    async (row, { server, ann }) => {
      const name = `restarted-${randomUUID()}`
      const { phone, faulty, ids } = await deviceWithTasks(server, ann, { name, storage: open() })
      const before = await tasksOf(phone)
      await faulty.corrupt(ids[row], { title: 'Tusk' })
      await shut(phone)
      const again = await device(server, { name, storage: faulty.storage })
      await again.sync.awaitInSync()
      expect((await again.tasks.findOne(ids[row]).exec(true)).title).toBe('Tusk')
      expect(await again.sync.verify()).toBe(1)
      expect(await tasksOf(again)).toEqual(before)
      expect(await storedFor(ann)).toEqual(before)
    },
  )
})

describe('a self-check', () => {
  test('repairs any number of documents, of every resource', async ({ server, ann }) => {
    await ann.call('PATCH', '/api/profile/', { bio: 'Sails' })
    const { phone, faulty } = await deviceWithTasks(server, ann)
    const before = await tasksOf(phone)
    for (const { id } of before) await faulty.corrupt(id, { title: 'Tusk' })
    await faulty.corrupt(ann.id, { bio: 'Rows' }, 'profile')
    expect(await phone.sync.verify()).toBe(before.length + 1)
    expect(await tasksOf(phone)).toEqual(before)
    expect((await phone.profile.findOne(ann.id).exec(true)).bio).toBe('Sails')
  })

  test.for(['the server', 'this device'])(
    'puts no older state in place of a change that %s makes meanwhile',
    async (who, { network, ann }) => {
      const { phone, faulty, ids } = await deviceWithTasks(network, ann)
      const id = ids.followed
      await faulty.corrupt(id, { title: 'Tusk' })
      const titles: string[] = []
      phone.tasks.findOne(id).$.subscribe((task) => titles.push(task!.title))
      let isChanged = false
      // Between the answer of the server and its arrival.
      network.onAnswer = async (path) => {
        if (!path.includes('buckets=') || isChanged) return
        isChanged = true
        if (who === 'the server') await ann.call('PATCH', `/api/tasks/${id}/`, { title: 'Newer' })
        else {
          await (await phone.tasks.findOne(id).exec(true)).incrementalPatch({ title: 'Newer' })
          await until(phone.sync.pending$, (pending) => pending === 0)
        }
        await until(phone.tasks.findOne(id).$, (task) => task?.title === 'Newer')
        await until(phone.sync.status$, (status) => status === 'synced')
      }
      await phone.sync.verify()
      expect(isChanged).toBe(true)
      expect([...new Set(titles)]).toEqual(['Tusk', 'Newer'])
      expect(titles.at(-1)).toBe('Newer')
      expect(await tasksOf(phone)).toEqual(await storedFor(ann))
    },
  )

  test('starts over if the server changes between its answers', async ({ network, ann }) => {
    network.websockets = false
    const { phone, faulty, ids } = await deviceWithTasks(network, ann)
    const id = ids.followed
    await faulty.corrupt(id, { title: 'Tusk' })
    let pulls = 0
    network.onRequest = async (path) => {
      if (path.includes('buckets=') && ++pulls === 1)
        await ann.call('PATCH', `/api/tasks/${id}/`, { title: 'Newer' })
      return 'pass' as const
    }
    expect(await phone.sync.verify()).toBe(0)
    expect(pulls).toBe(1)
    expect(await tasksOf(phone)).toEqual(await storedFor(ann))
  })

  test('takes a snapshot if its cursor has expired, and compares after that', async ({
    server,
    ann,
  }) => {
    const { phone, faulty, ids } = await deviceWithTasks(server, ann)
    const before = await tasksOf(phone)
    await faulty.corruptKnown(ids.own, { title: 'Tusk' })
    const feed = server.testDatabase.db('feeds').where({ user_id: ann.id })
    await feed.update({ epoch: 'other', branches: '{}' })
    await phone.sync.verify()
    await phone.sync.awaitInSync()
    expect(await tasksOf(phone)).toEqual(before)
    expect(await storedFor(ann)).toEqual(before)
    expect(await phone.sync.verify()).toBe(0)
  })

  test('sends a document that the server has lost without a trace', async ({ server, ann }) => {
    const { phone, ids } = await deviceWithTasks(server, ann)
    await server.testDatabase.db.transaction(async (transaction) => {
      // Triggers would note that it is missing.
      await transaction.raw('set local session_replication_role = replica')
      await transaction('tasks').where({ id: ids.pulled }).delete()
    })
    expect(await phone.sync.verify()).toBe(1)
    await phone.sync.awaitInSync()
    const { body } = await ann.call('GET', `/api/tasks/${ids.pulled}/`)
    expect(body.title).toBe('Task 7')
    expect(await phone.sync.verify()).toBe(0)
    expect(await tasksOf(phone)).toEqual(await storedFor(ann))
  })

  test('does not restore a document whose tombstone is purged', async ({ server, ann }) => {
    const { phone, faulty, ids } = await deviceWithTasks(server, ann)
    await ann.call('DELETE', `/api/tasks/${ids.followed}/`)
    await phone.sync.awaitInSync()
    const before = await tasksOf(phone)
    await faulty.corrupt(ids.followed, { _deleted: false })
    await server.testDatabase.db('tasks').where({ id: ids.followed }).delete()
    await ann.call('POST', '/api/tasks/', { id: randomUUID(), title: 'Last' })
    await phone.sync.awaitInSync()
    expect(await phone.sync.verify()).toBe(1)
    expect(await tasksOf(phone)).toHaveLength(before.length + 1)
    await phone.sync.awaitInSync()
    expect((await ann.call('GET', `/api/tasks/${ids.followed}/`)).status).toBe(404)
    expect(await tasksOf(phone)).toEqual(await storedFor(ann))
  })

  test('fails without a network, and the next one does not', async ({ network, ann }) => {
    const { phone } = await deviceWithTasks(network, ann)
    network.onRequest = (path) => (path.includes('/digest') ? 'lose' : 'pass')
    await expect(phone.sync.verify()).rejects.toMatchObject({ code: 'unreachable' })
    expect(await firstValueFrom(phone.sync.status$)).toBe('synced')
    network.onRequest = () => 'pass'
    expect(await phone.sync.verify()).toBe(0)
  })
})

type Fault = (faulty: FaultyStorage, id: string) => Promise<void>

/**
 * A device with many tasks.
 *
 * @returns with `pulled`: one of the first sync, `followed`: one that the server has changed since, `own`: one
 *   that was written here
 */
async function deviceWithTasks(
  server: { url: string },
  person: Person,
  {
    storage = getRxStorageMemory(),
    name = `d${randomUUID()}`,
  }: { storage?: Storage; name?: string } = {},
) {
  const rows = Array.from({ length: COUNT }, (_, i) => ({
    newDocumentState: { id: randomUUID(), title: `Task ${i}`, _deleted: false },
  }))
  await person.call('POST', '/replication/tasks/0/push', rows)
  const faulty = faultyStorage(storage)
  const phone = await deviceOf(server, person, { name, storage: faulty.storage })
  await phone.sync.awaitInSync()
  const { id: own } = await phone.tasks.add({ title: 'Made here' })
  const [pulled, followed] = [rows[7]!.newDocumentState.id, rows[8]!.newDocumentState.id]
  await person.call('PATCH', `/api/tasks/${followed}/`, { title: 'Followed' })
  await phone.sync.awaitInSync()
  return { phone, faulty, ids: { pulled, followed, own } }
}

/** The live tasks on the server, in the order of `tasksOf`. */
async function storedFor(person: Person): Promise<unknown[]> {
  const { body } = await person.call('GET', '/replication/tasks/0/pull?limit=2000')
  return body.documents
    .filter(({ _deleted }: WireDocument) => !_deleted)
    .map(({ _deleted, ...task }: WireDocument) => task)
    .sort((a: WireDocument, b: WireDocument) => (a.id < b.id ? -1 : 1))
}
