import { defineConfig } from 'vitest/config'

export default defineConfig({
  test: {
    include: ['tests/**/*.test.ts'],
    // They measure time, so they run alone: npm run test:failures.
    exclude: ['**/node_modules/**', 'tests/failures/**'],
    globalSetup: ['./tests/support/cluster.ts'],
    testTimeout: 30_000,
    hookTimeout: 60_000,
  },
})
