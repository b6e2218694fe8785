/**
 * What REST needs of the store, in a transaction that is open: several writes, or a write and what belongs to it, are
 * committed together. The promises are those of the store, and the same contract tests both.
 */
import {
  changeTimes,
  type Document,
  type Resource,
  referencesOf,
  settle,
} from '../../protocol/index.ts'
import { judgeEdit } from './edit.ts'
import { hasRoomFor } from './quota.ts'
import type { Encoded, Store, Stored, Transaction } from './store.ts'

export type DocumentStore = Pick<Store, 'find' | 'read' | 'insert' | 'edit' | 'transaction'>

/** @param transaction of the one user whose documents are asked for */
export function storeWithin(transaction: Transaction): DocumentStore {
  const readOne = async (resource: Resource, id: string) =>
    (await transaction.read(resource, [id])).get(id)

  return {
    async find(_user, resource, id) {
      const stored = await readOne(resource, id)
      return stored && !stored.deleted ? encoded(resource, stored) : undefined
    },

    read: (_user, resource, ids) => transaction.read(resource, ids),

    async insert(_user, resource, document, { hasRoom = false, taken = [] } = {}) {
      if (!hasRoom && !hasRoomFor(transaction, 1)) return undefined
      if (await readOne(resource, document.id)) return undefined
      if (!(await refersWell(resource, document.id, document))) return undefined
      return write(resource, { document, deleted: false, taken })
    },

    async edit(_user, resource, edit) {
      const { action, id, fields, now } = edit
      const needsRoom = action !== 'delete' && !resource.singleton && !edit.hasRoom
      if (needsRoom && !hasRoomFor(transaction, 1)) return undefined
      const stored = await readOne(resource, id)
      if (!stored || judgeEdit(resource, edit, stored).outcome !== 'applies') return undefined
      const isRestored = action === 'restore'
      const referring = isRestored ? stored.document : fields
      if (!(await refersWell(resource, id, referring, isRestored))) return undefined
      const next = { ...stored.document, ...fields, updated_at: now }
      const document = settle(resource, next, stored.document, now)
      const state = { document, deleted: action === 'delete' }
      const changed = changeTimes(resource, stored, state)
      return write(resource, { ...stored, ...state, changed })
    },

    // Nobody else writes until the end of the transaction, which is not the end of this work.
    transaction: (_user, work) => work(transaction),
  }

  async function write(resource: Resource, state: Omit<Stored, 'seq'>): Promise<Encoded> {
    await transaction.write(resource, [state])
    return encoded(resource, { ...state, seq: transaction.feed.seq })
  }

  /**
   * Whether a document may have these fields: their targets exist and it is not above itself.
   *
   * @param mayBePlaceholder whether a target may be one that has not arrived yet
   */
  async function refersWell(
    resource: Resource,
    id: string,
    fields: Readonly<Record<string, unknown>>,
    mayBePlaceholder = false,
  ): Promise<boolean> {
    for (const { field, target } of referencesOf(resource)) {
      const to = fields[field]
      if (typeof to !== 'string') continue
      const found =
        target === resource
          ? await transaction.above(target, field, [to])
          : await transaction.read(target, [to])
      if (target === resource && (to === id || found.has(id))) return false
      if (found.get(to)?.deleted ?? !mayBePlaceholder) return false
    }
    return true
  }
}

function encoded(resource: Resource, { seq, document }: Pick<Stored, 'seq' | 'document'>): Encoded {
  return { seq, json: JSON.stringify(inOrder(resource, document)) }
}

/** In the order of the definition, as the store answers. */
function inOrder({ document: { shape } }: Resource, document: Document): object {
  return Object.fromEntries(Object.keys(shape).map((name) => [name, document[name]]))
}
