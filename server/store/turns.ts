import { Problem } from '../../protocol/index.ts'
import { type PoolQueue, SHORT_MS } from '../database/pool-queue.ts'

/** Far more than any device sends at the same time. */
const MAX_WAITING = 1_000

interface Waiter {
  go: () => void
  refuse: (error: Error) => void
}

/**
 * A queue per key with a number of lanes. Work waits here instead of in the pool, so one busy user cannot
 * starve the others. With one lane (the default) the work of a key is serial: writers of one user wait for
 * each other anyway, on the feed's row, but here without holding a connection each. While the pool is
 * overloaded, the newest goes first, and nobody waits for long.
 *
 * @throws Problem `too_many_requests` if the queue is full
 * @throws Overloaded
 */
export function createTurns({
  lanes = 1,
  pool,
}: {
  lanes?: number
  pool?: PoolQueue | undefined
} = {}) {
  const queues = new Map<string, { running: number; waiting: Waiter[] }>()

  return async function takeTurn<T>(key: string, work: () => Promise<T>): Promise<T> {
    const queue = queues.get(key) ?? { running: 0, waiting: [] }
    queues.set(key, queue)
    if (queue.running < lanes) {
      queue.running++
      pool?.turnFree()
    } else {
      if (queue.waiting.length >= MAX_WAITING) throw tooMany()
      await turnIn(queue.waiting)
    }
    try {
      return await work()
    } finally {
      const next = pool?.isOverloaded() ? queue.waiting.pop() : queue.waiting.shift()
      if (next) next.go()
      else if (--queue.running === 0) queues.delete(key)
    }
  }

  function turnIn(waiting: Waiter[]): Promise<void> {
    if (!pool) return new Promise((go, refuse) => waiting.push({ go, refuse }))
    const since = performance.now()
    pool.turnAwaited()
    let look: NodeJS.Timeout | undefined
    return new Promise<void>((go, refuse) => {
      const waiter = { go, refuse }
      waiting.push(waiter)
      look = setInterval(() => {
        if (!pool.isOverloaded()) return
        waiting.splice(waiting.indexOf(waiter), 1)
        refuse(pool.refusal())
      }, SHORT_MS).unref()
    })
      .then(
        () => pool.turnGiven(performance.now() - since),
        (error) => {
          pool.turnGiven(undefined)
          throw error
        },
      )
      .finally(() => clearInterval(look))
  }
}

function tooMany(): Problem {
  return new Problem(
    'too_many_requests',
    'Too many of your requests are waiting; try again in a second.',
    {
      retryAfter: 1,
    },
  )
}
