import type { ServerResponse } from 'node:http'
import { type BytesInFlight, type Held, NOTHING_HELD } from '../runtime/bytes-in-flight.ts'

/** The slowest line that anybody may read a large answer on, in bytes a second, and the time before that counts. */
const LEAST_PACE = 4 * 1024
const GRACE_MS = 30_000
/** A smaller answer fits into the buffers of a connection. */
const LARGE_BYTES = 64 * 1024

/**
 * Counts an answer, or a part of one, until the connection has taken it. It is cut off when others need the
 * room, and when it is large and read too slowly.
 *
 * @returns undefined if it does not fit
 */
export function tryCount(
  bytes: Pick<BytesInFlight, 'tryTake'>,
  person: string,
  response: ServerResponse,
  size: number,
): Held | undefined {
  if (response.destroyed) return NOTHING_HELD
  const cut = () => response.destroy()
  const held = bytes.tryTake(person, size, cut)
  if (!held) return undefined
  const late =
    size > LARGE_BYTES ? setTimeout(cut, GRACE_MS + (size / LEAST_PACE) * 1_000) : undefined
  const release = () => {
    clearTimeout(late)
    response.off('close', release)
    held.release()
  }
  response.once('close', release)
  return { ...held, release }
}

/** A part of an answer that is streamed, counted until the connection has taken it. */
export async function* countedPart(
  bytes: Pick<BytesInFlight, 'tryTake'>,
  person: string,
  response: ServerResponse,
  text: string,
): AsyncGenerator<Buffer> {
  if (text === '') return
  const part = Buffer.from(text)
  const held = tryCount(bytes, person, response, part.length)
  if (!held) throw new Error('the part does not fit')
  try {
    yield part
  } finally {
    held.release()
  }
}
