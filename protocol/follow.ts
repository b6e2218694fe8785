import type { Frame } from './live.ts'

/**
 * Decides what a client does with a frame. It applies a frame that continues from its cursor, pulls after a
 * gap (a frame was lost, or came without documents), and ignores a frame that it has received before.
 *
 * @param cursor the `seq` of the last received frame or `ready`, applied or not; undefined before the first
 * @returns the new cursor, and whether the client must pull
 */
export function follow(
  cursor: number | undefined,
  frame: Pick<Frame, 'prev' | 'seq' | 'documents'>,
): { cursor: number; isGap: boolean } {
  if (cursor === undefined) return { cursor: frame.seq, isGap: true }
  if (frame.seq <= cursor) return { cursor, isGap: false }
  return { cursor: frame.seq, isGap: frame.prev > cursor || !frame.documents }
}
