import type { Field } from './field.ts'

/**
 * The form in which equal values of a kind are kept; undefined where each value has only one. Apart from the
 * other rules of `kinds.ts`, which devices do not need.
 */
export const canonicalForms = {
  text: undefined,
  choice: undefined,
  day: undefined,
  time: undefined,
  instant: inUtc,
  flag: undefined,
  whole_number: withoutMinusZero,
  number: withoutMinusZero,
  reference: inLowerCase,
  uuid: inLowerCase,
  set: sorted,
  record: canonicalJson,
  order_key: undefined,
} satisfies Record<string, ((value: unknown) => unknown) | undefined>

export type Kind = keyof typeof canonicalForms

/** A value in the form in which it is kept. What is not of the kind at all is left for a validator. */
export function canonical({ kind }: Pick<Field, 'kind'>, value: unknown): unknown {
  return value === null || value === undefined ? value : (canonicalForms[kind]?.(value) ?? value)
}

/** Whether two values say the same. */
export function sameValue(field: Pick<Field, 'kind'>, a: unknown, b: unknown): boolean {
  if (a === b) return true
  const [x, y] = [canonical(field, a), canonical(field, b)]
  return x === y || (isObject(x) && isObject(y) && JSON.stringify(x) === JSON.stringify(y))
}

/**
 * JSON in the one form that equal values have: keys in the order in which Postgres keeps them in `jsonb`,
 * by their length in UTF-8 and then by code point, but for those that JavaScript puts first of itself.
 */
export function canonicalJson(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(canonicalJson)
  if (!isObject(value)) return withoutMinusZero(value)
  const entries = Object.entries(value).filter(([, one]) => one !== undefined)
  return Object.fromEntries(
    entries.sort(([a], [b]) => compareKeys(a, b)).map(([key, one]) => [key, canonicalJson(one)]),
  )
}

function compareKeys(a: string, b: string): number {
  return bytesOf(a) - bytesOf(b) || compareCodePoints(a, b)
}

/** The length in UTF-8. Not all devices have a TextEncoder. */
function bytesOf(text: string): number {
  let bytes = 0
  for (const character of text) {
    const code = character.codePointAt(0)!
    bytes += code < 0x80 ? 1 : code < 0x800 ? 2 : code < 0x10000 ? 3 : 4
  }
  return bytes
}

function compareCodePoints(a: string, b: string): number {
  const [x, y] = [[...a], [...b]]
  const at = x.findIndex((character, i) => character !== y[i])
  return at === -1 ? 0 : x[at]!.codePointAt(0)! - y[at]!.codePointAt(0)!
}

function sorted(value: unknown): unknown {
  return Array.isArray(value) ? [...new Set(value)].sort() : value
}

/** Most come in the form that is kept, and need no second look. */
const IN_UTC = /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$/

function inUtc(value: unknown): unknown {
  if (typeof value !== 'string' || IN_UTC.test(value)) return value
  const moment = new Date(value)
  return Number.isNaN(moment.getTime()) ? value : moment.toISOString()
}

function inLowerCase(value: unknown): unknown {
  return typeof value === 'string' ? value.toLowerCase() : value
}

/** JSON writes both zeros alike. */
function withoutMinusZero(value: unknown): unknown {
  return value === 0 ? 0 : value
}

const isObject = (value: unknown): value is object => typeof value === 'object' && value !== null
