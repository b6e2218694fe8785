import { afterAll, beforeAll, beforeEach, expect, test } from 'vitest'
import { resources } from '../../../protocol/index.ts'
import { type Database, run } from '../../../server/database/connect.ts'
import { openReplica } from '../../../server/database/replica.ts'
import { createLog } from '../../../server/runtime/log.ts'
import { type PageSource, postgresStore } from '../../../server/store/postgres.ts'
import type { Store } from '../../../server/sync/store.ts'
import { createDatabase, type TestDatabase } from '../../support/database.ts'
import { addUser, aTask } from '../../support/store-contract.ts'

const { tasks } = resources

/** Another database takes the part of the replica; tests/failures/replica.test.ts has a real one. */
let primary: TestDatabase
let copy: TestDatabase
let store: Store
let sources: PageSource[]
let ann: string

beforeAll(async () => {
  primary = await createDatabase()
  copy = await createDatabase()
  const replica = {
    ask: <T>(question: (db: Database) => Promise<T>) => question(copy.db),
  }
  const readPage = (source: PageSource) => void sources.push(source)
  store = postgresStore(primary.db, () => {}, { replica, readPage })
})
afterAll(async () => {
  await primary.drop()
  await copy.drop()
})
beforeEach(async () => {
  sources = []
  ann = await addUser(primary.db)
  const users = await primary.db('users').where({ id: ann })
  await copy.db('users').insert(users)
  const task = aTask()
  for (const [{ db }, title] of [
    [primary, 'primary'],
    [copy, 'replica'],
  ] as const)
    await db('tasks').insert({ user_id: ann, ...task, title })
})

async function titles() {
  const page = await store.page(ann, tasks, 0, 10)
  return page && JSON.parse(page.documents).map(({ title }: { title: string }) => title)
}

const feeds = ({ db }: TestDatabase) => db('feeds').where({ user_id: ann })

test('a page is read from the replica if its feed is that of the primary', async () => {
  expect(await titles()).toEqual(['replica'])
  expect(sources).toEqual(['replica'])
})

test.each<[string, () => Promise<unknown>]>([
  ['is behind', () => feeds(primary).increment('seq', 1)],
  ['is ahead, with what the primary has lost', () => feeds(copy).increment('seq', 1)],
  ['is of another epoch', () => feeds(copy).update({ epoch: 'other' })],
  ['does not know of a purge', () => feeds(primary).update({ horizons: { tasks: 1 } })],
  ['does not know of a former epoch', () => feeds(primary).update({ branches: { old: 1 } })],
  ['does not know the user', () => copy.db('users').where({ id: ann }).delete()],
])('a page is read from the primary if the replica %s', async (_, differ) => {
  await differ()
  expect(await titles()).toEqual(['primary'])
  expect(sources).toEqual(['primary'])
})

test('a replica is asked again after a question that was too long', async () => {
  const { url } = copy
  const replica = openReplica(
    { url, tls: 'off', poolSize: 1 },
    createLog('silent', { readable: false }),
  )
  try {
    const ask = (seconds: number) =>
      replica.ask((db) => run(db, { text: 'select pg_sleep($1)', limitMs: 100 }, [seconds]))
    expect(await ask(60)).toBeUndefined()
    expect(await ask(0)).toHaveLength(1)
  } finally {
    await replica.close()
  }
})

test('nothing is read of a user whom only the replica still knows', async () => {
  await primary.db('users').where({ id: ann }).delete()
  expect(await titles()).toBeUndefined()
})
