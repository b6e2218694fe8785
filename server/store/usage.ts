import type pg from 'pg'
import { type Resource, resources } from '../../protocol/index.ts'
import { type Database, run, runOn, type Statement } from '../database/connect.ts'
import { slowWorkOf } from '../database/pool.ts'
import type { Limits } from '../sync/limits.ts'
import { DOCUMENT_BYTES, MAX_WRITE_BYTES, type Usage } from '../sync/quota.ts'
import { columnsOf, sqlType } from './columns.ts'

/** The columns of a row `f` of `feeds` with the last count, and its age. */
export const COUNTED_COLUMNS = `f.counted_seq, f.stored_documents, f.stored_bytes,
  extract(epoch from clock_timestamp() - f.counted_at) * 1000 as counted_ms`

export interface Counted {
  counted_seq: string
  stored_documents: string
  stored_bytes: string
  /** Null before the first count. */
  counted_ms: string | null
}

/**
 * A count of so many documents takes less than a hundredth of this time (decision 0045). Until it is over, the count holds: so
 * nobody makes the database count all the time, and what a person with few documents may store is exact.
 */
const MS_PER_DOCUMENT = 0.05

const TEXTS = new Set(['text', 'text[]', 'jsonb'])

/** `$1` user. */
const countSql: Statement = {
  name: 'tasktide_usage',
  text: `
    select sum(documents)::bigint, sum(bytes)::bigint, clock_timestamp() from (
      ${Object.values<Resource>(resources).map(countOf).join(' union all ')}
    ) of_each`,
}

function countOf(resource: Resource): string {
  const isDocument = !resource.singleton && !resource.readOnly
  const sizes = columnsOf(resource)
    .filter((column) => TEXTS.has(sqlType(resource, column)))
    // Of a text that is stored elsewhere, octet_length reads nothing but its length.
    .map((column) =>
      sqlType(resource, column) === 'text'
        ? `octet_length(${column})`
        : `pg_column_size(${column})`,
    )
  const size = [DOCUMENT_BYTES, ...sizes.map((one) => `coalesce(${one}, 0)`)].join(' + ')
  return `
    select count(*) filter (where ${isDocument ? 'not deleted' : 'false'}) as documents,
      coalesce(sum(${size}), 0) as bytes
    from ${resource.table} where user_id = $1`
}

/** `$1` user, `$2` documents, `$3` bytes, `$4` when they were counted. */
const keepSql: Statement = {
  name: 'tasktide_keep_usage',
  text: `update feeds set stored_documents = $2, stored_bytes = $3, counted_at = $4, counted_seq = seq
    where user_id = $1`,
}

/** What is stored at most, as far as the last count tells. */
export function usageAtMost({ counted_seq, ...counted }: Counted, seq: number): Usage {
  const since = seq - Number(counted_seq)
  if (counted_seq === '0')
    return { documents: Number.POSITIVE_INFINITY, bytes: Number.POSITIVE_INFINITY }
  return {
    documents: Number(counted.stored_documents) + since,
    bytes: Number(counted.stored_bytes) + since * MAX_WRITE_BYTES,
  }
}

/** Up to which number of the feed so many writes more certainly fit; undefined for any. */
export function lastWithRoom(
  { counted_seq, stored_documents, stored_bytes }: Omit<Counted, 'counted_ms'>,
  { documents, bytes }: Limits,
  writes: number,
): number | undefined {
  const room = Math.min(
    documents - Number(stored_documents),
    Math.floor((bytes - Number(stored_bytes)) / MAX_WRITE_BYTES),
  )
  return room === Number.POSITIVE_INFINITY ? undefined : Number(counted_seq) + room - writes
}

/** Counts what is stored, unless that was done a moment ago. Nobody else may write meanwhile. */
export async function countUsage(
  connection: pg.ClientBase,
  user: string,
  counted: Counted,
): Promise<Usage & { isNew: boolean }> {
  if (isFresh(counted)) return { ...usageOf(counted), isNew: false }
  const [[documents, bytes, at]] = (await runOn<[string, string, Date]>(connection, countSql, [
    user,
  ])) as [[string, string, Date]]
  await runOn(connection, keepSql, [user, documents, bytes, at])
  return { documents: Number(documents), bytes: Number(bytes), isNew: true }
}

/** Tells what is stored for a person: now, or some seconds ago if it is much. */
export function usageReader(db: Database): (user: string) => Promise<Usage> {
  const slowWork = slowWorkOf(db)
  return async (user) => {
    const [row] = await run<[boolean, string, string, string | null]>(db, readSql, [user])
    if (!row) return { documents: 0, bytes: 0 } // deleted meanwhile
    const [isCurrent, stored_documents, stored_bytes, counted_ms] = row
    const counted = { stored_documents, stored_bytes, counted_ms }
    if (isCurrent || isFresh(counted)) return usageOf(counted)
    const [found] = await slowWork.run(user, 'list', (limitMs) =>
      run<[string, string]>(db, { ...countSql, limitMs }, [user]),
    )
    const [documents, bytes] = found!
    return { documents: Number(documents), bytes: Number(bytes) }
  }
}

/** `$1` user. */
const readSql: Statement = {
  name: 'tasktide_last_usage',
  text: `
    select f.counted_seq = f.seq and f.counted_seq > 0, f.stored_documents, f.stored_bytes,
      extract(epoch from clock_timestamp() - f.counted_at) * 1000
    from feeds f where f.user_id = $1`,
}

type Count = Omit<Counted, 'counted_seq'>

const isFresh = ({ counted_ms, stored_documents }: Count) =>
  counted_ms !== null && Number(counted_ms) < Number(stored_documents) * MS_PER_DOCUMENT

const usageOf = ({ stored_documents, stored_bytes }: Count): Usage => ({
  documents: Number(stored_documents),
  bytes: Number(stored_bytes),
})
