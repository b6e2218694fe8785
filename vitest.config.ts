import { defineConfig } from 'vitest/config'

export default defineConfig({
  test: {
    include: ['tests/**/*.test.ts'],
    // They measure time, or take much of it, so they run alone: npm run test:failures, attack, test:examples.
    exclude: ['**/node_modules/**', 'tests/failures/**', 'tests/attacks/**', 'tests/examples/**'],
    globalSetup: ['./tests/support/cluster.ts'],
    // By default it leaves a core free, and tests wait for much else: on two cores they would run one by one.
    maxWorkers: '100%',
    testTimeout: 30_000,
    hookTimeout: 60_000,
    // By default a second, which is too short beside other tests.
    expect: { poll: { timeout: 10_000 } },
  },
})
