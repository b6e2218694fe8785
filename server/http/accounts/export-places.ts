import type { ServerResponse } from 'node:http'
import { Problem } from '../../../protocol/index.ts'

/** People with exports at the same time on this node. */
const MAX_PEOPLE = 20
const WINDOW_MS = 5_000
/** Who takes fewer bytes in a window although there are more, reads slowly. */
const LEAST_BYTES = 32 * 1024
/** For so many windows, a reader who is not slow keeps the place. */
const SAFE_WINDOWS = 12
/** For so many windows, people wait for a place. */
const WAIT_WINDOWS = 3
const RETRY_SECONDS = 30

interface Place {
  /** The exports of the person, with the bytes that were taken of each. */
  readonly readers: Map<ServerResponse, number>
  windows: number
  /** Bytes that were taken in the last window; infinite if there was nothing more to take. */
  lately: number
}

interface Waiter {
  windows: number
  readonly given: Promise<void>
  give: () => void
  refuse: (problem: Problem) => void
}

/**
 * The places for exports. Each is held for as long as its client reads, so each person has one at most, and
 * people wait for places in the order in which they came. As long as somebody waits, a slow reader loses the
 * place, or the slowest one after a minute. Otherwise nobody is cut off for being slow.
 */
export function createExportPlaces() {
  const places = new Map<string, Place>()
  const waiting = new Map<string, Waiter>()
  let watching: NodeJS.Timeout | undefined

  return {
    /**
     * Waits for a place, which is held until the response closes.
     *
     * @throws Problem `too_many_requests`
     */
    async enter(user: string, response: ServerResponse): Promise<void> {
      if (!places.has(user)) await placeFor(user)
      const place = places.get(user)!
      place.readers.set(response, takenOf(response))
      const leave = () => {
        place.readers.delete(response)
        if (place.readers.size === 0) vacate(user)
      }
      if (response.destroyed) leave()
      else response.once('close', leave)
    },
  }

  async function placeFor(user: string): Promise<void> {
    if (places.size < MAX_PEOPLE && waiting.size === 0) return occupy(user)
    const waiter = waiting.get(user) ?? newWaiter()
    waiting.set(user, waiter)
    makeRoom()
    await waiter.given
  }

  function occupy(user: string): void {
    places.set(user, { readers: new Map(), windows: 0, lately: Number.POSITIVE_INFINITY })
    watching ??= setInterval(look, WINDOW_MS).unref()
  }

  function vacate(user: string): void {
    places.delete(user)
    const [next] = waiting
    if (!next) return
    waiting.delete(next[0])
    occupy(next[0])
    next[1].give()
  }

  function look(): void {
    for (const place of places.values()) {
      place.windows++
      place.lately = 0
      for (const [response, before] of place.readers) {
        const taken = takenOf(response)
        place.lately += response.writableLength > 0 ? taken - before : Number.POSITIVE_INFINITY
        place.readers.set(response, taken)
      }
    }
    for (const [user, waiter] of waiting) {
      if (++waiter.windows <= WAIT_WINDOWS) continue
      waiting.delete(user)
      waiter.refuse(tooMany())
    }
    makeRoom()
    if (places.size > 0) return
    clearInterval(watching)
    watching = undefined
  }

  function makeRoom(): void {
    const leaving = [...places.values()]
      .filter(({ lately, windows }) => lately < LEAST_BYTES || windows >= SAFE_WINDOWS)
      .sort((one, other) => one.lately - other.lately)
      .slice(0, waiting.size)
    for (const { readers } of leaving) for (const response of readers.keys()) response.destroy()
  }
}

/** What the system has taken for the client; what waits in this process is not counted. */
const takenOf = ({ socket }: ServerResponse) =>
  socket ? socket.bytesWritten - socket.writableLength : 0

function newWaiter(): Waiter {
  const waiter: Partial<Waiter> & { windows: number } = { windows: 0 }
  const given = new Promise<void>((give, refuse) => Object.assign(waiter, { give, refuse }))
  return Object.assign(waiter, { given }) as Waiter
}

function tooMany(): Problem {
  return new Problem('too_many_requests', 'Too many exports are running; try again.', {
    retryAfter: RETRY_SECONDS,
  })
}
