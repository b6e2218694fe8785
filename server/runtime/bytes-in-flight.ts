/**
 * The budget of bytes that the process holds for people: request bodies from their first byte to the answer,
 * answers, frames and exports until the socket has taken them. Each person may hold a part of it, so that one
 * account cannot take the memory of a node.
 */
import { getHeapStatistics } from 'node:v8'
import { Problem } from '../../protocol/index.ts'

const MEGABYTE = 1024 * 1024
/** What is parsed, encoded or in strings of two bytes occupies a multiple of its bytes. */
const SHARE_OF_HEAP = 1 / 8
const SHARE_OF_PERSON = 1 / 4
/** Fits two of the largest pushes, whatever the heap. */
export const MIN_BYTES = 16 * MEGABYTE
/** Spread, so that those who were refused do not come back together. */
const RETRY_SECONDS = [1, 2, 3]

/** Bytes that a person holds. */
export interface Held {
  /** Holds more. @returns false if they do not fit; then nothing more is held */
  tryAdd(bytes: number): boolean
  /** The same. @throws Problem `too_many_requests` */
  add(bytes: number): void
  /** Gives all of them back. May be called again. */
  release(): void
}

/** For what is not counted. */
export const NOTHING_HELD: Held = { tryAdd: () => true, add() {}, release() {} }

export type BytesInFlight = ReturnType<typeof createBytesInFlight>

/** @param limit of the process, in bytes; by default, a part of the heap */
export function createBytesInFlight(
  limit = Math.max(MIN_BYTES, Math.floor(getHeapStatistics().heap_size_limit * SHARE_OF_HEAP)),
) {
  const limitOfPerson = Math.min(limit, Math.max(MIN_BYTES, Math.floor(limit * SHARE_OF_PERSON)))
  const heldByPerson = new Map<string, number>()
  /** What waits for a slow reader, oldest first. */
  const cuttable = new Map<Held, { person: string; cut: () => void }>()
  let held = 0
  let refused = 0

  /** Somebody who holds nothing may hold one thing of any size. */
  function fits(person: string, bytes: number): boolean {
    const own = heldByPerson.get(person) ?? 0
    const isWithinShare = own === 0 || own + bytes <= limitOfPerson
    if (isWithinShare && makeRoom(own, bytes)) return true
    refused++
    return false
  }

  /** Cuts off the slow readers of whoever holds most, unless that is who asks. */
  function makeRoom(own: number, bytes: number): boolean {
    while (held + bytes > limit) {
      const [oldest, most] = heaviest()
      if (!oldest || most <= own + bytes) return false
      cuttable.get(oldest)!.cut()
      oldest.release()
    }
    return true
  }

  /** The oldest of what can be cut of whoever holds most, and how much that person holds. */
  function heaviest(): [Held | undefined, number] {
    let [found, most]: [Held | undefined, number] = [undefined, 0]
    for (const [one, { person }] of cuttable) {
      const own = heldByPerson.get(person) ?? 0
      if (own > most) [found, most] = [one, own]
    }
    return [found, most]
  }

  function count(person: string, bytes: number): void {
    held += bytes
    const own = (heldByPerson.get(person) ?? 0) + bytes
    if (own === 0) heldByPerson.delete(person)
    else heldByPerson.set(person, own)
  }

  /**
   * Holds bytes of a person, or of a network for requests without a user, until they are released.
   *
   * @param cut ends what waits for a slow reader; called when others need the room
   * @returns undefined if they do not fit
   */
  function tryTake(person: string, bytes: number, cut?: () => void): Held | undefined {
    if (!fits(person, bytes)) return undefined
    count(person, bytes)
    let own = bytes
    const taken: Held = {
      tryAdd(more) {
        if (!fits(person, more)) return false
        count(person, more)
        own += more
        return true
      },
      add(more) {
        if (!taken.tryAdd(more)) throw tooManyBytes()
      },
      release() {
        cuttable.delete(taken)
        count(person, -own)
        own = 0
      },
    }
    if (cut) cuttable.set(taken, { person, cut })
    return taken
  }

  return {
    limit,
    limitOfPerson,
    tryTake,
    /** The same. @throws Problem `too_many_requests` */
    take(person: string, bytes: number, cut?: () => void): Held {
      const taken = tryTake(person, bytes, cut)
      if (!taken) throw tooManyBytes()
      return taken
    },
    held: () => held,
    /** How often something did not fit. */
    refused: () => refused,
  }
}

export function tooManyBytes(): Problem {
  const retryAfter = RETRY_SECONDS[Math.floor(Math.random() * RETRY_SECONDS.length)]!
  return new Problem(
    'too_many_requests',
    'Too much data is in flight; read the answers to earlier requests, and try again later.',
    { retryAfter },
  )
}
