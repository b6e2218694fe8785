import { setImmediate as nextTurn } from 'node:timers/promises'

/** The longest piece of work in which this thread serves nobody else, if it is cut into pieces. */
const PIECE_MS = 10

let began = 0
let last = Promise.resolve()

/**
 * To be awaited between the pieces of long work: after ten milliseconds of it, everybody else has a turn of the
 * event loop. However much long work there is, one piece of it is done in each turn.
 */
export function pause(): Promise<void> | undefined {
  if (performance.now() - began < PIECE_MS) return undefined
  last = last.then(() => nextTurn()).then(begin)
  return last
}

function begin() {
  began = performance.now()
}
