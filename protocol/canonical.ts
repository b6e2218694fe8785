import type { Field } from './field.ts'

/**
 * The canonical form of each kind; undefined if each value has only one form. Separate from the other rules in
 * `kinds.ts`, which devices do not need.
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

/** A value in canonical form. Values of another type are returned unchanged, for the validator. */
export function canonical({ kind }: Pick<Field, 'kind'>, value: unknown): unknown {
  return value === null || value === undefined ? value : (canonicalForms[kind]?.(value) ?? value)
}

/** Whether two values are equal. */
export function sameValue(field: Pick<Field, 'kind'>, a: unknown, b: unknown): boolean {
  if (a === b) return true
  const [x, y] = [canonical(field, a), canonical(field, b)]
  return x === y || (isObject(x) && isObject(y) && JSON.stringify(x) === JSON.stringify(y))
}

/**
 * Canonical JSON: keys in the order of Postgres's `jsonb`, by their length in UTF-8 and then by code point,
 * except those that JavaScript always puts first.
 */
export function canonicalJson(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(canonicalJson)
  if (!isObject(value)) return withoutMinusZero(value)
  const entries = Object.entries(value).filter(([, one]) => one !== undefined)
  const keys = entries.map(([key, one]) => ({ key, bytes: bytesOf(key), one }))
  keys.sort((a, b) => a.bytes - b.bytes || compareCodePoints(a.key, b.key))
  return Object.fromEntries(keys.map(({ key, one }) => [key, canonicalJson(one)]))
}

/** The length in UTF-8. Some devices lack TextEncoder. */
function bytesOf(text: string): number {
  let bytes = 0
  for (const character of text) {
    const code = character.codePointAt(0)!
    bytes += code < 0x80 ? 1 : code < 0x800 ? 2 : code < 0x10000 ? 3 : 4
  }
  return bytes
}

/** Code units have the order of code points, except that surrogates come after all others. */
export function compareCodePoints(a: string, b: string): number {
  for (let i = 0; i < Math.min(a.length, b.length); i++) {
    const [x, y] = [a.charCodeAt(i), b.charCodeAt(i)]
    if (x !== y)
      return x >= 0xd800 && y >= 0xd800 ? isSurrogate(x) - isSurrogate(y) || x - y : x - y
  }
  return a.length - b.length
}

const isSurrogate = (unit: number) => Number(unit < 0xe000)

function sorted(value: unknown): unknown {
  return Array.isArray(value) ? [...new Set(value)].sort() : value
}

/** Most values are already canonical. */
const IN_UTC = /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$/

function inUtc(value: unknown): unknown {
  if (typeof value !== 'string' || IN_UTC.test(value)) return value
  const moment = new Date(value)
  return Number.isNaN(moment.getTime()) ? value : moment.toISOString()
}

function inLowerCase(value: unknown): unknown {
  return typeof value === 'string' ? value.toLowerCase() : value
}

/** JSON does not distinguish 0 and -0. */
function withoutMinusZero(value: unknown): unknown {
  return value === 0 ? 0 : value
}

const isObject = (value: unknown): value is object => typeof value === 'object' && value !== null
