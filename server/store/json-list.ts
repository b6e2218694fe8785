import { bytesOf } from '../runtime/long-text.ts'
import { pause } from '../runtime/pauses.ts'

/** A longer text is encoded in parts. */
const PART_CHARACTERS = 64 * 1024

/**
 * A JSON array as a value of a statement. A long one is put together and encoded with pauses, because `pg` encodes
 * a text at once, in two passes, and nobody else has a turn meanwhile.
 *
 * @param textOf the JSON text of an item
 */
export async function jsonList<Item>(
  items: readonly Item[],
  textOf: (item: Item, nth: number) => string,
): Promise<string | Buffer> {
  const parts: Buffer[] = []
  let text = '['
  for (const [nth, item] of items.entries()) {
    text += nth === 0 ? textOf(item, nth) : `,${textOf(item, nth)}`
    if (text.length < PART_CHARACTERS) continue
    // An item may be long itself.
    await pause()
    parts.push(await bytesOf(text))
    text = ''
  }
  text += ']'
  return parts.length === 0 ? text : Buffer.concat([...parts, Buffer.from(text)])
}
