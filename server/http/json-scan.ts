import { Problem } from '../../protocol/index.ts'

/** Three levels around a value of a pushed document, the value, and 16 levels in it, as a record may have. */
const MAX_DEPTH = 20

const QUOTE = 0x22
const COMMA = 0x2c
const BACKSLASH = 0x5c
/** Braces differ from brackets by this bit. */
const CASE = 0x20
const OPENING = 0x7b
const CLOSING = 0x7d

/**
 * Looks at a JSON text while it arrives, before anything is built from it: a few kilobytes of gzip are
 * millions of objects, and a nested value overflows the stack of whoever writes it.
 *
 * It empties objects and lists that are nested too deeply. Their outermost level stays, which no schema
 * accepts, so whoever reads a value refuses it: in a push, only its own row.
 *
 * @param maxValues counting names of objects too, but a name and its value as one
 */
export function createJsonScan(maxValues: number) {
  let depth = 0
  let values = 1
  let isText = false
  /** Bytes to skip: one, where a chunk ends in a backslash. */
  let skip = 0

  return {
    /** How many have come. */
    values: () => values,

    /**
     * @returns the parts to keep
     * @throws Problem `too_large` for too many values
     */
    next(chunk: Buffer): Buffer[] {
      const { length } = chunk
      const kept: Buffer[] = []
      let from = 0
      let i = skip
      // Local variables: they make it three times as fast.
      let within = isText
      let level = depth
      let count = values
      while (i < length) {
        const byte = chunk[i++]!
        if (within) {
          if (byte === QUOTE) within = false
          else if (byte === BACKSLASH) i++
        } else if (byte === QUOTE) within = true
        else if (byte === COMMA) count++
        else if ((byte | CASE) === OPENING) {
          count++
          if (++level === MAX_DEPTH + 1) kept.push(chunk.subarray(from, i))
        } else if ((byte | CASE) === CLOSING && --level === MAX_DEPTH) from = i - 1
      }
      skip = i - length
      isText = within
      depth = level
      values = count
      if (values > maxValues)
        throw new Problem('too_large', `The body has more than ${maxValues} values; send less.`)
      if (depth <= MAX_DEPTH) kept.push(from === 0 ? chunk : chunk.subarray(from))
      return kept
    },
  }
}
