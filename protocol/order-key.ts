import * as z from 'zod'
import type { Field } from './field.ts'

/**
 * Fractional order keys, as in Rocicorp's `fractional-indexing` (David Greenspan, "Implementing
 * Fractional Indexing"): strings that sort by code unit, with room for another key between any two, so
 * that moving a task offline changes only that task. The first letter encodes the number of digits of the
 * integer part (`a` one, `b` two, … and `Z` one, `Y` two, … below zero).
 */
const DIGITS = '0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz'
export const ORDER_KEY_MAX = 200

/** Eight characters of integer part hold milliseconds until the year 2081, and sort by time. */
const TIME_HEAD = 'g'
const TIME_DIGITS = 7
const TIE_DIGITS = 5

const REMEDY = 'Use a key of the fractional-indexing package, such as a0V.'

export function orderKey(description: string) {
  const pattern = orderKeyPattern()
  const schema = z
    .string(REMEDY)
    .max(ORDER_KEY_MAX, {
      error: 'This key has grown too long. Give the neighbours new keys.',
      abort: true,
    })
    .regex(pattern, REMEDY)
    // For descriptions: Go and Rust have no lookahead.
    .meta({ pattern: pattern.source.replace(/\(\?!.*?\)/, '') })
  const isPlain = (value: unknown) =>
    typeof value === 'string' && value.length <= ORDER_KEY_MAX && pattern.test(value)
  return { kind: 'order_key', schema, isPlain, nullable: false, description } satisfies Field
}

/**
 * The initial key of a document: after all documents that were created before it. Client and server derive
 * the same key from the document, so neither needs the last key in use. The last digits of the id
 * distinguish documents of the same millisecond.
 *
 * @param createdAt UTC instant with milliseconds
 * @param id UUID
 */
export function orderKeyAt(createdAt: string, id: string): string {
  const milliseconds = Math.max(0, Date.parse(createdAt)) % 62 ** TIME_DIGITS
  // A fraction must not end in the lowest digit; the closing V keeps room on both sides.
  const tie = Number.parseInt(id.slice(-7), 16)
  return `${TIME_HEAD}${base62(milliseconds, TIME_DIGITS)}${base62(tie, TIE_DIGITS)}V`
}

function base62(value: number, length: number): string {
  let digits = ''
  for (let rest = value; digits.length < length; rest = Math.floor(rest / 62))
    digits = DIGITS[rest % 62] + digits
  return digits
}

/** The keys that the server accepts. */
export function orderKeyPattern(): RegExp {
  const heads = Array.from({ length: 26 }, (_, i) => {
    const [above, below] = [String.fromCharCode(97 + i), String.fromCharCode(90 - i)]
    return `[${above}${below}][0-9A-Za-z]{${i + 1}}`
  })
  return new RegExp(`^(?!A0{26}$)(?:${heads.join('|')})(?:[0-9A-Za-z]*[1-9A-Za-z])?$`)
}
