/**
 * Cursors are made here and read here, and nowhere else. To whoever carries one it means nothing: pages,
 * stream events and frames come with the one to go on from.
 *
 * `lwt` says how far, `id` of which epoch: RxDB's clients know these two names, and send both back.
 */
import { type Checkpoint, Problem, type ReplicaState } from '../../protocol/index.ts'
import type { Branched, Head } from './store.ts'

/** The epoch of feeds that have not been restored, as the database has it too. */
export const FIRST_EPOCH = '1'

export function cursorAt({ epoch, seq }: Head): Checkpoint {
  return { id: epoch, lwt: seq }
}

/** The number after which to go on. */
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
    'Pull from the start (without a checkpoint), keep what has not been pushed, and push it then.',
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
