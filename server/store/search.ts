/** Which documents a search finds, in SQL. */
import type { Resource } from '../../protocol/index.ts'
import { bind, conditionsSql } from './list-conditions.ts'
import { RELEVANCE, withTie } from './list-order.ts'
import type { Listing } from './lists.ts'
import { bestSql, canBeWalked, type Wanted } from './search-best.ts'
import { keySql, MAX_INDEX_BYTES, TAIL } from './search-index.ts'

export interface SearchSql {
  /** Queries; the last is `found`, with the keys of the order and `relevance`: all documents, or those of the page. */
  readonly queries: string
  /** How many documents are found. */
  readonly count: string
  /** Whether so much has changed since it was indexed that the next search would be quicker if it were indexed too. */
  readonly isBehind: string
}

/**
 * Looks words up in the index, and reads what has changed since it was made. A number of the feed is a state
 * of a document that never changes, so what is indexed holds for as long as a row has that number. Postgres cannot know
 * how many hits there are: they are grouped once, and looked up as arrays, one for those with the same words in the same places.
 */
export function searchSql(
  resource: Resource,
  listing: Listing,
  wanted: Wanted,
  values: unknown[],
): SearchSql {
  const { table } = resource
  const conditions = conditionsSql(resource, listing, values)
  const terms = listing.words.map((term) => termOf(resource, term, values))
  const keys = withTie(listing.order)
    .filter(({ field }) => field !== RELEVANCE)
    .map(({ field }) => `t.${field}`)
    .join(', ')
  const read = (from: string, places: readonly Place[]) => `
      select ${keys}, ${places.map(({ isInFirst }) => isInFirst).join(' + ')} as ${RELEVANCE} from ${from}
      where ${[...conditions, ...places.map(({ isFound }) => isFound)].join(' and ')}`

  const looked = [...new Set(terms.flatMap(({ looksUp }) => looksUp))].slice(0, MAX_LOOKED_UP)
  const counted = '(select count(*) from found)'
  if (looked.length === 0 || listing.deleted)
    return {
      queries: `found as materialized (${read(`${table} t`, terms)})`,
      count: counted,
      isBehind: 'false',
    }

  const name = bind(values, resource.name)
  const hits = looked.map((word, i) => hitsSql(name, bind(values, word), i, looked.length))
  const all = (1 << looked.length) - 1
  const places = terms.map((term): Place => {
    const nth = term.isExact ? looked.indexOf(term.text) : -1
    return nth < 0
      ? term
      : { isInFirst: `(h.places >> ${nth + looked.length} & 1)`, isFound: 'true', isInIndex: true }
  })
  const lookedUp = (which: string) =>
    read(
      `(select h.places, array_agg(h.seq) as seqs from hits h where ${which} group by h.places) h, lateral (
        select t.* from ${table} t where t.user_id = $1 and t.seq = any (h.seqs) offset 0
      ) t`,
      places,
    )
  const rank = places.map(({ isInFirst }) => isInFirst).join(' + ')
  const tail = read(
    `indexed, lateral (
        select t.* from ${table} t where t.user_id = $1 and t.seq > indexed.seq offset 0
      ) t`,
    terms,
  )
  const isInIndex = places.every((place) => place.isInIndex)
  const isPlain = isInIndex && listing.filters.length === 0 && !listing.alternatives?.length
  const isWalked =
    isInIndex && (isPlain || !wanted.isCounted) && canBeWalked(resource, listing, wanted)
  const found = isWalked
    ? bestSql(resource, listing, wanted, { conditions, keys, rank, lookedUp }, values)
    : `found as materialized (${lookedUp('true')} union all select * from tail)`
  return {
    queries: `
    indexed as materialized (
      select coalesce(max(p.seq), 0) as seq, coalesce(sum(octet_length(p.words)), 0) as bytes
      from search_parts p where p.user_id = $1 and p.resource = ${name}),
    hits as materialized (
      select s.seq, bit_or(s.places) as places from (${hits.join(' union all ')}) s
      group by s.seq having bit_or(s.places) & ${all} = ${all}),
    tail as materialized (${tail}),
    ${found}`,
    // What has a number that was indexed is as it was then, and not deleted: its row need not be read.
    count:
      isWalked && isPlain
        ? `(select count(*) from tail) + (
        select count(*) from ${table} t where t.user_id = $1 and t.seq = any (array(select hits.seq from hits)))`
        : counted,
    isBehind: `(select indexed.bytes < ${MAX_INDEX_BYTES} and (
      select count(*) from (
        select from ${table} t where t.user_id = $1 and t.seq > indexed.seq limit ${TAIL}) tail
      ) = ${TAIL} from indexed)`,
  }
}

/** Where a document has a term. */
interface Place {
  readonly isFound: string
  /** 1 if the first of the searchable fields has it, 0 if not. */
  readonly isInFirst: string
  /** Whether the index says so, and not the document. */
  readonly isInIndex?: boolean
}

interface Term extends Place {
  readonly text: string
  /** Words that a document must have, so that the index is worth asking. */
  readonly looksUp: readonly string[]
  /** Whether what has such a word has the term. */
  readonly isExact: boolean
}

function termOf({ searchable }: Resource, text: string, values: unknown[]): Term {
  const [first, ...others] = searchable.map((field) => matchesSql(`t.${field}`, text, values))
  const looksUp = text.split(' ').filter((word) => word.length >= SELECTIVE || NOT_ASCII.test(word))
  return {
    text,
    looksUp,
    isExact: looksUp[0] === text,
    isFound: `(${[first, ...others].join(' or ')})`,
    isInFirst: `(${first})::int`,
  }
}

/** Two bits of a number are of each. What has these is few documents, which are read for the other words. */
const MAX_LOOKED_UP = 15

/** One or two letters are in so many words that to read the documents is quicker. */
const SELECTIVE = 3
const NOT_ASCII = /[^\0-\x7f]/

/**
 * The states of documents with words that contain the nth of these texts: `places` has the bit n, and n + many
 * if the word is in the first of the searchable fields.
 */
const hitsSql = (name: string, text: string, nth: number, many: number) => `
      select unnest(w.seqs) as seq, w.places from (
        select s.seqs, s.places
        from search_parts p,
          lateral (
            select v.word from string_to_table(p.words, ' ') as v (word)
            where strpos(v.word, ${text}::text) > 0 offset 0) v,
          lateral (
            select w.firsts, w.others from search_words w
            where w.user_id = $1 and w.resource = ${name} and w.word = ${keySql('v.word')} offset 0) w,
          lateral (values (w.firsts, ${(1 << nth) | (1 << (nth + many))}), (w.others, ${1 << nth})) s (seqs, places)
        where p.user_id = $1 and p.resource = ${name} and strpos(p.words, ${text}::text) > 0 offset 0
      ) w`

/**
 * Whether a column contains a folded text. Most texts are in ASCII, which is compared ten times as fast as it would be folded.
 */
function matchesSql(column: string, text: string, values: unknown[]): string {
  const bound = `${bind(values, text)}::text`
  const isAscii = `octet_length(${column}) = length(${column})`
  const inLetters = `strpos(folded_letters(${column}), ${bound}) > 0`
  const inAscii = NOT_ASCII.test(text)
    ? 'false'
    : text.includes(' ')
      ? `strpos(folded(${column}), ${bound}) > 0`
      : `${column} collate "C" ilike ${bind(values, `%${text.replaceAll(/[\\%_]/g, '\\$&')}%`)}`
  return `case when ${isAscii} then ${inAscii} else ${inLetters} end`
}
