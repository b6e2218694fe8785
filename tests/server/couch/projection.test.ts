import fc from 'fast-check'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { type Document, resources } from '../../../protocol/index.ts'
import type { CouchDatabase, CouchStore } from '../../../server/couch/database.ts'
import { getLocal, putLocal } from '../../../server/couch/locals.ts'
import { graft, hashOf, leavesOf, REVS_LIMIT, revOf } from '../../../server/couch/paths.ts'
import { projectedDatabase } from '../../../server/couch/projection.ts'
import { getDocument, openRevisions } from '../../../server/couch/read.ts'
import { follow } from '../../../server/couch/resolution.ts'
import { write } from '../../../server/couch/write.ts'
import { feedReader } from '../../../server/store/feed-changes.ts'
import { postgresStore } from '../../../server/store/postgres.ts'
import { purgeDocuments, purgeTombstones } from '../../../server/store/purge.ts'
import { postgresRevisions } from '../../../server/store/revisions.ts'
import { deleteForGood } from '../../../server/sync/for-good.ts'
import type { Revision } from '../../../server/sync/revisions.ts'
import type { Store } from '../../../server/sync/store.ts'
import { createDatabase, type TestDatabase } from '../../support/database.ts'
import {
  aCategory,
  addUser,
  aTask,
  patch,
  removal,
  restoral,
} from '../../support/store-contract.ts'

const { tasks, categories } = resources

let database: TestDatabase
let store: Store
let couch: CouchStore
let moment = Date.parse('2026-11-30T08:00:00.000Z')
function now(): Date {
  moment += 1_000
  return new Date(moment)
}
const instant = () => now().toISOString()
beforeAll(async () => {
  database = await createDatabase()
  store = postgresStore(database.db)
  couch = { store, revisions: postgresRevisions(database.db) }
})
afterAll(() => database.drop())

function open(user: string, name = 'tasks'): CouchDatabase {
  const means = { store, revisions: couch.revisions, readFeed: feedReader(database.db), now }
  return projectedDatabase(means, name, { user, session: user })!
}

/** A replica that knows only revisions, as PouchDB does. */
function replicaOf(db: CouchDatabase) {
  const documents = new Map<string, readonly Revision[]>()
  let since = 0
  const winnerOf = (id: string) => leavesOf(documents.get(id) ?? [])[0]
  return {
    documents,
    winnerOf,
    contentOf: (id: string) => JSON.parse(winnerOf(id)?.body ?? 'null'),

    edit(id: string, fields: object, deleted = false) {
      const parent = winnerOf(id)
      const content = { ...(parent && JSON.parse(parent.body!)), ...fields }
      const body = deleted ? '{}' : JSON.stringify(content)
      const hash = hashOf(deleted, parent && revOf(parent), JSON.parse(body))
      const generation = (parent?.generation ?? 0) + 1
      const path = [hash, ...(parent?.path ?? [])]
      const child = { generation, path, deleted, body, isLeaf: true }
      documents.set(id, graft(documents.get(id) ?? [], child, REVS_LIMIT).revisions)
    },

    async push() {
      const inputs = [...documents].flatMap(([id, revisions]) =>
        leavesOf(revisions).map((leaf) => ({
          ...JSON.parse(leaf.body!),
          _id: id,
          _rev: revOf(leaf),
          _revisions: { start: leaf.generation, ids: leaf.path },
          ...(leaf.deleted && { _deleted: true }),
        })),
      )
      return write(couch, db, inputs, true)
    },

    /** @returns whether something was new */
    async pull(limit = 2): Promise<boolean> {
      let isNew = false
      for (;;) {
        const { upTo } = await db.reviseFeed(since, limit)
        const page = await couch.revisions.changes(db.user, db.types, { after: since, upTo, limit })
        if (page.length === 0) return isNew
        const read = await couch.revisions.read(db.user, page)
        for (const one of read.values()) {
          const id = db.idOf(one)
          for (const leaf of leavesOf(one.revisions)) {
            const grafted = graft(documents.get(id) ?? [], leaf, REVS_LIMIT)
            isNew ||= grafted.isNew
            documents.set(id, grafted.revisions)
          }
        }
        since = page.at(-1)!.seq
      }
    },
  }
}
type Replica = ReturnType<typeof replicaOf>

const fieldsOf = ({ id: _, ...fields }: Document) => fields

async function expectSame(user: string, replicas: readonly Replica[], ids: readonly string[]) {
  const rows = await store.read(user, tasks, ids)
  for (const [id, { document, deleted }] of rows)
    for (const replica of replicas) {
      const leaves = leavesOf(replica.documents.get(id) ?? [])
      expect(leaves.filter((leaf) => !leaf.deleted).length).toBe(deleted ? 0 : 1)
      expect(leaves[0]!.deleted).toBe(deleted)
      if (!deleted) expect(JSON.parse(leaves[0]!.body!)).toEqual(fieldsOf(document))
    }
  return rows
}

const anOperation = fc.oneof(
  fc.record({
    kind: fc.constantFrom('edit', 'delete'),
    by: fc.constantFrom('phone', 'laptop', 'rest'),
    nth: fc.nat(2),
    fields: fc.oneof(
      fc.record({ title: fc.constantFrom('Milk', 'Bread', 'Soap') }),
      fc.record({ description: fc.constantFrom('', 'two', 'three') }),
      fc.record({ completed: fc.boolean(), title: fc.constantFrom('Milk', 'Tea') }),
      fc.constant({ priority: 'urgent' }),
    ),
    isDated: fc.boolean(),
  }),
  fc.record({
    kind: fc.constantFrom('push', 'pull'),
    by: fc.constantFrom('phone', 'laptop'),
  }),
)

test('whatever is edited where, all replicas end as the rows are, without open conflicts', async () => {
  await fc.assert(
    fc.asyncProperty(fc.array(anOperation, { minLength: 4, maxLength: 30 }), async (operations) => {
      const user = await addUser(database.db)
      const ids = [aTask().id, aTask().id, aTask().id]
      const replicas = { phone: replicaOf(open(user)), laptop: replicaOf(open(user)) }
      for (const one of operations) {
        if (!('nth' in one)) await replicas[one.by as 'phone'][one.kind as 'push']()
        else if (one.by === 'rest') await editRow(user, ids[one.nth]!, one)
        else {
          const replica = replicas[one.by as 'phone']
          const id = ids[one.nth]!
          const isDeletion = one.kind === 'delete' && replica.winnerOf(id)?.deleted === false
          const fields = { title: 'Milk', ...replica.contentOf(id), ...one.fields }
          replica.edit(id, { ...fields, ...(one.isDated && { updated_at: instant() }) }, isDeletion)
        }
      }
      const all = Object.values(replicas)
      for (let round = 0; round < 2; round++)
        for (const replica of all) {
          for (const row of await replica.push()) expect(row).toMatchObject({ ok: true })
          await replica.pull()
        }
      for (const replica of all) await replica.pull()
      await expectSame(user, all, ids)
      for (const id of ids)
        expect(leavesOf(replicas.phone.documents.get(id) ?? []).map(revOf)).toEqual(
          leavesOf(replicas.laptop.documents.get(id) ?? []).map(revOf),
        )
      for (const replica of all) {
        await replica.push()
        expect(await replica.pull()).toBe(false)
      }
    }),
    { numRuns: Number(process.env.RUNS ?? 60) },
  )
}, 120_000)

async function editRow(
  user: string,
  id: string,
  { kind, fields }: { kind: string; fields: object },
) {
  const stored = (await store.read(user, tasks, [id])).get(id)
  if ('priority' in fields) return
  if (!stored) await store.insert(user, tasks, aTask({ id, ...fields }))
  else if (stored.deleted) await store.edit(user, tasks, restoral(id, { now: instant() }))
  else if (kind === 'delete') await store.edit(user, tasks, removal(id, { now: instant() }))
  else await store.edit(user, tasks, patch(id, { ...fields }, { now: instant() }))
}

/** A person with a category, a task of it and a phone that has both. */
async function scene() {
  const user = await addUser(database.db)
  const errands = aCategory()
  const milk = aTask({ category_id: errands.id })
  await store.insert(user, categories, errands)
  await store.insert(user, tasks, milk)
  const phone = replicaOf(open(user, 'all'))
  await phone.pull()
  return { user, errands, milk, phone, task: `task:${milk.id}`, category: `category:${errands.id}` }
}

const isLive = (replica: Replica, id: string) => replica.winnerOf(id)?.deleted === false

test('a deletion that changes other rows reaches replicas with all of them', async () => {
  const { user, milk, phone, task, category } = await scene()
  expect(phone.contentOf(task)).toEqual(fieldsOf(milk))
  phone.edit(category, {}, true)
  phone.edit(`task:${aTask().id}`, { title: 'Bread' })
  await phone.push()
  await phone.pull()
  expect(isLive(phone, category)).toBe(false)
  expect(phone.contentOf(task).category_id).toBeNull()
  expect((await store.read(user, tasks, [milk.id])).get(milk.id)!.document.category_id).toBeNull()
})

test('edits of different fields are merged, also after more edits on a branch that has ended', async () => {
  const { user, milk, phone, task } = await scene()
  const laptop = replicaOf(open(user, 'all'))
  await laptop.pull()
  phone.edit(task, { title: 'Oat milk', updated_at: instant() })
  await store.edit(user, tasks, patch(milk.id, { completed: true }, { now: instant() }))
  laptop.edit(task, { description: 'Two', updated_at: instant() })
  await phone.push()
  await laptop.push()
  laptop.edit(task, { priority: 'high', updated_at: instant() })
  await laptop.push()
  for (const replica of [phone, laptop]) {
    await replica.pull()
    const wanted = { title: 'Oat milk', description: 'Two', priority: 'high', completed: true }
    expect(replica.contentOf(task)).toMatchObject(wanted)
    expect(leavesOf(replica.documents.get(task)!).filter(({ deleted }) => !deleted).length).toBe(1)
  }
  expect(await store.changes(user, resources.conflicts, 0, 10)).toEqual([])
})

test('a row that is removed without a tombstone is deleted on replicas', async () => {
  const { user, milk, phone, task, category } = await scene()
  await database.db('tasks').where({ user_id: user, id: milk.id }).delete()
  await phone.pull()
  expect(isLive(phone, task)).toBe(false)
  expect(isLive(phone, category)).toBe(true)
})

test('a deletion whose tombstone is purged before a replica asks reaches it', async () => {
  const { user, milk, phone, task } = await scene()
  await store.edit(user, tasks, removal(milk.id, { now: instant() }))
  await purgeTombstones(database.db, 0)
  expect((await store.read(user, tasks, [milk.id])).size).toBe(0)
  await phone.pull()
  expect(isLive(phone, task)).toBe(false)
  phone.edit(task, { title: 'Bread' })
  await phone.push()
  await phone.pull()
  expect(isLive(phone, task)).toBe(true)
})

test('what is deleted for good is in no revision any more', async () => {
  const { user, milk, phone, task } = await scene()
  phone.edit(task, { title: 'A secret' })
  await phone.push()
  await deleteForGood(store, user, tasks, { id: milk.id, ifSeq: undefined, now: instant() })
  const { rows } = await database.db.raw('select body from couch_revisions where user_id = ?', [
    user,
  ])
  expect(JSON.stringify(rows)).not.toContain('secret')
  // Without content, a former one would be another document under the same name.
  const rev = revOf(phone.documents.get(task)!.find(({ isLeaf }) => isLeaf)!)
  const db = open(user, 'all')
  await expect(getDocument(couch, db, task, { rev })).rejects.toMatchObject({ status: 404 })
  expect(await openRevisions(couch, db, task, [rev])).toEqual([`{"missing":"${rev}"}`])
  const [leaf] = await openRevisions(couch, db, task, 'all')
  const tombstone = JSON.parse(leaf!).ok
  const { text } = await getDocument(couch, db, task, { rev: tombstone._rev, revsInfo: true })
  const statuses = JSON.parse(text)._revs_info.map(({ status }: { status: string }) => status)
  expect(new Set(statuses)).toEqual(new Set(['deleted', 'missing']))
  await phone.pull()
  expect(isLive(phone, task)).toBe(false)
})

test('a refused document is corrected, and what was typed is in the conflict journal', async () => {
  const { user, milk, phone, task } = await scene()
  const fresh = `task:${aTask().id}`
  phone.edit(task, { title: 'Bread', priority: 'urgent' })
  phone.edit(fresh, { title: 'Soap', priority: 'urgent' })
  for (const row of await phone.push()) expect(row).toMatchObject({ ok: true })
  await phone.pull()
  expect(phone.contentOf(task)).toEqual(fieldsOf(milk))
  expect(isLive(phone, fresh)).toBe(false)
  const entries = await store.changes(user, resources.conflicts, 0, 10)
  expect(entries.map(({ document }) => document.lost)).toEqual([
    { title: 'Bread', priority: 'urgent' },
    { title: 'Soap', priority: 'urgent' },
  ])
})

test.each([
  ['a document of more than 64 KiB', { description: 'x'.repeat(70_000) }, 'shorten'],
  ['a document beyond the quota', { title: 'One more' }, 'full'],
])('%s is refused by row, and stays on its replica', async (_what, fields, reason) => {
  const { user, phone } = await scene()
  const limits = { entriesPerDocument: 20, documents: 1, bytes: Number.POSITIVE_INFINITY }
  const full = postgresStore(database.db, () => {}, { limitsOf: () => limits })
  const id = `task:${aTask().id}`
  phone.edit(id, { title: 'Soap', ...fields })
  const documents = [{ _id: id, _rev: revOf(phone.winnerOf(id)!), ...phone.contentOf(id) }]
  const rows = await write({ ...couch, store: full }, open(user, 'all'), documents, true)
  expect(rows).toEqual([{ id, rev: expect.anything(), refusal: expect.anything() }])
  expect(rows[0]).toMatchObject({
    refusal: { error: 'forbidden', reason: expect.stringContaining(reason) },
  })
  expect((await couch.revisions.read(user, [{ type: 'tasks', id: id.slice(5) }])).size).toBe(0)
})

test('the highest generation that may come in can be followed', async () => {
  const { user, milk } = await scene()
  const tasks = open(user, 'tasks')
  const put = async (fields: object, isReplicated: boolean) =>
    (await write(couch, tasks, [{ _id: milk.id, title: 'Bread', ...fields }], isReplicated))[0]!
  expect(await put({ _rev: '2000000001-a' }, true)).toMatchObject({
    refusal: { error: 'forbidden', reason: 'Invalid rev format' },
  })
  const highest = { _rev: '2000000000-a', priority: 'urgent' }
  expect(await put(highest, true)).toMatchObject({ ok: true })
  const found = await couch.revisions.read(user, [{ type: 'tasks', id: milk.id }])
  const [winner] = leavesOf([...found.values()][0]!.revisions)
  expect(winner!.generation).toBe(2_000_000_001)
  expect(await put({ _rev: revOf(winner!) }, false)).toMatchObject({ ok: true })
})

test('of each document, the last contents and branches are kept, and no more bytes than one may have', async () => {
  const { user, milk, phone, task } = await scene()
  const count = async (what: string) => {
    const sql = `select count(*)::int, coalesce(sum(octet_length(body)), 0)::int as bytes
      from couch_revisions where user_id = ? and id = ? and ${what}`
    return (await database.db.raw(sql, [user, milk.id])).rows[0]
  }
  for (let n = 0; n < 30; n++) {
    phone.edit(task, { title: `Title ${n}`, updated_at: instant() })
    await phone.push()
  }
  expect((await count('not is_leaf')).count).toBe(20)
  for (let n = 0; n < 8; n++) {
    phone.edit(task, { description: `${n}`.repeat(20_000), updated_at: instant() })
    await phone.push()
  }
  expect((await count('not is_leaf')).bytes).toBeLessThan(64 * 1024)
  const branches = Array.from({ length: 120 }, (_, n) => ({
    ...{
      _id: task,
      _rev: `1-branch${n}`,
      title: `Branch ${n}`,
      updated_at: '2020-01-01T00:00:00.000Z',
    },
  }))
  for (const branch of branches) await write(couch, open(user, 'all'), [branch], true)
  expect((await count('is_leaf and not deleted')).count).toBe(1)
  expect((await count('is_leaf and deleted')).count).toBe(100)
})

test('checkpoints have a size, and those that were not used for longest make room for new ones', async () => {
  const { user } = await scene()
  const db = open(user, 'all')
  const large = putLocal(couch.revisions, db, 'large', { text: 'x'.repeat(70_000) })
  await expect(large).rejects.toMatchObject({ error: 'forbidden' })
  for (let n = 0; n < 1_010; n++) await putLocal(couch.revisions, db, `replica ${n}`, { n })
  const { rows } = await database.db.raw('select id from couch_locals where user_id = ?', [user])
  expect(rows).toHaveLength(1_000)
  await expect(getLocal(couch.revisions, db, 'replica 9')).rejects.toMatchObject({ status: 404 })
  expect(JSON.parse(await getLocal(couch.revisions, db, 'replica 1009'))).toMatchObject({
    n: 1_009,
  })
})

test('a revision that the server makes knows no more ancestors than others', () => {
  const path = Array.from({ length: REVS_LIMIT }, (_, n) => `${n}`)
  const winner = { generation: 900, path, deleted: false, body: '{}', isLeaf: true }
  const { changed } = follow([winner], { deleted: false, content: { title: 'Milk' } })
  expect(changed.map(({ generation }) => generation)).toEqual([900, 901])
  expect(changed[1]!.path).toHaveLength(REVS_LIMIT)
})

test('databases of a hundred people are no file more', async () => {
  const files = async () => (await database.db.raw('select count(*) from pg_class')).rows[0].count
  const before = await files()
  const people = await Promise.all(Array.from({ length: 100 }, () => addUser(database.db)))
  for (const user of people)
    await write(couch, open(user), [{ _id: aTask().id, _rev: '1-a', title: 'Milk' }], true)
  expect(await files()).toBe(before)
})

test('a deleted account leaves no revisions', async () => {
  const { user, phone, task } = await scene()
  phone.edit(task, { title: 'Bread' })
  await phone.push()
  await purgeDocuments(database.db, user)
  const { rows } = await database.db.raw(
    'select from couch_documents where user_id = ? union all select from couch_revisions where user_id = ?',
    [user, user],
  )
  expect(rows).toEqual([])
})

test('people without replicas have no revisions, whatever they write', async () => {
  const user = await addUser(database.db)
  const milk = aTask()
  await store.insert(user, tasks, milk)
  await store.edit(user, tasks, removal(milk.id))
  const { rows } = await database.db.raw(
    'select from couch_documents where user_id = ? union all select from couch_feeds where user_id = ?',
    [user, user],
  )
  expect(rows).toEqual([])
})
