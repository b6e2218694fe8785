import pg from 'pg'
import { afterAll, afterEach, beforeAll, expect, test, vi } from 'vitest'
import { keepQueued } from '../../../server/jobs/schedule.ts'
import { startWorker } from '../../../server/jobs/worker.ts'
import { createLog } from '../../../server/runtime/log.ts'
import { createDatabase, type TestDatabase } from '../../support/database.ts'

const HOUR_MS = 60 * 60 * 1000
const log = createLog('silent', { readable: false, to: { write() {} } })

let database: TestDatabase
let pool: pg.Pool
beforeAll(async () => {
  database = await createDatabase()
  pool = new pg.Pool({ connectionString: database.url })
})
afterEach(async () => {
  vi.useRealTimers()
  await jobs().delete()
})
afterAll(async () => {
  await pool.end()
  await database.drop()
})

const jobs = () => database.db('graphile_worker._private_jobs')

/** What waits under this name, and whether it is due within the time. */
const queued = async (seconds: number) =>
  (await jobs()
    .where({ key: 'often' })
    .select(
      database.db.raw('attempts < max_attempts as alive'),
      database.db.raw('run_at between now() and now() + make_interval(secs => ?) as in_time', [
        seconds,
      ]),
    )) as { alive: boolean; in_time: boolean }[]

/** Looks once, as a worker does that starts. */
async function look(): Promise<void> {
  const query = vi.spyOn(pool, 'query')
  try {
    keepQueued(pool, new Map([['often', 60]]), log).stop()
    await query.mock.results[0]!.value
  } finally {
    query.mockRestore()
  }
}

test('a recurring job is queued once, whoever looks', async () => {
  await Promise.all([look(), look(), look()])
  expect(await queued(60)).toEqual([{ alive: true, in_time: true }])
  const [{ id }] = await jobs().select('id')
  await look()
  expect(await jobs().pluck('id')).toEqual([id])
})

test.each([
  ['was queued while the clock was a year ahead', "run_at = now() + interval '1 year'"],
  [
    'failed so often that it would be retried in hours',
    "attempts = 9, run_at = now() + interval '3 hours'",
  ],
  ['was given up', 'attempts = max_attempts'],
])('a recurring job that %s runs again within its interval', async (_what, set) => {
  await look()
  await database.db.raw(`update graphile_worker._private_jobs set ${set}`)
  await look()
  expect(await queued(60)).toEqual([{ alive: true, in_time: true }])
})

test('a recurring job runs on when the clock of its worker is set, forward and back', async () => {
  let ran = () => {}
  const nextRun = () => new Promise<void>((resolve) => (ran = resolve))
  const task = async () => ran()
  const target = { url: database.url, tls: 'off' } as const
  const worker = await startWorker({
    target,
    concurrency: 1,
    log,
    jobs: { often: { task, everySeconds: 1 } },
  })
  try {
    await nextRun()
    vi.useFakeTimers({ toFake: ['Date'], now: Date.now() + HOUR_MS })
    await nextRun()
    vi.useRealTimers()
    await nextRun()
  } finally {
    await worker.stop()
  }
})
