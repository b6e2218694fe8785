/** Which documents a search finds, in SQL. */
import type { Resource } from '../../protocol/index.ts'
import { bind, conditionsSql } from './list-conditions.ts'
import { RELEVANCE, withTie } from './list-order.ts'
import type { Listing } from './lists.ts'
import { bestSql, canBeWalked, type Wanted } from './search-best.ts'
import {
  bitsOfSql,
  idKeySql,
  isOutdatedSql,
  keySql,
  lettersKeySql,
  MAX_INDEX_BYTES,
  TAIL,
} from './search-index.ts'

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
 * of a document that never changes, so what is indexed holds for as long as a row has that number. The hits are sets of
 * bits, for each relevance and for what was indexed together.
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
  const read = (from: string, rank: string, places: readonly Term[]) => `
      select ${keys}, ${[rank, ...places.map(({ isInFirst }) => isInFirst)].join(' + ')} as ${RELEVANCE} from ${from}
      where ${[...conditions, ...places.map(({ isFound }) => isFound)].join(' and ')}`

  const looked = [...new Set(terms.flatMap(({ looksUp }) => looksUp))].slice(0, MAX_LOOKED_UP)
  const counted = '(select count(*) from found)'
  if (listing.deleted)
    return {
      queries: `found as materialized (${read(`${table} t`, '0', terms)})`,
      count: counted,
      isBehind: 'false',
    }

  const name = bind(values, resource.name)
  const isRanked = listing.order.some(({ field }) => field === RELEVANCE)
  const counts = (word: string) =>
    isRanked && terms.some(({ text, isExact }) => isExact && text === word)
  const hits = looked.reduce(
    (among, word) => amongSql(wordsSql(name, word, values), counts(word), among),
    'select b.seq, b.first_seq, 0 as rank, b.live as bits from batches b',
  )
  const checked = terms.filter(({ text, isExact }) => !isExact || !looked.includes(text))
  const lookedUp = (which: string) =>
    read(
      `(${numbersSql(which)}) h, lateral (
        select t.* from ${table} t where t.user_id = $1 and t.seq = any (h.seqs) offset 0
      ) t`,
      'h.rank',
      checked,
    )
  const tail = read(
    `indexed, lateral (
        select t.* from ${table} t where t.user_id = $1 and t.seq > indexed.seq offset 0
      ) t`,
    '0',
    terms,
  )
  const isPlain = listing.filters.length === 0 && !listing.alternatives?.length
  const isWalked =
    checked.length === 0 && (isPlain || !wanted.isCounted) && canBeWalked(resource, listing, wanted)
  const found = isWalked
    ? bestSql(resource, listing, wanted, { conditions, keys, lookedUp }, values)
    : `found as materialized (${lookedUp('true')} union all select * from tail)`
  return {
    queries: `
    parts as materialized (
      select p.* from search_parts p where p.user_id = $1 and p.resource = ${name} and not ${isOutdatedSql(resource, name)}),
    indexed as materialized (
      select coalesce(max(p.seq), 0) as seq, coalesce(sum(octet_length(p.words)), 0) as bytes from parts p),
    former as materialized (
      select w.seq, w.firsts[1] as n from indexed, lateral (
        select t.id from ${table} t where t.user_id = $1 and t.seq > indexed.seq offset 0) t, lateral (
        select w.* from search_words w
        where w.user_id = $1 and w.resource = ${name} and w.word = ${idKeySql('t.id')} offset 0) w),
    batches as materialized (${BATCHES}),
    hits as materialized (
      select h.* from (${hits} offset 0) h where bit_count(h.bits) > 0),
    tail as materialized (${tail}),
    ${found}`,
    count:
      isWalked && isPlain
        ? '(select count(*) from tail) + (select coalesce(sum(bit_count(hits.bits)), 0) from hits)'
        : counted,
    isBehind: `(select indexed.bytes < ${MAX_INDEX_BYTES} and (
      select count(*) from (
        select from ${table} t where t.user_id = $1 and t.seq > indexed.seq limit ${TAIL}) tail
      ) = ${TAIL} from indexed)`,
  }
}

/** What was indexed together: `live` has the bits of the documents that have not changed since. */
const BATCHES = `
      select p.seq, p.first_seq, e.empty, p.live & ~coalesce(f.bits, e.empty) as live
      from parts p, lateral (select p.live & ~p.live as empty offset 0) e, lateral (
        select ${bitsOfSql('e.empty', 'f.n')} as bits from former f where f.seq = p.seq) f
      where p.live is not null`

/** Those of `among` that have a word that contains this text; if it counts, the relevance rises with it. */
const amongSql = (words: string, counts: boolean, among: string) => `
      select m.seq, m.first_seq, m.rank + v.more as rank, bit_or(m.bits & v.bits) as bits
      from (${among} offset 0) m join (${placesSql(words)}) w on w.seq = m.seq, lateral (
        values ${counts ? '(0, w.bits & ~w.firsts), (1, w.firsts)' : '(0, w.bits)'}) v (more, bits)
      group by 1, 2, 3`

/** What the index has of all words that contain this text. */
function wordsSql(name: string, text: string, values: unknown[]): string {
  const bound = `${bind(values, text)}::text`
  const word = (key: string) => `lateral (
          select w.* from search_words w
          where w.user_id = $1 and w.resource = ${name} and w.word = ${key} offset 0) w
        join batches b on b.seq = w.seq`
  if (LETTERS.test(text)) return `select b.empty, w.* from ${word(lettersKeySql(bound))}`
  return `
        select b.empty, w.* from parts p, lateral (
          select v.word from string_to_table(p.words, ' ') as v (word)
          where strpos(v.word, ${bound}) > 0 offset 0) v, ${word(keySql('v.word'))}
        where strpos(p.words, ${bound}) > 0`
}

/** The documents with these words, and those with one in the first of the searchable fields. */
const placesSql = (words: string) => `
      with words as materialized (${words})
      select b.seq, coalesce(s.firsts, b.empty) as firsts, coalesce(s.firsts, b.empty) | coalesce(s.others, b.empty) as bits
      from batches b join (
        select s.seq, bit_or(s.bits) filter (where s.is_first) as firsts, bit_or(s.bits) filter (where not s.is_first) as others
        from (
          select w.seq, set_bit(w.empty, unnest(w.firsts), 1) as bits, true as is_first from words w
          union all select w.seq, set_bit(w.empty, unnest(w.others), 1), false from words w
          union all select w.seq, w.first_bits, true from words w where w.first_bits is not null
          union all select w.seq, w.other_bits, false from words w where w.other_bits is not null
        ) s group by s.seq
      ) s on s.seq = b.seq`

/** The numbers of the hits `h` by their relevance. */
const numbersSql = (which: string) => `
      select h.rank, array_agg(h.first_seq + o.nth * 8 + b.nth) as seqs
      from hits h, lateral (select substr(varbit_send(h.bits), 5) as octets offset 0) s, lateral (
        select o.nth, get_byte(s.octets, o.nth) as octet from generate_series(0, octet_length(s.octets) - 1) as o (nth)
        where get_byte(s.octets, o.nth) > 0 offset 0) o, generate_series(0, 7) as b (nth)
      where ${which} and o.octet >> (7 - b.nth) & 1 = 1 group by h.rank`

/** A word or phrase of a search. */
interface Term {
  readonly text: string
  readonly isFound: string
  /** 1 if the first of the searchable fields has it, 0 if not. */
  readonly isInFirst: string
  /** A document with it has words that contain these. */
  readonly looksUp: readonly string[]
  /** Whether what has such a word has the term. */
  readonly isExact: boolean
}

function termOf({ searchable }: Resource, text: string, values: unknown[]): Term {
  const [first, ...others] = searchable.map((field) => matchesSql(`t.${field}`, text, values))
  // A phrase may have two spaces in a row.
  const looksUp = text.split(' ').filter((word) => word !== '')
  return {
    text,
    looksUp,
    isExact: looksUp[0] === text,
    isFound: `(${[first, ...others].join(' or ')})`,
    isInFirst: `(${first})::int`,
  }
}

/** What has so many is few documents, which are read for the other words. */
const MAX_LOOKED_UP = 15

/** One or two letters are in so many words that they have sets of their own. */
const LETTERS = /^[\0-\x7f]{1,2}$/
const NOT_ASCII = /[^\0-\x7f]/

/**
 * Whether a column contains a folded text. Most texts are in ASCII, which is compared ten times as fast as it would be folded.
 */
function matchesSql(column: string, text: string, values: unknown[]): string {
  const bound = `${bind(values, text)}::text`
  const isAscii = `octet_length(${column}) = length(${column})`
  const inLetters = `strpos(folded_letters(${column}), ${bound}) > 0`
  const isLike = () =>
    `${column} collate "C" ilike ${bind(values, `%${text.replaceAll(/[\\%_]/g, '\\$&')}%`)}`
  const hasOtherSpaces = ['n', 'r', 't'].map((one) => `strpos(${column}, E'\\${one}')`).join(' + ')
  const inAscii = NOT_ASCII.test(text)
    ? 'false'
    : text.includes(' ')
      ? `case when ${hasOtherSpaces} > 0 then strpos(folded(${column}), ${bound}) > 0 else ${isLike()} end`
      : isLike()
  return `case when ${isAscii} then ${inAscii} else ${inLetters} end`
}
