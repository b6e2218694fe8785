import type { RxCollection, RxDocumentData } from 'rxdb'
import { blanked, isBlank } from '../../protocol/for-good.ts'
import type { Document, Resource } from '../../protocol/resource.ts'
import { settle } from '../../protocol/settle.ts'
import { ClientError } from '../runtime/client-error.ts'
import type { Conflict } from './documents.ts'
import type { Definition } from './resources.ts'

/** A conflict with a write of another tab or of the sync: the document is read again. */
const CONFLICT = 409

/**
 * Deletes a document for good, in one write, and then what the journal here has about it. What the device has
 * of it besides (the known state of the server, rejected edits) is erased by the sync: see `Replica`.
 *
 * @param now the server's time
 */
export async function deleteForGood(
  collection: RxCollection<Document>,
  resource: Definition,
  id: string,
  now: string,
): Promise<void> {
  const found = await rewrite(collection, 'delete-for-good', id, (here) => {
    if (isDeletedForGood(resource, here)) return undefined
    const next = { ...blanked(resource as Resource, here), updated_at: undefined }
    return settle(resource as Resource, next, here, now)
  })
  if (!found) throw new ClientError('not_found', `Nothing in ${resource.name} has the id ${id}.`)
  const journal = collection.database.collections.conflicts as RxCollection<Conflict> | undefined
  if (journal) await eraseEntries(journal, resource.name, id)
}

export function isDeletedForGood(
  resource: Definition,
  document: { readonly _deleted: boolean; readonly [field: string]: unknown },
): boolean {
  return document._deleted && isBlank(resource, document)
}

/** They keep their dates, so that whatever the server has of them next replaces them. */
async function eraseEntries(
  journal: RxCollection<Conflict>,
  resource: string,
  document_id: string,
): Promise<void> {
  const entries = await journal.find({ selector: { resource, document_id } }).exec()
  for (const { id } of entries)
    await rewrite(journal, 'replication-for-good', id, (here) =>
      here._deleted ? undefined : { ...here, lost: {}, lost_json: null, kept: {}, errors: {} },
    )
}

/**
 * Replaces a document by a tombstone.
 *
 * @param tombstoneOf undefined if there is nothing to do
 * @returns whether there is such a document
 */
async function rewrite<T extends object>(
  { storageInstance }: RxCollection<T>,
  context: string,
  id: string,
  tombstoneOf: (here: RxDocumentData<T>) => object | undefined,
): Promise<boolean> {
  for (;;) {
    const [previous] = await storageInstance.findDocumentsById([id], true)
    const tombstone = previous && tombstoneOf(previous)
    if (!tombstone) return previous !== undefined
    const document = { ...tombstone, _deleted: true } as RxDocumentData<T>
    const { error } = await storageInstance.bulkWrite([{ previous, document }], context)
    const cause = error.find(({ status }) => status !== CONFLICT)
    if (cause)
      throw new ClientError('not_stored', 'The storage of this device did not accept the write.', {
        cause,
      })
  }
}
