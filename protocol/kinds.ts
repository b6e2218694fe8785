import { canonicalForms, type Kind } from './canonical.ts'
import type { Field } from './field.ts'

/** The rules of one kind. */
interface Rules {
  /** The canonical form, in which values are stored and compared. */
  readonly canonical: ((value: unknown) => unknown) | undefined
  /**
   * Merges two edits of a value. Symmetric. Undefined if one of them must lose; without this function, one
   * always does.
   */
  readonly merge?: (field: Pick<Field, 'max'>, base: unknown, a: unknown, b: unknown) => unknown
  /** The least value of the column, for placeholder rows. */
  readonly least: (field: Pick<Field, 'values'>) => unknown
  /** Whether a field may be null. */
  readonly nullable: boolean
}

const NIL = '00000000-0000-0000-0000-000000000000'

/**
 * The kinds of values with their rules. Everything else that depends on the kind is an exhaustive table over
 * these keys: the schemas in `field.ts`, columns, filters, RxDB schemas, and the types of the SDK.
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
  // The empty set represents no value.
  set: {
    canonical: canonicalForms.set,
    merge: ({ max = Number.POSITIVE_INFINITY }, base, a, b) =>
      mergeSets(max, (base ?? []) as string[], a as string[], b as string[]),
    least: () => [],
    nullable: false,
  },
  record: { canonical: canonicalForms.record, least: () => ({}), nullable: true },
  // The initial key is derived from the creation date.
  order_key: { canonical: canonicalForms.order_key, least: () => '', nullable: false },
} as const satisfies Record<Kind, Rules>

export type NullableKind = {
  [K in Kind]: (typeof kinds)[K]['nullable'] extends true ? K : never
}[Kind]

const rulesOf = ({ kind }: Pick<Field, 'kind'>): Rules => kinds[kind]

/** Merges two edits of a value; undefined if one of them must lose. */
export function mergeValues(
  field: Pick<Field, 'kind' | 'max'>,
  base: unknown,
  a: unknown,
  b: unknown,
): unknown {
  return rulesOf(field).merge?.(field, base, a, b)
}

/** The least value of the column of this field. */
export function leastValue(field: Pick<Field, 'kind' | 'values'>): unknown {
  return rulesOf(field).least(field)
}

/**
 * The elements that both sides have, and those that either side added. An element that one side removed is
 * removed, even if the other side kept it. Undefined if the result is too large.
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
