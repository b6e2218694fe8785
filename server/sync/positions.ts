/** Where devices are in the feed of their user, as far as the server knows. */
import type { Frame } from '../../protocol/index.ts'
import { endOf, partUpTo } from './cursors.ts'
import type { Party } from './journal.ts'
import type { Feed } from './store.ts'

/** A part of a feed, after one number up to another. */
export interface Part {
  epoch: string
  after: number
  seq: number
}

/**
 * How a device came to have a part: it has stored it, because it asks for what follows; or it was sent to it, in the
 * response to a pull, or in live events of one resource or of all.
 */
export type Way = 'stored' | 'pulled' | 'streamed' | 'live'

/** By way, and by resource unless the way is `live`. */
export type Known = Readonly<Record<string, Part & { at: string }>>

export interface Positions {
  /** Notes a part; nobody waits for it to be written. */
  note(device: Party, way: Way, resource: string | undefined, part: Part): void
  /** What is known of the sessions of a user. Other nodes may know more for up to a minute. */
  of(user: string): Promise<Map<string, Known>>
}

/** Notes the frames that are sent to a device, and consecutive ones as one part. */
export function followingFrames(note: (part: Part) => void): (frame: Frame) => void {
  let after = 0
  let sent: number | undefined
  return ({ prev, seq, checkpoint, documents }) => {
    if (!documents) return
    if (sent !== prev) after = prev
    sent = seq
    note(partUpTo(checkpoint, after))
  }
}

/** What a device has of a document. */
export const REACHED = ['stored', 'sent', 'not_sent', 'unknown'] as const
export type Reached = (typeof REACHED)[number]

export const keyOf = (way: Way, resource: string | undefined) =>
  resource === undefined ? way : `${way} ${resource}`

/** Whether the change with this number has reached a device. */
export function reachedBy(known: Known, feed: Feed, resource: string, seq: number): Reached {
  const covers = (way: Way, of: string | undefined) => {
    const part = known[keyOf(way, of)]
    // Of a former epoch, only what came before its end is in the feed.
    return part && part.after < seq && seq <= Math.min(part.seq, endOf(part.epoch, feed))
  }
  if (covers('stored', resource)) return 'stored'
  if (covers('pulled', resource) || covers('streamed', resource) || covers('live', undefined))
    return 'sent'
  return Object.keys(known).length > 0 ? 'not_sent' : 'unknown'
}
