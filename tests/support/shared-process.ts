import { afterAll, vi } from 'vitest'

// What a file has left behind would reach the next one.
afterAll(() => {
  vi.useRealTimers()
  vi.unstubAllEnvs()
  vi.unstubAllGlobals()
})
