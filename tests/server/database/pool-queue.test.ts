import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest'
import { createPoolQueue, Overloaded, type PoolQueue } from '../../../server/database/pool-queue.ts'
import { createTurns } from '../../../server/store/turns.ts'

beforeEach(() => {
  vi.useFakeTimers({ toFake: ['performance', 'setInterval', 'clearInterval'] })
})
afterEach(() => {
  vi.useRealTimers()
})

const SIZE = 2
const pass = (milliseconds: number) => vi.advanceTimersByTimeAsync(milliseconds)

/** Work that asks for a connection now, and what became of it. */
function ask(queue: PoolQueue) {
  const state = { is: 'waiting' }
  queue.enter().then(
    () => {
      state.is = 'running'
    },
    (error) => {
      state.is = error instanceof Overloaded ? 'refused' : 'failed'
    },
  )
  return state
}

/** A pool in which nobody has got a connection for two seconds. */
async function overloaded(): Promise<PoolQueue> {
  const queue = createPoolQueue(SIZE)
  await Promise.all([queue.enter(), queue.enter()])
  ask(queue)
  await pass(2_000)
  return queue
}

describe('a pool', () => {
  test('serves the oldest first, however many wait, as long as each of them waits for a short time', async () => {
    const queue = createPoolQueue(SIZE)
    await Promise.all([queue.enter(), queue.enter()])
    const waiting = Array.from({ length: 60 }, () => ask(queue))
    for (const [i, next] of waiting.entries()) {
      expect(next.is).toBe('waiting')
      queue.leave()
      await pass(1)
      expect(next.is).toBe('running')
      // New work comes all the time, and waits for a fifth of a second.
      if (i % 10 === 0) await pass(20)
    }
    expect(queue.isOverloaded()).toBe(false)
  })

  test('is not overloaded by a wait of a second, nor while a connection is free', async () => {
    const queue = createPoolQueue(SIZE)
    await Promise.all([queue.enter(), queue.enter()])
    const slow = ask(queue)
    await pass(900)
    expect([slow.is, queue.isOverloaded(), queue.isClosed()]).toEqual(['waiting', false, false])
    queue.leave()
    await pass(5_000)
    expect([slow.is, queue.isOverloaded()]).toEqual(['running', false])
  })

  test('that is overloaded refuses who has waited for 50 ms, and serves the newest first', async () => {
    const queue = await overloaded()
    const [old, middle] = [ask(queue), ask(queue)]
    await pass(20)
    const young = ask(queue)
    queue.leave()
    await pass(1)
    expect([old.is, middle.is, young.is]).toEqual(['waiting', 'waiting', 'running'])
    await pass(50)
    expect([old.is, middle.is]).toEqual(['refused', 'refused'])
  })

  test('that is overloaded is closed while half as many wait as it has connections, and soon well again', async () => {
    const queue = await overloaded()
    expect(queue.isClosed()).toBe(false)
    ask(queue)
    expect(queue.isClosed()).toBe(true)
    await pass(60)
    queue.leave()
    queue.leave()
    expect([queue.isOverloaded(), queue.isClosed()]).toEqual([true, false])
    await pass(1_100)
    expect(queue.isOverloaded()).toBe(false)
  })
})

describe('turns', () => {
  test('of one busy user do not overload a pool that has a free connection', async () => {
    const queue = createPoolQueue(SIZE)
    const takeTurn = createTurns({ pool: queue })
    const ended: number[] = []
    const all = Array.from({ length: 30 }, (_, i) =>
      takeTurn('ann', async () => {
        await queue.enter()
        await new Promise<void>((resolve) => setInterval(resolve, 200))
        queue.leave()
        ended.push(i)
      }),
    )
    await pass(7_000)
    await Promise.all(all)
    expect(ended).toEqual(all.map((_, i) => i))
  })

  test('that everybody waits for overload a pool without a free connection, and are refused then', async () => {
    const queue = createPoolQueue(SIZE)
    const takeTurn = createTurns({ pool: queue })
    const states = new Map<string, number>()
    const count = (state: string) => states.set(state, (states.get(state) ?? 0) + 1)
    const write = (user: string) =>
      takeTurn(user, async () => {
        await queue.enter()
        await new Promise<void>((resolve) => setInterval(resolve, 100))
        queue.leave()
      }).then(
        () => count('done'),
        (error) => count(error instanceof Overloaded ? 'refused' : 'failed'),
      )
    // Three users for two connections: in the pool, nobody waits for long.
    for (let i = 0; i < 300; i++) {
      for (const user of ['ann', 'bob', 'cid']) void write(user)
      await pass(20)
    }
    expect(queue.isOverloaded()).toBe(true)
    await pass(2_000)
    expect(states.get('failed')).toBeUndefined()
    expect(states.get('refused')).toBeGreaterThan(600)
    // Twenty a second, for six seconds.
    expect(states.get('done')).toBeGreaterThan(100)
    expect(queue.isOverloaded()).toBe(false)
  })
})
