/**
 * Cursors are made here and read here, and nowhere else. To whoever carries one it means nothing: pages,
 * stream events and frames come with the one to go on from.
 *
 * `lwt` says how far, `id` of which epoch: RxDB's clients know these two names, and send both back.
 */
import { type Checkpoint, Problem } from '../../protocol/index.ts'
import type { Head } from './store.ts'

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
 * client read up to there is not what the feed has.
 *
 * @throws Problem `checkpoint_expired`
 */
export function requireCurrent(cursor: Checkpoint, head: Head): void {
  const isStart = cursor.id === '' && cursor.lwt === 0
  if (isStart || (epochOf(cursor) === head.epoch && cursor.lwt <= head.seq)) return
  throw new Problem(
    'checkpoint_expired',
    'Pull from the start (without a checkpoint), keep what has not been pushed, and push it then.',
  )
}

/** The first release gave the id of a document, or none. */
function epochOf({ id }: Checkpoint): string {
  return id === '' || DOCUMENT_ID.test(id) ? FIRST_EPOCH : id
}

const DOCUMENT_ID = /^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/
