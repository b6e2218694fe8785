import type { Document, Resource } from '../../protocol/index.ts'
import { type Database, run } from '../database/connect.ts'
import { queueOf, slowWorkOf } from '../database/pool.ts'
import { type Feed, UnknownUser } from '../sync/store.ts'
import { documentSql } from './columns.ts'
import { whereSql } from './list-conditions.ts'
import { isIndexed, orderSql, partsAfter, withTie } from './list-order.ts'
import { type FeedRow, feedOf } from './rows.ts'
import { FEED_COLUMNS, named } from './statements.ts'
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
  /** Whether a slice costs the same at any depth if it is sorted by this field first. */
  isIndexed(resource: Resource, field: string): boolean

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
    isIndexed,

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
  const parts = partsAfter(resource, listing, bookmark, values)
  values.push(limit + 1)
  const limited = `limit $${values.length}::bigint`
  const pages = parts.map(
    (part) => `
    select ${documentSql(resource)}::text as document from ${resource.table} t
    where ${where} and ${part.where} order by ${part.sorted} ${limited}`,
  )
  // The parts follow each other, and one that is not needed is not read.
  const page = pages.length === 1 ? pages[0]! : `(${pages.join(') union all (')}) ${limited}`
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
