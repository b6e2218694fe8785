import { Problem } from '../../protocol/index.ts'

/** Far more than any device sends at the same time. */
const MAX_WAITING = 1_000

/**
 * A queue per key with a number of lanes. Work waits here instead of in the pool, so one busy user cannot
 * starve the others. With one lane (the default) the work of a key is serial: writers of one user wait for
 * each other anyway, on the feed's row, but here without holding a connection each.
 *
 * @throws Problem `too_many_requests` if the queue is full
 */
export function createTurns({ lanes = 1 } = {}) {
  const queues = new Map<string, { running: number; waiting: (() => void)[] }>()

  return async function takeTurn<T>(key: string, work: () => Promise<T>): Promise<T> {
    const queue = queues.get(key) ?? { running: 0, waiting: [] }
    queues.set(key, queue)
    if (queue.running < lanes) queue.running++
    else {
      if (queue.waiting.length >= MAX_WAITING) throw tooMany()
      await new Promise<void>((go) => queue.waiting.push(go))
    }
    try {
      return await work()
    } finally {
      const next = queue.waiting.shift()
      if (next) next()
      else if (--queue.running === 0) queues.delete(key)
    }
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
