import { setImmediate as nextTurn } from 'node:timers/promises'

/** The longest piece of work in which this thread serves nobody else, if it is cut into pieces. */
const PIECE_MS = 10

let began = 0
let last = Promise.resolve()

/**
 * To be awaited between the pieces of long work: after ten milliseconds of it, everybody else has a turn of the
 * event loop.
 */
export function pause(): Promise<void> | undefined {
  return performance.now() - began < PIECE_MS ? undefined : turn()
}

/** A turn of the event loop of one's own: however much long work there is, one piece of it is done in each. */
export function turn(): Promise<void> {
  last = last.then(() => nextTurn()).then(begin)
  return last
}

function begin() {
  began = performance.now()
}
