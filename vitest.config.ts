import { availableParallelism } from 'node:os'
import { defineConfig } from 'vitest/config'
import { BaseSequencer, type TestSpecification } from 'vitest/node'

/** Each takes a minute or more. Begun last, it would run alone on a machine with several cores. */
const LONGEST = [
  'simulation/simulation',
  'client-sdk/storage-faults',
  'server/processes/dev',
  'server/processes/worker',
  'server/processes/lifecycle',
  'deployment/dockerfile',
  'server/http/openapi',
  'server/http/fuzz',
  'end-to-end/account',
  'end-to-end/unsaved',
]

class LongestFirst extends BaseSequencer {
  override async sort(files: TestSpecification[]): Promise<TestSpecification[]> {
    const place = ({ moduleId }: TestSpecification) => {
      const at = LONGEST.findIndex((name) => moduleId.endsWith(`tests/${name}.test.ts`))
      return at < 0 ? LONGEST.length : at
    }
    return (await super.sort(files)).sort((a, b) => place(a) - place(b))
  }
}

export default defineConfig({
  test: {
    include: ['tests/**/*.test.ts'],
    // They measure time, or take much of it, so they run alone: npm run test:failures, attack, test:examples.
    exclude: ['**/node_modules/**', 'tests/failures/**', 'tests/attacks/**', 'tests/examples/**'],
    globalSetup: ['./tests/support/cluster.ts'],
    // Tests wait for timers, processes and browsers, so one more runs than there are cores.
    maxWorkers: availableParallelism() + 1,
    sequence: { sequencer: LongestFirst },
    testTimeout: 30_000,
    hookTimeout: 60_000,
    // By default a second, which is too short beside other tests.
    expect: { poll: { timeout: 10_000 } },
  },
})
