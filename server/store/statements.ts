import {
  leastValue,
  type Referring,
  type Resource,
  referencesOf,
  resources,
} from '../../protocol/index.ts'
import type { Statement } from '../database/connect.ts'
import { MAX_WRITE_BYTES } from '../sync/quota.ts'
import type { Edit } from '../sync/store.ts'
import { columnsOf, documentSql, sqlType, wireDocumentSql } from './columns.ts'

/**
 * The SQL of reads and writes, generated from a resource's definition and cached.
 *
 * A write is one statement that takes the user's next number first and so locks the feed's row until
 * the commit. A statement that then changes no row leaves a gap in the numbers, which is harmless:
 * readers ask for all changes after a number, never for the next number.
 */
const NEXT = `
    with feed as (update feeds set seq = seq + 1 where user_id = $1
      returning seq, epoch, seq - counted_seq as since, counted_seq, stored_documents, stored_bytes)`

/**
 * The condition that what is stored with this write certainly fits, from the last count: see sync/quota.ts.
 *
 * @param documents and `bytes`: parameters, null for any number
 */
const roomSql = (documents: string, bytes: string) =>
  `(${documents}::bigint is null or feed.counted_seq > 0 and feed.stored_documents + feed.since <= ${documents}::bigint)
    and (${bytes}::bigint is null or feed.counted_seq > 0 and feed.stored_bytes + feed.since * ${MAX_WRITE_BYTES} <= ${bytes}::bigint)`

/**
 * Hides a condition of a lookup by id from the planner, which then sees only the key. Postgres keeps plans, and
 * may have made them when the table was empty: then every index that begins with the user looks as good as the
 * primary key, but reads all documents of the user. So every other index is partial, and no lookup by id may
 * imply that a row is in it (docs/decisions/0046-lookups-by-id.md).
 */
export const hidden = (condition: string) => `case when ${condition} then true else false end`

/** `$1` user, `$2` id. */
export const findSql = kept(
  (resource) => `
    select t.seq, ${documentSql(resource)}::text from ${resource.table} t
    where t.user_id = $1 and t.id = $2 and ${hidden('not t.deleted')}`,
)

/** `$1` user, `$2` ids. Skips placeholders. */
export const readSql = kept(
  (resource) => `
    select t.seq, t.deleted, ${documentSql(resource)}::text, t.taken, t.changed from ${resource.table} t
    where t.user_id = $1 and t.id = any ($2::uuid[]) and ${hidden('t.seq > 0')}`,
)

/** `$1` user, `$2` values, `$3` how many of each value are left out, newest first, and `$4` up to how many characters. */
export function olderThanNewestSql(
  resource: Resource,
  field: string,
  hasMostCharacters: boolean,
): Statement {
  const size = hasMostCharacters
    ? `, sum(length(${documentSql(resource)}::text)) over newest as characters`
    : ''
  return named(`
    select t.seq, t.deleted, ${documentSql(resource)}::text, t.taken, t.changed from (
      select t.*, row_number() over newest as nth${size} from ${resource.table} t
      where t.user_id = $1 and not t.deleted and t.${field} = any ($2::${sqlType(resource, field)}[])
      window newest as (partition by t.${field} order by t.seq desc)
    ) t
    where t.nth > $3${hasMostCharacters ? ' or t.characters > $4' : ''} order by t.seq`)
}

/** `$1` user, `$2` ids. */
export function aboveSql(resource: Resource, field: string): Statement {
  return named(`
    with recursive above (id) as (
      select unnest($2::uuid[])
      union
      select (select t.${field} from ${resource.table} t where t.user_id = $1 and t.id = above.id)
      from above where id is not null
    )
    select t.seq, t.deleted, ${documentSql(resource)}::text, t.taken, t.changed
    from ${resource.table} t
    where t.user_id = $1 and t.id = any (array(select id from above)) and ${hidden('t.seq > 0')}`)
}

/** `$1` user, `$2` seq, `$3` limit. */
export const changesSql = kept(
  (resource) => `
    select t.seq, t.deleted, ${documentSql(resource)}::text from ${resource.table} t
    where t.user_id = $1 and t.seq > $2 order by t.seq limit $3`,
)

/** The columns of a row `f` of `feeds`, as one text if they are not those of a feed without a past. */
export const FEED_COLUMNS =
  "f.epoch, f.seq, case when f.branches = '{}' and f.horizons = '{}' then null else json_build_array(f.branches, f.horizons)::text end"

/** A page ends once its documents have this many bytes, with one document at least. */
export const MAX_PAGE_BYTES = 1024 * 1024

/** So many documents are read before it is known whether the page is full: few of them for nothing, also of long ones. */
const PAGE_STEP = 100

/**
 * `$1` user, `$2` seq, `$3` limit, `$4` up to which number tombstones are left out. One row: the feed, a
 * JSON array, how many, where it ends, and whether there may be more.
 */
export const pageSql = kept((resource) => pageText(resource, 'not (t.deleted and t.seq <= $4)'))

/** The same with `$4` buckets, the last bytes of ids, and with all tombstones. */
export const pageOfSql = kept((resource) =>
  pageText(resource, 'get_byte(uuid_send(t.id), 15) = any ($4::int[])'),
)

function pageText(resource: Resource, filter: string): string {
  const fits = `filter (where c.before < ${MAX_PAGE_BYTES})`
  return `
    with recursive steps as (
      select $2::bigint as last, null::text as documents, 0 as count, 0 as read, 0::bigint as bytes, true as has_more
      union all
      select n.last, n.documents, n.count, s.read + n.read, n.bytes,
        n.count < n.read or n.read = least(${PAGE_STEP}, $3::int - s.read)
      from steps s, lateral (
        select max(c.seq) ${fits} as last,
          string_agg(c.json, ',' order by c.seq) ${fits} as documents,
          (count(*) ${fits})::int as count,
          count(*)::int as read,
          max(c.before + octet_length(c.json)) as bytes
        from (
          select d.seq, d.json,
            s.bytes + (sum(octet_length(d.json)) over (order by d.seq rows unbounded preceding) - octet_length(d.json)) as before
          from (
            select t.seq, ${wireDocumentSql(resource)}::text as json from ${resource.table} t
            where t.user_id = $1 and t.seq > s.last and ${filter}
            order by t.seq limit least(${PAGE_STEP}, $3::int - s.read)
          ) d
        ) c
      ) n
      where s.has_more and s.read < $3::int and s.bytes < ${MAX_PAGE_BYTES}
    )
    select ${FEED_COLUMNS}, p.documents, p.count, p.last, p.is_last
    from feeds f, (
      select '[' || string_agg(s.documents, ',' order by s.last) || ']' as documents,
        sum(s.count)::int as count,
        max(s.last) filter (where s.count > 0) as last,
        not bool_and(s.has_more) as is_last
      from steps s
    ) p
    where f.user_id = $1`
}

/**
 * `$1` user, `$2` ids. A placeholder has the least value in each required column and a unique number of 0
 * or less, which is outside the feed.
 */
export const placeholdSql = kept((resource) => {
  const columns = resource.fieldNames.filter((name) => !resource.fields[name]!.nullable)
  const least = columns.map((name) => [name, leastValue(resource.fields[name]!)])
  const typed = columns.map((column) => `, ${column} ${sqlType(resource, column)}`)
  return `
    insert into ${resource.table}
      (user_id, id, ${columns.map((column) => `${column}, `).join('')}created_at, updated_at, deleted, seq)
    select $1, p.id, ${columns.map((column) => `r.${column}, `).join('')}now(), now(), true,
      least((select min(t.seq) from ${resource.table} t where t.user_id = $1 and t.seq <= 0), 1) - p.nth
    from unnest($2::uuid[]) with ordinality as p (id, nth),
      json_to_record('${JSON.stringify(Object.fromEntries(least)).replaceAll("'", "''")}')
        as r (_ text${typed.join('')})
    on conflict (user_id, id) do nothing`
})

/** With more changes, clients pull. */
export const MAX_FRAME_DOCUMENTS = 100

/** `$1` user, `$2` seq. The feed, and the changes of each resource up to it, at most one more than fit. */
export function frameSql(): Statement {
  const documents = Object.values<Resource>(resources).map(
    (resource) => `
      (select '[' || string_agg(p.json, ',') || ']' from (
        select ${wireDocumentSql(resource)}::text as json from ${resource.table} t
        where t.user_id = $1 and t.seq > $2 and t.seq <= f.seq
        order by t.seq limit ${MAX_FRAME_DOCUMENTS + 1}
      ) p)`,
  )
  return {
    name: 'tasktide_frame',
    text: `select ${FEED_COLUMNS}, ${documents.join(', ')} from feeds f where f.user_id = $1`,
  }
}

/** `$1` users. */
export const headsSql: Statement = {
  name: 'tasktide_heads',
  text: `select f.user_id, ${FEED_COLUMNS} from feeds f where f.user_id = any ($1::uuid[])`,
}

/** `$1` user, then the columns in order, the room (`roomSql`), and the marks. Replaces a placeholder, but no other row. */
export const insertSql = kept((resource) => {
  const columns = columnsOf(resource)
  const values = columns.map((column, i) => `$${i + 2}::${sqlType(resource, column)}`)
  const updates = columns.slice(1).map((column) => `${column} = excluded.${column}`)
  const references = referencesOf(resource).map((one) =>
    isThereSql(one, values[columns.indexOf(one.field)]!),
  )
  return `
    ${NEXT}, written as (
    insert into ${resource.table} as t (user_id, ${columns.join(', ')}, deleted, seq, taken)
    select $1, ${values.join(', ')}, false, feed.seq, $${columns.length + 4}::bigint[] from feed
    where ${[roomSql(`$${columns.length + 2}`, `$${columns.length + 3}`), ...references].join(' and ')}
    on conflict (user_id, id) do update
      set ${updates.join(', ')}, deleted = false, seq = excluded.seq, taken = excluded.taken where t.seq <= 0
    returning t.seq, ${documentSql(resource)}::text as json
    )
    select written.seq, written.json, feed.epoch from written, feed`
})

/**
 * `$1` user, `$2` documents as a JSON array, `$3` how many. They take their numbers as one range; one
 * row tells after which number it begins, and in which epoch. Whoever writes so has seen to it that no document refers to
 * itself (sync/cycles.ts): the trigger need not look again, for each document all the way up.
 */
export const writeSql = kept((resource) => {
  const checked = isTree(resource) ? `, set_config('tasktide.trees', 'checked', true)` : ''
  return writeText(resource, '', checked)
})

/**
 * The same if what was read before still holds, and no row otherwise: `$4` the epoch, `$5` the horizons, `$6` up to
 * which number of the feed the quota has room, or null, then ids and numbers of the documents that were read, 0 for none:
 * of the resource, and of each resource that it refers to.
 *
 * The statement sees what was committed when it began. So nobody may have written since: that may
 * happen while it waits for the feed's row.
 */
export const writeIfSql = kept((resource) => {
  const read = [resource, ...resourcesReferredTo(resource)].map(
    ({ table }, i) => `not exists (
        select from unnest($${7 + 2 * i}::uuid[], $${8 + 2 * i}::bigint[]) as read (id, seq)
        where read.seq <> coalesce((select greatest(t.seq, 0) from ${table} t where t.user_id = $1 and t.id = read.id), 0))`,
  )
  const holds = [
    'f.seq = (select s.seq from feeds s where s.user_id = $1)',
    'f.epoch = $4 and f.horizons = $5::jsonb',
    '($6::bigint is null or f.seq <= $6::bigint)',
    ...read,
  ]
  return writeText(resource, holds.map((one) => `\n      and ${one}`).join(''))
})

/** The resources that a resource refers to. */
export const resourcesReferredTo = (resource: Resource): Resource[] => [
  ...new Set(referencesOf(resource).map(({ target }) => target)),
]

/** Whether documents may refer to others of their own resource. */
export const isTree = (resource: Resource) => resourcesReferredTo(resource).includes(resource)

function writeText(resource: Resource, condition: string, also = ''): string {
  const columns = columnsOf(resource)
  const record = columns.map((column) => `${column} ${sqlType(resource, column)}`)
  const updates = columns.slice(1).map((column) => `${column} = excluded.${column}`)
  return `
    with feed as (
      update feeds f set seq = f.seq + $3::bigint where f.user_id = $1${condition}
      returning f.seq - $3::bigint as before, f.epoch
    ), written as (
    insert into ${resource.table} (user_id, ${columns.join(', ')}, deleted, seq, taken, changed)
    select $1, ${columns.map((column) => `r.${column}`).join(', ')}, r.deleted,
      feed.before + r.nth, coalesce(r.taken, '{}'), coalesce(r.changed, '{}')
    from feed, json_to_recordset($2::json)
      as r (${record.join(', ')}, deleted boolean, nth bigint, taken bigint[], changed jsonb)
    on conflict (user_id, id) do update
      set ${updates.join(', ')}, deleted = excluded.deleted, seq = excluded.seq, taken = excluded.taken, changed = excluded.changed
    )
    select before, epoch${also} from feed`
}

/**
 * The statement of an edit and its values: `$1` user, `$2` id, `$3` now, `$4` versions or null, `$5` and `$6`
 * the room (`roomSql`), then one for each field. It applies the rules of `settle`; a test compares the two.
 */
export function editStatement(
  resource: Resource,
  edit: Edit,
  room: readonly (number | null)[],
): { statement: Statement; values: unknown[] } {
  const names = Object.keys(edit.fields)
  const key = `${resource.name} ${edit.action} ${names}`
  let statement = edits.get(key)
  if (!statement) {
    statement = named(editSql(resource, edit.action, names))
    // Clients choose the combinations of fields, so the cache is limited.
    if (edits.size < MAX_NAMES) edits.set(key, statement)
  }
  return {
    statement,
    values: [
      edit.id,
      edit.now,
      edit.ifSeq ?? null,
      ...room,
      ...names.map((name) => edit.fields[name]),
    ],
  }
}

const edits = new Map<string, Statement>()

/**
 * In UTC and as text, because arithmetic with timestamptz and jsonb_build_object are not immutable: a
 * distributed database refuses them in an update (docs/decisions/0029-keys-by-user.md).
 */
const UPDATED_AT = `greatest((t.updated_at at time zone 'UTC' + interval '1 millisecond') at time zone 'UTC', $3::timestamptz)`
const CHANGED_AT = `(extract(epoch from ${UPDATED_AT} at time zone 'UTC') * 1000)::bigint`
const changedSql = (name: string) => `('{"${name}":' || ${CHANGED_AT}::text || '}')::jsonb`

function editSql(resource: Resource, action: Edit['action'], names: readonly string[]): string {
  const value = (name: string) => `$${names.indexOf(name) + 7}::${sqlType(resource, name)}`
  const stamps = Object.entries(resource.stamps).filter(([, flag]) => names.includes(flag))
  const changes = {
    patch: names.map((name) => `${name} = ${value(name)}`),
    delete: ['deleted = true'],
    restore: ['deleted = false'],
  }[action]
  const applies = {
    patch: `${hidden('not t.deleted')} and (${names.map((name) => `t.${name}`).join(', ')}) is distinct from (${names.map(value).join(', ')})`,
    delete: hidden('not t.deleted'),
    // What was deleted for good lacks required fields.
    restore: hidden(['t.deleted', 't.seq > 0', ...filledSql(resource)].join(' and ')),
  }[action]
  const changesOf =
    action === 'patch'
      ? names
          .map(
            (name) =>
              `case when t.${name} is distinct from ${value(name)} then ${changedSql(name)} else '{}' end`,
          )
          .join(' || ')
      : changedSql('_deleted')
  return `
    ${NEXT}
    update ${resource.table} t set ${[
      ...changes,
      ...stamps.map(([stamp, flag]) => `${stamp} = ${stampSql(stamp, flag, value(flag))}`),
      `updated_at = ${UPDATED_AT}`,
      `changed = t.changed || ${changesOf}`,
      'seq = feed.seq',
    ].join(', ')}
    from feed
    where ${[
      't.user_id = $1 and t.id = $2',
      '($4::bigint[] is null or t.seq = any ($4::bigint[]))',
      applies,
      roomSql('$5', '$6'),
      ...referencesOf(resource)
        .filter(({ field }) => names.includes(field))
        .map((one) => isThereSql(one, value(one.field))),
    ].join(' and ')}
    returning t.seq, ${documentSql(resource)}::text, feed.epoch`
}

/** The conditions that a tombstone can be restored. */
export function filledSql({ neverBlank, blank }: Resource): string[] {
  return neverBlank.map((name) => `t.${name} <> '${blank[name]}'`)
}

function stampSql(stamp: string, flag: string, value: string): string {
  return `case when not ${value} then null when t.${flag} then t.${stamp} else $3::timestamptz end`
}

/** The condition that the target of a reference exists. */
const isThereSql = ({ target }: Referring, value: string) =>
  `(${value} is null or exists (select from ${target.table} c
      where c.user_id = $1 and c.id = ${value} and ${hidden('not c.deleted')}))`

let keptCount = 0

/** Caches one prepared statement per resource. These are few, so they are not limited by MAX_NAMES. */
function kept(text: (resource: Resource) => string): (resource: Resource) => Statement {
  const statements = new Map<Resource, Statement>()
  return (resource) => {
    let statement = statements.get(resource)
    if (!statement) {
      statement = { name: `tasktide_${resource.name}_${++keptCount}`, text: text(resource) }
      statements.set(resource, statement)
    }
    return statement
  }
}

/**
 * A connection keeps the plan of a named statement forever, and clients choose the combinations of filters
 * and fields. So only this many statements get a name.
 */
const MAX_NAMES = 300
const names = new Map<string, string>()

export function named(text: string): Statement {
  let name = names.get(text)
  if (name === undefined && names.size < MAX_NAMES) {
    name = `tasktide_${names.size}`
    names.set(text, name)
  }
  return name === undefined ? { text } : { name, text }
}
