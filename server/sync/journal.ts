/** The conflict journal keeps lost values, which can be restored. */
import { v5 as uuidv5 } from 'uuid'
import {
  type Conflict,
  changeTimes,
  type Document,
  type FieldErrors,
  isRestorable,
  type Resource,
  resources,
  sameIn,
  settle,
} from '../../protocol/index.ts'
import { withoutCycles } from './cycles.ts'
import type { Loss } from './judge.ts'
import { NO_PAUSE, type Pause } from './pause.ts'
import { withinQuota } from './quota.ts'
import { placeholdFor, withReferences } from './references.ts'
import { readRows, withoutIncomplete } from './rows.ts'
import type { Store, Stored, Transaction } from './store.ts'

const { conflicts } = resources

/** The id of an entry is derived from the loss, so that the same loss does not create a second entry. */
const NAMESPACE = '6f0a3f0e-5b0c-4a86-9c1d-0d6c8b1f2a77'

/** The user and session of a write. */
export interface Party {
  user: string
  session: string
}

/** Whether a loss has values: a merge also tells of losing nothing. */
export const isReal = ({ lost }: Loss) => Object.keys(lost).length > 0

export async function keepLosses(
  transaction: Transaction,
  resource: Resource,
  losses: readonly Loss[],
  { user, session }: Party,
  now: string,
  pause: Pause = NO_PAUSE,
): Promise<void> {
  const real = losses.filter(isReal)
  if (real.length === 0) return
  const entries = new Map<string, Document>()
  for (const { id: document_id, cause, lost, kept, lostAt, dated } of real) {
    const what = JSON.stringify([user, resource.name, document_id, cause, lost, dated])
    const id = uuidv5(Buffer.from(what), NAMESPACE)
    const fields = { resource: resource.name, document_id, cause, lost, kept, lost_at: lostAt }
    const entry = { id, ...fields, session_id: session }
    entries.set(id, settle(conflicts, entry, undefined, now))
    await pause()
  }
  const known = await transaction.read(conflicts, [...entries.keys()])
  const fresh = [...entries.values()].filter(({ id }) => !known.has(id))
  await writeEntries(transaction, fresh, now)
}

/** Writes entries, and deletes older ones of the same documents beyond the limit. */
export async function writeEntries(
  transaction: Transaction,
  entries: readonly Document[],
  now: string,
): Promise<void> {
  if (entries.length === 0) return
  const most = transaction.limits.entriesPerDocument
  const counts = new Map<string, number>()
  const isAmongNewest = (entry: Document) => {
    const id = entry.document_id as string
    counts.set(id, (counts.get(id) ?? 0) + 1)
    return counts.get(id)! <= most
  }
  // The others would be deleted at once.
  const newest = entries.toReversed().filter(isAmongNewest).reverse()
  await transaction.write(
    conflicts,
    newest.map((document) => ({ document, deleted: false })),
  )
  const ids = [...counts.keys()]
  const older = await transaction.olderThanNewest(conflicts, 'document_id', ids, most)
  await dropEntries(transaction, older, now)
}

/** Deletes entries: devices delete them too, and nobody keeps their values. */
export async function dropEntries(
  transaction: Transaction,
  entries: readonly Stored[],
  now: string,
): Promise<void> {
  await transaction.write(
    conflicts,
    entries.map(({ document, ...rest }) => {
      const nothing = { lost: {}, lost_json: null, kept: {}, errors: {} }
      const next = { ...document, ...nothing, updated_at: now }
      return { ...rest, document: settle(conflicts, next, document, now), deleted: true }
    }),
  )
}

/** Deletes the entries about these documents. */
export async function dropEntriesAbout(
  transaction: Transaction,
  resource: Resource,
  ids: readonly string[],
  now: string,
): Promise<void> {
  const entries = await transaction.olderThanNewest(conflicts, 'document_id', ids, 0)
  const own = entries.filter(({ document }) => document.resource === resource.name)
  await dropEntries(transaction, own, now)
}

export type Restoral =
  /** With the updated entry. */
  | { outcome: 'restored'; entry: Stored }
  | { outcome: 'not_found' }
  | { outcome: 'quota_exceeded'; errors: FieldErrors }
  /** The values are not valid, like most rejected ones: they can only be read. */
  | { outcome: 'invalid'; errors: FieldErrors }

/**
 * Restores the values of an entry, and undeletes the document if needed. A rejected new document is
 * created, and so is one that was purged or deleted for good, if the entry has all of it. Values that have
 * replaced them since the entry was created are journaled in turn. Restoring again changes nothing.
 */
export async function restoreLoss(
  store: Pick<Store, 'transaction'>,
  party: Party,
  id: string,
  now: string,
): Promise<Restoral> {
  return store.transaction(party.user, async (transaction): Promise<Restoral> => {
    const entry = (await transaction.read(conflicts, [id])).get(id)
    if (!entry || entry.deleted) return { outcome: 'not_found' }
    const conflict = entry.document as unknown as Conflict
    if (conflict.restored_at !== null) return { outcome: 'restored', entry }
    const resource: Resource = resources[conflict.resource as keyof typeof resources]
    const { document_id, lost } = conflict
    const current = (await transaction.read(resource, [document_id])).get(document_id)
    // Of a document that was deleted for good, there is nothing to build on.
    const base =
      current && (!current.deleted || isRestorable(resource, current.document))
        ? current.document
        : undefined
    const reading = withoutIncomplete(
      resource,
      readRows(resource, party.user, [{ newDocumentState: { ...lost, id: document_id } }]),
      () => base !== undefined,
    )
    const [refusal] = reading.refusals
    const isWhole = current !== undefined || conflict.cause === 'refused'
    if (refusal && !isWhole) return { outcome: 'not_found' }
    if (refusal) return { outcome: 'invalid', errors: refusal.errors }
    const full = await withinQuota(
      transaction,
      resource,
      reading.rows,
      new Map(current && [[document_id, current]]),
    )
    if (full.refusals[0]) return { outcome: 'quota_exceeded', errors: full.refusals[0].errors }
    const whole = { ...reading.rows[0]!, next: { ...base, ...reading.rows[0]!.next } }
    const { rows, missing } = await withReferences(transaction, resource, [whole], new Map())
    const row = rows[0]!
    if (row.takenBy !== undefined)
      return {
        outcome: 'invalid',
        errors: { [row.takenBy]: ['This document is deleted. Restore it first.'] },
      }
    const next = { ...row.next, id: document_id, updated_at: now }
    const document = settle(resource, next, current?.document, now)
    const state = { document, deleted: false }
    const changed = current && changeTimes(resource, current, state)
    const write = { ...current, ...state, ...(changed && { changed }) }
    const judged = { writes: [write], conflicts: [], losses: [] }
    const { writes, losses } = await withoutCycles(transaction, resource, judged, now)
    await placeholdFor(transaction, resource, writes, missing)
    await transaction.write(resource, writes)
    await keepLosses(transaction, resource, losses, party, now)
    if (base)
      await keepLosses(transaction, resource, [replaced(resource, conflict, base)], party, now)
    const restored = settle(
      conflicts,
      { ...entry.document, restored_at: now, updated_at: now },
      entry.document,
      now,
    )
    await transaction.write(conflicts, [{ document: restored, deleted: false }])
    return { outcome: 'restored', entry: (await transaction.read(conflicts, [id])).get(id)! }
  })
}

/** The replaced values that are not in the entry itself. */
function replaced(
  resource: Resource,
  { document_id, lost, kept }: Conflict,
  current: Document,
): Loss {
  const names = Object.keys(lost).filter((name) =>
    [lost, kept].every((values) => !sameIn(resource, name, current, values)),
  )
  const of = (values: Readonly<Record<string, unknown>>) =>
    Object.fromEntries(names.map((name) => [name, values[name]]))
  const at = current.updated_at
  return {
    id: document_id,
    cause: 'edit',
    lost: of(current),
    kept: of(lost),
    lostAt: at,
    dated: at,
  }
}
