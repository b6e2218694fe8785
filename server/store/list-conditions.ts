/** Which documents are in a list, in SQL. */
import type { Resource } from '../../protocol/index.ts'
import { sqlType } from './columns.ts'
import type { Filter, Listing } from './lists.ts'
import { filledSql } from './statements.ts'

/** Column names come from the definition only; client input is always a bound value. */
export function conditionsSql(
  resource: Resource,
  { filters, alternatives = [], deleted }: Listing,
  values: unknown[],
): string[] {
  const matches = (filter: Filter) => filterSql(resource, filter, values)
  return [
    't.user_id = $1',
    ...(deleted ? ['t.deleted', 't.seq > 0', ...filledSql(resource)] : ['not t.deleted']),
    ...filters.map(matches),
    ...alternatives.map((group) => `(${group.map(matches).join(' or ')})`),
  ]
}

function filterSql(resource: Resource, filter: Filter, values: unknown[]): string {
  const { field, operator, value } = filter
  const column = `t.${field}`
  const type = sqlType(resource, field)
  if (operator === 'isnull') return `${column} is ${value ? '' : 'not '}null`
  if (operator === 'in') return `${column} = any (${bind(values, value)}::${type}[])`
  return `${column} ${COMPARISONS[operator]} ${bind(values, value)}::${type}`
}

const COMPARISONS = {
  eq: '=',
  ne: 'is distinct from',
  gt: '>',
  gte: '>=',
  lt: '<',
  lte: '<=',
  contains: '@>',
  overlaps: '&&',
}

/** The parameter of a value, which it adds to the values of the statement. */
export function bind(values: unknown[], value: unknown): string {
  values.push(value)
  return `$${values.length}`
}
