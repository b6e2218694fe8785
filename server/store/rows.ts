/** What the statements of the store return, as the sync core knows it. */
import type { ChangeTimes, Document } from '../../protocol/index.ts'
import type { Encoded, Feed, Head, Page, Stored } from '../sync/store.ts'

/** `past`: the former epochs and horizons, if there are any. */
export type FeedRow = [epoch: string, seq: string, past: string | null]
export type HeadRow = [user: string, ...FeedRow]
export type EncodedRow = [seq: string, json: string, epoch?: string]
export type PageRow = [
  ...FeedRow,
  documents: string | null,
  count: number,
  last: string | null,
  isLast: boolean,
]
export type StoredRow = [
  seq: string,
  deleted: boolean,
  json: string,
  taken?: string[],
  changed?: ChangeTimes,
]

export const headOf = (epoch: string, seq: string): Head => ({ epoch, seq: Number(seq) })

export function feedOf(...[epoch, seq, past]: FeedRow): Feed {
  const [branches, horizons] = past === null ? [{}, {}] : JSON.parse(past)
  return { ...headOf(epoch, seq), branches, horizons }
}

export function paged([row]: PageRow[]): Page | undefined {
  if (!row) return undefined
  const [epoch, at, past, documents, count, last, isLast] = row
  return {
    documents: documents ?? '[]',
    count,
    last: last === null ? undefined : Number(last),
    isLast,
    feed: feedOf(epoch, at, past),
  }
}

export const encoded = ([seq, json]: EncodedRow): Encoded => ({ seq: Number(seq), json })

export const stored = ([seq, deleted, json, taken, changed]: StoredRow): Stored => ({
  seq: Number(seq),
  deleted,
  document: JSON.parse(json) as Document,
  ...(taken?.length && { taken: taken.map(Number) }),
  ...(changed && Object.keys(changed).length > 0 && { changed }),
})

export const byId = (rows: StoredRow[]) =>
  new Map(rows.map(stored).map((found) => [found.document.id, found]))
