/**
 * The only place that creates and reads cursors. Cursors are opaque to clients: every page, stream event
 * and frame contains the cursor to continue from.
 *
 * `lwt` is the position and `id` the epoch. RxDB's clients expect these two names and return both. Until a
 * client that pulls from the start has come to where the feed was when it began, the number of that place
 * follows the epoch, as in `1~5000`: it needs no tombstones up to there.
 */
import { type Checkpoint, Problem, type ReplicaState, type Resource } from '../../protocol/index.ts'
import type { Feed, Head, Horizon } from './store.ts'

/** The epoch of feeds that were never restored. The database has the same default. */
export const FIRST_EPOCH = '1'

/** @param begun where the feed was when the client began to pull from the start, if it did */
export function cursorAt({ epoch, seq }: Head, begun = 0): Checkpoint {
  return { id: seq < begun ? `${epoch}~${begun}` : epoch, lwt: seq }
}

/** The `seq` after which to continue. */
export function numberOf({ lwt }: Checkpoint): number {
  return lwt
}

/** Where the feed was when the client began to pull from the start; undefined if it is past that. */
export function begunAt({ id }: Checkpoint): number | undefined {
  const begun = id.split('~')[1]
  return begun === undefined ? undefined : Number(begun)
}

export const isStart = ({ id, lwt }: Checkpoint) => id === '' && lwt === 0

/**
 * Refuses a cursor if the client may have missed a deletion whose tombstone is purged, or if the cursor is of
 * another epoch or ahead of the feed: then the client has read changes that the feed does not contain. The
 * latter also applies to the checkpoints of its pushes (`replica.seen`).
 *
 * For a client that sends these, a cursor of a former epoch is valid up to the end of that epoch. For any
 * other client it is not: an accepted push after the end would be lost unnoticed.
 *
 * @param replica undefined if the client does not store the checkpoints of its pushes
 * @throws Problem `checkpoint_expired`
 */
export function requireCurrent(
  cursor: Checkpoint,
  feed: Feed,
  resource: Resource,
  replica?: ReplicaState,
): void {
  if (isStart(cursor)) return
  const known = replica ? feed : { ...feed, branches: {} }
  if (!isIntact([cursor, ...(replica?.seen ?? [])], known))
    throw new Problem(
      'checkpoint_expired',
      'The server has lost changes. Pull again without a checkpoint. Keep edits that are not pushed yet, and push them afterwards.',
      { extensions: { missing: 'lost' } },
    )
  if (Math.max(cursor.lwt, begunAt(cursor) ?? 0) >= (horizonOf(resource, feed)?.seq ?? 0)) return
  throw new Problem(
    'checkpoint_expired',
    'Deletions since this checkpoint have been purged. Pull again without a checkpoint. Delete what the server does not have any more, except edits that are not pushed yet.',
    { extensions: { missing: 'deleted' } },
  )
}

/** Whether the feed contains all that a client with these cursors has read. */
export function isIntact(cursors: readonly Checkpoint[], feed: Feed): boolean {
  return cursors.every((one) => isStart(one) || one.lwt <= endOf(one, feed))
}

export function horizonOf({ table }: Resource, { horizons }: Feed): Horizon | undefined {
  return Object.hasOwn(horizons, table) ? horizons[table] : undefined
}

/** The last `seq` of the history that the feed shares with a client that has these cursors; 0 if unknown. */
export function commonTo(cursors: readonly Checkpoint[], feed: Feed): number {
  return Math.max(0, Math.min(...cursors.map((one) => Math.min(one.lwt, endOf(one, feed)))))
}

/** The last `seq` of the epoch of a cursor; -1 if the feed was never in that epoch. */
function endOf(cursor: Checkpoint, { epoch, seq, branches }: Feed): number {
  const own = epochOf(cursor)
  if (own === epoch) return seq
  return Object.hasOwn(branches, own) ? branches[own]! : -1
}

/** The first release gave the id of a document, or none. */
function epochOf({ id }: Checkpoint): string {
  return id === '' || DOCUMENT_ID.test(id) ? FIRST_EPOCH : id.split('~')[0]!
}

const DOCUMENT_ID = /^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/
