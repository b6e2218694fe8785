/** The order of a list, and the places between its documents, in SQL. */
import { fieldOf, type Resource } from '../../protocol/index.ts'
import { sqlType } from './columns.ts'
import { bind } from './list-conditions.ts'
import type { Bookmark, Listing, OrderKey } from './lists.ts'

/**
 * The fields with an index on (user_id, field, id) of what is not deleted. A page that is sorted by one of them
 * first is read from there on. For every other page, all documents of the person that match are sorted. An index
 * costs every write (docs/decisions/0056-search-and-deep-pages.md).
 */
export const INDEXED: Readonly<Record<string, readonly string[]>> = {
  tasks: ['created_at', 'updated_at', 'due_date', 'position'],
  conflicts: ['created_at'],
}

export const isIndexed = ({ table }: Resource, field: string) =>
  INDEXED[table]?.includes(field) ?? false

/** The key of a search: how many of its words the first of the searchable fields has. */
export const RELEVANCE = 'relevance'

/** Some of the documents next to a bookmark. */
export interface Part {
  readonly where: string
  readonly sorted: string
}

/**
 * The documents after a bookmark, or all, as parts that follow each other: so that each of them is a range of the index
 * of the first key, which has nulls at one end only.
 */
export function partsAfter(
  resource: Resource,
  { order, deleted }: Pick<Listing, 'order' | 'deleted'>,
  bookmark: Bookmark | undefined,
  values: unknown[],
): Part[] {
  const [first, ...rest] = withTie(order)
  const { field, descending } = first!
  if (deleted || !isIndexed(resource, field)) return [allAfter(resource, order, bookmark, values)]
  const backward = bookmark?.backward ?? false
  const at = bookmark && comparisons(resource, order, bookmark, values)
  const column = `t.${field}`
  const sorted = (isDescending: boolean) =>
    [`${column} ${isDescending ? 'desc' : 'asc'}`, ...keysSql(resource, rest, backward)].join(', ')
  // Among equals, and nulls, the first key has the direction of the id: that of the index.
  const equals = sorted(backward)
  const isAtNull = bookmark?.values[0] === null
  const parts: (Part | false | undefined)[] = [
    at && { where: `${at[0]!.same} and ${beyondSql(at.slice(1))}`, sorted: equals },
    !(isAtNull && !backward) && {
      where: at
        ? at[0]!.beyondFilled
        : isNullable(resource, field)
          ? `${column} is not null`
          : 'true',
      sorted: sorted(descending !== backward),
    },
    isNullable(resource, field) &&
      !backward &&
      !isAtNull && { where: `${column} is null`, sorted: equals },
  ]
  return parts.filter((part) => !!part)
}

/** The documents after a bookmark, or all, as one part. */
export function allAfter(
  resource: Resource,
  order: readonly OrderKey[],
  bookmark: Bookmark | undefined,
  values: unknown[],
): Part {
  const at = bookmark && comparisons(resource, order, bookmark, values)
  return {
    where: at ? `${at[0]!.bound} and ${beyondSql(at)}` : 'true',
    sorted: orderSql(resource, order, bookmark?.backward ?? false),
  }
}

/** @param backward in the opposite order */
export function orderSql(
  resource: Resource,
  order: readonly OrderKey[],
  backward: boolean,
): string {
  return keysSql(resource, withTie(order), backward).join(', ')
}

const keysSql = (resource: Resource, keys: readonly OrderKey[], backward: boolean) =>
  keys.map(({ field, descending }) => {
    const direction = descending !== backward ? 'desc' : 'asc'
    const nulls = isNullable(resource, field) ? ` nulls ${backward ? 'first' : 'last'}` : ''
    return `t.${field} ${direction}${nulls}`
  })

/** How a row compares with a bookmark by one of the keys. */
interface Comparison {
  readonly same: string
  readonly beyond: string
  /** The same without nulls. */
  readonly beyondFilled: string
  /** The same or beyond. */
  readonly bound: string
}

function comparisons(
  resource: Resource,
  order: readonly OrderKey[],
  { values: at, id: atId, backward }: Bookmark,
  values: unknown[],
): Comparison[] {
  return withTie(order).map(({ field, descending }, i) => {
    const value = field === 'id' ? atId : at[i]!
    const column = `t.${field}`
    if (value === null) {
      const beyond = backward ? `${column} is not null` : 'false'
      return {
        same: `${column} is null`,
        beyondFilled: beyond,
        beyond,
        bound: backward ? 'true' : `${column} is null`,
      }
    }
    const bound = `${bind(values, value)}::${typeOf(resource, field)}`
    const compared = (equal = '') =>
      `${column} ${descending !== backward ? '<' : '>'}${equal} ${bound}`
    const orNull = (condition: string) =>
      isNullable(resource, field) && !backward ? `(${condition} or ${column} is null)` : condition
    return {
      same: `${column} = ${bound}`,
      beyondFilled: compared(),
      beyond: orNull(compared()),
      bound: orNull(compared('=')),
    }
  })
}

/**
 * The first differing key is after the bookmark's. (A row comparison cannot express this, because the directions of
 * keys differ and nulls come last.)
 */
function beyondSql(keys: readonly Comparison[]): string {
  const cases = keys.map(({ beyond }, i) =>
    [...keys.slice(0, i).map(({ same }) => same), beyond].join(' and '),
  )
  return `(${cases.join(' or ')})`
}

export const withTie = (order: readonly OrderKey[]) => [
  ...order,
  { field: 'id', descending: false },
]

const isNullable = (resource: Resource, field: string) =>
  field !== 'id' && field !== RELEVANCE && fieldOf(resource, field).nullable

const typeOf = (resource: Resource, field: string) =>
  field === RELEVANCE ? 'integer' : sqlType(resource, field)
