import { Problem } from '../../protocol/index.ts'

/** Far more than any device has under way at once. */
const MAX_WAITING = 1_000

/**
 * Lets so much work per key run at a time, in the order of asking; what is beyond waits here rather
 * than in the pool, so that one busy user cannot starve the others. With one lane (the default) work
 * of a key is serial: writers of one user wait for each other anyway, on the feed's row, and here
 * they do so without each holding a connection.
 *
 * @throws Problem `too_many_requests` when too much is waiting
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
  return new Problem('too_many_requests', 'Too many requests of yours are waiting; try again.', {
    retryAfter: 1,
  })
}
