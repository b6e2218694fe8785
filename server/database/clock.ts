import type { Log } from '../runtime/log.ts'
import type { Database } from './connect.ts'

/** The largest difference between the clock of a machine and the database's that is no fault. */
export const CLOCK_TOLERANCE_MS = 30_000
const MEASURE_MS = 10_000

/**
 * The database's clock, the same for all processes: it decides about sessions, links, limits, retention
 * and reminders. The clock of this machine may be wrong, and may be set at any moment.
 */
export interface DatabaseClock {
  now(): Date
  /** How far the clock of this machine is ahead of it, in milliseconds. */
  aheadMs(): number
  stop(): void
}

/**
 * Follows the database's clock by the monotonic timer of this process, which nobody can set, and
 * compares them every few seconds: the timer may stand still while a machine sleeps. While the database
 * is away, the timer alone continues.
 *
 * @param ask runs a query, on whichever connection
 * @throws if the database cannot be asked now
 */
export async function followClock(
  ask: <T>(question: (db: Database) => Promise<T>) => Promise<T>,
  log: Pick<Log, 'error' | 'info'>,
): Promise<DatabaseClock> {
  /** What the database's clock showed when the timer was at zero. */
  let origin = Number.NaN
  let isWrong = false
  const now = () => new Date(origin + performance.now())
  const aheadMs = () => Date.now() - now().getTime()
  await measure()
  const timer = setInterval(() => void measure().catch(() => {}), MEASURE_MS).unref()
  return { now, aheadMs, stop: () => clearInterval(timer) }

  async function measure(): Promise<void> {
    const asked = performance.now()
    const time = await ask(readClock)
    const answered = performance.now()
    // The clock was read between the two. It is corrected only if that contradicts it, so that slow
    // answers do not move it to and fro.
    const agrees = time >= origin + asked - 1 && time <= origin + answered + 1
    if (!agrees) origin = time - (asked + answered) / 2
    report()
  }

  function report(): void {
    const ahead_seconds = Math.round(aheadMs() / 1000)
    const wasWrong = isWrong
    isWrong = Math.abs(aheadMs()) > CLOCK_TOLERANCE_MS
    if (isWrong && !wasWrong)
      log.error({ ahead_seconds }, 'the clock of this machine is wrong: synchronize it (NTP)')
    if (!isWrong && wasWrong) log.info('the clock of this machine is right again')
  }
}

async function readClock(db: Database): Promise<number> {
  const { rows } = await db.raw<{ rows: { time: Date }[] }>('select clock_timestamp() as time')
  return rows[0]!.time.getTime()
}
