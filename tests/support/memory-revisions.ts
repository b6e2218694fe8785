import {
  type Key,
  keyText,
  type Listed,
  type Local,
  type Progress,
  type Revised,
  type Revision,
  type RevisionStore,
  type RevisionTransaction,
} from '../../server/sync/revisions.ts'
import type { Feed } from '../../server/sync/store.ts'

/** The revisions of one user's documents. */
export interface Kept {
  readonly documents: Map<string, Revised & { readonly deleted: boolean }>
  progress: Progress
}

export const nothingKept = (): Kept => ({
  documents: new Map(),
  progress: { seq: 0, horizon: 0 },
})

export const copyOfKept = ({ documents, progress }: Kept): Kept => ({
  documents: new Map(documents),
  progress,
})

/** The part of the Store in memory for replicas that speak CouchDB's protocol. */
export function memoryRevisions(
  keptOf: (user: string) => Kept,
  feedOf: (user: string) => Feed | undefined,
): RevisionStore {
  const locals = new Map<string, Local>()
  const localKey = (...parts: string[]) => JSON.stringify(parts)

  return {
    read: async (user, keys, withFormer) => read(keptOf(user), keys, withFormer),

    async changes(user, types, { after, upTo, limit, isDescending = false, withBodies }) {
      const found = [...keptOf(user).documents.values()]
        .filter(({ type, seq }) => types.includes(type) && seq > after && seq <= upTo && seq > 0)
        .sort((a, b) => (isDescending ? b.seq - a.seq : a.seq - b.seq))
      return found.slice(0, limit).map((one) => listed(one, withBodies))
    },

    async list(user, type, { from = '', to, isDescending, skip, limit, withBodies }) {
      const found = [...keptOf(user).documents.values()]
        .filter((one) => one.type === type && !one.deleted)
        .filter(({ id }) => compare(id, from) >= 0 && (to === undefined || compare(id, to) <= 0))
        .sort((a, b) => (isDescending ? compare(b.id, a.id) : compare(a.id, b.id)))
      return found.slice(skip, skip + limit).map((one) => listed(one, withBodies))
    },

    async count(user, types) {
      const own = [...keptOf(user).documents.values()].filter(({ type }) => types.includes(type))
      const live = own.filter(({ deleted }) => !deleted).length
      return { live, deleted: own.length - live }
    },

    async progress(user) {
      const feed = feedOf(user)
      return feed && { ...keptOf(user).progress, feed }
    },

    findLocal: async (...key) => locals.get(localKey(...key)),

    async putLocal(user, database, id, ifRevision, body) {
      const key = localKey(user, database, id)
      if (!feedOf(user) || (locals.get(key)?.revision ?? 0) !== ifRevision) return false
      if (body !== undefined) locals.set(key, { revision: ifRevision + 1, body })
      return body === undefined ? locals.delete(key) : true
    },

    async compact(user, types) {
      const { documents } = keptOf(user)
      for (const [key, one] of documents)
        if (types.includes(one.type))
          documents.set(key, { ...one, revisions: one.revisions.filter(({ isLeaf }) => isLeaf) })
    },
  }
}

/**
 * @param number takes numbers of the feed, and returns the first
 * @param hasRow whether a table has a document
 */
export function revisionsOn(
  kept: () => Kept,
  number: (count: number) => number,
  hasRow: (table: string, id: string) => boolean,
): RevisionTransaction {
  return {
    read: async (keys, withFormer) => read(kept(), keys, withFormer),
    progress: async () => kept().progress,
    number: async (count) => number(count),

    async write(documents, progress) {
      for (const { revisions, ...one } of documents) {
        const others = kept()
          .documents.get(keyText(one))
          ?.revisions.filter((former) => !revisions.some((given) => isSame(former, given)))
        kept().documents.set(keyText(one), { ...one, revisions: [...(others ?? []), ...revisions] })
      }
      if (progress) kept().progress = progress
    },

    countDeleted: async () =>
      [...kept().documents.values()].filter(({ deleted }) => deleted).length,

    async withoutRow(type, table) {
      const own = [...kept().documents.values()].filter((one) => one.type === type && !one.deleted)
      return own.filter(({ id }) => !hasRow(table, id)).map(({ id }) => id)
    },

    async erase(type, ids) {
      for (const id of ids) {
        const one = kept().documents.get(keyText({ type, id }))
        if (!one) continue
        const revisions = one.revisions.map((revision) => ({ ...revision, body: null }))
        kept().documents.set(keyText(one), { ...one, revisions })
      }
    },
  }
}

const isSame = (a: Revision, b: Revision) =>
  a.generation === b.generation && a.path[0] === b.path[0]

/** As Postgres compares bytes of UTF-8. */
const compare = (a: string, b: string) => Buffer.compare(Buffer.from(a), Buffer.from(b))

function read(
  { documents }: Kept,
  keys: readonly Key[],
  withFormer = false,
): ReadonlyMap<string, Revised> {
  const found = new Map<string, Revised>()
  for (const key of keys.map(keyText)) {
    const one = documents.get(key)
    if (!one) continue
    const { type, id, seq, revisions } = one
    const shown = withFormer ? revisions : revisions.filter(({ isLeaf }) => isLeaf)
    found.set(key, { type, id, seq, revisions: shown })
  }
  return found
}

function listed({ type, id, seq, revisions }: Revised, withBodies = false): Listed {
  const leaves = revisions.filter(({ isLeaf }) => isLeaf)
  return {
    type,
    id,
    seq,
    leaves: leaves.map(({ generation, path, deleted, body }) => ({
      generation,
      hash: path[0]!,
      deleted,
      body: withBodies ? body : null,
    })),
  }
}
