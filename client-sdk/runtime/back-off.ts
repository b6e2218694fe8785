import { EMPTY, type MonoTypeOperatorFunction, retry, timer } from 'rxjs'

const FIRST_MS = 1_000
const LONGEST_MS = 60_000

/**
 * Exponential back-off with up to 50% jitter, so that clients do not all reconnect at the same time
 * after an outage.
 */
export function delayAfter(failures: number, random: () => number = Math.random): number {
  const longest = Math.min(LONGEST_MS, FIRST_MS * 2 ** (failures - 1))
  return Math.round(longest * (0.5 + random() / 2))
}

/** Resubscribes to a failing stream of a database, with back-off. */
export function readAgain<T>(database: { closed: boolean }): MonoTypeOperatorFunction<T> {
  const delay = (_error: unknown, failures: number) =>
    database.closed ? EMPTY : timer(delayAfter(failures))
  return retry({ delay, resetOnSuccess: true })
}
