import { onTestFinished } from 'vitest'

/** Does this when the test has ended, however it ended: what was asked for last is done first. */
export function atEnd(work: () => unknown): void {
  onTestFinished(async () => {
    await work()
  })
}
