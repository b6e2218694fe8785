import { availableParallelism } from 'node:os'
import { configDefaults, defineConfig } from 'vitest/config'
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

/** Those that share processes come last, as a process is kept only for a file that follows at once. */
class LongestFirst extends BaseSequencer {
  override async sort(files: TestSpecification[]): Promise<TestSpecification[]> {
    const place = ({ moduleId, project }: TestSpecification) => {
      const at = LONGEST.findIndex((name) => moduleId.endsWith(`tests/${name}.test.ts`))
      return (at < 0 ? LONGEST.length : at) + (project.config.isolate ? 0 : 1000)
    }
    return (await super.sort(files)).sort((a, b) => place(a) - place(b))
  }
}

/**
 * All others share processes, so that the server and the SDK are compiled and loaded once for each process and not for
 * each file. These have one of their own, as they change what others use: modules, globals, plugins of RxDB. Mocks,
 * timers and stubs are restored after each file.
 */
const ALONE = [
  'tests/added-resources.test.ts',
  'tests/client-sdk/{react-native,self-check,storage-faults,storages,ten-resources,updates}.test.ts',
  'tests/peers/{outdated-client,rxdb-suite}.test.ts',
  'tests/server/added-resources.test.ts',
  'tests/server/database/embedded-postgres.test.ts',
  'tests/server/processes/{dev,tracing}.test.ts',
  'tests/simulation/**/*.test.ts',
]

const settings = {
  // Tests wait for timers, processes and browsers, so one more runs than there are cores.
  maxWorkers: availableParallelism() + 1,
  testTimeout: 30_000,
  hookTimeout: 60_000,
  // By default a second, which is too short beside other tests.
  expect: { poll: { timeout: 10_000 } },
}

/** They measure time, or take much of it, so they run alone: npm run test:failures, attack, test:examples. */
const OTHER_RUNS = ['tests/failures/**', 'tests/attacks/**', 'tests/examples/**']

export default defineConfig({
  test: {
    // Not inherited by the projects, each of which would start a Postgres of its own.
    globalSetup: ['./tests/support/cluster.ts'],
    sequence: { sequencer: LongestFirst },
    projects: [
      {
        test: {
          ...settings,
          name: 'alone',
          include: ALONE,
        },
      },
      {
        test: {
          ...settings,
          name: 'shared',
          include: ['tests/**/*.test.ts'],
          exclude: [...configDefaults.exclude, ...OTHER_RUNS, ...ALONE],
          isolate: false,
          setupFiles: ['./tests/support/shared-process.ts'],
        },
      },
    ],
  },
})
