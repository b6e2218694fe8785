import type { ListedRevision } from '../sync/revisions.ts'
import type { CouchDatabase, CouchStore, IdRange } from './database.ts'
import { documentText, rankedOf, revisionText } from './documents.ts'
import { leavesOf, revOf } from './paths.ts'
import { BATCH, readAll } from './read.ts'

export interface AllDocsOptions {
  readonly keys?: readonly unknown[]
  readonly from?: string | undefined
  readonly to?: string | undefined
  readonly isExclusive?: boolean
  readonly isDescending?: boolean
  readonly skip: number
  readonly limit: number
  readonly withDocuments?: boolean
  readonly conflicts?: boolean
  /** Whether deleted documents have their content, with `keys`. CouchDB has not: clients then restore them by mistake. */
  readonly withDeleted?: boolean
}

/** The rows of `_all_docs`, as JSON text, in parts. */
export async function* allDocs(
  stored: Pick<CouchStore, 'revisions'>,
  database: CouchDatabase,
  options: AllDocsOptions,
): AsyncGenerator<string[]> {
  if (options.keys) yield* rowsByKeys(stored, database, options.keys, options)
  else yield* rowsInRange(stored, database, options)
}

async function* rowsByKeys(
  { revisions: reader }: Pick<CouchStore, 'revisions'>,
  database: CouchDatabase,
  keys: readonly unknown[],
  { isDescending, skip, limit, withDocuments, conflicts = false, withDeleted }: AllDocsOptions,
): AsyncGenerator<string[]> {
  const wanted = (isDescending ? keys.toReversed() : keys).slice(skip, skip + limit)
  for (let at = 0; at < wanted.length; at += BATCH) {
    const part = wanted.slice(at, at + BATCH)
    const ids = part.filter((key) => typeof key === 'string').map((id) => ({ id }))
    const found = await readAll(reader, database, ids, false)
    yield part.map((key) => {
      const one = typeof key === 'string' ? found.get(key) : undefined
      if (!one) return JSON.stringify({ key, error: 'not_found' })
      const [winner] = leavesOf(one.revisions)
      const value = { rev: revOf(winner!), ...(winner!.deleted && { deleted: true }) }
      const row = JSON.stringify({ id: key, key, value })
      if (!withDocuments) return row
      const isShown = !winner!.deleted || withDeleted
      const doc = isShown
        ? revisionText(key as string, winner!, one.revisions, { conflicts })
        : null
      return `${row.slice(0, -1)},"doc":${doc}}`
    })
  }
}

/** From one type to the next, a page at a time. */
async function* rowsInRange(
  { revisions: reader }: Pick<CouchStore, 'revisions'>,
  database: CouchDatabase,
  options: AllDocsOptions,
): AsyncGenerator<string[]> {
  await database.reviseFeed(0, Number.POSITIVE_INFINITY)
  const { isDescending = false, withDocuments = false } = options
  const [from, to] = isDescending ? [options.to, options.from] : [options.from, options.to]
  const excluded = options.isExclusive ? options.to : undefined
  const limit = withDocuments ? BATCH : 10 * BATCH
  let [skip, left] = [options.skip, options.limit]
  for (const type of isDescending ? database.types.toReversed() : database.types) {
    let range = database.partOf(type, { from, to })
    for (let isFirst = true; range && left > 0; isFirst = false) {
      const part = { ...ends(range), isDescending, skip: isFirst ? 0 : 1, limit }
      const listed = await reader.list(database.user, type, { ...part, withBodies: withDocuments })
      const named = listed.map((one) => ({ id: database.idOf(one), leaves: one.leaves }))
      const included = named.filter(({ id }) => id !== excluded)
      const rows = included.slice(skip, skip + left)
      skip = Math.max(0, skip - included.length)
      left -= rows.length
      yield rows.map(({ id, leaves }) => rowOf(id, leaves, options))
      const last = listed.at(-1)?.id
      if (listed.length < limit || last === undefined) break
      range = isDescending ? { ...range, to: last } : { ...range, from: last }
    }
  }
}

const ends = ({ from, to }: IdRange) => ({
  ...(from !== undefined && { from }),
  ...(to !== undefined && { to }),
})

function rowOf(
  id: string,
  leaves: readonly ListedRevision[],
  { withDocuments, conflicts }: AllDocsOptions,
): string {
  const [winner, ...others] = rankedOf(leaves)
  const rev = revOf(winner!)
  const row = JSON.stringify({ id, key: id, value: { rev } })
  if (!withDocuments) return row
  const live = others.filter(({ deleted }) => !deleted).map(revOf)
  const more = conflicts && live.length > 0 ? { _conflicts: live } : {}
  return `${row.slice(0, -1)},"doc":${documentText(id, { ...winner!, rev }, more)}}`
}
