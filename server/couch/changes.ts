import type { Listed } from '../sync/revisions.ts'
import { type CouchDatabase, type CouchStore, seqText } from './database.ts'
import { documentText, rankedOf } from './documents.ts'
import type { Filter } from './filters.ts'
import { revOf } from './paths.ts'

export interface ChangesOptions {
  readonly limit: number
  readonly isDescending?: boolean
  readonly withDocuments?: boolean
  readonly conflicts?: boolean
  /** Whether to name all leaves, and not the winner only. */
  readonly allLeaves?: boolean
  readonly filter?: Filter | undefined
}

/** A part of a feed on the wire. */
export interface ChangesPart {
  /** The elements of `results`, as JSON text. */
  readonly rows: readonly string[]
  /** Up to where the feed is read. */
  readonly seq: number
}

/** So many documents are read at once: a filter looks at all of them, however few match. */
const PAGE = 1_000
const PAGE_WITH_BODIES = 200

/** So much text is made at once. */
const MAX_CHARACTERS = 1_000_000

/**
 * The changes after a number, in parts: up to the limit, or to the head of the feed at the beginning. What a
 * filter leaves out does not end it, because clients take an empty page for the end of the feed. One page is in memory
 * at a time, and nothing is read before it is asked for.
 */
export async function* changesAfter(
  { revisions: reader }: Pick<CouchStore, 'revisions'>,
  database: CouchDatabase,
  after: number,
  options: ChangesOptions,
): AsyncGenerator<ChangesPart> {
  const { isDescending = false, withDocuments = false, filter } = options
  const withBodies = withDocuments || filter?.withBodies === true
  const most = withBodies ? PAGE_WITH_BODIES : PAGE
  let [from, left] = [after, options.limit]
  // A filter leaves out some: those that match may be far apart.
  const limitNow = () => (filter ? most : Math.min(most, left))
  const revised = isDescending
    ? await database.reviseFeed(0, Number.POSITIVE_INFINITY)
    : await database.reviseFeed(from, limitNow())
  const { seq: end, epoch } = revised.head
  let upTo = isDescending ? end : revised.upTo
  while (left > 0) {
    const limit = limitNow()
    const page = { after: from, upTo, limit, isDescending, withBodies }
    const listed = await reader.changes(database.user, database.types, page)
    let [rows, characters]: [string[], number] = [[], 0]
    for (const one of listed) {
      const row = rowOf(one, database, epoch, options)
      if (row === undefined) continue
      rows.push(row)
      characters += row.length
      if (--left === 0) {
        yield { rows, seq: one.seq }
        return
      }
      if (characters > MAX_CHARACTERS) {
        yield { rows, seq: one.seq }
        ;[rows, characters] = [[], 0]
      }
    }
    const last = listed.at(-1)
    const isAll = listed.length < limit
    if (isDescending) {
      upTo = (last?.seq ?? 1) - 1
      yield { rows, seq: end }
      if (isAll) return
      continue
    }
    from = isAll ? upTo : last!.seq
    yield { rows, seq: from }
    if (isAll && upTo >= end) return
    ;({ upTo } = await database.reviseFeed(from, limitNow()))
  }
}

/** Undefined if the filter leaves it out. */
function rowOf(
  one: Listed,
  database: CouchDatabase,
  epoch: string,
  { withDocuments, conflicts, allLeaves, filter }: ChangesOptions,
): string | undefined {
  const id = database.idOf(one)
  const leaves = rankedOf(one.leaves)
  const [winner, ...others] = leaves
  const { deleted } = winner!
  const rev = revOf(winner!)
  const text = () => {
    const live = others.filter((leaf) => !leaf.deleted).map(revOf)
    const more = conflicts && live.length > 0 ? { _conflicts: live } : {}
    return documentText(id, { ...winner!, rev }, more)
  }
  if (filter && !filter.matches(id, text)) return undefined
  const changes = (allLeaves ? leaves : [winner!]).map((leaf) => ({ rev: revOf(leaf) }))
  const seq = seqText(one.seq, epoch)
  const row = JSON.stringify({ seq, id, changes, ...(deleted && { deleted: true }) })
  return withDocuments ? `${row.slice(0, -1)},"doc":${text()}}` : row
}
