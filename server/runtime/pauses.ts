import { setImmediate as nextTurn, setTimeout as sleep } from 'node:timers/promises'

/** The longest piece of work in which this thread serves nobody else, if it is cut into pieces. */
const PIECE_MS = 10

/**
 * A piece that took so long, such as the parsing of one long text, is followed by a rest of the same time. A request
 * takes several turns, and each would have to wait for such a piece of somebody else.
 */
const LONG_MS = 25
const MAX_REST_MS = 200

let began = 0
/** Whether the piece may still be going on that began then. */
let isGoingOn = false
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
  const ms = isGoingOn ? performance.now() - began : 0
  last = last.then(() => (ms > LONG_MS ? sleep(Math.min(ms, MAX_REST_MS)) : nextTurn())).then(begin)
  return last
}

function begin() {
  began = performance.now()
  isGoingOn = true
  setImmediate(() => {
    isGoingOn = false
  })
}
