import { type Begun, type Database, run, runOn, type Statement } from '../database/connect.ts'
import type {
  ChangesPart,
  Key,
  Listed,
  ListedPart,
  ListedRevision,
  Progress,
  Revised,
  Revision,
  RevisionStore,
  RevisionTransaction,
} from '../sync/revisions.ts'
import { keyText } from '../sync/revisions.ts'
import { jsonList } from './json-list.ts'
import { localsOf } from './locals.ts'
import { type FeedRow, feedOf } from './rows.ts'
import { FEED_COLUMNS, named } from './statements.ts'

/** So many contents of former revisions are kept for each document, as bases of merges, and so many bytes of them. */
const FORMER = 20
const FORMER_BYTES = 64 * 1024

/** So many branches that have ended are kept for each document. */
const ENDED = 100

type RevisionRow = [
  type: string,
  id: string,
  seq: string,
  generation: number,
  path: string,
  deleted: boolean,
  body: string | null,
  isLeaf: boolean,
]

/**
 * Lookups by key, whatever the planner thinks of the tables: `offset 0` keeps it from making a join of them that reads
 * all documents of the user. `$1` user, `$2` types and `$3` ids of documents, `$4` whether with former revisions.
 */
const readSql = named(`
  select wanted.type, wanted.id, d.seq, r.*
  from unnest($2::text[], $3::text[]) wanted (type, id)
    cross join lateral (
      select seq from couch_documents
      where user_id = $1 and type = wanted.type and id = wanted.id offset 0
    ) d
    cross join lateral (
      select generation, array_to_json(path)::text, deleted, body, is_leaf from couch_revisions
      where user_id = $1 and type = wanted.type and id = wanted.id
        and case when is_leaf or $4::boolean then true else false end
      offset 0
    ) r`)

type Written = Revised & { readonly deleted: boolean }

type ListedRow = [
  type: string,
  id: string,
  seq: string,
  generation: number,
  hash: string,
  deleted: boolean,
  body: string | null,
]

/** The leaves of documents `d`. In a lateral join, each is a lookup. `$2` whether with contents. */
const LEAVES = `
  cross join lateral (
    select r.generation, r.hash, r.deleted, case when $2::boolean then r.body end
    from couch_revisions r
    where r.user_id = $1 and r.type = d.type and r.id = d.id and r.is_leaf
    offset 0
  ) leaves`

/** `$1` user, `$2` whether with contents, `$3` after, `$4` up to, `$5` limit, `$6` types or the one type. */
function changesSql(isOfOneType: boolean, isDescending: boolean): Statement {
  const order = isDescending ? 'desc' : 'asc'
  const type = isOfOneType ? '= $6::text' : '= any ($6::text[])'
  return named(`
    select d.type, d.id, d.seq, leaves.* from (
      select type, id, seq from couch_documents
      where user_id = $1 and type ${type} and seq > $3 and seq <= $4 and seq > 0
      order by seq ${order} limit $5
    ) d ${LEAVES}
    order by d.seq ${order}`)
}

/** `$1` user, `$2` whether with contents, `$3` type, `$4` from, `$5` to, `$6` skip, `$7` limit. */
function listSql(isDescending: boolean): Statement {
  const order = isDescending ? 'desc' : 'asc'
  return named(`
    select d.type, d.id, d.seq, leaves.* from (
      select type, id, seq from couch_documents
      where user_id = $1 and type = $3 and not deleted
        and id >= coalesce($4::text, '') and ($5::text is null or id <= $5)
      order by id ${order} offset $6 limit $7
    ) d ${LEAVES}
    order by d.id ${order}`)
}

/** `$1` user, `$2` types. */
const countSql = named(`
  select count(*) filter (where not deleted), count(*) filter (where deleted)
  from couch_documents where user_id = $1 and type = any ($2::text[])`)

/** `$1` user. */
const progressSql = named('select revised_seq, horizon_seq from couch_feeds where user_id = $1')

/** `$1` user. */
const feedSql = named(`
  select coalesce(c.revised_seq, 0), coalesce(c.horizon_seq, 0), ${FEED_COLUMNS}
  from feeds f left join couch_feeds c on c.user_id = f.user_id where f.user_id = $1`)

/** `$1` user, `$2` types. */
const compactSql = named(`
  delete from couch_revisions r
  where r.user_id = $1 and r.type = any ($2::text[])
    and case when r.is_leaf then false else true end`)

/** The part of the Store for replicas that speak CouchDB's protocol, in Postgres. */
export function postgresRevisions(db: Database): RevisionStore {
  return {
    async read(user, keys, withFormer = false) {
      if (keys.length === 0) return new Map()
      return revised(await run<RevisionRow>(db, readSql, readValues(user, keys, withFormer)))
    },

    async changes(user, types, part: ChangesPart) {
      const { after, upTo, limit, isDescending = false, withBodies = false } = part
      const isOfOneType = types.length === 1
      const values = [user, withBodies, after, upTo, limit, isOfOneType ? types[0] : types]
      return listed(await run<ListedRow>(db, changesSql(isOfOneType, isDescending), values))
    },

    async list(user, type, part: ListedPart) {
      const { from = null, to = null, isDescending = false, skip, limit, withBodies = false } = part
      const values = [user, withBodies, type, from, to, skip, limit]
      return listed(await run<ListedRow>(db, listSql(isDescending), values))
    },

    async count(user, types) {
      const [row] = await run<[live: string, deleted: string]>(db, countSql, [user, types])
      return { live: Number(row![0]), deleted: Number(row![1]) }
    },

    async progress(user) {
      const rows = await run<[string, string, ...FeedRow]>(db, feedSql, [user])
      if (!rows[0]) return undefined
      const [, , ...feed] = rows[0]
      return { ...progressOf(rows), feed: feedOf(...feed) }
    },

    ...localsOf(db),

    async compact(user, types) {
      await run(db, compactSql, [user, types])
    },
  }
}

/** `$1` user, `$2` documents and `$3` revisions as JSON arrays. */
const writeSql = named(`
  with written as (
    insert into couch_documents (user_id, type, id, seq, deleted)
    select $1, d.type, d.id, d.seq, d.deleted
    from json_to_recordset($2::json) d (type text, id text, seq bigint, deleted boolean)
    on conflict (user_id, type, id) do update set seq = excluded.seq, deleted = excluded.deleted
  )
  insert into couch_revisions (user_id, type, id, generation, hash, path, deleted, body, is_leaf, seq, changed_at)
  select $1, r.type, r.id, r.generation, r.path[1], r.path, r.deleted, r.body, r.is_leaf, r.seq, now()
  from json_to_recordset($3::json) r (
    type text, id text, generation int, path text[], deleted boolean, body text, is_leaf boolean, seq bigint
  )
  on conflict (user_id, type, id, generation, hash) do update set
    path = excluded.path, deleted = excluded.deleted, body = excluded.body, is_leaf = excluded.is_leaf,
    seq = excluded.seq, changed_at = excluded.changed_at`)

/** Whether its document may have more former revisions or ended branches than are kept. */
const isOver = ({ isLeaf, deleted }: Revision) => !isLeaf || deleted

/**
 * Of each document, only the last contents and the last ended branches are kept. `$1` user, `$2` types and `$3` ids of
 * documents.
 */
const forgetSql = named(`
  delete from couch_revisions
  where user_id = $1 and type = any ($2::text[]) and id = any ($3::text[]) and case when ctid = any (array(
    select row from (
      select f.row, f.is_leaf, row_number() over newest as nth,
        coalesce(sum(octet_length(f.body)) over newest, 0) as bytes
      from unnest($2::text[], $3::text[]) w (type, id)
        cross join lateral (
          select r.*, r.ctid as row from couch_revisions r
          where user_id = $1 and type = w.type and id = w.id
            and case when is_leaf and not deleted then false else true end
          offset 0
        ) f
      window newest as (partition by f.type, f.id, f.is_leaf order by f.seq desc, f.generation desc, f.hash)
    ) f
    where case
      when f.is_leaf then f.nth > ${ENDED}
      else f.nth > ${FORMER} or f.nth > 1 and f.bytes > ${FORMER_BYTES}
    end
  )) then true else false end`)

/** `$1` user, `$2` revised up to, `$3` horizon. */
const progressedSql = named(`
  insert into couch_feeds (user_id, revised_seq, horizon_seq) values ($1, $2, $3)
  on conflict (user_id) do update set revised_seq = excluded.revised_seq, horizon_seq = excluded.horizon_seq`)

/** `$1` user, `$2` how many. */
const numberSql = named(
  'update feeds set seq = seq + $2::int where user_id = $1 returning seq, epoch',
)

/** `$1` user. */
const countDeletedSql = named('select count(*) from couch_documents where user_id = $1 and deleted')

/** `$1` user, `$2` type, `$3` ids. */
const eraseSql = named(`
  update couch_revisions set body = null, changed_at = now()
  where user_id = $1 and type = $2 and id = any ($3::text[])`)

/** `$1` user, `$2` type. */
const withoutRowSql = (table: string) =>
  named(`
    select d.id from couch_documents d
    where d.user_id = $1 and d.type = $2 and not d.deleted
      and not exists (select from ${table} t where t.user_id = $1 and t.id = d.id::uuid)`)

/** @param numbered called with the new head of the feed */
export function revisionsOn(
  { connection, commit }: Pick<Begun<unknown>, 'connection' | 'commit'>,
  user: string,
  numbered: (epoch: string, seq: number) => void,
): RevisionTransaction {
  return {
    async read(keys, withFormer = false) {
      if (keys.length === 0) return new Map()
      const values = readValues(user, keys, withFormer)
      return revised(await runOn<RevisionRow>(connection, readSql, values))
    },

    async progress() {
      return progressOf(await runOn(connection, progressSql, [user]))
    },

    async number(count) {
      const [row] = await runOn<[seq: string, epoch: string]>(connection, numberSql, [user, count])
      const seq = Number(row![0])
      numbered(row![1], seq)
      return seq - count + 1
    },

    async write(documents, progress, isLast = false) {
      const steps: Promise<unknown>[] = []
      const send = (statement: Statement, values: unknown[]) => {
        const step = runOn(connection, statement, values)
        step.catch(() => {}) // it fails below, too
        steps.push(step)
      }
      // While the database stores one piece, the next is put together.
      for (let at = 0; at < documents.length; at += PIECE) {
        const piece = documents.slice(at, at + PIECE)
        const rows = await jsonList(piece.flatMap(rowsOf), (row) => JSON.stringify(row))
        send(writeSql, [user, JSON.stringify(piece.map(headOf)), rows])
        const over = piece.filter(({ revisions }) => revisions.some(isOver))
        if (over.length > 0) send(forgetSql, [user, ...columnsOfKeys(over)])
      }
      if (progress) send(progressedSql, [user, progress.seq, progress.horizon])
      if (isLast) steps.push(commit())
      await Promise.all(steps)
    },

    async countDeleted() {
      const [row] = await runOn<[string]>(connection, countDeletedSql, [user])
      return Number(row![0])
    },

    async withoutRow(type, table) {
      const rows = await runOn<[string]>(connection, withoutRowSql(table), [user, type])
      return rows.map(([id]) => id)
    },

    async erase(type, ids) {
      await runOn(connection, eraseSql, [user, type, ids])
    },
  }
}

/** So many documents are sent at once. */
const PIECE = 200

const headOf = ({ type, id, seq, deleted }: Written) => ({ type, id, seq, deleted })

const rowsOf = ({ type, id, seq, revisions }: Written) =>
  revisions.map(({ generation, path, deleted, body, isLeaf }) => ({
    type,
    id,
    generation,
    // Those that follow know its ancestors.
    path: isLeaf ? path : path.slice(0, 1),
    deleted,
    body: isLeaf || Buffer.byteLength(body ?? '') <= FORMER_BYTES ? body : null,
    is_leaf: isLeaf,
    seq,
  }))

const readValues = (user: string, keys: readonly Key[], withFormer: boolean) => [
  user,
  ...columnsOfKeys(keys),
  withFormer,
]

const columnsOfKeys = (keys: readonly Key[]) => [
  keys.map(({ type }) => type),
  keys.map(({ id }) => id),
]

const progressOf = ([row]: unknown[][]): Progress => ({
  seq: Number(row?.[0] ?? 0),
  horizon: Number(row?.[1] ?? 0),
})

function revised(rows: RevisionRow[]): Map<string, Revised> {
  const documents = new Map<string, Revised & { revisions: Revision[] }>()
  for (const [type, id, seq, generation, path, deleted, body, isLeaf] of rows) {
    const key = keyText({ type, id })
    const known = documents.get(key) ?? { type, id, seq: Number(seq), revisions: [] }
    known.revisions.push({ generation, path: JSON.parse(path), deleted, body, isLeaf })
    documents.set(key, known)
  }
  return documents
}

/** The rows of a document follow each other. */
function listed(rows: ListedRow[]): Listed[] {
  const documents: (Listed & { leaves: ListedRevision[] })[] = []
  for (const [type, id, seq, generation, hash, deleted, body] of rows) {
    const last = documents.at(-1)
    const leaf = { generation, hash, deleted, body }
    if (last?.type === type && last.id === id) last.leaves.push(leaf)
    else documents.push({ type, id, seq: Number(seq), leaves: [leaf] })
  }
  return documents
}

/** Deletes all revisions of a user, in batches. */
export async function purgeRevisions(db: Database, user: string): Promise<void> {
  for (const table of ['couch_revisions', 'couch_documents']) {
    const sql = `
      delete from ${table} where user_id = $1 and (type, id) in (
        select type, id from ${table} where user_id = $1 order by type, id limit ${PURGED_AT_ONCE}
      ) returning 1`
    const batch = { ...named(sql), isSlow: true }
    while ((await run(db, batch, [user])).length > 0);
  }
}

const PURGED_AT_ONCE = 1_000

/**
 * Forgets the contents of revisions that were followed by others long ago, and checkpoints that nobody has
 * used since. A replica whose base is forgotten is merged like one that has none; one whose checkpoint is
 * forgotten compares revisions from the start.
 */
export async function forgetRevisions(db: Database): Promise<void> {
  for (const sql of [
    `delete from couch_revisions where not is_leaf and changed_at < now() - interval '${FORMER_DAYS} days'`,
    `delete from couch_locals where changed_at < now() - interval '${LOCAL_DAYS} days'`,
  ])
    await run(db, { ...named(sql), isSlow: true, isForEveryone: true }, [])
}

const FORMER_DAYS = 30
const LOCAL_DAYS = 90
