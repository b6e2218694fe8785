import { type Key, keyText, type Revised, type Revision } from '../sync/revisions.ts'
import { type CouchDatabase, type CouchStore, seqText } from './database.ts'
import { isForgotten, revisionText, type Shown } from './documents.ts'
import { isKnown, isOn, leavesOf, parseRev, type RevisionName, revOf } from './paths.ts'
import { badRequest, missing } from './refusal.ts'

/** So many documents are read at once. */
export const BATCH = 100

interface GetOptions extends Omit<Shown, 'localSeq'> {
  readonly rev?: string | undefined
  /** Whether to get the newest revision that follows this one. */
  readonly latest?: boolean
  readonly localSeq?: boolean
}

/** @returns the document as JSON text @throws Refusal */
export async function getDocument(
  { revisions: reader }: Pick<CouchStore, 'revisions'>,
  database: CouchDatabase,
  id: string,
  { rev, latest = false, localSeq = false, ...shown }: GetOptions = {},
): Promise<{ text: string; rev: string }> {
  const found = await findOne(reader, database, id, rev !== undefined || shown.revsInfo === true)
  const revision = rev === undefined ? winnerOf(found) : revisionAt(found, rev, latest)
  const text = revisionText(id, revision, found.revisions, {
    ...shown,
    ...(localSeq && { localSeq: seqText(found.seq, (await database.head()).epoch) }),
  })
  return { text, rev: revOf(revision) }
}

/** @throws Refusal */
async function findOne(
  reader: CouchStore['revisions'],
  database: CouchDatabase,
  id: string,
  withFormer: boolean,
): Promise<Revised> {
  const key = database.keyOf(id)
  if (!key) throw missing()
  await database.revise([key])
  const found = (await reader.read(database.user, [key], withFormer)).get(keyText(key))
  if (!found) throw missing()
  return found
}

function winnerOf({ revisions }: Revised): Revision {
  const [winner] = leavesOf(revisions)
  if (!winner) throw missing()
  if (winner.deleted) throw missing('deleted')
  return winner
}

/** @throws Refusal */
function revisionAt({ revisions }: Revised, rev: string, latest: boolean): Revision {
  const name = parseRev(rev)
  if (!name) throw badRequest('Invalid rev format')
  const found = (latest && latestOf(revisions, name)[0]) || exactly(revisions, name)
  if (!found) throw missing()
  return found
}

const exactly = (revisions: readonly Revision[], { generation, hash }: RevisionName) =>
  revisions.find(
    (one) => one.generation === generation && one.path[0] === hash && !isForgotten(one),
  )

/** The leaves that follow a revision, or are it. */
const latestOf = (revisions: readonly Revision[], name: RevisionName) =>
  leavesOf(revisions).filter((leaf) => isOn(leaf, name))

interface OpenOptions {
  readonly revs?: boolean
  readonly latest?: boolean
}

/** Revisions of a document, or all of its leaves, each as JSON text: `{"ok":…}` or `{"missing":…}`. */
export async function openRevisions(
  { revisions: reader }: Pick<CouchStore, 'revisions'>,
  database: CouchDatabase,
  id: string,
  wanted: readonly string[] | 'all',
  options: OpenOptions = {},
): Promise<string[]> {
  const found = await findOne(reader, database, id, wanted !== 'all').catch((error) => {
    if (wanted === 'all') throw error
    return undefined
  })
  if (wanted === 'all')
    return leavesOf(found!.revisions).map((leaf) => opened(id, leaf, found!, options))
  if (!wanted.every(parseRev)) throw badRequest('Invalid rev format')
  const rows = wanted.flatMap((rev) => {
    const open = openedAt(found, rev, options)
    if (open.length === 0) return [JSON.stringify({ missing: rev })]
    return open.map((one) => opened(id, one, found!, options))
  })
  // Several of them may have the same newest one.
  return [...new Set(rows)]
}

function openedAt(
  found: Revised | undefined,
  rev: string,
  { latest = false }: OpenOptions,
): Revision[] {
  const name = parseRev(rev)
  if (!name || !found) return []
  const leaves = latest ? latestOf(found.revisions, name) : []
  if (leaves.length > 0) return leaves
  const own = exactly(found.revisions, name)
  return own ? [own] : []
}

const opened = (
  id: string,
  revision: Revision,
  { revisions }: Revised,
  { revs = false }: OpenOptions,
) => `{"ok":${revisionText(id, revision, revisions, { revs })}}`

/** One of `docs` in the body of `_bulk_get`. */
export interface Wanted {
  readonly id: string
  readonly rev?: string | undefined
}

/** The elements of `results`, as JSON text, in parts. */
export async function* bulkGet(
  { revisions: reader }: Pick<CouchStore, 'revisions'>,
  database: CouchDatabase,
  wanted: readonly Wanted[],
  options: OpenOptions = {},
): AsyncGenerator<string[]> {
  for (let at = 0; at < wanted.length; at += BATCH) {
    const part = wanted.slice(at, at + BATCH)
    const found = await readAll(reader, database, part, !options.latest)
    yield part.map(({ id, rev }) => {
      const docs = docsOf(id, rev, found.get(id), options)
      return `{"id":${JSON.stringify(id)},"docs":[${docs.join()}]}`
    })
  }
}

function docsOf(
  id: string,
  rev: string | undefined,
  found: Revised | undefined,
  options: OpenOptions,
): string[] {
  if (rev === undefined && found)
    return leavesOf(found.revisions).map((leaf) => opened(id, leaf, found, options))
  const open = rev === undefined ? [] : openedAt(found, rev, options)
  if (open.length > 0) return open.map((one) => opened(id, one, found!, options))
  // A replicating PouchDB takes an error for one of the whole batch, and asks again for ever.
  if (options.latest) return []
  const error = { id, rev: rev ?? 'undefined', error: 'not_found', reason: 'missing' }
  return [JSON.stringify({ error })]
}

/** By the id on the wire. */
export async function readAll(
  reader: CouchStore['revisions'],
  database: CouchDatabase,
  wanted: readonly { readonly id: string }[],
  withFormer: boolean,
): Promise<Map<string, Revised>> {
  const keys = new Map<string, Key>()
  for (const { id } of wanted) {
    const key = database.keyOf(id)
    if (key) keys.set(id, key)
  }
  await database.revise([...keys.values()])
  const found = await reader.read(database.user, [...keys.values()], withFormer)
  const byId = [...keys].map(([id, key]) => [id, found.get(keyText(key))] as const)
  return new Map(byId.filter((entry): entry is [string, Revised] => entry[1] !== undefined))
}

interface Difference {
  readonly missing: readonly string[]
  readonly possible_ancestors?: readonly string[]
}

/** For each document, those of the revisions that the database lacks. */
export async function revsDiff(
  { revisions: reader }: Pick<CouchStore, 'revisions'>,
  database: CouchDatabase,
  asked: ReadonlyMap<string, readonly string[]>,
): Promise<Record<string, Difference>> {
  const differences: [id: string, Difference][] = []
  const ids = [...asked.keys()].map((id) => ({ id }))
  for (let at = 0; at < ids.length; at += 10 * BATCH) {
    const part = ids.slice(at, at + 10 * BATCH)
    const found = await readAll(reader, database, part, false)
    for (const { id } of part) {
      const revisions = found.get(id)?.revisions ?? []
      const missing = asked.get(id)!.filter((rev) => !hasRev(revisions, rev))
      if (missing.length === 0) continue
      const highest = Math.max(...missing.map((rev) => parseRev(rev)?.generation ?? 0))
      const older = leavesOf(revisions).filter(({ generation }) => generation < highest)
      const possible_ancestors = older.map(revOf)
      differences.push([id, { missing, ...(older.length > 0 && { possible_ancestors }) }])
    }
  }
  // It takes any name, as an assignment does not.
  return Object.fromEntries(differences)
}

function hasRev(revisions: readonly Revision[], rev: string): boolean {
  const name = parseRev(rev)
  return name !== undefined && isKnown(revisions, name)
}
