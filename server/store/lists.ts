import { type Document, fieldOf, type Resource } from '../../protocol/index.ts'
import { type Database, run } from '../database/connect.ts'
import { queueOf, slowWorkOf } from '../database/pool.ts'
import { type Feed, UnknownUser } from '../sync/store.ts'
import { documentSql, sqlType } from './columns.ts'
import { type FeedRow, feedOf } from './rows.ts'
import { FEED_COLUMNS, filledSql, named } from './statements.ts'
import { createTurns } from './turns.ts'

/** Lists for REST: filters, sorting, pagination. With each comes the feed of that moment. */

export type Operator =
  | 'eq'
  | 'ne'
  | 'gt'
  | 'gte'
  | 'lt'
  | 'lte'
  | 'in'
  | 'contains'
  | 'overlaps'
  | 'isnull'

export interface Filter {
  readonly field: string
  readonly operator: Operator
  /** Parsed: text, a number, a boolean, or a list of these for operators with several values. */
  readonly value: unknown
}

export interface OrderKey {
  readonly field: string
  readonly descending: boolean
}

export interface Listing {
  readonly filters: readonly Filter[]
  /** Of each of these groups, one filter must match. */
  readonly alternatives?: readonly (readonly Filter[])[]
  /** Each of these words must be in one of the searchable fields. */
  readonly words: readonly string[]
  /** Nulls come last in both directions; ties are sorted by id. */
  readonly order: readonly OrderKey[]
  /** Lists deleted documents instead of the others. */
  readonly deleted: boolean
}

/** A position between two documents: next to the one with these sort values and this id. */
export interface Bookmark {
  readonly values: readonly (string | number | boolean | null)[]
  readonly id: string
  /** Whether to continue before it instead of after it. */
  readonly backward: boolean
}

export interface Lists {
  /** One numbered page as a JSON array, with the number of documents on all pages. */
  page(
    user: string,
    resource: Resource,
    listing: Listing,
    limit: number,
    offset: number,
  ): Promise<{ feed: Feed; count: number; results: string }>

  /** The documents next to a bookmark (or the first ones), in order, and whether there are more. */
  slice(
    user: string,
    resource: Resource,
    listing: Listing,
    limit: number,
    bookmark: Bookmark | undefined,
  ): Promise<{ feed: Feed; documents: Document[]; more: boolean }>
}

/** Concurrent searches per user. A search through many long texts may take seconds. */
const LISTS_AT_ONCE = 2

export function postgresLists(db: Database): Lists {
  const takeTurn = createTurns({ lanes: LISTS_AT_ONCE, pool: queueOf(db) })
  const slowWork = slowWorkOf(db)

  /** A search may have to read everything of its user. */
  function read<Row extends unknown[]>(user: string, text: string, values: unknown[]) {
    const statement = named(text)
    return takeTurn(user, () =>
      slowWork.run(user, 'list', (limitMs) => run<Row>(db, { ...statement, limitMs }, values)),
    )
  }

  return {
    async page(user, resource, listing, limit, offset) {
      const values: unknown[] = [user]
      const where = whereSql(resource, listing, values)
      const sorted = `order by ${orderSql(resource, listing.order, false)}`
      values.push(limit, offset)
      const slice = `limit $${values.length - 1}::bigint offset $${values.length}::bigint`
      const text =
        listing.words.length > 0
          ? searchOnce(resource, listing, where, sorted, slice)
          : countAndPage(resource, where, `${sorted} ${slice}`)
      const [row] = await read<[...FeedRow, string, string]>(user, text, values)
      if (!row) throw new UnknownUser()
      const [epoch, seq, past, count, results] = row
      return { feed: feedOf(epoch, seq, past), count: Number(count), results }
    },

    async slice(user, resource, listing, limit, bookmark) {
      const { text, values } = sliceStatement(user, resource, listing, limit, bookmark)
      const [row] = await read<[...FeedRow, string]>(user, text, values)
      if (!row) throw new UnknownUser()
      const [epoch, seq, past, results] = row
      const found = JSON.parse(results) as Document[]
      const documents = found.slice(0, limit)
      if (bookmark?.backward) documents.reverse()
      return { feed: feedOf(epoch, seq, past), documents, more: found.length > limit }
    },
  }
}

/** The documents next to a bookmark, and one more. */
export function sliceStatement(
  user: string,
  resource: Resource,
  listing: Listing,
  limit: number,
  bookmark: Bookmark | undefined,
): { text: string; values: unknown[] } {
  const values: unknown[] = [user]
  const where = whereSql(resource, listing, values)
  const beyond = bookmark ? ` and ${beyondSql(resource, listing.order, bookmark, values)}` : ''
  values.push(limit + 1)
  const page = `
    select ${documentSql(resource)}::text as document from ${resource.table} t
    where ${where}${beyond} order by ${orderSql(resource, listing.order, bookmark?.backward ?? false)}
    limit $${values.length}::bigint`
  return { text: withFeed(arraySql(page)), values }
}

/** Two queries in one snapshot, because the count can use an index-only scan. */
function countAndPage(resource: Resource, where: string, slice: string): string {
  const page = `select ${documentSql(resource)}::text as document from ${resource.table} t where ${where} ${slice}`
  return withFeed(`(select count(*) from ${resource.table} t where ${where}), ${arraySql(page)}`)
}

/** A search reads all texts of its user. So it runs once, for the count and for the page. */
function searchOnce(
  resource: Resource,
  { order }: Listing,
  where: string,
  sorted: string,
  slice: string,
): string {
  const columns = withTie(order).map(({ field }) => `t.${field}`)
  return `
    with found as materialized (select ${columns.join(', ')} from ${resource.table} t where ${where})
    ${withFeed(
      `(select count(*) from found), ${arraySql(`
      select ${documentSql(resource)}::text as document from ${resource.table} t
      where t.user_id = $1 and t.id in (select t.id from found t ${sorted} ${slice}) ${sorted}`)}`,
    )}`
}

const withFeed = (columns: string) =>
  `select ${FEED_COLUMNS}, ${columns} from feeds f where f.user_id = $1`

const arraySql = (page: string) =>
  `(select coalesce('[' || string_agg(page.document, ',') || ']', '[]') from (${page}) page)`

/** Column names come from the definition only; client input is always a bound value. */
function whereSql(resource: Resource, listing: Listing, values: unknown[]): string {
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

function orderSql(resource: Resource, order: readonly OrderKey[], backward: boolean): string {
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
function beyondSql(
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

const withTie = (order: readonly OrderKey[]) => [...order, { field: 'id', descending: false }]

const isNullable = (resource: Resource, field: string) =>
  field !== 'id' && fieldOf(resource, field).nullable

function bind(values: unknown[], value: unknown): string {
  values.push(value)
  return `$${values.length}`
}
