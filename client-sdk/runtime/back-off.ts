import { EMPTY, type MonoTypeOperatorFunction, retry, timer } from 'rxjs'

const FIRST_MS = 1_000
const LONGEST_MS = 60_000

/**
 * How long to wait after so many failures in a row: twice as long each time, of which a random half
 * is left off, so that the clients of a server that was away do not all come back at once.
 */
export function delayAfter(failures: number, random: () => number = Math.random): number {
  const longest = Math.min(LONGEST_MS, FIRST_MS * 2 ** (failures - 1))
  return Math.round(longest * (0.5 + random() / 2))
}

/** Keeps a stream of a database alive that cannot be read for a while: it is read again, with pauses. */
export function readAgain<T>(database: { closed: boolean }): MonoTypeOperatorFunction<T> {
  const delay = (_error: unknown, failures: number) =>
    database.closed ? EMPTY : timer(delayAfter(failures))
  return retry({ delay, resetOnSuccess: true })
}
