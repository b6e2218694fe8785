/** The conflict journal: what gave way is kept, and can be put back. */
import { v5 as uuidv5 } from 'uuid'
import {
  type Conflict,
  type Document,
  type Resource,
  resources,
  sameValue,
  settle,
} from '../../protocol/index.ts'
import type { Loss } from './judge.ts'
import { withReferences } from './references.ts'
import type { Store, Stored, Transaction } from './store.ts'

const { conflicts } = resources

/** An entry's id follows from what was lost, so that losing the same again makes no second entry. */
const NAMESPACE = '6f0a3f0e-5b0c-4a86-9c1d-0d6c8b1f2a77'

/** Whose write it is, and from which session. */
export interface Party {
  user: string
  session: string
}

export async function keepLosses(
  transaction: Transaction,
  resource: Resource,
  losses: readonly Loss[],
  { user, session }: Party,
  now: string,
): Promise<void> {
  const real = losses.filter(({ lost }) => Object.keys(lost).length > 0)
  if (real.length === 0) return
  const entries = new Map(
    real.map(({ id: document_id, cause, lost, kept, lostAt, dated }) => {
      const what = JSON.stringify([user, resource.name, document_id, cause, lost, dated])
      const id = uuidv5(what, NAMESPACE)
      const fields = { resource: resource.name, document_id, cause, lost, kept, lost_at: lostAt }
      return [id, settle(conflicts, { id, ...fields, session_id: session }, undefined, now)]
    }),
  )
  const known = await transaction.read(conflicts, [...entries.keys()])
  const fresh = [...entries.values()].filter(({ id }) => !known.has(id))
  await transaction.write(
    conflicts,
    fresh.map((document) => ({ document, deleted: false })),
  )
}

/**
 * Puts the values of an entry back into its document, which is undeleted for that. Values that have
 * come into their place since the entry was made are journaled in turn. Putting an entry back again
 * changes nothing.
 *
 * @returns the entry as it is then; undefined when there is none
 */
export async function restoreLoss(
  store: Store,
  party: Party,
  id: string,
  now: string,
): Promise<Stored | undefined> {
  return store.transaction(party.user, async (transaction) => {
    const entry = (await transaction.read(conflicts, [id])).get(id)
    if (!entry || entry.deleted) return undefined
    const conflict = entry.document as unknown as Conflict
    if (conflict.restored_at !== null) return entry
    const resource: Resource = resources[conflict.resource as keyof typeof resources]
    const current = (await transaction.read(resource, [conflict.document_id])).get(
      conflict.document_id,
    )
    if (!current) return undefined
    const [row] = await withReferences(transaction, resource, [
      {
        id: conflict.document_id,
        next: conflict.lost,
        nextDeleted: false,
        assumed: undefined,
        assumedDeleted: false,
      },
    ])
    const next = { ...current.document, ...row!.next, updated_at: now }
    const document = settle(resource, next, current.document, now)
    await transaction.write(resource, [{ ...current, document, deleted: false }])
    await keepLosses(transaction, resource, [replaced(conflict, current.document)], party, now)
    const restored = settle(
      conflicts,
      { ...entry.document, restored_at: now, updated_at: now },
      entry.document,
      now,
    )
    await transaction.write(conflicts, [{ document: restored, deleted: false }])
    return (await transaction.read(conflicts, [id])).get(id)
  })
}

/** What stood in the place of the values without being what the entry tells of. */
function replaced({ document_id, lost, kept }: Conflict, current: Document): Loss {
  const names = Object.keys(lost).filter(
    (name) => !sameValue(current[name], lost[name]) && !sameValue(current[name], kept[name]),
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
