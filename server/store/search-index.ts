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
/** So many documents are indexed at a time. */
const BATCH = 5_000
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

/** `$1` user, `$2` name of the resource. No row if there is nothing to index, or no room. */
const indexSql = (resource: Resource) => {
  const { table, searchable } = resource
  const [first, ...others] = searchable.map((field) => `folded(t.${field}) collate "C"`)
  return {
    isSlow: true,
    ...named(`
    with indexed as materialized (
      select coalesce(max(p.seq), 0) as seq, coalesce(sum(octet_length(p.words)), 0) as bytes
      from search_parts p where p.user_id = $1 and p.resource = $2
    ), feed as materialized (
      select f.seq from feeds f where f.user_id = $1
    ), documents as materialized (
      select t.seq, ${first} as first, ${others.join(` || ' ' || `) || `''`} as others from (
        select t.* from ${table} t
        where t.user_id = $1 and t.seq > (select seq from indexed) and not t.deleted
          and (select bytes from indexed) < ${MAX_INDEX_BYTES}
        order by t.seq limit ${BATCH}
      ) t
    ), places as (
      select p.word, p.seq, bool_or(p.is_first) as is_first from (
        select string_to_table(d.first, ' ') as word, d.seq, true as is_first from documents d
        union all select string_to_table(d.others, ' '), d.seq, false from documents d
      ) p where p.word <> '' group by p.word, p.seq
    ), words as materialized (
      select p.word, ${keySql('p.word')} as key,
        coalesce(array_agg(p.seq) filter (where p.is_first), '{}') as firsts,
        coalesce(array_agg(p.seq) filter (where not p.is_first), '{}') as others
      from places p group by p.word
    ), upto as materialized (
      select indexed.seq as from_seq, feed.seq as feed, count(d.seq) = ${BATCH} as has_more,
        case when count(d.seq) = ${BATCH} then max(d.seq) else feed.seq end as seq
      from indexed cross join feed left join documents d on true
      where indexed.bytes < ${MAX_INDEX_BYTES} group by indexed.seq, feed.seq
    ), added as (
      insert into search_parts (user_id, resource, seq, nth, words)
      select $1, $2, u.seq, n.nth, n.words from upto u, (
        select 0 as nth, '' as words
        union all
        select o.nth, string_agg(o.word, ' ') from (
          select 1 + (row_number() over (order by w.word) - 1)::int / ${PART} as nth, w.word from words w
          where not exists (
            select from search_words k where k.user_id = $1 and k.resource = $2 and k.word = w.key)
        ) o group by o.nth
      ) n where u.seq > u.from_seq
    ), placed as (
      insert into search_words (user_id, resource, word, seq, firsts, others)
      select $1, $2, w.key, u.seq, w.firsts, w.others from upto u, words w where u.seq > u.from_seq
    )
    select u.from_seq, u.feed, u.has_more from upto u where u.seq > u.from_seq`),
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

/** Drops the index of a resource. The feed must be locked. `$1` user, `$2` name of the resource. */
export const forgetSql = named(`
  with parts as (delete from search_parts p where p.user_id = $1 and p.resource = $2)
  delete from search_words w where w.user_id = $1 and w.resource = $2`)

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
      for (const name of names) await runOn(connection, forgetSql, [user, name])
    })
}
