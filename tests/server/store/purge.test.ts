import { randomUUID } from 'node:crypto'
import { expect, test } from 'vitest'
import { resources, settle } from '../../../protocol/index.ts'
import { pruneJournal } from '../../../server/store/journal.ts'
import { postgresStore } from '../../../server/store/postgres.ts'
import { purgeTombstones } from '../../../server/store/purge.ts'
import type { Store } from '../../../server/sync/store.ts'
import { createDatabase } from '../../support/database.ts'
import {
  addUser,
  aTask,
  CREATED,
  live,
  patch,
  removal,
  tombstone,
} from '../../support/store-contract.ts'

const { tasks, conflicts } = resources

test('purges tombstones that have not changed for so many days, of all people', async () => {
  await using scene = await open()
  const { db, store } = scene
  const people = [await addUser(db), await addUser(db), await addUser(db)]
  for (const user of people) {
    const rows = Array.from({ length: 700 }, (_, i) => (i < 600 ? tombstone : live)(aTask()))
    await store.transaction(user, (tx) => tx.write(tasks, rows))
    await scene.age(user, 91)
    await removed(store, user)
    await scene.age(user, 0)
  }
  expect(await purgeTombstones(db, 90)).toBe(3 * 600)
  for (const user of people) {
    const left = await store.changes(user, tasks, 0, 1_000)
    expect(left.filter(({ deleted }) => deleted)).toHaveLength(1)
    expect(left).toHaveLength(101)
    expect((await store.heads([user])).get(user)!.horizons).toMatchObject({
      tasks: { seq: 600 },
    })
  }
  expect(await purgeTombstones(db, 90)).toBe(0)
})

test('keeps a tombstone that has changed since, and a document that was restored', async () => {
  await using scene = await open()
  const { db, store } = scene
  const user = await addUser(db)
  const [changed, restored] = [await removed(store, user), await removed(store, user)]
  await scene.age(user, 91)
  const stored = await store.read(user, tasks, [changed])
  await store.transaction(user, (tx) =>
    tx.write(tasks, [tombstone({ ...stored.get(changed)!.document, title: 'Rye' })]),
  )
  await store.edit(user, tasks, { ...patch(restored, {}), action: 'restore' })
  expect(await purgeTombstones(db, 90)).toBe(0)
  expect((await store.read(user, tasks, [changed, restored])).size).toBe(2)
})

test('a document that is removed without a tombstone is a change of the feed, which asks to pull', async () => {
  await using scene = await open()
  const { db, store } = scene
  const user = await addUser(db)
  const { seq } = (await store.insert(user, tasks, aTask()))!
  expect((await store.frame(user, seq))!.documents).toEqual({})
  await db('tasks').where({ user_id: user }).delete()
  expect((await store.heads([user])).get(user)).toMatchObject({
    seq: seq + 1,
    horizons: { tasks: { seq: seq + 1 } },
  })
  expect(await store.frame(user, seq)).toEqual({ head: { epoch: '1', seq: seq + 1 } })
  expect((await store.frame(user, seq + 1))!.documents).toEqual({})
})

test('the journal loses its old entries, and the oldest of documents with too many', async () => {
  await using scene = await open()
  const { db, store } = scene
  const [ann, bob] = [await addUser(db), await addUser(db)]
  const anEntry = (document_id: string, title: string) =>
    live(
      settle(
        conflicts,
        {
          ...conflicts.example,
          id: randomUUID(),
          document_id,
          lost: { title },
        },
        undefined,
        CREATED,
      ),
    )
  const [one, other] = [randomUUID(), randomUUID()]
  const write = (user: string, ...entries: ReturnType<typeof live>[]) =>
    store.transaction(user, (tx) => tx.write(conflicts, entries))
  await write(ann, ...['1', '2', '3'].map((title) => anEntry(one, title)), anEntry(other, '4'))
  await write(bob, anEntry(one, '5'))
  // One by one, so that they keep their order.
  const age = async (user_id: string, days: number) => {
    for (const id of await db('conflicts').where({ user_id }).orderBy('seq').pluck('id'))
      await db('conflicts')
        .where({ user_id, id })
        .update({ created_at: db.raw('now() - make_interval(days => ?)', [days]) })
  }
  await age(ann, 89)
  await age(bob, 91)
  const { seq } = (await store.heads([ann])).get(ann)!
  const kept = { days: 90, entries: 2 }
  expect(await pruneJournal(db, store, kept, () => new Date())).toBe(2)
  expect(await pruneJournal(db, store, kept, () => new Date())).toBe(0)
  const entriesOf = async (user: string) =>
    (await store.changes(user, conflicts, 0, 10)).map(({ document, deleted }) =>
      deleted ? 'deleted' : (document.lost as { title: string }).title,
    )
  expect(await entriesOf(ann)).toEqual(['2', '3', '4', 'deleted'])
  expect(await entriesOf(bob)).toEqual(['deleted'])
  const [dropped] = await store.changes(ann, conflicts, seq, 10)
  expect(dropped!.document).toMatchObject({ document_id: one, lost: {}, kept: {} })
})

async function open() {
  const database = await createDatabase()
  const { db } = database
  return {
    db,
    store: postgresStore(db),
    /** Lets this person's tombstones be so old. */
    async age(user_id: string, days: number) {
      await db.transaction(async (trx) => {
        await trx.raw('set local session_replication_role = replica') // without triggers
        await trx('tasks')
          .where({ user_id, deleted: true })
          .andWhere('deleted_at', '>', trx.raw("now() - interval '1 day'"))
          .update({ deleted_at: trx.raw('now() - make_interval(days => ?)', [days]) })
      })
    },
    [Symbol.asyncDispose]: () => database.drop(),
  }
}

async function removed(store: Store, user: string): Promise<string> {
  const { id } = aTask()
  await store.insert(user, tasks, aTask({ id }))
  await store.edit(user, tasks, removal(id))
  return id
}
