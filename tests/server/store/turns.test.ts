import { setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'
import { afterAll, beforeAll, beforeEach, describe, expect, test, vi } from 'vitest'
import { resources } from '../../../protocol/index.ts'
import type { Database } from '../../../server/database/connect.ts'
import { postgresStore } from '../../../server/store/postgres.ts'
import { createTurns } from '../../../server/store/turns.ts'
import type { Store } from '../../../server/sync/store.ts'
import { connectTo } from '../../support/cluster.ts'
import { createDatabase, type TestDatabase } from '../../support/database.ts'
import { addUser, aTask, deferred, live } from '../../support/store-contract.ts'

const { tasks } = resources

describe('turns', () => {
  test('of one key run one at a time, in the order of the calls', async () => {
    const takeTurn = createTurns()
    const events: string[] = []
    const work = (name: string) => async () => {
      events.push(`${name} begins`)
      for (let i = 0; i < 3; i++) await Promise.resolve()
      events.push(`${name} ends`)
      return name
    }
    const answers = ['a', 'b', 'c'].map((name) => takeTurn('ann', work(name)))
    expect(await Promise.all(answers)).toEqual(['a', 'b', 'c'])
    expect(events).toEqual(['a', 'b', 'c'].flatMap((name) => [`${name} begins`, `${name} ends`]))
  })

  test('of different keys do not wait for each other', async () => {
    const takeTurn = createTurns()
    const open = deferred()
    const slow = takeTurn('ann', () => open.promise)
    expect(await takeTurn('bob', async () => 'done')).toBe('done')
    open.resolve()
    await slow
  })

  test.each<[string, () => Promise<never>]>([
    ['is rejected', () => Promise.reject(new Error('no'))],
    [
      'throws in the middle',
      async () => {
        await Promise.resolve()
        throw new Error('no')
      },
    ],
  ])('continue after one that %s, whose caller gets the error', async (_how, failing) => {
    const takeTurn = createTurns()
    const turns = [takeTurn('ann', failing), takeTurn('ann', async () => 'done')]
    expect(await Promise.allSettled(turns)).toMatchObject([
      { status: 'rejected', reason: { message: 'no' } },
      { status: 'fulfilled', value: 'done' },
    ])
    expect(await takeTurn('ann', async () => 'again')).toBe('again')
  })

  test('requested by a running one come after those that are waiting', async () => {
    const takeTurn = createTurns()
    const events: string[] = []
    const first = takeTurn('ann', async () => {
      await Promise.resolve()
      void takeTurn('ann', async () => void events.push('third'))
      await Promise.resolve()
      events.push('first ends')
    })
    const second = takeTurn('ann', async () => void events.push('second'))
    await Promise.all([first, second])
    await takeTurn('ann', async () => void events.push('last'))
    expect(events).toEqual(['first ends', 'second', 'third', 'last'])
  })

  test('requested by one synchronously wait for its end too', async () => {
    const takeTurn = createTurns()
    const events: string[] = []
    await takeTurn('ann', async () => {
      void takeTurn('ann', async () => void events.push('second'))
      await Promise.resolve()
      events.push('first ends')
    })
    await takeTurn('ann', async () => void events.push('last'))
    expect(events).toEqual(['first ends', 'second', 'last'])
  })

  test.each<[string, boolean]>([
    ['answered', false],
    ['failed', true],
  ])('leave no queue behind when the last of them has %s', async (_how, fails) => {
    const takeTurn = createTurns()
    const answers: WeakRef<object>[] = []
    // In a function of its own, so that nothing here holds what the turns answer.
    const takeSome = async () => {
      for (let i = 0; i < 20; i++)
        await takeTurn(`user ${i}`, async () => {
          const answer = new Error('an answer')
          answers.push(new WeakRef(answer))
          if (fails) throw answer
          return answer
        }).then(
          () => {},
          () => {},
        )
    }
    await takeSome()
    await vi.waitFor(() => {
      collectGarbage()
      expect(answers.filter((answer) => answer.deref() !== undefined)).toEqual([])
    })
    await takeTurn('still in use', async () => {})
  })
})

describe('a busy user', () => {
  let database: TestDatabase
  let db: Database
  let store: Store
  let ann: string
  let bob: string
  beforeAll(async () => {
    database = await createDatabase()
  })
  afterAll(() => database.drop())
  beforeEach(async () => {
    ann = await addUser(database.db)
    bob = await addUser(database.db)
    db = connectTo(database.url)
    store = postgresStore(db)
    return () => db.destroy()
  })

  const inUse = () => db.client.pool.numUsed() as number
  const opened = () => inUse() + (db.client.pool.numFree() as number)

  test('uses one connection of a node, however many writes are waiting', async () => {
    await Promise.all(Array.from({ length: 30 }, () => store.insert(ann, tasks, aTask())))
    expect(await store.changes(ann, tasks, 0, 50)).toHaveLength(30)
    expect(opened()).toBe(1)
  })

  test('does not block other users', async () => {
    const [started, open] = [deferred(), deferred()]
    const slow = store.transaction(ann, async (tx) => {
      await tx.write(tasks, [live(aTask())])
      started.resolve()
      await open.promise
    })
    await started.promise
    const waiting = Array.from({ length: 29 }, () => store.insert(ann, tasks, aTask()))
    const task = aTask()

    expect(await store.insert(bob, tasks, task)).toBeDefined()
    expect(await store.find(bob, tasks, task.id)).toBeDefined()
    expect(await store.changes(ann, tasks, 0, 50)).toEqual([])
    expect(inUse()).toBe(1)
    expect(opened()).toBe(2)

    open.resolve()
    await Promise.all([slow, ...waiting])
    expect(await store.changes(ann, tasks, 0, 50)).toHaveLength(30)
  })

  test('reads without waiting for the writes', async () => {
    const [started, open] = [deferred(), deferred()]
    const slow = store.transaction(ann, async () => {
      started.resolve()
      await open.promise
    })
    await started.promise
    expect(await store.read(ann, tasks, [aTask().id])).toEqual(new Map())
    open.resolve()
    await slow
  })
})

setFlagsFromString('--expose-gc')
const collectGarbage = runInNewContext('gc') as () => void
