import type { Document, Resource } from '../../protocol/index.ts'
import { type Database, run } from '../database/connect.ts'
import { queueOf, slowWorkOf } from '../database/pool.ts'
import { type Feed, UnknownUser } from '../sync/store.ts'
import { documentSql } from './columns.ts'
import { bind, conditionsSql } from './list-conditions.ts'
import { allAfter, isIndexed, orderSql, type Part, partsAfter, RELEVANCE } from './list-order.ts'
import { type FeedRow, feedOf } from './rows.ts'
import { type SearchSql, searchSql } from './search.ts'
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
  /** Each of these words and phrases, of `searchTerms`, must be in one of the searchable fields. */
  readonly words: readonly string[]
  /** Nulls come last in both directions; ties are sorted by id. With words, `relevance` may be one of the keys. */
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

/** A document of a list. */
export interface Listed {
  readonly document: Document
  /** If the list is sorted by it. */
  readonly relevance?: number
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
  ): Promise<{ feed: Feed; documents: Listed[]; more: boolean }>
}

/** Concurrent lists per user, besides one search. */
const LISTS_AT_ONCE = 2

/** @param behind called if a search had to read much that could be indexed */
export function postgresLists(
  db: Database,
  behind: (user: string, resource: Resource) => void = () => {},
): Lists {
  const takeList = createTurns({ lanes: LISTS_AT_ONCE, pool: queueOf(db) })
  /** A search through many long texts may take seconds. Whoever types has a next one before the last one is answered. */
  const takeSearch = createTurns({ pool: queueOf(db) })
  const slowWork = slowWorkOf(db)

  /** A search may have to read everything of its user. */
  async function read<Row extends unknown[]>(
    user: string,
    resource: Resource,
    { words }: Listing,
    { text, values }: ListStatement,
  ): Promise<[...FeedRow, ...Row]> {
    const statement = named(text)
    const take = words.length > 0 ? takeSearch : takeList
    const [row] = await take(user, () =>
      slowWork.run(user, 'list', (limitMs) =>
        run<[boolean, ...FeedRow, ...Row]>(db, { ...statement, limitMs }, values),
      ),
    )
    if (!row) throw new UnknownUser()
    const [isBehind, ...rest] = row
    if (isBehind) behind(user, resource)
    return rest
  }

  return {
    isIndexed,

    async page(user, resource, listing, limit, offset) {
      const statement = pageStatement(user, resource, listing, limit, offset)
      const row = await read<[string, string]>(user, resource, listing, statement)
      const [epoch, seq, past, count, results] = row
      return { feed: feedOf(epoch, seq, past), count: Number(count), results }
    },

    async slice(user, resource, listing, limit, bookmark) {
      const statement = sliceStatement(user, resource, listing, limit, bookmark)
      const [epoch, seq, past, results] = await read<[string]>(user, resource, listing, statement)
      const found: Listed[] = hasRelevance(listing)
        ? (JSON.parse(results) as [number, Document][]).map(([relevance, document]) => ({
            document,
            relevance,
          }))
        : (JSON.parse(results) as Document[]).map((document) => ({ document }))
      const documents = found.slice(0, limit)
      if (bookmark?.backward) documents.reverse()
      return { feed: feedOf(epoch, seq, past), documents, more: found.length > limit }
    },
  }
}

interface ListStatement {
  readonly text: string
  readonly values: unknown[]
}

/** One numbered page, with the count. */
export function pageStatement(
  user: string,
  resource: Resource,
  listing: Listing,
  limit: number,
  offset: number,
): ListStatement {
  const values: unknown[] = [user]
  const range = () => `limit ${bind(values, limit)}::bigint offset ${bind(values, offset)}::bigint`
  if (listing.words.length > 0) {
    const wanted = { limit: limit + offset, bookmark: undefined, isCounted: true }
    const search = searchSql(resource, listing, wanted, values)
    const { sorted } = allAfter(resource, listing.order, undefined, values)
    const page = foundSql(resource, { where: 'true', sorted }, range())
    return { text: withFeed(`${search.count}, ${arraySql(page, 'page.document')}`, search), values }
  }
  // Two queries in one snapshot, because the count can use an index-only scan.
  const where = conditionsSql(resource, listing, values).join(' and ')
  const page = `
    select ${documentSql(resource)}::text as document from ${resource.table} t
    where ${where} order by ${orderSql(resource, listing.order, false)} ${range()}`
  const count = `(select count(*) from ${resource.table} t where ${where})`
  return { text: withFeed(`${count}, ${arraySql(page, 'page.document')}`), values }
}

/** The documents next to a bookmark, and one more. */
export function sliceStatement(
  user: string,
  resource: Resource,
  listing: Listing,
  limit: number,
  bookmark: Bookmark | undefined,
): ListStatement {
  const values: unknown[] = [user]
  const limited = () => `limit ${bind(values, limit + 1)}::bigint`
  if (listing.words.length > 0) {
    const wanted = { limit: limit + 1, bookmark, isCounted: false }
    const search = searchSql(resource, listing, wanted, values)
    const page = foundSql(resource, allAfter(resource, listing.order, bookmark, values), limited())
    const one = hasRelevance(listing)
      ? `'[' || page.relevance || ',' || page.document || ']'`
      : 'page.document'
    return { text: withFeed(arraySql(page, one), search), values }
  }
  const where = conditionsSql(resource, listing, values).join(' and ')
  const parts = partsAfter(resource, listing, bookmark, values)
  const end = limited()
  const pages = parts.map(
    (part) => `
    select ${documentSql(resource)}::text as document from ${resource.table} t
    where ${where} and ${part.where} order by ${part.sorted} ${end}`,
  )
  // The parts follow each other, and one that is not needed is not read.
  const page = pages.length === 1 ? pages[0]! : `(${pages.join(') union all (')}) ${end}`
  return { text: withFeed(arraySql(page, 'page.document')), values }
}

const hasRelevance = ({ order }: Listing) => order.some(({ field }) => field === RELEVANCE)

/** Documents of `found`. */
const foundSql = (resource: Resource, { where, sorted }: Part, range: string) => `
      select t.relevance, ${documentSql(resource)}::text as document from (
        select t.id, t.relevance from found t where ${where} order by ${sorted} ${range}
      ) f, lateral (
        select t.*, f.relevance from ${resource.table} t where t.user_id = $1 and t.id = f.id offset 0
      ) t order by ${sorted}`

function withFeed(columns: string, { queries, isBehind }: Partial<SearchSql> = {}): string {
  return `${queries ? `with ${queries}` : ''}
    select ${isBehind ?? 'false'}, ${FEED_COLUMNS}, ${columns} from feeds f where f.user_id = $1`
}

const arraySql = (page: string, one: string) =>
  `(select coalesce('[' || string_agg(${one}, ',') || ']', '[]') from (${page}) page)`
