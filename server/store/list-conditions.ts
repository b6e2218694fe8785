/** Which documents are in a list, in SQL. */
import type { Resource } from '../../protocol/index.ts'
import { sqlType } from './columns.ts'
import type { Filter, Listing } from './lists.ts'
import { filledSql } from './statements.ts'

/** Column names come from the definition only; client input is always a bound value. */
export function whereSql(resource: Resource, listing: Listing, values: unknown[]): string {
  const conditions = ['t.user_id = $1', listing.deleted ? 't.deleted' : 'not t.deleted']
  if (listing.deleted) conditions.push('t.seq > 0', ...filledSql(resource))
  const matches = (filter: Filter) => filterSql(resource, filter, values)
  conditions.push(...listing.filters.map(matches))
  for (const group of listing.alternatives ?? [])
    conditions.push(`(${group.map(matches).join(' or ')})`)
  for (const word of listing.words) {
    const found = resource.searchable.map((name) => matchesSql(`t.${name}`, word, values))
    conditions.push(`(${found.join(' or ')})`)
  }
  return conditions.join(' and ')
}

function filterSql(resource: Resource, filter: Filter, values: unknown[]): string {
  const { field, operator, value } = filter
  const column = `t.${field}`
  const type = sqlType(resource, field)
  if (operator === 'isnull') return `${column} is ${value ? '' : 'not '}null`
  if (operator === 'in') return `${column} = any (${bind(values, value)}::${type}[])`
  return `${column} ${COMPARISONS[operator]} ${bind(values, value)}::${type}`
}

/**
 * Letters may be stored composed or decomposed. To normalize what is stored would take thirty times as long
 * as to look for both forms. ASCII is compared twice as fast without the rules of a language, so the part of
 * a word that is ASCII rules out most documents.
 */
function matchesSql(column: string, word: string, values: unknown[]): string {
  const matches = (parts: readonly string[], collation = '') =>
    `${column}${collation} ilike ${bind(values, likePattern(parts))}`
  const ascii = word.normalize('NFC').split(NOT_ASCII)
  if (ascii.length === 1) return matches(ascii, ' collate "C"')
  const forms = [...new Set([word.normalize('NFC'), word.normalize('NFD')])]
  const exact = `(${forms.map((form) => matches([form])).join(' or ')})`
  return ascii.join('') === '' ? exact : `(${matches(ascii, ' collate "C"')} and ${exact})`
}

const NOT_ASCII = /[^\0-\x7f]+/

/** The parts one after the other, with anything before, between and after them. */
const likePattern = (parts: readonly string[]) =>
  `%${parts.map((part) => part.replaceAll(/[\\%_]/g, '\\$&')).join('%')}%`

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
