/** The best of the documents that a search finds, without reading all of them. */
import type { Resource } from '../../protocol/index.ts'
import { bind } from './list-conditions.ts'
import { allAfter, isIndexed, partsAfter, RELEVANCE } from './list-order.ts'
import type { Bookmark, Listing } from './lists.ts'

/** Which of the documents of a list are wanted. */
export interface Wanted {
  /** So many, from the first or next to the bookmark. */
  readonly limit: number
  readonly bookmark: Bookmark | undefined
  /** Whether it is to be known how many there are. */
  readonly isCounted: boolean
}

/** So few hits are looked up and sorted. */
const FEW = 1_000
/** So many documents are read in the order of the list: where one of 25 is a hit, a page of 200 is found. */
const MAX_WALK = 5_000
const MAX_WANTED = 500

/** Whether an index has the order of the list, within those of one relevance. */
export function canBeWalked(
  resource: Resource,
  { order }: Pick<Listing, 'order'>,
  { limit }: Wanted,
): boolean {
  const [first] = orderWithin(order)
  return (
    limit <= MAX_WANTED &&
    first !== undefined &&
    isIndexed(resource, first.field) &&
    // No index has the relevance as a later key.
    order.slice(1).every(({ field }) => field !== RELEVANCE)
  )
}

interface Search {
  readonly conditions: readonly string[]
  readonly keys: string
  /** The documents of these hits `h`. */
  lookedUp(which: string): string
}

/**
 * Queries, of which the last is `found`, with the documents that are wanted, and perhaps more. They read `hits` and `tail`.
 *
 * A page has documents of one relevance, but for a few that come before. If there are many with this one, they are found
 * by walking along the order of the list, where each is a hit or not. If that takes too long, as for a word
 * of old documents among the newest, or where those of one relevance end, all hits are looked up.
 */
export function bestSql(
  resource: Resource,
  listing: Listing,
  { limit, bookmark }: Wanted,
  { conditions, keys, lookedUp }: Search,
  values: unknown[],
): string {
  const isRanked = listing.order[0]!.field === RELEVANCE
  const enough = `${bind(values, limit)}::bigint`
  const [at, ...valuesWithin] = bookmark?.values ?? []
  const within = bookmark && isRanked ? { ...bookmark, values: valuesWithin } : bookmark

  const parts = partsAfter(
    resource,
    { order: orderWithin(listing.order), deleted: false },
    within,
    values,
  ).map(
    ({ where, sorted }) => `
      (select t.seq, ${keys} from ${resource.table} t
      where ${[...conditions, where].join(' and ')} order by ${sorted} limit ${MAX_WALK})`,
  )
  const walked = parts.length === 1 ? parts[0]! : `${parts.join(' union all ')} limit ${MAX_WALK}`
  const after = allAfter(resource, listing.order, bookmark, values)
  const level =
    isRanked && !bookmark
      ? `select s.rank, s.size from (
        select h.rank, sum(bit_count(h.bits)) as size, sum(sum(bit_count(h.bits))) over (order by h.rank desc) as upto
        from hits h group by h.rank) s
      where s.upto >= ${enough} order by s.rank desc limit 1`
      : `select l.rank, (select coalesce(sum(bit_count(h.bits)), 0) from hits h where h.rank = l.rank) as size
      from (select ${isRanked ? `${bind(values, at)}::int` : '0'} as rank) l`
  const isLevel = 'h.rank = (select level.rank from level)'
  const isFew = `(select level.size <= ${FEW} from level)`
  const before = isRanked && !bookmark ? 'h.rank > (select level.rank from level) or ' : ''
  return `
    level as materialized (${level}),
    sets as materialized (
      select array_agg(h.first_seq order by h.first_seq) as first_seqs, array_agg(h.bits order by h.first_seq) as bits
      from hits h where ${isLevel}),
    walked as materialized (
      select ${keys}, (select level.rank from level) as ${RELEVANCE} from (${walked}) t
      where not ${isFew} and ${isHit('t.seq')} limit ${enough}),
    best as materialized (
      select * from walked union all ${lookedUp(`(${before}${isFew} and ${isLevel})`)}),
    found as materialized (
      select * from best where (select count(*) from best t where ${after.where}) >= ${enough}
      union all ${lookedUp(`(select count(*) from best t where ${after.where}) < ${enough}`)}
      union all select * from tail)`
}

/** Whether `sets` have the bit of a number: `width_bucket` is the last set that begins before it or there. */
const isHit = (seq: string) => `(
      select case when ${seq} - s.first_seq < length(s.bits) then get_bit(s.bits, (${seq} - s.first_seq)::int) = 1 end
      from (select a.first_seqs[n.nth] as first_seq, a.bits[n.nth] as bits from (
        select (select sets.first_seqs from sets), (select sets.bits from sets)) a, lateral (
        select width_bucket(${seq}, a.first_seqs) as nth) n) s)`

const orderWithin = (order: Listing['order']) => order.filter(({ field }) => field !== RELEVANCE)
