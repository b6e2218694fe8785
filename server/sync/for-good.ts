/** Deletes documents for good, without HTTP and SQL. docs/decisions/0037-delete-for-good.md */
import { blanked, isBlank, type Resource, settle } from '../../protocol/index.ts'
import { dropEntriesAbout } from './journal.ts'
import type { State } from './judge.ts'
import type { Store, Stored, Transaction } from './store.ts'

export type Deletion =
  | { outcome: 'deleted' }
  | { outcome: 'not_found' }
  | { outcome: 'precondition_failed'; stored: Stored }

/**
 * Deletes a document, or empties its tombstone, and drops what the conflict journal has about it. Repeated, it
 * drops what the journal has got since.
 *
 * @param ifSeq applies only if the document has one of these versions
 * @param now UTC instant with milliseconds
 * @throws UnknownUser
 */
export function deleteForGood(
  store: Pick<Store, 'transaction'>,
  user: string,
  resource: Resource,
  { id, ifSeq, now }: { id: string; ifSeq: readonly number[] | undefined; now: string },
): Promise<Deletion> {
  return store.transaction(user, async (transaction): Promise<Deletion> => {
    const stored = (await transaction.read(resource, [id])).get(id)
    if (!stored) return { outcome: 'not_found' }
    if (ifSeq && !ifSeq.includes(stored.seq)) return { outcome: 'precondition_failed', stored }
    if (!isDeletedForGood(resource, stored))
      await transaction.write(resource, [{ ...stored, ...emptied(resource, stored, now, now) }])
    await dropRemains(transaction, resource, [id], now)
    return { outcome: 'deleted' }
  })
}

/** Drops what the conflict journal, former revisions and the index of searches have of documents that were deleted for good. */
export async function dropRemains(
  transaction: Transaction,
  resource: Resource,
  ids: readonly string[],
  now: string,
): Promise<void> {
  if (ids.length === 0) return
  await dropEntriesAbout(transaction, resource, ids, now)
  await transaction.revisions.erase(resource.name, ids)
  await transaction.answers.dropAbout(ids)
  await transaction.forgetWords(resource)
}

export function isDeletedForGood(resource: Resource, { document, deleted }: State): boolean {
  return deleted && isBlank(resource, document)
}

/**
 * The state of a document after it was deleted for good. All of its fields count as changed then: no restore of
 * a document that it was deleted with brings it back.
 */
export function emptied(resource: Resource, { document }: State, at: string, now: string): State {
  const next = { ...blanked(resource, document), updated_at: at }
  const settled = settle(resource, next, document, now)
  const changedAt = Date.parse(settled.updated_at)
  const changed = [...resource.writable, '_deleted'].map((name) => [name, changedAt])
  return { document: settled, deleted: true, changed: Object.fromEntries(changed) }
}
