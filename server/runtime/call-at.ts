/** Node runs a timer of more than 24.8 days at once. */
const MAX_TIMEOUT_MS = 24 * 60 * 60 * 1000

/**
 * Calls `work` at a moment, however far away, and soon if it has passed.
 *
 * @param time milliseconds since 1970
 * @returns cancels it
 */
export function callAt(time: number, now: () => Date, work: () => void): () => void {
  let timer: NodeJS.Timeout
  wait()
  return () => clearTimeout(timer)

  function wait(): void {
    const left = Math.max(0, time - now().getTime())
    timer = left > MAX_TIMEOUT_MS ? setTimeout(wait, MAX_TIMEOUT_MS) : setTimeout(work, left)
  }
}
