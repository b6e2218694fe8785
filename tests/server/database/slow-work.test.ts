import { afterEach, describe, expect } from 'vitest'
import { run } from '../../../server/database/connect.ts'
import { poolState, slowWorkOf } from '../../../server/database/pool.ts'
import { TooSlow } from '../../../server/database/slow-work.ts'
import { test } from '../../support/fixtures.ts'
import type { TestServer } from '../../support/server.ts'

let server: TestServer
test.beforeAll(({ server: started }) => {
  server = started
})
afterEach(async () => {
  await expect.poll(() => poolState(server.database.db).slowRunning()).toBe(0)
})

/** A read of this person that takes so long. */
function read(user: string, seconds: number): Promise<unknown> {
  const { db } = server.database
  const statement = { text: 'select pg_sleep($1)' }
  return slowWorkOf(db).run(user, 'list', (limitMs) =>
    run(db, { ...statement, limitMs }, [seconds]),
  )
}

/** What becomes of slow work: whether it took too long, or has waited in vain. */
const outcome = (work: Promise<unknown>) =>
  work.then(
    () => 'done',
    (error) => (error instanceof TooSlow ? (error.isLong ? 'too long' : 'waited') : error),
  )

describe('slow work', () => {
  test('of a few people leaves the others five of eight connections', async ({ ann }) => {
    const { db } = server.database
    const attackers = ['one', 'two', 'three', 'four']
    // As many at once as the turns of a person let through (store/turns.ts).
    const works = attackers.flatMap((user) => [outcome(read(user, 60)), outcome(read(user, 60))])
    await expect.poll(() => poolState(db).slowRunning()).toBe(3)
    await expect.poll(() => db.client.pool.numUsed()).toBe(3)
    for (const path of ['/api/tasks/?search=milk', '/replication/tasks/0/pull'])
      expect((await ann.call('GET', path)).status, path).toBe(200)
    expect([poolState(db).slowRunning(), poolState(db).waiting()]).toEqual([3, 0])
    expect((await Promise.all(works)).sort()).toEqual([
      ...Array(3).fill('too long'),
      ...Array(5).fill('waited'),
    ])
  })

  test('of one person runs one after the other, and in turn with that of others', async () => {
    const done: string[] = []
    const work = (user: string) => read(user, 0.4).then(() => void done.push(user))
    const first = ['a', 'b', 'c'].map(work)
    await expect.poll(() => poolState(server.database.db).slowRunning()).toBe(3)
    const own = [work('a'), work('a'), work('a')]
    await expect.poll(() => poolState(server.database.db).slowWaiting()).toBe(3)
    const others = [work('d'), work('e')]
    await Promise.all([...first, ...own, ...others])
    expect(done.slice(0, 3).sort()).toEqual(['a', 'b', 'c'])
    // Hers come one at a time, so the others do not wait for all of them.
    expect(done.lastIndexOf('a')).toBeGreaterThan(done.indexOf('d'))
    expect(done.lastIndexOf('a')).toBeGreaterThan(done.indexOf('e'))
  })

  test('is tried like the rest again once it was quick', async () => {
    const { db } = server.database
    const limits: (number | undefined)[] = []
    const work = (seconds: number) =>
      slowWorkOf(db).run('one', 'page', (limitMs) => {
        limits.push(limitMs)
        return run(db, { text: 'select pg_sleep($1)', limitMs }, [seconds])
      })
    for (const seconds of [0, 0.5, 0, 0]) await work(seconds)
    expect(limits).toEqual([150, 150, 3_000, 3_000, 150])
  })

  test('of another kind does not count: searches do not slow down sync', async () => {
    const { db } = server.database
    const limits: (number | undefined)[] = []
    await read('one', 0.3)
    await slowWorkOf(db).run('one', 'page', async (limitMs) => void limits.push(limitMs))
    expect(limits).toEqual([150])
  })

  test('leaves no limit behind on its connection', async () => {
    const { db } = server.database
    const connection = await db.client.acquireConnection()
    await db.client.releaseConnection(connection)
    await outcome(read('one', 60))
    const { rows } = await db.raw('show statement_timeout')
    expect(rows).toEqual([{ statement_timeout: '30s' }])
  })
})

describe('a request whose work is slow', () => {
  test('is refused by name after some seconds, while those of others are answered', async ({
    ann,
    bob,
  }) => {
    // The lists of Ann have been slow, and others do slow work.
    const others = ['one', 'two', 'three'].map((user) => outcome(read(user, 60)))
    await expect.poll(() => poolState(server.database.db).slowRunning()).toBe(3)
    const hers = outcome(read(ann.id, 60))
    await expect.poll(() => poolState(server.database.db).slowWaiting()).toBe(1)
    const { status, headers, body } = await ann.call('GET', '/api/tasks/')
    expect([status, body.code]).toEqual([503, 'too_slow'])
    expect(body.detail).toMatch(/^Other requests that take long are running; try again later\.$/)
    expect(Number(headers.get('retry-after'))).toBeGreaterThan(0)
    expect((await bob.call('GET', '/api/tasks/')).status).toBe(200)
    expect((await ann.call('POST', '/api/tasks/', { title: 'Milk' })).status).toBe(201)
    expect((await ann.call('GET', '/replication/tasks/0/pull')).status).toBe(200)
    await Promise.all([...others, hers])
  })

  test('is told to request less if it takes too long by itself', async ({ serverWith }) => {
    const own = await serverWith()
    const ann = await own.person()
    await own.testDatabase.db.raw(`
      alter table tasks rename to many_tasks;
      create view tasks as select t.* from (select pg_sleep(60) offset 0) s, many_tasks t;
      grant select on tasks to public`)
    const { status, headers, body } = await ann.call('GET', '/api/tasks/?search=milk')
    expect([status, body.code]).toEqual([503, 'too_slow'])
    expect(body.detail).toMatch(/^This takes too long; request less/)
    expect(Number(headers.get('retry-after'))).toBeGreaterThan(0)
    expect((await ann.call('GET', '/api/categories/')).status).toBe(200)
  })

  test.each(['rest', 'push'] as const)('is written as a whole or not at all: %s', async (way) => {
    const ann = await server.person()
    const { db } = server.testDatabase
    // What a change of the timezone takes for very many tasks.
    await db.raw(`
      create function take_long() returns trigger language plpgsql as $$
      begin perform pg_sleep(0.6); return null; end $$;
      create trigger take_long after update on profiles for each row execute function take_long()`)
    try {
      const profile = (await ann.call('GET', '/api/profile/')).body
      const timezone = 'Asia/Tokyo'
      const row = { newDocumentState: { ...profile, timezone }, assumedMasterState: profile }
      const { status } =
        way === 'rest'
          ? await ann.call('PATCH', '/api/profile/', { timezone })
          : await ann.call('POST', '/replication/profile/0/push', [row])
      expect(status).toBe(200)
      expect((await ann.call('GET', '/api/profile/')).body.timezone).toBe(timezone)
      expect((await ann.call('GET', '/replication/profile/0/pull')).body.documents).toHaveLength(1)
    } finally {
      await db.raw('drop trigger take_long on profiles; drop function take_long')
    }
  })
})
