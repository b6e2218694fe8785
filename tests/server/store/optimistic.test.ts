import { randomUUID } from 'node:crypto'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { resources } from '../../../protocol/index.ts'
import { postgresStore } from '../../../server/store/postgres.ts'
import { LIMITS } from '../../../server/sync/limits.ts'
import type { Changes, ReadAhead, Store, Transaction } from '../../../server/sync/store.ts'
import { createDatabase, type TestDatabase } from '../../support/database.ts'
import {
  aCategory,
  addUser,
  aTask,
  deferred,
  live,
  patch,
  removal,
  tombstone,
} from '../../support/store-contract.ts'

const { tasks, categories } = resources

let database: TestDatabase
/** Two nodes: the second does not wait for turns of the first. */
let node: Store
let other: Store
let announced: { user: string; changes: Changes | undefined }[] = []
beforeAll(async () => {
  database = await createDatabase()
  node = postgresStore(database.db, (user, changes) => void announced.push({ user, changes }))
  other = postgresStore(database.db)
})
afterAll(() => database.drop())

/** A stored category, a stored task without one, and a task of that category which is not stored. */
async function scene() {
  const ann = await addUser(database.db)
  const errands = aCategory()
  const milk = aTask()
  await node.insert(ann, categories, errands)
  await node.insert(ann, tasks, milk)
  announced = []
  return { ann, errands, milk, bread: aTask({ title: 'Bread', category_id: errands.id }) }
}
type Scene = Awaited<ReturnType<typeof scene>>

/** Edits one task and creates another, and tells what it has seen of both, time after time. */
async function write({ ann, errands, milk, bread }: Scene, meanwhile: () => Promise<unknown>) {
  const seen: unknown[] = []
  const work = async (transaction: Transaction) => {
    const found = await transaction.read(tasks, [milk.id, bread.id])
    const targets = await transaction.read(categories, [errands.id])
    const title = found.get(milk.id)?.document.title
    seen.push([title, found.has(bread.id), targets.get(errands.id)?.deleted])
    if (seen.length === 1) await meanwhile()
    if (targets.get(errands.id)?.deleted || found.has(bread.id)) return transaction.feed
    const edited = { ...milk, title: `${title} with oats` }
    await transaction.write(tasks, [live(edited), live(bread)], true)
    return transaction.feed
  }
  const ahead = [
    { resource: tasks, ids: [milk.id, bread.id] },
    { resource: categories, ids: [errands.id] },
  ]
  return { seen, head: await either(node, ann, work, ahead) }
}

/** As a push does it. */
async function either<T>(store: Store, user: string, work: Work<T>, ahead: readonly ReadAhead[]) {
  const attempted = await store.attempt(user, work, ahead)
  return attempted ? attempted.result : store.transaction(user, work, ahead)
}
type Work<T> = (transaction: Transaction) => Promise<T>

const title = async (store: Store, user: string, id: string) =>
  JSON.parse((await store.find(user, tasks, id))?.json ?? '{}').title

test('what nobody has changed meanwhile is written in one go, and announced', async () => {
  const now = await scene()
  const { seen, head } = await write(now, async () => {})
  expect(seen).toEqual([['Milk', false, false]])
  expect(await title(other, now.ann, now.milk.id)).toBe('Milk with oats')
  expect(await other.heads([now.ann])).toMatchObject(new Map([[now.ann, { seq: head.seq }]]))
  expect(announced).toMatchObject([{ user: now.ann, changes: { prev: 2, head: { seq: 4 } } }])
  expect(Object.keys(announced[0]!.changes!.documents())).toEqual(['tasks'])
})

test('changes of other documents do not matter', async () => {
  const now = await scene()
  const { seen } = await write(now, () => other.insert(now.ann, tasks, aTask()))
  expect(seen).toHaveLength(1)
  expect(await title(other, now.ann, now.milk.id)).toBe('Milk with oats')
})

describe('what was read is read again under the lock, if meanwhile', () => {
  const feeds = ({ ann }: Scene) => database.db('feeds').where({ user_id: ann })
  test.each<[string, (now: Scene) => Promise<unknown>, unknown]>([
    [
      'a document is edited',
      ({ ann, milk }) => other.edit(ann, tasks, patch(milk.id, { title: 'Rice milk' })),
      ['Rice milk', false, false],
    ],
    [
      'a document is deleted by hand, without a tombstone',
      ({ ann, milk }) => database.db('tasks').where({ user_id: ann, id: milk.id }).delete(),
      [undefined, false, false],
    ],
    [
      'a document is created that there was not',
      ({ ann, bread }) => other.insert(ann, tasks, bread),
      ['Milk', true, false],
    ],
    [
      'a document is created and deleted again',
      ({ ann, bread }) =>
        other.transaction(ann, (transaction) => transaction.write(tasks, [tombstone(bread)])),
      ['Milk', true, false],
    ],
    [
      'what documents refer to is deleted',
      ({ ann, errands }) => other.edit(ann, categories, removal(errands.id)),
      ['Milk', false, true],
    ],
    [
      'something is purged',
      (now) => feeds(now).update({ horizons: { tasks: { seq: 1, at: 1 } } }),
      ['Milk', false, false],
    ],
    ['the feed begins an epoch', (now) => feeds(now).update('epoch', 'x'), ['Milk', false, false]],
  ])('%s', async (_what, meanwhile, again) => {
    const now = await scene()
    const { seen } = await write(now, () => meanwhile(now))
    expect(seen).toEqual([['Milk', false, false], again])
  })
})

test('whoever waits for the feed of another writer reads again', async () => {
  const now = await scene()
  let going: Promise<unknown> | undefined
  const { seen } = await write(now, async () => {
    const [isHeld, held] = [deferred(), deferred()]
    going = other.transaction(now.ann, async (transaction) => {
      await transaction.write(tasks, [live({ ...now.milk, title: 'Rice milk' })])
      isHeld.resolve()
      await held.promise
    })
    await isHeld.promise
    void untilSomebodyWaits().then(held.resolve)
  })
  await going
  expect(seen).toEqual([
    ['Milk', false, false],
    ['Rice milk', false, false],
  ])
  expect(await title(other, now.ann, now.milk.id)).toBe('Rice milk with oats')
})

/** Until a statement waits for a lock. */
async function untilSomebodyWaits(): Promise<void> {
  const waits = `select from pg_stat_activity where datname = current_database() and wait_event_type = 'Lock'`
  while ((await database.db.raw(waits)).rows.length === 0);
}

test('writes that fit one by one do not exceed the quota together', async () => {
  const limits = { ...LIMITS, documents: 4 }
  const tight = postgresStore(database.db, undefined, { limitsOf: () => limits })
  const ann = await addUser(database.db)
  await other.insert(ann, tasks, aTask())
  await tight.transaction(ann, (transaction) => transaction.usage())
  const ids = [randomUUID(), randomUUID()]
  let runs = 0
  const work = async (transaction: Transaction) => {
    runs++
    const { documents } = transaction.atMost
    if (runs === 1) for (const _ of [1, 2]) await other.insert(ann, tasks, aTask())
    if (documents + ids.length > 4) return 'full'
    await transaction.write(
      tasks,
      ids.map((id) => live(aTask({ id }))),
      true,
    )
    return 'written'
  }
  expect(await either(tight, ann, work, [{ resource: tasks, ids }])).toBe('full')
  expect(runs).toBe(2)
})

describe('work that needs more begins again with a lock', () => {
  const known = aTask()
  test.each<[string, (transaction: Transaction) => Promise<unknown>]>([
    ['a write that is not the last', (tx) => tx.write(tasks, [live(aTask())])],
    ['what was not read ahead', (tx) => tx.read(tasks, [randomUUID()])],
    ['a placeholder', (tx) => tx.placehold(categories, [randomUUID()])],
    ['a count', (tx) => tx.usage()],
    ['older entries', (tx) => tx.olderThanNewest(tasks, 'title', ['Milk'], 1)],
    ['a deletion that cascades', (tx) => tx.write(categories, [tombstone(aCategory())], true)],
  ])('%s', async (_what, more) => {
    const ann = await addUser(database.db)
    let runs = 0
    const work = async (transaction: Transaction) => {
      runs++
      await more(transaction)
    }
    await either(node, ann, work, [{ resource: tasks, ids: [known.id] }])
    expect(runs).toBe(2)
  })
})

test('an error of the work is its error, and nothing is written', async () => {
  const { ann, milk } = await scene()
  const work = async () => {
    throw new RangeError('of the work')
  }
  const ahead = [{ resource: tasks, ids: [milk.id] }]
  await expect(node.attempt(ann, work, ahead)).rejects.toThrow(RangeError)
  expect(announced).toEqual([])
})
