import { Problem } from '../../protocol/index.ts'

/** Who a hash is for. */
export interface Asker {
  /** Turns go by it: a network, or an account that somebody is signed in to. */
  readonly who: string
  /** Somebody who has proved to be no stranger: served before all strangers. */
  readonly isKnown?: boolean
}

interface Waiting extends Required<Asker> {
  readonly go: () => void
  readonly refuse: () => void
}

const SECONDS_EACH = 0.3
/** Use is counted by halves of a minute, this one and the one before. */
const PERIOD_MS = 30_000

/**
 * Lets `lanes` hashes run at a time and `places` wait. Whoever has used least in the last minute is next, so
 * nobody waits for those who try one password after the other. If all places are taken, the newcomer takes
 * the place of somebody who has used more, or gets a 429 with Retry-After.
 *
 * With one queue for all, first come first served, ten addresses with wrong passwords keep out most people.
 */
export function hashingTurns({ lanes, places }: { lanes: number; places: number }) {
  let running = 0
  const waiting: Waiting[] = []
  const used = recentUse()

  /** @throws Problem `too_many_requests` if there is no place */
  return async function inTurn<T>(by: Asker, work: () => Promise<T>): Promise<T> {
    if (running < lanes) running++
    else await place(by)
    used.count(by.who)
    try {
      return await work()
    } finally {
      const next = takeNext()
      if (next) next.go()
      else running--
    }
  }

  function place(by: Asker): Promise<void> {
    return new Promise((go, reject) => {
      const newcomer = {
        who: by.who,
        isKnown: by.isKnown === true,
        go,
        refuse: () => reject(tooMany(places / lanes)),
      }
      waiting.push(newcomer)
      if (waiting.length <= places) return
      const last = waiting.reduce((worst, one) => (isBefore(worst, one) ? one : worst))
      waiting.splice(waiting.indexOf(last), 1)
      last.refuse()
    })
  }

  function takeNext(): Waiting | undefined {
    const next = waiting.reduce<Waiting | undefined>(
      (best, one) => (best === undefined || comesBefore(one, best) ? one : best),
      undefined,
    )
    if (next) waiting.splice(waiting.indexOf(next), 1)
    return next
  }

  /** Of equals, who came first stays first. */
  function comesBefore(one: Waiting, other: Waiting): boolean {
    if (one.isKnown !== other.isKnown) return one.isKnown
    return used.by(one.who) < used.by(other.who)
  }

  /** Whether one keeps its place rather than another. What waits counts too, so a crowd cannot fill the places. */
  function isBefore(one: Waiting, other: Waiting): boolean {
    if (one.isKnown !== other.isKnown) return one.isKnown
    return loadOf(one) <= loadOf(other)
  }

  function loadOf({ who }: Waiting): number {
    return used.by(who) + waiting.filter((one) => one.who === who).length
  }
}

function recentUse() {
  let counts = [new Map<string, number>(), new Map<string, number>()]
  let since = performance.now()
  return {
    count(who: string) {
      age()
      counts[0]!.set(who, (counts[0]!.get(who) ?? 0) + 1)
    },
    by(who: string): number {
      age()
      return counts.reduce((sum, period) => sum + (period.get(who) ?? 0), 0)
    },
  }

  function age() {
    const periods = Math.floor((performance.now() - since) / PERIOD_MS)
    if (periods === 0) return
    since += periods * PERIOD_MS
    counts = [new Map(), periods === 1 ? counts[0]! : new Map()]
  }
}

function tooMany(waitingEach: number): Problem {
  return new Problem(
    'too_many_requests',
    'Too many sign-ins at the moment; try again in a few seconds.',
    { retryAfter: Math.max(1, Math.ceil(waitingEach * SECONDS_EACH)) },
  )
}
