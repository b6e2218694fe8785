/**
 * Creates and edits one document for REST clients, without HTTP and SQL. The common case is one call to
 * the store. The stored state is read only if the store writes nothing, to find the reason.
 */
import {
  type Document,
  type FieldErrors,
  isRestorable,
  type Resource,
  referencesOf,
  sameFields,
  sameIn,
  settle,
  type Unsettled,
} from '../../protocol/index.ts'
import { creationMark } from './marks.ts'
import { withinQuota } from './quota.ts'
import type { Edit, Encoded, Stored } from './store.ts'
import type { DocumentStore } from './within.ts'

export type Outcome =
  | { outcome: 'created' | 'edited'; encoded: Encoded }
  /** Nothing to do: a replay, or an edit without changes. */
  | { outcome: 'unchanged'; stored: Stored }
  | { outcome: 'not_found' }
  /** A document with other content, or a deleted one, has this id. */
  | { outcome: 'conflict'; stored: Stored }
  | { outcome: 'precondition_failed'; stored: Stored }
  /** This field refers to a document that does not exist. */
  | { outcome: 'unknown_reference'; field: string }
  /** This field would create a cycle of references. */
  | { outcome: 'cyclic_reference'; field: string }
  | { outcome: 'quota_exceeded'; errors: FieldErrors }

/** The maximum number of retries; each is caused by a concurrent write of the same user. */
const MAX_ROUNDS = 20

/**
 * Creates a document. Creating it again in the same way succeeds, so a client can retry a request whose
 * response was lost, also if the document has been edited since.
 *
 * @param input the given fields and the id
 * @param isOwnId whether the client has chosen the id: nobody can repeat the creation of another one
 * @throws UnknownUser
 */
export async function create(
  store: DocumentStore,
  user: string,
  resource: Resource,
  input: Unsettled,
  now: string,
  isOwnId = true,
): Promise<Outcome> {
  const document = settle(resource, input, undefined, now)
  const taken = isOwnId ? [creationMark(resource, input)] : []
  let hasRoom = false
  for (let round = 0; round < MAX_ROUNDS; round++) {
    const encoded = await store.insert(user, resource, document, { hasRoom, taken })
    if (encoded) return { outcome: 'created', encoded }
    const stored = (await store.read(user, resource, [document.id])).get(document.id)
    if (stored)
      return { outcome: isReplay(resource, input, stored) ? 'unchanged' : 'conflict', stored }
    const wrong = await wrongReference(store, user, resource, document.id, input)
    if (wrong) return wrong
    const full = await fullWith(store, user, resource, document.id, document) // throws if the user was deleted
    if (full) return full
    hasRoom = true
  }
  throw new Error(`${resource.name}: too many concurrent writes during a creation`)
}

/** Patches, deletes or restores a document. */
export async function edit(
  store: DocumentStore,
  user: string,
  resource: Resource,
  edit: Edit,
): Promise<Outcome> {
  let hasRoom = false
  for (let round = 0; round < MAX_ROUNDS; round++) {
    const encoded = await store.edit(user, resource, { ...edit, hasRoom })
    if (encoded) return { outcome: 'edited', encoded }
    const stored = (await store.read(user, resource, [edit.id])).get(edit.id)
    const outcome = judgeEdit(resource, edit, stored)
    if (outcome.outcome !== 'applies') return outcome
    const fields = edit.action === 'restore' ? stored!.document : edit.fields
    const wrong = await wrongReference(store, user, resource, edit.id, fields)
    if (wrong) return wrong
    const full = await fullWith(store, user, resource, edit.id, fields)
    if (full) return full
    hasRoom = true
  }
  throw new Error(`${resource.name}: too many concurrent writes during an edit`)
}

/** Judges an edit against the stored state. Pure. */
export function judgeEdit(
  resource: Resource,
  { action, fields, ifSeq }: Edit,
  stored: Stored | undefined,
): Outcome | { outcome: 'applies' } {
  if (!stored || (stored.deleted && action !== 'restore')) return { outcome: 'not_found' }
  if (stored.deleted && !isRestorable(resource, stored.document)) return { outcome: 'not_found' }
  if (ifSeq && !ifSeq.includes(stored.seq)) return { outcome: 'precondition_failed', stored }
  if (action === 'delete') return { outcome: 'applies' }
  const changesSomething =
    action === 'restore'
      ? stored.deleted
      : Object.keys(fields).some((name) => !sameIn(resource, name, fields, stored.document))
  return changesSomething ? { outcome: 'applies' } : { outcome: 'unchanged', stored }
}

/** Whether the document was created so, or has this content now, ignoring timestamps. */
function isReplay(
  resource: Resource,
  input: Unsettled,
  { document, deleted, taken }: Stored,
): boolean {
  if (deleted) return false
  if (taken?.includes(creationMark(resource, input))) return true
  const again: Document = settle(
    resource,
    { ...input, created_at: document.created_at },
    undefined,
    document.created_at,
  )
  return sameFields(resource, again, document)
}

/** Why a document with these fields would exceed the quota. What is written at the same time may exceed it. */
async function fullWith(
  store: DocumentStore,
  user: string,
  resource: Resource,
  id: string,
  next: Readonly<Record<string, unknown>>,
): Promise<Outcome | undefined> {
  const { refusals } = await store.transaction(user, async (transaction) =>
    withinQuota(
      transaction,
      resource,
      [{ id, next, nextDeleted: false }],
      await transaction.read(resource, [id]),
    ),
  )
  return refusals[0] && { outcome: 'quota_exceeded', errors: refusals[0].errors }
}

/** The field with an invalid reference, and the reason. */
async function wrongReference(
  store: DocumentStore,
  user: string,
  resource: Resource,
  document: string,
  fields: Readonly<Record<string, unknown>>,
): Promise<Outcome | undefined> {
  for (const { field, target } of referencesOf(resource)) {
    const id = fields[field]
    if (typeof id !== 'string') continue
    const above = await store.transaction(user, (transaction) =>
      target === resource ? transaction.above(target, field, [id]) : transaction.read(target, [id]),
    )
    if (target === resource && (id === document || above.has(document)))
      return { outcome: 'cyclic_reference', field }
    const found = above.get(id)
    if (!found || found.deleted) return { outcome: 'unknown_reference', field }
  }
  return undefined
}
