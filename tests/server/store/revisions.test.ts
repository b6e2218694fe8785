import { randomUUID } from 'node:crypto'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { bareDatabase, type CouchStore } from '../../../server/couch/database.ts'
import { leavesOf, revOf } from '../../../server/couch/paths.ts'
import { type Row, write } from '../../../server/couch/write.ts'
import { postgresStore } from '../../../server/store/postgres.ts'
import { postgresRevisions } from '../../../server/store/revisions.ts'
import { keyText, type Revised } from '../../../server/sync/revisions.ts'
import { type Store, UnknownUser } from '../../../server/sync/store.ts'
import { createDatabase, type TestDatabase } from '../../support/database.ts'
import { memoryStore } from '../../support/memory-store.ts'
import { addUser } from '../../support/store-contract.ts'

interface Stage extends CouchStore {
  store: Store
  newUser(): Promise<string>
}

let database: TestDatabase
beforeAll(async () => {
  database = await createDatabase()
})
afterAll(() => database.drop())

const STAGES: Record<string, () => Stage> = {
  memory() {
    const store = memoryStore()
    const newUser = async () => {
      const user = randomUUID()
      store.addUser(user)
      return user
    }
    return { store, revisions: store.revisions, newUser }
  },
  postgres() {
    const { db } = database
    const newUser = () => addUser(db)
    return { store: postgresStore(db, () => {}), revisions: postgresRevisions(db), newUser }
  },
}

/** Other users have the same documents, which nobody sees. */
async function stageWithUsers(name: string) {
  const stage = STAGES[name]!()
  const [user, other] = [await stage.newUser(), await stage.newUser()]
  const bare = bareDatabase(stage, 'db', user)
  await write(stage, bareDatabase(stage, 'db', other), [{ _id: 'a', of: 'somebody else' }], false)
  const put = async (...documents: object[]): Promise<Row[]> => write(stage, bare, documents, false)
  const key = (id: string) => bare.keyOf(id)!
  const reading = async (id: string, withFormer = false) =>
    (await stage.revisions.read(user, [key(id)], withFormer)).get(keyText(key(id)))
  return { ...stage, user, put, key, reading, types: bare.types }
}

const revsOf = (one: Revised | undefined) => one && leavesOf(one.revisions).map(revOf)
const revIn = (row: Row | undefined) => (row && 'ok' in row ? row.rev : undefined)

describe.each(Object.keys(STAGES))('the store of revisions in %s', (name) => {
  test('keeps leaves and former revisions with their paths', async () => {
    const { put, reading } = await stageWithUsers(name)
    const [first] = await put({ _id: 'a', n: 1 })
    const [second] = await put({ _id: 'a', _rev: revIn(first), n: 2 })
    const leaf = await reading('a')
    expect(revsOf(leaf)).toEqual([revIn(second)])
    expect(leaf!.seq).toBe(2)
    expect(leaf!.revisions).toMatchObject([{ generation: 2, body: '{"n":2}', deleted: false }])
    expect(leaf!.revisions[0]!.path).toHaveLength(2)
    const all = await reading('a', true)
    expect(all!.revisions.map(({ isLeaf, body }) => [isLeaf, body]).sort()).toEqual([
      [false, '{"n":1}'],
      [true, '{"n":2}'],
    ])
    expect(await reading('b')).toBeUndefined()
  })

  test('lists changes by number, live documents by id, and counts both', async () => {
    const { put, revisions, user, types } = await stageWithUsers(name)
    const [a] = await put({ _id: 'a' }, { _id: 'b' }, { _id: 'é' })
    await put({ _id: 'a', _rev: revIn(a), _deleted: true }, { _id: 'Z' })
    const changes = async (part: object) => {
      const whole = { after: 0, upTo: 100, limit: 100, ...part }
      return (await revisions.changes(user, types, whole)).map(({ id, seq }) => [id, seq])
    }
    const all = [
      ['b', 2],
      ['é', 3],
      ['a', 4],
      ['Z', 5],
    ]
    expect(await changes({})).toEqual(all)
    expect(await changes({ after: 2, upTo: 4 })).toEqual(all.slice(1, 3))
    expect(await changes({ limit: 1, isDescending: true })).toEqual(all.slice(3))
    const list = async (part: object) => {
      const whole = { skip: 0, limit: 100, ...part }
      return (await revisions.list(user, types[0]!, whole)).map(({ id }) => id)
    }
    expect(await list({})).toEqual(['Z', 'b', 'é'])
    expect(await list({ isDescending: true, skip: 1, limit: 1 })).toEqual(['b'])
    expect(await list({ from: 'b', to: 'é' })).toEqual(['b', 'é'])
    expect(await list({ to: 'b' })).toEqual(['Z', 'b'])
    expect(await revisions.count(user, types)).toEqual({ live: 3, deleted: 1 })
    const bodies = async (withBodies: boolean) =>
      (await revisions.list(user, types[0]!, { skip: 0, limit: 1, withBodies }))[0]!.leaves[0]!.body
    expect([await bodies(true), await bodies(false)]).toEqual(['{}', null])
  })

  test('writes nothing of a transaction that fails, and gives its numbers again', async () => {
    const { store, put, user, reading, key } = await stageWithUsers(name)
    const failing = store.transaction(user, async ({ revisions }) => {
      const seq = await revisions.number(2)
      const revision = { generation: 1, path: ['x'], deleted: false, body: '{}', isLeaf: true }
      await revisions.write([{ ...key('a'), seq, deleted: false, revisions: [revision] }])
      expect((await revisions.read([key('a')])).size).toBe(1)
      throw new Error('on purpose')
    })
    await expect(failing).rejects.toThrow('on purpose')
    expect(await reading('a')).toBeUndefined()
    await put({ _id: 'a' })
    expect((await reading('a'))!.seq).toBe(1)
    expect((await store.heads([user])).get(user)!.seq).toBe(1)
  })

  test('numbers concurrent writes in the order in which they are committed', async () => {
    const { put, revisions, user, types } = await stageWithUsers(name)
    await Promise.all(Array.from({ length: 10 }, (_, n) => put({ _id: `${n}` }, { _id: `+${n}` })))
    const changes = await revisions.changes(user, types, { after: 0, upTo: 100, limit: 100 })
    expect(changes.map(({ seq }) => seq)).toEqual(Array.from({ length: 20 }, (_, n) => n + 1))
  })

  test('remembers how far rows have revisions', async () => {
    const { store, revisions, user } = await stageWithUsers(name)
    expect(await revisions.progress(user)).toMatchObject({ seq: 0, horizon: 0, feed: { seq: 0 } })
    await store.transaction(user, (transaction) =>
      transaction.revisions.write([], { seq: 7, horizon: 3 }),
    )
    expect(await revisions.progress(user)).toMatchObject({ seq: 7, horizon: 3 })
    expect(await revisions.progress(randomUUID())).toBeUndefined()
  })

  test('forgets what is former, and erases contents', async () => {
    const { store, put, revisions, user, types, reading } = await stageWithUsers(name)
    const [first] = await put({ _id: 'a', n: 1 })
    await put({ _id: 'a', _rev: revIn(first), n: 2 })
    await revisions.compact(user, types)
    expect((await reading('a', true))!.revisions.map(({ body }) => body)).toEqual(['{"n":2}'])
    await store.transaction(user, (transaction) => transaction.revisions.erase(types[0]!, ['a']))
    expect((await reading('a', true))!.revisions.map(({ body }) => body)).toEqual([null])
  })

  test('keeps one revision of a checkpoint', async () => {
    const { revisions, user, newUser } = await stageWithUsers(name)
    const put = (ifRevision: number, body?: string, database = 'db') =>
      revisions.putLocal(user, database, 'x', ifRevision, body)
    expect(await put(0, '1')).toBe(true)
    expect(await put(0, '2')).toBe(false)
    expect(await put(1, '2')).toBe(true)
    expect(await put(0, '3', 'other')).toBe(true)
    expect(await revisions.findLocal(user, 'db', 'x')).toEqual({ revision: 2, body: '2' })
    expect(await revisions.findLocal(await newUser(), 'db', 'x')).toBeUndefined()
    expect(await put(1)).toBe(false)
    expect(await put(2)).toBe(true)
    expect(await revisions.findLocal(user, 'db', 'x')).toBeUndefined()
    expect(await revisions.putLocal(randomUUID(), 'db', 'x', 0, '1')).toBe(false)
  })

  test('knows no user who does not exist', async () => {
    const stage = STAGES[name]!()
    const nobody = bareDatabase(stage, 'db', randomUUID())
    await expect(write(stage, nobody, [{ _id: 'a' }], false)).rejects.toBeInstanceOf(UnknownUser)
  })
})
