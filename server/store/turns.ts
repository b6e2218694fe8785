/**
 * Lets one piece of work per key run at a time, in the order of asking. Writers of one user wait for
 * each other anyway, on the feed's row; here they do so without each holding a pooled connection,
 * so that one busy user cannot starve the others.
 */
export function createTurns() {
  const last = new Map<string, Promise<unknown>>()
  return function takeTurn<T>(key: string, work: () => Promise<T>): Promise<T> {
    const before = last.get(key)
    const turn = before ? before.then(work, work) : Promise.resolve().then(work)
    last.set(key, turn)
    const leave = () => {
      if (last.get(key) === turn) last.delete(key)
    }
    turn.then(leave, leave)
    return turn
  }
}
