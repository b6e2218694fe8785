/** The order of a list, and the places between its documents, in SQL. */
import { fieldOf, type Resource } from '../../protocol/index.ts'
import { sqlType } from './columns.ts'
import { bind } from './list-conditions.ts'
import type { Bookmark, OrderKey } from './lists.ts'

export function orderSql(
  resource: Resource,
  order: readonly OrderKey[],
  backward: boolean,
): string {
  return withTie(order)
    .map(({ field, descending }) => {
      const direction = descending !== backward ? 'desc' : 'asc'
      const nulls = isNullable(resource, field) ? ` nulls ${backward ? 'first' : 'last'}` : ''
      return `t.${field} ${direction}${nulls}`
    })
    .join(', ')
}

/**
 * Rows after a bookmark: the first differing key is after the bookmark's. (A row comparison cannot express
 * this, because the directions of keys differ and nulls come last.) The bound of the first key follows from the
 * rest; without it, an index is read from its beginning, so that a page costs more the further it is.
 */
export function beyondSql(
  resource: Resource,
  order: readonly OrderKey[],
  { values: at, id: atId, backward }: Bookmark,
  values: unknown[],
): string {
  const keys = withTie(order).map(({ field, descending }, i) => {
    const value = field === 'id' ? atId : at[i]!
    const column = `t.${field}`
    const nullable = field !== 'id' && isNullable(resource, field)
    if (value === null)
      return {
        same: `${column} is null`,
        beyond: backward ? `${column} is not null` : 'false',
        bound: backward ? 'true' : `${column} is null`,
      }
    const bound = `${bind(values, value)}::${sqlType(resource, field)}`
    const compared = (equal = '') =>
      `${column} ${descending !== backward ? '<' : '>'}${equal} ${bound}`
    const orNull = (condition: string) =>
      nullable && !backward ? `(${condition} or ${column} is null)` : condition
    return {
      same: `${column} = ${bound}`,
      beyond: orNull(compared()),
      bound: orNull(compared('=')),
    }
  })
  const cases = keys.map(({ beyond }, i) =>
    [...keys.slice(0, i).map(({ same }) => same), beyond].join(' and '),
  )
  return `${keys[0]!.bound} and (${cases.join(' or ')})`
}

export const withTie = (order: readonly OrderKey[]) => [
  ...order,
  { field: 'id', descending: false },
]

const isNullable = (resource: Resource, field: string) =>
  field !== 'id' && fieldOf(resource, field).nullable
