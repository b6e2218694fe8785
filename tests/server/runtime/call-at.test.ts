import { afterEach, beforeEach, expect, test, vi } from 'vitest'
import { callAt } from '../../../server/runtime/call-at.ts'

const DAY_MS = 24 * 60 * 60 * 1000

beforeEach(() => void vi.useFakeTimers())
afterEach(() => void vi.useRealTimers())

test.each([0, 1_000, 25 * DAY_MS, 365 * DAY_MS])(
  'what is to be done in %d ms is done then, and not before',
  async (later) => {
    const work = vi.fn()
    callAt(Date.now() + later, () => new Date(), work)
    expect(work).not.toHaveBeenCalled()
    if (later > 0) await vi.advanceTimersByTimeAsync(later - 1)
    expect(work).not.toHaveBeenCalled()
    await vi.advanceTimersByTimeAsync(1)
    expect(work).toHaveBeenCalledOnce()
  },
)

test('what has been cancelled is not done, however far away it was', async () => {
  const work = vi.fn()
  const cancel = callAt(Date.now() + 25 * DAY_MS, () => new Date(), work)
  await vi.advanceTimersByTimeAsync(24.5 * DAY_MS)
  cancel()
  await vi.advanceTimersByTimeAsync(DAY_MS)
  expect(work).not.toHaveBeenCalled()
})
