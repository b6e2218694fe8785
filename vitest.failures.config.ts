import { defineConfig } from 'vitest/config'

/** Stories in which machines, lines and databases fail: real processes, real time, one at a time. */
export default defineConfig({
  test: {
    include: ['tests/failures/**/*.test.ts'],
    globalSetup: ['./tests/support/cluster.ts'],
    fileParallelism: false,
    testTimeout: 120_000,
    hookTimeout: 60_000,
  },
})
