import { defineConfig } from 'vitest/config'

export default defineConfig({
  test: {
    include: ['tests/**/*.test.ts'],
    globalSetup: ['./tests/support/cluster.ts'],
    testTimeout: 30_000,
    hookTimeout: 60_000,
  },
})
