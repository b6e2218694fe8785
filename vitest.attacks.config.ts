import { defineConfig } from 'vitest/config'

/** Attacks on a node with a small heap while somebody else uses it: real processes, real time, one at a time. */
export default defineConfig({
  test: {
    include: ['tests/attacks/**/*.test.ts'],
    globalSetup: ['./tests/support/cluster.ts'],
    fileParallelism: false,
    testTimeout: 120_000,
    hookTimeout: 60_000,
  },
})
