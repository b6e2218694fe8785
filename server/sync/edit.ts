/**
 * Creating and editing one document, as a REST client does: decisions without HTTP and without SQL.
 * The common case is one call of the store. Only when the store answers that it was not that simple
 * is the stored state read, to learn why.
 */
import {
  type Document,
  type Resource,
  referencesOf,
  sameFields,
  sameIn,
  settle,
  type Unsettled,
} from '../../protocol/index.ts'
import type { Edit, Encoded, Store, Stored } from './store.ts'

export type Outcome =
  | { outcome: 'created' | 'edited'; encoded: Encoded }
  /** Nothing had to be done: a replay, or an edit that changes nothing. */
  | { outcome: 'unchanged'; stored: Stored }
  | { outcome: 'not_found' }
  /** The id is taken by a document with other content, or by a deleted one. */
  | { outcome: 'conflict'; stored: Stored }
  | { outcome: 'precondition_failed'; stored: Stored }
  /** This field refers to a document that is not there. */
  | { outcome: 'unknown_reference'; field: string }
  /** By this field the document would come to refer to itself, over others perhaps. */
  | { outcome: 'cyclic_reference'; field: string }

/** How often a race is run again; each round loses only to a write of the same user in between. */
const MAX_ROUNDS = 20

/**
 * Creates a document. Creating it again with the same content is a success, so that a client which
 * did not get the answer may simply repeat its request.
 *
 * @param input the fields given, with the id
 * @throws UnknownUser
 */
export async function create(
  store: Store,
  user: string,
  resource: Resource,
  input: Unsettled,
  now: string,
): Promise<Outcome> {
  const document = settle(resource, input, undefined, now)
  for (let round = 0; round < MAX_ROUNDS; round++) {
    const encoded = await store.insert(user, resource, document)
    if (encoded) return { outcome: 'created', encoded }
    const stored = (await store.read(user, resource, [document.id])).get(document.id)
    if (stored)
      return { outcome: isReplay(resource, input, stored) ? 'unchanged' : 'conflict', stored }
    const wrong = await wrongReference(store, user, resource, document.id, input)
    if (wrong) return wrong
    await store.transaction(user, async () => {}) // throws where the user is gone
  }
  throw new Error(`${resource.name}: a creation found no quiet moment`)
}

/** Patches, deletes or restores a document. */
export async function edit(
  store: Store,
  user: string,
  resource: Resource,
  edit: Edit,
): Promise<Outcome> {
  for (let round = 0; round < MAX_ROUNDS; round++) {
    const encoded = await store.edit(user, resource, edit)
    if (encoded) return { outcome: 'edited', encoded }
    const stored = (await store.read(user, resource, [edit.id])).get(edit.id)
    const outcome = judgeEdit(resource, edit, stored)
    if (outcome.outcome !== 'applies') return outcome
    const fields = edit.action === 'restore' ? stored!.document : edit.fields
    const wrong = await wrongReference(store, user, resource, edit.id, fields)
    if (wrong) return wrong
  }
  throw new Error(`${resource.name}: an edit found no quiet moment`)
}

/** What becomes of an edit of this stored state. Pure. */
export function judgeEdit(
  resource: Resource,
  { action, fields, ifSeq }: Edit,
  stored: Stored | undefined,
): Outcome | { outcome: 'applies' } {
  if (!stored || (stored.deleted && action !== 'restore')) return { outcome: 'not_found' }
  if (ifSeq && !ifSeq.includes(stored.seq)) return { outcome: 'precondition_failed', stored }
  if (action === 'delete') return { outcome: 'applies' }
  const changesSomething =
    action === 'restore'
      ? stored.deleted
      : Object.keys(fields).some((name) => !sameIn(resource, name, fields, stored.document))
  return changesSomething ? { outcome: 'applies' } : { outcome: 'unchanged', stored }
}

/** Whether this creation, made now, would give what is stored: leaving out what time alone decides. */
function isReplay(resource: Resource, input: Unsettled, { document, deleted }: Stored): boolean {
  if (deleted) return false
  const again: Document = settle(
    resource,
    { ...input, created_at: document.created_at },
    undefined,
    document.created_at,
  )
  return sameFields(resource, again, document)
}

/** The field by which a document with these fields refers to what it cannot refer to, and why. */
async function wrongReference(
  store: Store,
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
