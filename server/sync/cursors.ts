/**
 * The only place that creates and reads cursors. Cursors are opaque to clients: every page, stream event
 * and frame contains the cursor to continue from.
 *
 * `lwt` is the position and `id` the epoch. RxDB's clients expect these two names and return both. Until a
 * client that pulls from the start has come to where the feed was when it began, the number of that place
 * follows the epoch, as in `1~5000`: up to there, it misses no deletion by a purge. In `1~5000~live`, it had
 * nothing when it began, and needs no tombstones up to there.
 */
import {
  type Checkpoint,
  invalid,
  type Missing,
  Problem,
  type ReplicaState,
  type Resource,
} from '../../protocol/index.ts'
import type { Feed, Head, Horizon } from './store.ts'

/** The epoch of feeds that were never restored. The database has the same default. */
export const FIRST_EPOCH = '1'

/** Where a pull from the start began. */
export interface Begun {
  /** The number of the feed at that moment. */
  readonly seq: number
  /** The client had nothing then. */
  readonly isLive: boolean
}

export function cursorAt({ epoch, seq }: Head, begun?: Begun): Checkpoint {
  const isPast = !begun || seq >= begun.seq
  return { id: isPast ? epoch : `${epoch}~${begun.seq}${begun.isLive ? LIVE : ''}`, lwt: seq }
}

const LIVE = '~live'

/** The `seq` after which to continue. */
export function numberOf({ lwt }: Checkpoint): number {
  return lwt
}

/** Where the client began to pull from the start; undefined if it is past that. */
export function begunAt({ id }: Checkpoint): Begun | undefined {
  const [, , seq, live] = BEGUN.exec(id) ?? []
  return seq === undefined ? undefined : { seq: Number(seq), isLive: live === LIVE }
}

const BEGUN = new RegExp(`^([^~]*)~(\\d{1,15})(${LIVE})?$`)

/** A cursor as one text, for a URL. */
export const textOf = ({ id, lwt }: Checkpoint) => `${lwt}.${id}`

/** @param text of `textOf`; undefined for the start @throws Problem `invalid` */
export function readCursor(text: string | undefined): Checkpoint {
  if (text === undefined) return { id: '', lwt: 0 }
  const [, lwt, id] = CURSOR.exec(text) ?? []
  if (lwt === undefined)
    throw invalid('query', { since: ['Use the `cursor` of the last answer, unchanged.'] })
  return { id: id!, lwt: Number(lwt) }
}

const CURSOR = /^(\d{1,15})\.([\w~-]+)$/

export const isStart = ({ id, lwt }: Checkpoint) => id === '' && lwt === 0

/**
 * What a client with this cursor has missed; undefined if nothing. `deleted`: maybe a deletion whose tombstone is
 * purged. `lost`: the cursor is of another epoch or ahead of the feed, so the client has read changes that the
 * feed does not contain. The latter also applies to the checkpoints of its pushes (`replica.seen`).
 *
 * For a client that sends these, a cursor of a former epoch is valid up to the end of that epoch. For any
 * other client it is not: an accepted push after the end would be lost unnoticed.
 *
 * @param replica undefined if the client does not store the checkpoints of its pushes
 */
export function missedBy(
  cursor: Checkpoint,
  feed: Feed,
  resource: Resource,
  replica?: ReplicaState,
): Missing | undefined {
  const { seen = [] } = replica ?? {}
  const known = replica ? feed : { ...feed, branches: {} }
  if (!isIntact([cursor, ...seen], known)) return 'lost'
  // A client without a cursor may have stored a part of its first page.
  const held = isStart(cursor) ? seen : [cursor]
  const horizon = horizonOf(resource, feed)?.seq ?? 0
  const isCurrent = held.every((one) => Math.max(one.lwt, begunAt(one)?.seq ?? 0) >= horizon)
  return isCurrent ? undefined : 'deleted'
}

/**
 * Refuses the checkpoint of a replica that has missed something (`missedBy`).
 *
 * @throws Problem `checkpoint_expired`
 */
export function requireCurrent(
  checkpoint: Checkpoint,
  feed: Feed,
  resource: Resource,
  replica?: ReplicaState,
): void {
  const missing = missedBy(checkpoint, feed, resource, replica)
  if (missing)
    throw new Problem('checkpoint_expired', PULL_AGAIN[missing], { extensions: { missing } })
}

const PULL_AGAIN: Readonly<Record<Missing, string>> = {
  lost: 'The server has lost changes. Pull again without a checkpoint. Keep edits that are not pushed yet, and push them afterwards.',
  deleted:
    'Deletions since this checkpoint have been purged. Pull again without a checkpoint. Delete what the server does not have any more, except edits that are not pushed yet.',
}

/** Whether the feed contains all that a client with these cursors has read. */
export function isIntact(cursors: readonly Checkpoint[], feed: Feed): boolean {
  return cursors.every((one) => isStart(one) || one.lwt <= endOf(epochOf(one), feed))
}

export function horizonOf({ table }: Resource, { horizons }: Feed): Horizon | undefined {
  return Object.hasOwn(horizons, table) ? horizons[table] : undefined
}

/** The last `seq` of the history that the feed shares with a client that has these cursors; 0 if unknown. */
export function commonTo(cursors: readonly Checkpoint[], feed: Feed): number {
  return Math.max(
    0,
    Math.min(...cursors.map((one) => Math.min(one.lwt, endOf(epochOf(one), feed)))),
  )
}

/** The last `seq` of an epoch; -1 if the feed was never in it. */
export function endOf(own: string, { epoch, seq, branches }: Feed): number {
  if (own === epoch) return seq
  return Object.hasOwn(branches, own) ? branches[own]! : -1
}

/** What a client with this cursor has read. */
export const partUpTo = (cursor: Checkpoint, after = 0) => ({
  epoch: epochOf(cursor),
  after,
  seq: cursor.lwt,
})

/** The first release gave the id of a document, or none. */
function epochOf({ id }: Checkpoint): string {
  return id === '' || DOCUMENT_ID.test(id) ? FIRST_EPOCH : (BEGUN.exec(id)?.[1] ?? id)
}

const DOCUMENT_ID = /^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/
