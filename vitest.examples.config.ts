import { defineConfig } from 'vitest/config'

/** The starters in `examples/`, installed from the registry and built, one at a time. */
export default defineConfig({
  test: {
    include: ['tests/examples/**/*.test.ts'],
    globalSetup: ['./tests/support/cluster.ts'],
    testTimeout: 10 * 60_000,
    hookTimeout: 60_000,
  },
})
