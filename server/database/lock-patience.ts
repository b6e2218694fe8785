import { setTimeout as pause } from 'node:timers/promises'

const LOCK_NOT_AVAILABLE = '55P03'

/** How long a statement waits for a lock at a time, with a connection. */
export const LOCK_MS = 250
/** How long it waits for the lock altogether. */
export const LOCK_PATIENCE_MS = 3_000
const PAUSE_MS = 100

/**
 * Tries again what did not get its lock in time. Work that waits for a lock holds a connection, and eight
 * such users would hold all of a pool. So it waits for a short time (`lock_timeout`), leaves the connection
 * to others, and comes back, with so many others at most that come back too.
 */
export function createLockPatience(lanes: number) {
  const waiting: (() => void)[] = []
  let free = lanes

  /** @param work acquires its own connection, and has no effect if it fails */
  return async function patiently<T>(work: () => Promise<T>): Promise<T> {
    const deadline = performance.now() + LOCK_PATIENCE_MS
    let attempt = () => work()
    for (;;) {
      try {
        return await attempt()
      } catch (error) {
        const isLate = () => performance.now() > deadline
        if ((error as { code?: string }).code !== LOCK_NOT_AVAILABLE || isLate()) throw error
        attempt = () =>
          inLane(() => {
            if (isLate()) throw error
            return work()
          })
        // Jitter, so that those who wait do not come back together.
        await pause(PAUSE_MS * (1 + Math.random()))
      }
    }
  }

  async function inLane<T>(work: () => Promise<T>): Promise<T> {
    if (free > 0) free--
    else await new Promise<void>((go) => waiting.push(go))
    try {
      return await work()
    } finally {
      const next = waiting.shift()
      if (next) next()
      else free++
    }
  }
}
