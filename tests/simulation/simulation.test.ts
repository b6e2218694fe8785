import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { createDatabase, type TestDatabase } from '../support/database.ts'
import { memoryBackend, postgresBackend } from './backends.ts'
import { findMutant, mutants } from './mutants.ts'
import { type Backend, runSeed } from './world.ts'

let database: TestDatabase
beforeAll(async () => {
  database = await createDatabase()
})
afterAll(() => database.drop())

describe.each<[string, () => Backend, number]>([
  ['in memory', memoryBackend, 700],
  ['on Postgres', () => postgresBackend(database.db), 25],
])('%s', (_where, open, seeds) => {
  test('every promise is kept, whatever goes wrong', async () => {
    const backend = open()
    const seen = new Map<string, number>()
    for (let seed = 1; seed <= seeds; seed++) {
      const { violations, history, seen: these } = await runSeed(seed, backend)
      if (violations.length > 0)
        throw new Error([`seed ${seed}`, ...violations, '', ...history].join('\n'))
      for (const [what, times] of these) seen.set(what, (seen.get(what) ?? 0) + times)
    }
    // Nothing is shown by runs in which nothing happens.
    const counts = Object.fromEntries(seen)
    for (const what of ['conflicts', 'rejections', 'repeated pushes', 'values put back'])
      expect(counts[what], what).toBeGreaterThan(seeds / 10)
    for (const what of ['frames applied', 'frames with a gap', 'frames passed over'])
      expect(counts[what], what).toBeGreaterThan(seeds)
  }, 300_000)

  test('a seed has one history', async () => {
    const backend = open()
    for (const seed of [1, 2, 3]) {
      const { history } = await runSeed(seed, backend)
      expect(history.length).toBeGreaterThan(200)
      expect((await runSeed(seed, backend)).history).toEqual(history)
    }
  }, 60_000)
})

test.each(mutants.map((mutant) => [mutant.guard, mutant] as const))(
  'it is found out when there is no guard: %s',
  async (_guard, mutant) => {
    expect(await findMutant(mutant)).toEqual(expect.stringContaining('seed'))
  },
  300_000,
)
