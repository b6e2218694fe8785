import { pause } from './pauses.ts'

const PART_CHARACTERS = 64 * 1024

/** Whether a text takes long to encode. */
export const isLong = (text: string) => text.length > PART_CHARACTERS

/** The bytes of a text in UTF-8. A long one is encoded in parts, with pauses. */
export async function bytesOf(text: string): Promise<Buffer> {
  if (!isLong(text)) return Buffer.from(text)
  const parts: Buffer[] = []
  for (let from = 0; from < text.length; ) {
    const next = from + PART_CHARACTERS
    const to = isWithinPair(text, next) ? next + 1 : next
    parts.push(Buffer.from(text.slice(from, to)))
    from = to
    const pausing = pause()
    if (pausing) await pausing
  }
  return Buffer.concat(parts)
}

/** A character of two units is encoded as one. */
function isWithinPair(text: string, at: number): boolean {
  const unit = text.charCodeAt(at - 1)
  return unit >= 0xd800 && unit < 0xdc00
}
