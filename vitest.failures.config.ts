import { configDefaults, defineConfig } from 'vitest/config'

/** They wait most of the time, for timers and silent lines, and what they measure is seconds. */
const WAITING = ['dead-listener', 'read-only', 'shutdown', 'silent-worker', 'wrong-clock'].map(
  (name) => `tests/failures/${name}.test.ts`,
)

const settings = {
  testTimeout: 120_000,
  hookTimeout: 60_000,
  // As most others in vitest.config.ts, for the same reason.
  isolate: false,
  setupFiles: ['./tests/support/shared-process.ts'],
}

/** Stories in which machines, lines and databases fail: real processes, real time. */
export default defineConfig({
  test: {
    // Not inherited by the projects, each of which would start a Postgres of its own.
    globalSetup: ['./tests/support/cluster.ts'],
    projects: [
      {
        test: {
          ...settings,
          name: 'under load, one at a time',
          include: ['tests/failures/**/*.test.ts'],
          exclude: [...configDefaults.exclude, ...WAITING],
          maxWorkers: 1,
          sequence: { groupOrder: 1 },
        },
      },
      {
        test: {
          ...settings,
          name: 'waiting, two at a time',
          include: WAITING,
          maxWorkers: 2,
          sequence: { groupOrder: 2 },
        },
      },
    ],
  },
})
