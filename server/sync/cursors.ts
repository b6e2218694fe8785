/**
 * The only place that creates and reads cursors. Cursors are opaque to clients: every page, stream event
 * and frame contains the cursor to continue from.
 *
 * `lwt` is the position and `id` the epoch. RxDB's clients expect these two names and return both.
 */
import { type Checkpoint, Problem, type ReplicaState } from '../../protocol/index.ts'
import type { Branched, Head } from './store.ts'

/** The epoch of feeds that were never restored. The database has the same default. */
export const FIRST_EPOCH = '1'

export function cursorAt({ epoch, seq }: Head): Checkpoint {
  return { id: epoch, lwt: seq }
}

/** The `seq` after which to continue. */
export function numberOf({ lwt }: Checkpoint): number {
  return lwt
}

/**
 * Refuses a cursor of another epoch or ahead of the feed: the client has read changes that the feed does not
 * contain. The same applies to the checkpoints of its pushes (`replica.seen`).
 *
 * For a client that sends these, a cursor of a former epoch is valid up to the end of that epoch. For any
 * other client it is not: an accepted push after the end would be lost unnoticed.
 *
 * @param replica undefined if the client does not store the checkpoints of its pushes
 * @throws Problem `checkpoint_expired`
 */
export function requireCurrent(cursor: Checkpoint, head: Branched, replica?: ReplicaState): void {
  const known = replica ? head : { ...head, branches: {} }
  const isThere = (one: Checkpoint) => isStart(one) || one.lwt <= endOf(one, known)
  if (isThere(cursor) && (replica?.seen ?? []).every(isThere)) return
  throw new Problem(
    'checkpoint_expired',
    'Pull again without a checkpoint. Keep edits that are not pushed yet, and push them afterwards.',
  )
}

/** The last `seq` of the history that the feed shares with a client that has these cursors; 0 if unknown. */
export function commonTo(cursors: readonly Checkpoint[], head: Branched): number {
  return Math.max(0, Math.min(...cursors.map((one) => Math.min(one.lwt, endOf(one, head)))))
}

const isStart = ({ id, lwt }: Checkpoint) => id === '' && lwt === 0

/** The last `seq` of the epoch of a cursor; -1 if the feed was never in that epoch. */
function endOf(cursor: Checkpoint, { epoch, seq, branches }: Branched): number {
  const own = epochOf(cursor)
  if (own === epoch) return seq
  return Object.hasOwn(branches, own) ? branches[own]! : -1
}

/** The first release gave the id of a document, or none. */
function epochOf({ id }: Checkpoint): string {
  return id === '' || DOCUMENT_ID.test(id) ? FIRST_EPOCH : id
}

const DOCUMENT_ID = /^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/
