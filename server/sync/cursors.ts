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
 * Refuses a cursor that says what the feed does not know: one of another epoch, or ahead of it. What a
 * client read up to there is not what the feed has. The same applies to what it has seen of the feed.
 *
 * A cursor of a former epoch is valid up to the end of that epoch, if the client remembers its pushes:
 * of any other, a push after the end would be lost unnoticed.
 *
 * @param replica what the client holds besides; undefined if it does not remember its pushes
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

/** Up to which number the feed has what a client with these cursors knows; 0 if that is unknown. */
export function commonTo(cursors: readonly Checkpoint[], head: Branched): number {
  return Math.max(0, Math.min(...cursors.map((one) => Math.min(one.lwt, endOf(one, head)))))
}

const isStart = ({ id, lwt }: Checkpoint) => id === '' && lwt === 0

/** Where the epoch of a cursor ends in this feed; -1 if the feed was never in it. */
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
