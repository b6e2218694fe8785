import { randomUUID } from 'node:crypto'
import { getRxStorageMemory } from 'rxdb/plugins/storage-memory'
import { BehaviorSubject } from 'rxjs'
import { afterEach, beforeEach, expect, test, vi } from 'vitest'
import { openDatabase } from '../../client-sdk/local/database.ts'
import { SelfChecks } from '../../client-sdk/sync/self-checks.ts'

const MINUTE = 60_000
const HOUR = 60 * MINUTE
const DAY = 24 * HOUR

let now: number
let checks: string[]
let fails: boolean
const isOpen$ = new BehaviorSubject(true)
let database: Awaited<ReturnType<typeof openDatabase>>
let running: SelfChecks | undefined

beforeEach(async () => {
  now = Date.parse('2026-11-22T08:00:00Z')
  checks = []
  fails = false
  isOpen$.next(true)
  const storage = getRxStorageMemory()
  database = await openDatabase({
    storage,
    resources: ['tasks'],
    name: `d${randomUUID()}`,
    multiInstance: false,
    now: () => now,
  })
  vi.useFakeTimers({ toFake: ['setTimeout', 'setInterval', 'clearTimeout', 'clearInterval'] })
})
afterEach(async () => {
  running?.stop()
  vi.useRealTimers()
  await database.close()
})

async function start(): Promise<void> {
  running?.stop()
  const replica = (name: string) => ({
    async check() {
      checks.push(name)
      if (fails) throw new Error('no network')
      return 1
    },
  })
  running = new SelfChecks({
    database,
    replicas: [replica('tasks'), replica('profile')] as never,
    connection: { isOpen$ } as never,
    now: () => now,
  })
  running.start()
  await settled()
}

/** What is read from the database and written to it has come through. */
async function settled(): Promise<void> {
  for (let i = 0; i < 5; i++) await new Promise((resolve) => setImmediate(resolve))
}

async function pass(milliseconds: number): Promise<void> {
  for (let left = milliseconds; left > 0; left -= MINUTE) {
    now += Math.min(left, MINUTE)
    await vi.advanceTimersByTimeAsync(Math.min(left, MINUTE))
    await settled()
  }
}

test('the first one is soon after the start, the next one after a day', async () => {
  await start()
  await pass(0.4 * MINUTE)
  expect(checks).toEqual([])
  await pass(MINUTE)
  expect(checks).toEqual(['tasks', 'profile'])
  await pass(23 * HOUR)
  expect(checks).toHaveLength(2)
  await pass(8 * HOUR)
  expect(checks).toHaveLength(4)
})

test('a restart does not repeat it before its time', async () => {
  await start()
  await pass(2 * MINUTE)
  await start()
  await pass(23 * HOUR)
  expect(checks).toHaveLength(2)
  await start()
  await pass(2 * HOUR)
  expect(checks).toHaveLength(4)
})

test('a clock that was set back does not put it off for long', async () => {
  await start()
  await pass(2 * MINUTE)
  now -= 300 * DAY
  await start()
  await pass(31 * HOUR)
  expect(checks).toHaveLength(4)
})

test('one that fails is repeated after an hour, also after a restart', async () => {
  fails = true
  await start()
  await pass(2 * MINUTE)
  expect(checks).toEqual(['tasks'])
  await pass(0.9 * HOUR)
  expect(checks).toHaveLength(1)
  await pass(0.5 * HOUR)
  expect(checks).toHaveLength(2)
  fails = false
  await start()
  await pass(2 * MINUTE)
  expect(checks).toHaveLength(4)
})

test('there is none while sync is paused, nor after the end', async () => {
  isOpen$.next(false)
  await start()
  await pass(2 * MINUTE)
  expect(checks).toEqual([])
  isOpen$.next(true)
  await pass(MINUTE)
  expect(checks).toHaveLength(2)
  running!.stop()
  await pass(2 * DAY)
  expect(checks).toHaveLength(2)
})
