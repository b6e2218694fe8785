import type { Frame } from './live.ts'

/**
 * Whether a frame goes on from what a client has heard of. One that does is applied. After a hole (a
 * frame lost, or left out because there was too much) the client pulls. What it has heard of already
 * is passed over.
 *
 * @param cursor the `seq` of the last frame, or of `ready`, whatever became of it; undefined before
 * @returns how far it has heard with this frame, and whether it has to pull to get there
 */
export function follow(
  cursor: number | undefined,
  frame: Pick<Frame, 'prev' | 'seq' | 'documents'>,
): { cursor: number; isGap: boolean } {
  if (cursor === undefined) return { cursor: frame.seq, isGap: true }
  if (frame.seq <= cursor) return { cursor, isGap: false }
  return { cursor: frame.seq, isGap: frame.prev > cursor || !frame.documents }
}
