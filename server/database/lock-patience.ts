import { setTimeout as pause } from 'node:timers/promises'

const LOCK_NOT_AVAILABLE = '55P03'

/** How long a statement waits for a lock at a time, with a connection. */
export const LOCK_MS = 250
/** How long it waits for the lock altogether. */
export const LOCK_PATIENCE_MS = 3_000
const PAUSE_MS = 100

/**
 * Tries again what did not get its lock in time. Work that waits for a lock holds a connection, and eight
 * such users would hold them all: so it waits for a short time (`lock_timeout`), leaves the connection to
 * others, and comes back.
 *
 * @param work acquires its own connection, and has no effect if it fails
 */
export async function patiently<T>(work: () => Promise<T>): Promise<T> {
  const deadline = performance.now() + LOCK_PATIENCE_MS
  for (;;) {
    try {
      return await work()
    } catch (error) {
      const { code } = error as { code?: string }
      if (code !== LOCK_NOT_AVAILABLE || performance.now() > deadline) throw error
      // Jitter, so that those who wait do not come back together.
      await pause(PAUSE_MS * (1 + 3 * Math.random()))
    }
  }
}
