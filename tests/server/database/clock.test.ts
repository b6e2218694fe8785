import { afterEach, beforeEach, expect, test, vi } from 'vitest'
import { followClock } from '../../../server/database/clock.ts'

const START = Date.parse('2031-12-01T06:00:00Z')
const HOUR_MS = 60 * 60 * 1000

/** How far the database's clock is ahead of the timers of this test. */
let database: number
/** How long it takes to the answer, before and after the clock is read. */
let way: [there: number, back: number]
let logged: string[]
beforeEach(() => {
  vi.useFakeTimers({
    toFake: ['Date', 'performance', 'setInterval', 'setTimeout', 'clearInterval'],
  })
  vi.setSystemTime(START)
  database = START
  way = [0, 0]
  logged = []
})
afterEach(() => {
  vi.useRealTimers()
})

const wait = (milliseconds: number) => new Promise((resolve) => setTimeout(resolve, milliseconds))

/** As a connection that takes its time. */
async function ask() {
  await wait(way[0])
  const time = new Date(database + performance.now())
  await wait(way[1])
  return { rows: [{ time }] }
}

async function follow() {
  const log = {
    error: (_: unknown, text: string) => void logged.push(`error: ${text}`),
    info: (text: string) => void logged.push(`info: ${text}`),
  }
  const following = followClock(
    ((question: (db: unknown) => unknown) => question({ raw: ask })) as never,
    log as never,
  )
  await vi.advanceTimersByTimeAsync(2_000)
  return following
}

/** In whole milliseconds, of which one may be lost. */
const error = (clock: { now(): Date }) => {
  const difference = clock.now().getTime() - Math.floor(database + performance.now())
  return Math.abs(difference) <= 1 ? 0 : difference
}

test('the clock of a machine may be set at any moment: the database’s goes on', async () => {
  const clock = await follow()
  expect(error(clock)).toBe(0)
  vi.setSystemTime(START + 365 * 24 * HOUR_MS)
  expect(error(clock)).toBe(0)
  expect(clock.aheadMs()).toBeGreaterThan(364 * 24 * HOUR_MS)
  await vi.advanceTimersByTimeAsync(30_000)
  expect(error(clock)).toBe(0)
})

test('an answer that takes long moves the clock by no more than that, and one that agrees not at all', async () => {
  way = [1_000, 0]
  const clock = await follow()
  const wrongBy = error(clock)
  expect(wrongBy).toBeGreaterThan(490)
  expect(wrongBy).toBeLessThanOrEqual(500)
  way = [900, 100]
  await vi.advanceTimersByTimeAsync(12_000)
  expect(error(clock)).toBe(wrongBy)
  way = [0, 0]
  await vi.advanceTimersByTimeAsync(12_000)
  expect(error(clock)).toBe(0)
})

test('it follows the database to another machine, and runs on while there is none', async () => {
  const clock = await follow()
  database += HOUR_MS
  await vi.advanceTimersByTimeAsync(12_000)
  expect(error(clock)).toBe(0)
  way = [1_000_000, 0]
  await vi.advanceTimersByTimeAsync(HOUR_MS)
  expect(error(clock)).toBe(0)
})

test('a clock that is wrong by more than 30 seconds is logged once, and when it is right again', async () => {
  await follow()
  for (const [ahead, lines] of [
    [29_000, 0],
    [-31_000, 1],
    [-HOUR_MS, 1],
    [0, 2],
  ] as const) {
    vi.setSystemTime(database + performance.now() + ahead)
    await vi.advanceTimersByTimeAsync(10_000)
    expect(logged).toHaveLength(lines)
  }
  expect(logged).toEqual([
    'error: the clock of this machine is wrong: synchronize it (NTP)',
    'info: the clock of this machine is right again',
  ])
})
