import type { Field } from './field.ts'

/** What goes for all values of one kind. */
interface Rules {
  /** The one form in which equal values are kept; absent where each value has only one. */
  readonly canonical?: (value: unknown) => unknown
  /**
   * What comes of two edits of a value; undefined where one of them has to give way, as always where
   * this is absent. It does not matter which of the two is called ours.
   */
  readonly merge?: (field: Pick<Field, 'max'>, base: unknown, a: unknown, b: unknown) => unknown
  /** The least that a column takes, for rows that stand for documents which are still to come. */
  readonly least: (field: Pick<Field, 'values'>) => unknown
  /** Whether a field may be null. */
  readonly nullable: boolean
}

const NIL = '00000000-0000-0000-0000-000000000000'

/**
 * The kinds of values, each with its rules. Whatever else goes by kind is an exhaustive table over these
 * keys: the schemas in `field.ts`, columns, filters, what devices keep, and the types of the SDK.
 */
export const kinds = {
  text: { least: () => '', nullable: true },
  choice: { least: ({ values }) => values![0], nullable: true },
  day: { least: () => '0001-01-01', nullable: true },
  time: { least: () => '00:00', nullable: true },
  instant: {
    canonical: (value) => (typeof value === 'string' ? inUtc(value) : value),
    least: () => '1970-01-01T00:00:00.000Z',
    nullable: true,
  },
  flag: { least: () => false, nullable: true },
  whole_number: { canonical: withoutMinusZero, least: () => 0, nullable: true },
  number: { canonical: withoutMinusZero, least: () => 0, nullable: true },
  reference: { canonical: inLowerCase, least: () => NIL, nullable: true },
  uuid: { canonical: inLowerCase, least: () => NIL, nullable: true },
  // The empty set says that there is nothing.
  set: {
    canonical: (value) => (Array.isArray(value) ? sorted(value) : value),
    merge: ({ max = Number.POSITIVE_INFINITY }, base, a, b) =>
      mergeSets(max, (base ?? []) as string[], a as string[], b as string[]),
    least: () => [],
    nullable: false,
  },
  record: { canonical: canonicalJson, least: () => ({}), nullable: true },
  // What nobody has placed is placed by its date of creation.
  order_key: { least: () => '', nullable: false },
} as const satisfies Record<string, Rules>

export type Kind = keyof typeof kinds
export type NullableKind = {
  [K in Kind]: (typeof kinds)[K]['nullable'] extends true ? K : never
}[Kind]

const rulesOf = ({ kind }: Pick<Field, 'kind'>): Rules => kinds[kind]

/** A value in the form in which it is kept. What is not of the kind at all is left for a validator. */
export function canonical(field: Pick<Field, 'kind'>, value: unknown): unknown {
  const rules = rulesOf(field)
  return rules.canonical && value !== null && value !== undefined ? rules.canonical(value) : value
}

/** Whether two values say the same. */
export function sameValue(field: Pick<Field, 'kind'>, a: unknown, b: unknown): boolean {
  if (a === b) return true
  if (!rulesOf(field).canonical) return false
  const [x, y] = [canonical(field, a), canonical(field, b)]
  return x === y || (isObject(x) && isObject(y) && JSON.stringify(x) === JSON.stringify(y))
}

/** What comes of two edits of a value; undefined where one of them has to give way. */
export function mergeValues(
  field: Pick<Field, 'kind' | 'max'>,
  base: unknown,
  a: unknown,
  b: unknown,
): unknown {
  return rulesOf(field).merge?.(field, base, a, b)
}

/** The least that a column of this field takes. */
export function leastValue(field: Pick<Field, 'kind' | 'values'>): unknown {
  return rulesOf(field).least(field)
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

const sorted = (elements: readonly unknown[]) => [...new Set(elements)].sort()

/**
 * What both sides have, and what either side added. What one side took away is gone, though the other
 * side kept it. Undefined where that would be too much.
 */
function mergeSets(
  max: number,
  base: readonly string[],
  a: readonly string[],
  b: readonly string[],
): string[] | undefined {
  const before = new Set(base)
  const kept = a.filter((element) => b.includes(element))
  const added = [...a, ...b].filter((element) => !before.has(element))
  const merged = sorted([...kept, ...added]) as string[]
  return merged.length <= max ? merged : undefined
}

/** Most come in the form that is kept, and need no second look. */
const IN_UTC = /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$/

function inUtc(value: string): string {
  if (IN_UTC.test(value)) return value
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
