import { type Key, keyText, type Revised, type Revision } from '../sync/revisions.ts'
import type { Transaction } from '../sync/store.ts'
import type { CouchDatabase, CouchStore, LandedDocument, Landing } from './database.ts'
import { type Incoming, readDocument } from './documents.ts'
import { graft, leavesOf, parseRev, revOf } from './paths.ts'
import { conflict, forbidden, InvalidRequest, Refusal } from './refusal.ts'
import { childOf, leafOf } from './resolution.ts'

/** What became of a document. */
export type Row =
  | { readonly ok: true; readonly id: string; readonly rev: string }
  | { readonly id?: string; readonly rev?: string; readonly refusal: Refusal }

interface Draft extends Key {
  readonly before: Revised | undefined
  incoming: Revision[]
  revisions: readonly Revision[]
}

/**
 * Stores documents, all in one transaction. What is wrong with one of them is said in its row, and does not keep
 * the others from being stored.
 *
 * @param isReplicated whether they bring their own revisions; otherwise each follows the one that it names
 * @param corrects whether what cannot be stored is corrected on top of it rather than refused: RxDB's plugin pushes what
 *   is refused again and again, and nothing after it
 */
export async function write(
  { store }: Pick<CouchStore, 'store'>,
  database: CouchDatabase,
  inputs: readonly unknown[],
  isReplicated: boolean,
  corrects = false,
): Promise<Row[]> {
  const parsed = inputs.map((input) => parse(database, input, isReplicated))
  const keys = new Map<string, Key>()
  for (const one of parsed) if ('key' in one) keys.set(keyText(one.key), one.key)
  if (keys.size === 0) return parsed.map((one) => one as Row)
  const ahead = database.readAhead([...keys.values()])
  return store.transaction(database.user, work, ahead)

  async function work(transaction: Transaction): Promise<Row[]> {
    const known = await database.readIn(transaction, [...keys.values()])
    const drafts = new Map<string, Draft>()
    const rows = parsed.map((one): Row => {
      if (!('key' in one)) return one
      const key = keyText(one.key)
      const before = known.get(key)
      const draft = drafts.get(key) ?? {
        ...one.key,
        before,
        incoming: [],
        revisions: before?.revisions ?? [],
      }
      drafts.set(key, draft)
      return graftOn(draft, one.document, isReplicated, database.revsLimit)
    })
    const landing: Landing[] = [...drafts.values()].filter(({ incoming }) => incoming.length > 0)
    if (landing.length === 0) return rows
    const landed = await database.land(transaction, landing, corrects)
    const results = new Map(
      landing.map((one, nth) => [keyText(one), landed.documents[nth]!] as const),
    )
    const stored = landing
      .filter((one) => !results.get(keyText(one))!.refused)
      .map((one) => storedOf(one, results.get(keyText(one))!, database.revsLimit))
    await transaction.revisions.write(stored, landed.progress, true)
    return rows.map((row, nth) => {
      const one = parsed[nth]!
      const result = 'key' in one ? results.get(keyText(one.key)) : undefined
      if (!result || !('ok' in row)) return row
      if (result.refused) return refusedRow(row, result.refused)
      // Whoever edits it next follows what the server has made of it.
      const [corrected] = isReplicated ? [] : result.added
      return corrected ? { ...row, rev: revOf(corrected) } : row
    })
  }
}

type Parsed = { key: Key; document: Incoming } | { id?: string; rev?: string; refusal: Refusal }

function parse(database: CouchDatabase, input: unknown, isReplicated: boolean): Parsed {
  const { _id, _rev } = (input ?? {}) as { _id?: unknown; _rev?: unknown }
  const about = {
    ...(typeof _id === 'string' && { id: _id }),
    ...(parseRev(_rev) && { rev: _rev as string }),
  }
  try {
    const document = readDocument(input, isReplicated)
    const key = database.keyOf(document.id)
    if (!key)
      return { ...about, refusal: forbidden(`No document here has this id. ${database.whichIds}`) }
    return { key, document }
  } catch (error) {
    if (error instanceof Refusal && !(error instanceof InvalidRequest))
      return { ...about, refusal: error }
    throw error
  }
}

function graftOn(draft: Draft, document: Incoming, isReplicated: boolean, revsLimit: number): Row {
  const { id } = document
  const incoming =
    isReplicated && document.rev
      ? leafOf(document.rev.generation, document.path, document)
      : nextRevision(draft, document, revsLimit)
  if (!incoming) return { id, refusal: conflict() }
  const { revisions, isNew } = graft(draft.revisions, incoming, revsLimit)
  if (isNew) {
    draft.incoming.push(incoming)
    draft.revisions = revisions
  }
  return { ok: true, id, rev: revOf(incoming) }
}

/** Undefined if it follows a revision that something else follows already. */
function nextRevision(
  { revisions }: Draft,
  { rev, ...state }: Incoming,
  revsLimit: number,
): Revision | undefined {
  const leaves = leavesOf(revisions)
  const [winner] = leaves
  const parent = rev
    ? leaves.find(({ generation, path }) => generation === rev.generation && path[0] === rev.hash)
    : winner
  // A deleted document may be created again: that follows its deletion.
  if (rev ? !parent : winner && !winner.deleted) return undefined
  return childOf(parent, state, revsLimit)
}

function storedOf(
  { type, id, before, revisions }: Landing,
  { seq, added }: LandedDocument,
  revsLimit: number,
) {
  let all = revisions
  for (const one of added) all = graft(all, one, revsLimit).revisions
  const changed = all.filter((one) => !before?.revisions.includes(one))
  return { type, id, seq, revisions: changed, deleted: leavesOf(all)[0]!.deleted }
}

function refusedRow(
  { id, rev }: { id: string; rev: string },
  { error, reason }: NonNullable<LandedDocument['refused']>,
): Row {
  return { id, rev, refusal: new Refusal(STATUS[error], error, reason) }
}

const STATUS = { conflict: 409, forbidden: 403, unauthorized: 401 } as const
