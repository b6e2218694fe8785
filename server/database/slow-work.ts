/** How long a read may take before it counts as slow. */
const QUICK_READ_MS = 150
/** More than a wait for a lock takes at a time (lock-patience.ts), which does not make a write slow. */
const QUICK_WRITE_MS = 400
/** How long slow work may take once it has its turn. */
const READ_MS = 3_000
/** Longer: a write that is cut off would never succeed, however often its device tries. */
const WRITE_MS = 8_000
/** How long slow work waits for its turn. */
const WAIT_MS = 2_000
/** The share of slow work in the connections of a pool. */
const SHARE = 3 / 8
/** Whose last work was slow is forgotten beyond this many. */
const MAX_REMEMBERED = 10_000
const STATEMENT_TIMED_OUT = '57014'

/** Work that took too long (`is_long`), or that has waited in vain because others do slow work. */
export class TooSlow extends Error {
  override name = 'TooSlow'
  readonly isLong: boolean

  constructor(isLong: boolean, cause?: unknown) {
    super(isLong ? 'it took too long' : 'too much slow work is running', { cause })
    this.isLong = isLong
  }
}

/** What a person can make slow, by what is remembered about it: slow searches do not slow down their sync. */
export type Kind = 'list' | 'page' | 'export' | 'write'

interface Waiter {
  go: () => void
  cancelled: NodeJS.Timeout
}

/**
 * Keeps what people can make slow from taking the connections of everybody: at most three of eight have slow
 * work at any time, one for each person, and people who wait for them get their turns in a circle. Work shows
 * by itself that it is slow: it is tried like the rest, with a limit of 150 ms, and only what
 * exceeds the limit waits for its turn. The next work of that kind of this person waits at once, until it
 * proves to be quick. So nobody waits for the slow work of others whose own work is quick.
 *
 * @param timeoutMs the statement timeout of the pool, 0 if it has none
 */
export function createSlowWork(poolSize: number, timeoutMs = 0) {
  let free = Math.max(1, Math.floor(poolSize * SHARE))
  const busy = new Set<string>()
  const waiting = new Map<string, Waiter[]>()
  const slow = new Set<string>()
  const within = (ms: number) => (timeoutMs > 0 ? Math.min(ms, timeoutMs) : ms)
  const limits = {
    read: [within(QUICK_READ_MS), within(READ_MS)],
    write: [within(QUICK_WRITE_MS), within(WRITE_MS)],
  } as const

  /**
   * @param work acquires its own connection, passes on the limit, and has no effect if it fails
   *
   * @throws TooSlow
   */
  async function run<T>(
    user: string,
    kind: Kind,
    work: (limitMs?: number) => Promise<T>,
  ): Promise<T> {
    const [quickMs, slowMs] = kind === 'write' ? limits.write : limits.read
    const key = `${kind} ${user}`
    if (!slow.has(key)) {
      try {
        return await work(quickMs)
      } catch (error) {
        if (!isTimeout(error)) throw error
        remember(key)
      }
    }
    await turn(user)
    try {
      const begun = performance.now()
      const result = await work(slowMs)
      if (performance.now() - begun < quickMs) slow.delete(key)
      return result
    } catch (error) {
      throw isTimeout(error) ? new TooSlow(true, error) : error
    } finally {
      leave(user)
    }
  }

  return {
    run,
    running: () => busy.size,
    waiting: () => [...waiting.values()].reduce((sum, { length }) => sum + length, 0),
  }

  async function turn(user: string): Promise<void> {
    if (free > 0 && !busy.has(user)) {
      free--
      busy.add(user)
      return
    }
    await new Promise<void>((go, refuse) => {
      const cancelled = setTimeout(() => {
        forget(user, waiter)
        refuse(new TooSlow(false))
      }, WAIT_MS)
      const waiter = { go, cancelled }
      waiting.set(user, [...(waiting.get(user) ?? []), waiter])
    })
  }

  function leave(user: string): void {
    free++
    busy.delete(user)
    const next = [...waiting.keys()].find((one) => !busy.has(one))
    if (next === undefined) return
    free--
    busy.add(next)
    const [waiter, ...others] = waiting.get(next)!
    // Behind everybody else who waits.
    waiting.delete(next)
    if (others.length > 0) waiting.set(next, others)
    clearTimeout(waiter!.cancelled)
    waiter!.go()
  }

  function forget(user: string, waiter: Waiter): void {
    const others = waiting.get(user)!.filter((one) => one !== waiter)
    if (others.length > 0) waiting.set(user, others)
    else waiting.delete(user)
  }

  function remember(key: string): void {
    if (slow.size >= MAX_REMEMBERED) slow.delete(slow.values().next().value!)
    slow.add(key)
  }
}

export type SlowWork = ReturnType<typeof createSlowWork>

export const isTimeout = (error: unknown) =>
  (error as { code?: unknown } | undefined)?.code === STATEMENT_TIMED_OUT
