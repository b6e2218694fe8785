import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { createDatabase, type TestDatabase } from '../support/database.ts'
import { memoryBackend, postgresBackend } from './backends.ts'
import { findMutant, mutants } from './mutants.ts'
import { bundleSdk } from './sdk/bundle.ts'
import { type Backend, type RunOptions, runSeed } from './world.ts'

/** The minimum number of events per seed. */
const LEAST = {
  models: {
    conflicts: 0.1,
    rejections: 0.1,
    'repeated pushes': 0.1,
    'values put back': 0.1,
    'frames applied': 1,
    'frames with a gap': 1,
    'frames passed over': 1,
    failovers: 0.1,
    'purged tombstones': 0.3,
  },
  sdk: {
    'pushes of the SDK': 4,
    synced: 1,
    'sign-outs': 0.5,
    'faults of a disk': 2,
    kills: 1,
    'clocks that jumped': 0.3,
    'answers of strangers': 1,
    'refusals of a firewall': 0.04,
    'slow lines': 0.3,
    sleeps: 0.2,
    failovers: 0.1,
    'purged tombstones': 0.1,
    'corrupted documents': 1,
    'self-checks: equal': 1,
    'self-checks: different': 1,
  },
}

let database: TestDatabase
beforeAll(async () => {
  database = await createDatabase()
})
afterAll(() => database.drop())

describe.each<[string, () => Backend, number, 'models' | 'sdk', string?]>([
  ['in memory', memoryBackend, 250, 'models'],
  ['on Postgres', () => postgresBackend(database.db), 15, 'models', 'failovers'],
  ['with the SDK', memoryBackend, 25, 'sdk'],
])('%s', (_where, open, seeds, devices, missing) => {
  let options: RunOptions
  beforeAll(async () => {
    options = devices === 'sdk' ? { openSdk: await bundleSdk() } : {}
  })

  test('every promise holds under faults', async () => {
    const backend = open()
    const seen = new Map<string, number>()
    for (let seed = 1; seed <= seeds; seed++) {
      const { violations, history, seen: these } = await runSeed(seed, backend, options)
      if (violations.length > 0)
        throw new Error([`seed ${seed}`, ...violations, '', ...history].join('\n'))
      for (const [what, times] of these) seen.set(what, (seen.get(what) ?? 0) + times)
    }
    // Runs without such events prove nothing.
    const counts = Object.fromEntries(seen)
    for (const [what, least] of Object.entries(LEAST[devices]))
      if (what !== missing) expect(counts[what], what).toBeGreaterThan(seeds * least)
  }, 300_000)

  test('a seed has one history', async () => {
    const backend = open()
    for (const seed of [1, 2, 3]) {
      const { history } = await runSeed(seed, backend, options)
      expect(history.length).toBeGreaterThan(200)
      expect((await runSeed(seed, backend, options)).history).toEqual(history)
    }
  }, 60_000)
})

const common = mutants.filter(({ isRare }) => !isRare)

test.each(common.map((mutant) => [mutant.guard, mutant] as const))(
  'the simulation fails without the guard: %s',
  async (_guard, mutant) => {
    expect(await findMutant(mutant)).toEqual(expect.stringContaining('seed'))
  },
  300_000,
)
