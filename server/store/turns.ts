import { Problem } from '../../protocol/index.ts'

/** Far more than any device has under way at once. */
const MAX_WAITING = 1_000

/**
 * Lets one piece of work per key run at a time, in the order of asking. Writers of one user wait for
 * each other anyway, on the feed's row; here they do so without each holding a pooled connection,
 * so that one busy user cannot starve the others.
 */
export function createTurns() {
  const last = new Map<string, Promise<unknown>>()
  const waiting = new Map<string, number>()
  return function takeTurn<T>(key: string, work: () => Promise<T>): Promise<T> {
    const count = waiting.get(key) ?? 0
    if (count >= MAX_WAITING) return Promise.reject(tooMany())
    waiting.set(key, count + 1)
    const before = last.get(key)
    const turn = before ? before.then(work, work) : Promise.resolve().then(work)
    last.set(key, turn)
    const leave = () => {
      waiting.set(key, waiting.get(key)! - 1)
      if (last.get(key) !== turn) return
      last.delete(key)
      waiting.delete(key)
    }
    turn.then(leave, leave)
    return turn
  }
}

function tooMany(): Problem {
  return new Problem('too_many_requests', 'Too many writes of yours are waiting; try again.', {
    headers: { 'Retry-After': '1' },
  })
}
