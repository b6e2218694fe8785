/**
 * The databases of a person's documents. Rows are what counts: a revision that comes in is judged as a pushed row, and
 * what the row has become is a revision again. Rows that were written through other faces get revisions when a
 * replica first needs to see them, so people without such replicas pay nothing.
 */
import { type Resource, resources } from '../../protocol/index.ts'
import type { Party } from '../sync/journal.ts'
import { MAX_WRITE_BYTES } from '../sync/quota.ts'
import { pushWithin } from '../sync/replicate.ts'
import {
  type Key,
  keyText,
  type Progress,
  type Revised,
  type RevisionReader,
} from '../sync/revisions.ts'
import { documentIdOf } from '../sync/rows.ts'
import {
  type Feed,
  type ReadFeed,
  type Store,
  type Stored,
  type Transaction,
  UnknownUser,
} from '../sync/store.ts'
import {
  type CouchDatabase,
  headOf,
  type IdRange,
  type LandedDocument,
  type Landing,
} from './database.ts'
import { leavesOf, REVS_LIMIT } from './paths.ts'
import { contentOf, follow, resolved, rowsOf, stateOf } from './resolution.ts'

export interface ProjectionMeans {
  readonly store: Pick<Store, 'read' | 'heads' | 'transaction'>
  readonly revisions: RevisionReader
  readonly readFeed: ReadFeed
  readonly now: () => Date
}

/** So many rows get revisions at once. */
const STEP = 1_000

/** Those that people write, in the order of the ids of their documents. */
const PROJECTED: readonly Resource[] = Object.values<Resource>(resources)
  .filter(({ readOnly }) => !readOnly)
  .sort((a, b) => (prefixOf(a) < prefixOf(b) ? -1 : 1))

/** The database of all documents; every resource has one of its own besides. */
export const ALL = 'all'

export const DATABASES: readonly string[] = [ALL, ...PROJECTED.map(({ name }) => name)]

/** The id on the wire of the only document of a resource, in the database of all. */
const ONLY = 'me'

/** A database of a person; undefined if there is none of this name. */
export function projectedDatabase(
  means: ProjectionMeans,
  name: string,
  party: Party,
): CouchDatabase | undefined {
  if (!DATABASES.includes(name)) return undefined
  const { user } = party
  const { store, revisions } = means
  const isOfAll = name === ALL
  const own = isOfAll ? PROJECTED : PROJECTED.filter((one) => one.name === name)

  /** Read together with the documents of a write. */
  const progressIn = new WeakMap<Transaction, Promise<Progress>>()

  return {
    name,
    user,
    types: own.map((one) => one.name),
    revsLimit: REVS_LIMIT,
    readAhead: aheadOf,
    whichIds: `Send ${own.map((one) => idForm(one, isOfAll)).join(' or ')}.`,

    idOf({ type, id }) {
      if (!isOfAll) return id
      const resource = resourceOf(type)
      return prefixOf(resource) + (resource.singleton ? ONLY : id)
    },

    keyOf(wireId) {
      const resource = isOfAll ? own.find((one) => wireId.startsWith(prefixOf(one))) : own[0]
      if (!resource) return undefined
      const rest = isOfAll ? wireId.slice(prefixOf(resource).length) : wireId
      const id = isOfAll && resource.singleton && rest === ONLY ? user : rest
      if (resource.singleton ? id !== user : documentIdOf(id) !== id) return undefined
      return { type: resource.name, id }
    },

    partOf(type, range) {
      return isOfAll ? partIn(resourceOf(type), range) : range
    },

    async revise(keys) {
      const { feed, ...progress } = await progressOf()
      if (progress.seq >= feed.seq && progress.horizon >= horizonOf(feed)) return
      const [rows, known] = await Promise.all([
        readRows((resource, ids) => store.read(user, resource, ids), keys),
        revisions.read(user, keys),
      ])
      const stale = keys.filter((key) => isStale(known.get(keyText(key)), rows.get(keyText(key))))
      if (stale.length > 0)
        await store.transaction(user, (transaction) => readIn(transaction, stale), aheadOf(stale))
    },

    async reviseFeed(after, limit) {
      const { feed, ...begun } = await progressOf()
      let progress: Progress = begun
      const horizon = horizonOf(feed)
      if (progress.horizon < horizon) progress = await deleteGone({ ...progress, horizon })
      const isFull = async () => {
        if (limit === Number.POSITIVE_INFINITY) return false
        const part = { after, upTo: progress.seq, limit }
        const page = await revisions.changes(
          user,
          own.map((one) => one.name),
          part,
        )
        return page.length >= limit
      }
      while (progress.seq < feed.seq && !(progress.seq > after && (await isFull())))
        progress = await reviseStep(progress)
      return { upTo: progress.seq, head: feed }
    },

    head: () => headOf(store, user),
    // Former contents are the bases of merges; the server forgets them by itself.
    compact: async () => {},
    readIn,

    async land(transaction, documents, corrects) {
      const begun = transaction.feed.seq
      const progress = await (progressIn.get(transaction) ?? transaction.revisions.progress())
      const results = new Map<Landing, LandedDocument>()
      for (const resource of PROJECTED) {
        const ofResource = documents.filter(({ type }) => type === resource.name)
        if (ofResource.length > 0)
          for (const [landing, result] of await landOf(transaction, resource, ofResource, corrects))
            results.set(landing, result)
      }
      const isWhole = progress.seq === begun && !documents.some(isOrWasDeleted)
      return {
        documents: documents.map((one) => results.get(one)!),
        ...(isWhole && { progress: { ...progress, seq: transaction.feed.seq } }),
      }
    },
  }

  async function progressOf() {
    const progress = await revisions.progress(user)
    if (!progress) throw new UnknownUser()
    return progress
  }

  async function reviseStep(progress: Progress): Promise<Progress> {
    const part = await means.readFeed(user, PROJECTED, progress.seq, STEP)
    if (!part) throw new UnknownUser()
    const seq = part.isLast ? part.feed.seq : part.changes.at(-1)!.seq
    const keys = part.changes.map(({ resource, id }) => ({ type: resource, id }))
    const reached = { ...progress, seq }
    // What has changed since then is revised as it is now.
    await store.transaction(
      user,
      (transaction) => readIn(transaction, keys, reached),
      aheadOf(keys),
    )
    return reached
  }

  /** Deletes documents whose rows are gone without a tombstone, or with one that is purged. */
  function deleteGone(progress: Progress): Promise<Progress> {
    return store.transaction(user, async (transaction) => {
      for (const { name: type, table } of PROJECTED) {
        const ids = await transaction.revisions.withoutRow(type, table)
        await readIn(
          transaction,
          ids.map((id) => ({ type, id })),
        )
      }
      await transaction.revisions.write([], progress)
      return progress
    })
  }

  /** Reads documents with their former revisions, after those that need it have got one. */
  async function readIn(
    transaction: Transaction,
    keys: readonly Key[],
    progress?: Progress,
  ): Promise<ReadonlyMap<string, Revised>> {
    const reading = transaction.revisions.progress()
    progressIn.set(transaction, reading)
    const [rows, known] = await Promise.all([
      readRows((resource, ids) => transaction.read(resource, ids), keys),
      transaction.revisions.read(keys, true),
      reading,
    ])
    const result = new Map(known)
    const fresh: (Revised & { deleted: boolean })[] = []
    for (const key of keys) {
      const [before, row] = [known.get(keyText(key)), rows.get(keyText(key))]
      if (!isStale(before, row)) continue
      const seq = row?.seq ?? (await transaction.revisions.number(1))
      const state = row
        ? stateOf(row)
        : { deleted: true, content: contentOf(leavesOf(before!.revisions)[0]!) }
      const { changed, all } = follow(before?.revisions ?? [], state)
      fresh.push({ ...key, seq, revisions: changed, deleted: state.deleted })
      result.set(keyText(key), { ...key, seq, revisions: all })
    }
    if (fresh.length > 0 || progress) await transaction.revisions.write(fresh, progress)
    return result
  }

  async function landOf(
    transaction: Transaction,
    resource: Resource,
    documents: readonly Landing[],
    corrects: boolean,
  ): Promise<Map<Landing, LandedDocument>> {
    const results = new Map<Landing, LandedDocument>()
    const fitting = documents.filter((landing) => {
      const isTooLarge =
        !corrects && landing.incoming.some(({ body }) => sizeOf(body) > MAX_WRITE_BYTES)
      if (isTooLarge) results.set(landing, refusedAs(TOO_LARGE))
      return !isTooLarge
    })
    const rows = fitting.flatMap(rowsOf)
    const now = means.now().toISOString()
    const { rejected, after } = await pushWithin(transaction, party, resource, rows, now)
    const full = new Map(
      rejected
        .filter(({ code }) => code === 'quota_exceeded' && !corrects)
        .map(({ id, errors }) => [id, Object.values(errors).flat().join(' ')]),
    )
    // What was not written is as before; a deletion may have changed rows that refer to the deleted one.
    const unknown = fitting.some(isOrWasDeleted)
      ? fitting
      : fitting.filter(({ id }) => !after.has(id))
    const others = await transaction.read(
      resource,
      unknown.map(({ id }) => id),
    )
    const rowOf = ({ id }: Landing) => others.get(id) ?? after.get(id)
    const hasRoom = fitting.every(rowOf) || (await hasRoomForRefused(transaction))
    const unnumbered: Landing[] = []
    for (const landing of fitting) {
      const row = rowOf(landing)
      const reason = full.get(landing.id) ?? (row || hasRoom ? undefined : TOO_MANY_REFUSED)
      if (reason !== undefined) {
        results.set(landing, refusedAs(reason))
        continue
      }
      // A refused one is in the conflict journal.
      const state = row ? stateOf(row) : { deleted: true, content: {} }
      results.set(landing, { seq: row?.seq ?? 0, added: resolved(landing.revisions, state) })
      if (!row || row.seq <= (landing.before?.seq ?? 0)) unnumbered.push(landing)
    }
    if (unnumbered.length > 0) {
      const first = await transaction.revisions.number(unnumbered.length)
      for (const [nth, landing] of unnumbered.entries())
        results.set(landing, { ...results.get(landing)!, seq: first + nth })
    }
    return results
  }
}

/** Documents that could not be stored become tombstones here, which nobody would ever delete. */
const MAX_TOMBSTONES = 20_000
const TOO_MANY_REFUSED = 'Too many documents of yours could not be stored; correct this one.'

const hasRoomForRefused = async ({ revisions }: Transaction) =>
  (await revisions.countDeleted()) < MAX_TOMBSTONES

const TOO_LARGE = `A document has at most ${MAX_WRITE_BYTES} bytes; shorten its texts.`

const refusedAs = (reason: string): LandedDocument => ({
  seq: 0,
  added: [],
  refused: { error: 'forbidden', reason },
})

const sizeOf = (body: string | null) => Buffer.byteLength(body ?? '')

const resourceOf = (type: string) => PROJECTED.find(({ name }) => name === type)!

function prefixOf({ singular }: Resource): string {
  return `${singular}:`
}

/** What the ids of a resource look like, for people. */
function idForm(resource: Resource, isOfAll: boolean): string {
  if (!isOfAll) return resource.singleton ? 'the id of the user' : 'a lowercase UUID'
  return prefixOf(resource) + (resource.singleton ? ONLY : '<lowercase UUID>')
}

/** The part of a resource's ids in a range of the ids of all. */
function partIn(resource: Resource, { from, to }: IdRange): IdRange | undefined {
  const prefix = prefixOf(resource)
  const isBefore = to !== undefined && to < prefix
  const isAfter = from !== undefined && from > prefix && !from.startsWith(prefix)
  if (isBefore || isAfter) return undefined
  const start = from?.startsWith(prefix) ? from.slice(prefix.length) : undefined
  const end = to?.startsWith(prefix) ? to.slice(prefix.length) : undefined
  if (!resource.singleton) return { from: start, to: end }
  const isIn = (start === undefined || start <= ONLY) && (end === undefined || end >= ONLY)
  return isIn ? {} : undefined
}

const horizonOf = ({ horizons }: Feed) =>
  Math.max(0, ...Object.values(horizons).map(({ seq }) => seq))

/** By resource, for what reads rows by id. */
function grouped(keys: readonly Key[]): (readonly [Resource, string[]])[] {
  return PROJECTED.map(
    (resource) =>
      [resource, keys.filter(({ type }) => type === resource.name).map(({ id }) => id)] as const,
  ).filter(([, ids]) => ids.length > 0)
}

const aheadOf = (keys: readonly Key[]) =>
  grouped(keys).map(([resource, ids]) => ({ resource, ids }))

async function readRows(
  read: (resource: Resource, ids: string[]) => Promise<Map<string, Stored>>,
  keys: readonly Key[],
): Promise<Map<string, Stored>> {
  const rows = new Map<string, Stored>()
  const parts = grouped(keys).map(async ([resource, ids]) => {
    for (const [id, row] of await read(resource, ids))
      rows.set(keyText({ type: resource.name, id }), row)
  })
  await Promise.all(parts)
  return rows
}

/** Whether the row was written, or removed, without a revision. */
function isStale(before: Revised | undefined, row: Stored | undefined): boolean {
  if (row) return !before || before.seq < row.seq
  return before !== undefined && !leavesOf(before.revisions)[0]!.deleted
}

const isOrWasDeleted = ({ incoming, before }: Landing) =>
  incoming.some(({ deleted }) => deleted) ||
  (before?.revisions.some(({ deleted, isLeaf }) => isLeaf && deleted) ?? false)
