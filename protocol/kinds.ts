import { canonicalForms, type Kind } from './canonical.ts'
import type { Field } from './field.ts'

/** What goes for all values of one kind. */
interface Rules {
  /** The one form in which equal values are kept, by which they are compared. */
  readonly canonical: ((value: unknown) => unknown) | undefined
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
  text: { canonical: canonicalForms.text, least: () => '', nullable: true },
  choice: {
    canonical: canonicalForms.choice,
    least: ({ values }) => values![0],
    nullable: true,
  },
  day: { canonical: canonicalForms.day, least: () => '0001-01-01', nullable: true },
  time: { canonical: canonicalForms.time, least: () => '00:00', nullable: true },
  instant: {
    canonical: canonicalForms.instant,
    least: () => '1970-01-01T00:00:00.000Z',
    nullable: true,
  },
  flag: { canonical: canonicalForms.flag, least: () => false, nullable: true },
  whole_number: { canonical: canonicalForms.whole_number, least: () => 0, nullable: true },
  number: { canonical: canonicalForms.number, least: () => 0, nullable: true },
  reference: { canonical: canonicalForms.reference, least: () => NIL, nullable: true },
  uuid: { canonical: canonicalForms.uuid, least: () => NIL, nullable: true },
  // The empty set says that there is nothing.
  set: {
    canonical: canonicalForms.set,
    merge: ({ max = Number.POSITIVE_INFINITY }, base, a, b) =>
      mergeSets(max, (base ?? []) as string[], a as string[], b as string[]),
    least: () => [],
    nullable: false,
  },
  record: { canonical: canonicalForms.record, least: () => ({}), nullable: true },
  // What nobody has placed is placed by its date of creation.
  order_key: { canonical: canonicalForms.order_key, least: () => '', nullable: false },
} as const satisfies Record<Kind, Rules>

export type NullableKind = {
  [K in Kind]: (typeof kinds)[K]['nullable'] extends true ? K : never
}[Kind]

const rulesOf = ({ kind }: Pick<Field, 'kind'>): Rules => kinds[kind]

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
  const merged = canonicalForms.set([...kept, ...added]) as string[]
  return merged.length <= max ? merged : undefined
}
