/**
 * What a person may store. It is counted again only when what was written since the last count might exceed it
 * (docs/decisions/0045-quota.md): to count everything for each write would be slow, and to keep count of each
 * write would make all of them slower.
 */
import type { FieldErrors, Resource } from '../../protocol/index.ts'
import type { Limits } from './limits.ts'
import type { Refusal } from './rows.ts'
import type { Stored, Transaction } from './store.ts'

/** What is stored for one person. */
export interface Usage {
  /** Those that are not deleted, without the journal and the profile. */
  readonly documents: number
  /** Of everything, also of deleted documents, whose fields are kept. */
  readonly bytes: number
}

/** No write adds more, except entries of the journal. */
export const MAX_WRITE_BYTES = 64 * 1024

/** What a document occupies besides its texts. */
export const DOCUMENT_BYTES = 200

/**
 * The journal may exceed the limit, so that nothing that conflicts with something is lost. But beyond this
 * multiple of it, only deletions are accepted.
 */
const MOST_WITH_JOURNAL = 2

/** What a row would write. */
interface Planned {
  readonly id: string
  readonly next: Readonly<Record<string, unknown>>
  readonly nextDeleted: boolean
  readonly assumed?: Readonly<Record<string, unknown>> | undefined
}

/**
 * Refuses the rows that do not fit into the quota. Those that add nothing always fit: retries, deletions,
 * shorter texts.
 *
 * @param stored the existing documents by id
 */
export async function withinQuota<Row extends Planned>(
  transaction: Transaction,
  resource: Resource,
  rows: readonly Row[],
  stored: ReadonlyMap<string, Stored>,
): Promise<{ fitting: readonly Row[]; refusals: readonly Refusal[] }> {
  const { limits } = transaction
  if (resource.singleton || rows.length === 0 || hasRoomFor(transaction, rows.length))
    return { fitting: rows, refusals: [] }
  let { documents, bytes } = await transaction.usage()
  const live = new Map([...stored].map(([id, { deleted }]) => [id, !deleted]))
  const fitting: Row[] = []
  const refusals: Refusal[] = []
  for (const row of rows) {
    const more = Number(!row.nextDeleted) - Number(live.get(row.id) ?? false)
    const growth = growthBy(row, stored.get(row.id))
    const errors = [
      ...(more > 0 && documents + more > limits.documents ? [tooMany(limits)] : []),
      ...((growth > 0 && bytes + growth > limits.bytes) ||
      (!row.nextDeleted && bytes > limits.bytes * MOST_WITH_JOURNAL)
        ? [tooMuch(limits)]
        : []),
    ]
    if (errors.length > 0) refusals.push(refused(row, { '': errors }))
    else {
      documents += more
      bytes += growth
      live.set(row.id, !row.nextDeleted)
      fitting.push(row)
    }
  }
  return { fitting, refusals }
}

/** Whether so many writes fit, whatever was written since the last count. */
export function hasRoomFor({ limits, atMost }: Transaction, writes: number): boolean {
  const fits = (used: number, more: number, limit: number) =>
    limit === Number.POSITIVE_INFINITY || used + more <= limit
  const { documents, bytes } = atMost
  return (
    fits(documents, writes, limits.documents) && fits(bytes, writes * MAX_WRITE_BYTES, limits.bytes)
  )
}

function growthBy({ next }: Planned, stored: Stored | undefined): number {
  if (!stored) return DOCUMENT_BYTES + sizeOf(next)
  const { document } = stored
  return sizeOf({ ...document, ...next }) - sizeOf(document)
}

const sizeOf = (fields: object) => Buffer.byteLength(JSON.stringify(fields))

function refused({ id, next, nextDeleted, assumed }: Planned, errors: FieldErrors): Refusal {
  const sent = { ...next, id, ...(nextDeleted && { _deleted: true }) }
  return { id, sent, assumed, code: 'quota_exceeded', errors }
}

const tooMany = ({ documents }: Limits) =>
  `Your account is full: it may have ${documents} documents. Delete some.`

const tooMuch = ({ bytes }: Limits) =>
  `Your account is full: it may have ${bytes} bytes, with deleted documents and the conflict journal. Delete documents for good, or shorten texts.`
