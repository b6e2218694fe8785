/** Somebody who waits for longer than this is not yet a sign of overload, unless it goes on. */
const TARGET_MS = 250
const OVERLOAD_MS = 1_000
/** How long anybody waits while there is too much work. */
export const SHORT_MS = 50
/** How long after the last refusal the overload is over. */
const CALM_MS = 1_000
const SWEEP_MS = 10

/** Work that was refused at once, or after a short wait: all would have been done too late. */
export class Overloaded extends Error {
  override name = 'Overloaded'
}

interface Waiter {
  since: number
  go: () => void
  refuse: (error: Overloaded) => void
}

/**
 * The queue for a pool of connections, and what tells that there is too much work: for a second no
 * connection was free, and everybody waited for more than a quarter of a second, here or for a turn
 * (store/turns.ts). From then on the newest goes first, and whoever has waited for 50 ms is refused.
 */
export function createPoolQueue(size: number, now = () => performance.now()) {
  const waiting: Waiter[] = []
  let free = size
  let waitingForTurns = 0
  let isOverloaded = false
  /** When a connection was free, when somebody got one soon, and when somebody got a turn soon. */
  let freeAt = now()
  let soonAt = now()
  let turnSoonAt = now()
  let refusedAt = Number.NEGATIVE_INFINITY
  let sweeping: NodeJS.Timeout | undefined

  return {
    /** Waits for a connection to be free. @throws Overloaded */
    async enter(): Promise<void> {
      if (free > 0) {
        freeAt = now()
        free--
        return
      }
      // More than at the door: what was let in should be finished.
      if (look() && waiting.length >= 4 * size) throw refusal()
      sweeping ??= setInterval(look, SWEEP_MS).unref()
      await new Promise<void>((go, refuse) => waiting.push({ since: now(), go, refuse }))
    },

    leave(): void {
      const next = isOverloaded ? waiting.pop() : waiting.shift()
      if (next) {
        if (now() - next.since < TARGET_MS) soonAt = now()
        next.go()
      } else free++
      look()
    },

    turnAwaited(): void {
      waitingForTurns++
    },

    /** @param waited undefined if it was given up */
    turnGiven(waited: number | undefined): void {
      waitingForTurns--
      if (waited !== undefined && waited < TARGET_MS) turnSoonAt = now()
    },

    turnFree(): void {
      turnSoonAt = now()
    },

    isOverloaded: look,
    refusal,

    /** Whether new work is refused at the door. */
    isClosed(): boolean {
      if (!look() || waiting.length < size / 2) return false
      refusedAt = now()
      return true
    },
  }

  function look(): boolean {
    const moment = now()
    if (free > 0) freeAt = moment
    if (waiting.length === 0) soonAt = moment
    if (waitingForTurns === 0) turnSoonAt = moment
    isOverloaded = isOverloaded
      ? waiting.length > 0 || moment - refusedAt < CALM_MS
      : moment - freeAt > OVERLOAD_MS && moment - Math.min(soonAt, turnSoonAt) > OVERLOAD_MS
    while (isOverloaded && waiting[0] && moment - waiting[0].since > SHORT_MS)
      waiting.shift()!.refuse(refusal())
    if (waiting.length === 0) {
      clearInterval(sweeping)
      sweeping = undefined
    }
    return isOverloaded
  }

  function refusal(): Overloaded {
    refusedAt = now()
    return new Overloaded('there is too much work')
  }
}

export type PoolQueue = ReturnType<typeof createPoolQueue>
