/**
 * The index of a search: per person and resource, the words of documents and where they are. It is made after a search
 * that had to read much, and never by a write (docs/decisions/0056-search-and-deep-pages.md).
 */
import type { Resource } from '../../protocol/index.ts'
import { type Database, run, runOn, transactionOn } from '../database/connect.ts'
import { filledSql, named } from './statements.ts'

/** So many changes are read by each search; with more, they are indexed. */
export const TAIL = 500
/** Of the different words of a person. Whoever has more stores no language; then the rest is read by each search. */
export const MAX_INDEX_BYTES = 4 * 1024 * 1024
/** So many documents are indexed at a time, */
const BATCH = 5_000
/** with so many bytes of text, but at least one, */
const BATCH_BYTES = 2 * 1024 * 1024
/** if no more states lie between the first and the last of them: each takes a bit of a frequent word. */
const MAX_WIDTH = 32_768
/** A word has a set of bits instead of a list if a list of its places, of 32 bits each, would be longer. */
const BITS_OF_A_PLACE = 32
/** So many words are in a row of `search_parts`: only rows that have a text are split into words. */
const PART = 500
/** Words that were overwritten, and indexes that nobody uses, are gone after so many days. */
const MAX_DAYS = 30

/**
 * Indexes what a search of this person would have to read.
 *
 * @throws if the index was dropped meanwhile, or a document was deleted for good, whose words were read
 */
export async function indexSearch(db: Database, user: string, resource: Resource): Promise<void> {
  for (;;) {
    const isLast = await db.transaction(async (trx) => {
      await run(trx, forgetSql(isOutdatedSql(resource)), [user, resource.name])
      const [done] = await run<Indexed>(trx, indexSql(resource), [user, resource.name])
      if (!done) return true
      const [from, feed, hasMore] = done
      // Whoever deletes a document for good, or drops the index, has this lock.
      await run(trx, lockSql, [user])
      const [holds] = await run(trx, holdsSql(resource), [user, resource.name, from, feed])
      if (!holds) throw new Error('what was indexed was deleted meanwhile')
      return !hasMore
    })
    if (isLast) return
  }
}

type Indexed = [from: string, feed: string, hasMore: boolean]

/** Words that are too long for an index are found by a hash. */
export const keySql = (word: string) =>
  `case when length(${word}) <= 100 then ${word} else ' ' || encode(sha256(convert_to(${word}, 'UTF8')), 'hex') end`

/** Two spaces and one or two letters: the documents with words that contain these. */
export const lettersKeySql = (letters: string) => `'  ' || ${letters}`

/** No word has a space: the place where the state of a document was indexed. */
export const idKeySql = (id: string) => `' ' || ${id}`

/** The set of the places `n`, all of one width. An aggregate. */
export const bitsOfSql = (empty: string, n: string) => `bit_or(set_bit(${empty}, ${n}, 1))`

/** `$1` user, `$2` name of the resource. No row if there is nothing to index, or no room. */
const indexSql = (resource: Resource) => {
  const { table, searchable } = resource
  const [first, ...others] = searchable.map((field) => `folded(t.${field}) collate "C"`)
  const setOf = (places: string) =>
    `(select ${bitsOfSql('u.empty', 'n')} from unnest(w.${places}) n)`
  const bitsOf = (places: string) =>
    `case when cardinality(w.${places}) * ${BITS_OF_A_PLACE} > u.width then ${setOf(places)} end`
  const listOf = (places: string) =>
    `case when cardinality(w.${places}) * ${BITS_OF_A_PLACE} > u.width then '{}' else w.${places} end`
  return {
    isSlow: true,
    ...named(`
    with indexed as materialized (
      select coalesce(max(p.seq), 0) as seq, coalesce(sum(octet_length(p.words)), 0) as bytes
      from search_parts p where p.user_id = $1 and p.resource = $2
    ), feed as materialized (
      select f.seq from feeds f where f.user_id = $1
    ), next as materialized (
      select t.*, t.seq - min(t.seq) over () as n, sum(t.size) over (order by t.seq) - t.size as before from (
        select t.*, ${searchable.map((field) => `octet_length(t.${field})`).join(' + ')} as size from ${table} t
        where t.user_id = $1 and t.seq > (select seq from indexed) and not t.deleted
          and (select bytes from indexed) < ${MAX_INDEX_BYTES}
        order by t.seq limit ${BATCH} + 1
      ) t
    ), documents as materialized (
      select t.id, t.seq, t.n::int as n, ${first} as first, ${others.join(` || ' ' || `) || `''`} as others from (
        select * from next t where t.n < ${MAX_WIDTH} and t.before < ${BATCH_BYTES} order by t.seq limit ${BATCH}
      ) t
    ), upto as materialized (
      select u.*, repeat('0', u.width)::bit varying as empty from (
        select indexed.seq as from_seq, feed.seq as feed, u.has_more, u.first_seq,
          case when u.has_more then u.last_seq else feed.seq end as seq,
          coalesce(u.last_seq - u.first_seq + 1, 0)::int as width
        from indexed, feed, (
          select min(d.seq) as first_seq, max(d.seq) as last_seq, count(*) < (select count(*) from next) as has_more
          from documents d) u
        where indexed.bytes < ${MAX_INDEX_BYTES}
      ) u where u.seq > u.from_seq and not ${isOutdatedSql(resource)}
    ), former as materialized (
      select w.seq, w.word, w.firsts[1] as n from upto u, ${table} t, lateral (
        select w.* from search_words w
        where w.user_id = $1 and w.resource = $2 and w.word = ${idKeySql('t.id')} offset 0) w
      where t.user_id = $1 and t.seq > u.from_seq and t.seq <= u.seq
    ), changed as (
      update search_parts p set live = p.live & ~(
        select ${bitsOfSql('p.live & ~p.live', 'f.n')} from former f where f.seq = p.seq)
      where p.user_id = $1 and p.resource = $2 and p.nth = 0 and p.seq in (select f.seq from former f)
    ), removed as (
      delete from search_words w
      where w.user_id = $1 and w.resource = $2 and w.word = any (array(select f.word from former f))
    ), places as (
      select p.word, p.n, bool_or(p.is_first) as is_first from (
        select string_to_table(d.first, ' ') as word, d.n, true as is_first from documents d
        union all select string_to_table(d.others, ' '), d.n, false from documents d
      ) p where p.word <> '' group by p.word, p.n
    ), words as materialized (
      select p.word, row_number() over () as nth, ${keySql('p.word')} as key,
        coalesce(array_agg(p.n) filter (where p.is_first), '{}') as firsts,
        coalesce(array_agg(p.n) filter (where not p.is_first), '{}') as others
      from places p group by p.word
    ), sets as materialized (
      select w.nth, ${setOf('firsts')} as firsts, ${setOf('others')} as others from upto u, words w
    ), letters as (
      select l.letters, bit_or(s.firsts) as firsts, bit_or(s.others) as others
      from (
        select a.nth, unnest(a.letters) as letter, unnest(a.letters[2:]) as next from (
          select w.nth, string_to_array(w.word, null) as letters from words w offset 0) a
      ) c, lateral (values (c.letter), (c.letter || c.next)) l (letters), sets s
      where octet_length(l.letters) = length(l.letters) and s.nth = c.nth group by l.letters
    ), added as (
      insert into search_parts (user_id, resource, seq, nth, words, horizon, first_seq, live)
      select $1, $2, u.seq, n.nth, n.words, ${horizonSql(resource)}, n.first_seq, n.live from upto u, lateral (
        select 0 as nth, '' as words, u.first_seq, (select ${bitsOfSql('u.empty', 'd.n')} from documents d) as live
        union all
        select o.nth, string_agg(o.word, ' '), null, null from (
          select 1 + (row_number() over (order by w.word) - 1)::int / ${PART} as nth, w.word from words w
          where 0 = (select count(*) from (
            select from search_words k where k.user_id = $1 and k.resource = $2 and k.word = w.key limit 1) k)
        ) o group by o.nth
      ) n
    ), placed as (
      insert into search_words (user_id, resource, word, seq, firsts, others, first_bits, other_bits)
      select $1, $2, w.key, u.seq, ${listOf('firsts')}, ${listOf('others')}, ${bitsOf('firsts')}, ${bitsOf('others')}
      from upto u, words w
      union all
      select $1, $2, ${lettersKeySql('l.letters')}, u.seq, '{}', '{}', l.firsts, l.others from upto u, letters l
      union all
      select $1, $2, ${idKeySql('d.id')}, u.seq, array[d.n], '{}', null, null from upto u, documents d
    )
    select u.from_seq, u.feed, u.has_more from upto u`),
  }
}

const LOCKED = 'select f.seq from feeds f where f.user_id = ? for update'

/** `$1` user. */
const lockSql = named(LOCKED.replace('?', '$1'))

/**
 * `$1` user, `$2` name of the resource, `$3` up to which number it was indexed before, `$4` the number of the feed then.
 * A row if what was indexed before is still there, and nothing was deleted for good since.
 */
const holdsSql = (resource: Resource) =>
  named(`
    select true
    where ($3::bigint = 0 or exists (
      select from search_parts p where p.user_id = $1 and p.resource = $2 and p.seq = $3::bigint))
    and not exists (
      select from ${resource.table} t where t.user_id = $1 and t.seq > $4::bigint and t.deleted
        and not (${filledSql(resource).join(' and ') || 'false'}))`)

/** Drops the index of a resource, if this holds. `$1` user, `$2` name of the resource. */
export const forgetSql = (condition = 'true') =>
  named(`
    with parts as (delete from search_parts p where p.user_id = $1 and p.resource = $2 and ${condition})
    delete from search_words w where w.user_id = $1 and w.resource = $2 and ${condition}`)

const horizonSql = ({ table }: Resource) => `(
      select coalesce(max((f.horizons #>> '{${table},seq}')::bigint), 0) from feeds f where f.user_id = $1)`

/** Whether documents may be gone without a tombstone that were indexed, and no later number of theirs was. `$2` name of the resource. */
export const isOutdatedSql = (resource: Resource, name = '$2') => `coalesce((
      select h.horizon > max(i.seq) and h.horizon > min(i.horizon)
      from search_parts i, lateral (select ${horizonSql(resource)} as horizon offset 0) h
      where i.user_id = $1 and i.resource = ${name} group by h.horizon), false)`

/**
 * Drops indexes that were begun some days ago: they have words that were overwritten or purged since. The next
 * search begins a new one.
 *
 * @param days after how many days tombstones are purged
 */
export async function forgetSearches(db: Database, days: number): Promise<void> {
  const old = {
    ...named(`
      select user_id, array_agg(distinct resource) from search_parts
      where indexed_at < now() - make_interval(days => ${Math.min(days, MAX_DAYS)}) group by user_id`),
    isForEveryone: true,
  }
  for (const [user, names] of await run<[user: string, names: string[]]>(db, old, []))
    await transactionOn(db, LOCKED, user, async ({ connection }) => {
      for (const name of names) await runOn(connection, forgetSql(), [user, name])
    })
}
