import {
  bucketOf,
  type ChangeTimes,
  changeTimes,
  type Document,
  isRestorable,
  type Referring,
  type Resource,
  referencesOf,
  referencesTo,
  resources,
  sameIn,
  settle,
  takenKey,
  type WireDocument,
} from '../../protocol/index.ts'
import { columnsOf } from '../../server/store/columns.ts'
import { MAX_FRAME_DOCUMENTS } from '../../server/store/statements.ts'
import { createTurns } from '../../server/store/turns.ts'
import { FIRST_EPOCH } from '../../server/sync/cursors.ts'
import {
  idsIn,
  type KeptAnswer,
  type KeptAnswers,
  MAX_KEPT,
  MAX_KEPT_BYTES,
} from '../../server/sync/kept-answers.ts'
import { LIMITS, type Limits } from '../../server/sync/limits.ts'
import { DOCUMENT_BYTES, type Usage } from '../../server/sync/quota.ts'
import type { RevisionStore } from '../../server/sync/revisions.ts'
import {
  type Edit,
  type Encoded,
  type Feed as FeedState,
  type Head,
  type Horizon,
  type Store,
  type Stored,
  type Transaction,
  UnknownUser,
} from '../../server/sync/store.ts'
import {
  copyOfKept,
  type Kept,
  memoryRevisions,
  nothingKept,
  revisionsOn,
} from './memory-revisions.ts'

type Fields = Readonly<Record<string, unknown>>
type State = Omit<Stored, 'seq'>

export interface MemoryStore extends Store {
  /** What replicas that speak CouchDB's protocol know. */
  readonly revisions: RevisionStore
  /** Adds a user. Writes for other users fail, like those for a deleted one. */
  addUser(user: string): void
  /**
   * Fails over to a standby that the last commits have not reached. Writers fail with LostConnection.
   *
   * @param commits how many, of all users; the last 50 at most
   * @returns whose
   */
  failOver(commits: number): ReadonlySet<string>
  /** Purges a user's tombstones up to a number. */
  purge(user: string, upTo: number): void
}

/** The database failed over while a transaction was open. */
export class LostConnection extends Error {
  override name = 'LostConnection'
}

/** So many commits can be lost. */
const MOST_LOST = 50

/**
 * The Store in memory: the simplest implementation of its promises. A difference to Postgres is a bug in one
 * of the two.
 */
export function memoryStore(limits: Limits = LIMITS): MemoryStore {
  const takeTurn = createTurns()
  const isLimited = [limits.documents, limits.bytes].some(Number.isFinite)
  const feeds = new Map<string, Feed>()
  let timeline = 1
  const feedOf = (user: string) => feeds.get(user) ?? newFeed(timeline)
  /** Each feed as it was before one of the last commits. */
  const commits: { user: string; before: Feed }[] = []

  /** Concurrent reads see the feed before the draft; a failed draft is dropped. */
  function onDraft<T>(user: string, work: (draft: Feed) => Promise<T>): Promise<T> {
    return takeTurn(user, async () => {
      const feed = feeds.get(user)
      if (!feed) throw new UnknownUser()
      const draft = copyOf(feed, timeline)
      const result = await work(draft)
      if (draft.now !== timeline) throw new LostConnection()
      feeds.set(user, draft)
      if (commits.push({ user, before: feed }) > MOST_LOST) commits.shift()
      return result
    })
  }

  const writeOne = (user: string, work: (draft: Feed) => Encoded | undefined) =>
    onDraft(user, async (draft) => work(draft)).catch(undefinedForUnknownUser)

  function page(
    user: string,
    resource: Resource,
    seq: number,
    limit: number,
    isWanted: (one: Stored) => boolean,
  ) {
    const feed = feeds.get(user)
    if (!feed) return undefined
    const changes = changesAfter(feed, resource, seq).filter(isWanted).slice(0, limit)
    const documents = JSON.stringify(changes.map(onTheWire))
    const { length: count } = changes
    const isLast = count < limit
    return { documents, count, last: changes.at(-1)?.seq, isLast, feed: stateOf(feed) }
  }

  return {
    revisions: memoryRevisions(
      (user) => feedOf(user).kept,
      (user) => (feeds.has(user) ? stateOf(feedOf(user)) : undefined),
    ),

    addUser(user) {
      if (!feeds.has(user)) feeds.set(user, newFeed(timeline))
    },

    failOver(count) {
      const lost = commits.splice(Math.max(0, commits.length - count)).reverse()
      for (const { user, before } of lost) feeds.set(user, before)
      timeline++
      return new Set(lost.map(({ user }) => user))
    },

    purge(user, upTo) {
      const feed = feeds.get(user)
      if (!feed) return
      const draft = copyOf(feed, timeline)
      for (const resource of Object.values<Resource>(resources))
        for (const [id, { seq, deleted }] of rowsOf(draft, resource))
          if (deleted && seq > 0 && seq <= upTo) remove(draft, resource, id)
      feeds.set(user, draft)
      commits.push({ user, before: feed })
    },

    async find(user, resource, id) {
      const row = rowsOf(feedOf(user), resource).get(id)
      return row && !row.deleted ? encoded(row) : undefined
    },

    read: async (user, resource, ids) => read(feedOf(user), resource, ids),

    insert: (user, resource, document, { hasRoom = false, taken = [] } = {}) =>
      writeOne(user, (draft) => {
        if (isLimited && !hasRoom) return undefined
        if (read(draft, resource, [document.id]).size > 0) return undefined
        if (!refersToLive(draft, resource, document)) return undefined
        return writeFitting(draft, resource, { document, deleted: false, taken })
      }),

    edit: (user, resource, edit) =>
      writeOne(user, (draft) => {
        if (isLimited && !edit.hasRoom && edit.action !== 'delete' && !resource.singleton)
          return undefined
        const stored = read(draft, resource, [edit.id]).get(edit.id)
        if (!stored || !applies(resource, edit, stored)) return undefined
        if (!refersToLive(draft, resource, edit.fields)) return undefined
        const next = { ...stored.document, ...edit.fields, updated_at: edit.now }
        const document = settle(resource, next, stored.document, edit.now)
        const state = { document, deleted: edit.action === 'delete' }
        const changed = changeTimes(resource, stored, state)
        return writeFitting(draft, resource, { ...stored, ...state, changed })
      }),

    attempt: async () => undefined,
    transaction: (user, work) => onDraft(user, (draft) => work(transactionOn(draft, limits))),

    changes: async (user, resource, seq, limit) =>
      changesAfter(feedOf(user), resource, seq)
        .slice(0, limit)
        .map(({ taken: _, changed: __, ...stored }) => stored),

    page: async (user, resource, seq, limit, withoutTombstones = 0) =>
      page(user, resource, seq, limit, (one) => !(one.deleted && one.seq <= withoutTombstones)),

    pageOf: async (user, resource, buckets, seq, limit) =>
      page(user, resource, seq, limit, ({ document }) => buckets.includes(bucketOf(document.id))),

    async heads(users) {
      const known = users.filter((user) => feeds.has(user))
      return new Map(known.map((user) => [user, stateOf(feedOf(user))]))
    },

    async frame(user, seq) {
      const feed = feeds.get(user)
      if (!feed) return undefined
      const documents: Record<string, WireDocument[]> = {}
      for (const [name, resource] of Object.entries<Resource>(resources)) {
        const changes = changesAfter(feed, resource, seq)
        if (changes.length > MAX_FRAME_DOCUMENTS) return { head: headOf(feed) }
        if (changes.length > 0) documents[name] = changes.map(onTheWire)
      }
      return { head: headOf(feed), documents }
    },
  }
}

const headOf = ({ epoch, seq }: Feed): Head => ({ epoch, seq })
const stateOf = ({ epoch, seq, branches, horizons }: Feed): FeedState => ({
  epoch,
  seq,
  branches,
  horizons,
})

function transactionOn(draft: Feed, limits: Limits): Transaction {
  let { seq } = draft
  return {
    get feed() {
      return { ...stateOf(draft), seq }
    },
    limits,
    revisions: revisionsOn(
      () => draft.kept,
      (count) => {
        const first = nextNumber(draft)
        for (let nth = 1; nth < count; nth++) nextNumber(draft)
        seq = draft.seq
        return first
      },
      (table, id) =>
        Object.values<Resource>(resources).some(
          (resource) => resource.table === table && rowsOf(draft, resource).has(id),
        ),
    ),
    answers: answersOn(draft),
    async undoing(part) {
      const before = copyOf(draft, draft.now)
      try {
        return await part()
      } catch (error) {
        Object.assign(draft, before)
        seq = draft.seq
        throw error
      }
    },
    async forgetWords() {},
    get atMost() {
      return usageOf(draft)
    },
    usage: async () => usageOf(draft),
    read: async (resource, ids) => read(draft, resource, ids),
    async olderThanNewest(resource, field, values, count, most = Number.POSITIVE_INFINITY) {
      const live = changesAfter(draft, resource, 0).filter(({ deleted }) => !deleted)
      const groups = values.map((value) => live.filter(({ document }) => document[field] === value))
      const older = groups.flatMap((group) => {
        let characters = 0
        return group.reverse().filter(({ document }, nth) => {
          characters += JSON.stringify(document).length
          return nth >= count || characters > most
        })
      })
      return older.sort((a, b) => a.seq - b.seq)
    },
    above: async (resource, field, ids) => above(draft, resource, field, ids),
    placehold: async (resource, ids) => placehold(rowsOf(draft, resource), ids),
    async write(resource, documents) {
      seq = write(draft, resource, documents)?.seq ?? seq
    },
  }
}

function answersOn(draft: Feed): KeptAnswers {
  return {
    async find(key, since) {
      const kept = draft.answers.get(key)
      return kept && kept.at > since ? kept : undefined
    },
    async keep(key, kept, { since, at }) {
      const own = [...draft.answers.values()].filter((one) => one.at > since)
      const bytes = own.reduce((sum, { answer }) => sum + Buffer.byteLength(answer ?? ''), 0)
      if (own.length >= MAX_KEPT || bytes + Buffer.byteLength(kept.answer) > MAX_KEPT_BYTES)
        return false
      draft.answers.set(key, { ...kept, at })
      return true
    },
    async dropAbout(ids) {
      for (const [key, kept] of draft.answers)
        if (idsIn(kept.answer ?? '').some((id) => ids.includes(id)))
          draft.answers.set(key, { ...kept, answer: null })
    },
  }
}

interface Feed {
  /** By key. */
  answers: Map<string, KeptAnswer & { at: Date }>
  seq: number
  epoch: string
  branches: Readonly<Record<string, number>>
  horizons: Readonly<Record<string, Horizon>>
  /** That of its last change. */
  timeline: number
  /** That of the database, for a draft when it was begun. */
  now: number
  /** By resource. */
  readonly rows: ReadonlyMap<string, Map<string, Row>>
  readonly kept: Kept
}

/** A document as text, which nobody can modify. */
interface Row extends Encoded {
  readonly deleted: boolean
  readonly taken: readonly number[]
  readonly changed: ChangeTimes
}

const PLACEHOLDER: Row = { seq: 0, deleted: true, json: '{}', taken: [], changed: {} }

function newFeed(timeline: number): Feed {
  return {
    answers: new Map(),
    seq: 0,
    epoch: FIRST_EPOCH,
    branches: {},
    horizons: {},
    timeline,
    now: timeline,
    rows: new Map(Object.keys(resources).map((name) => [name, new Map()])),
    kept: nothingKept(),
  }
}

function copyOf({ rows, answers, kept, ...feed }: Feed, now: number): Feed {
  const ownRows = new Map([...rows].map(([name, own]) => [name, new Map(own)]))
  return { ...feed, now, rows: ownRows, answers: new Map(answers), kept: copyOfKept(kept) }
}

const rowsOf = (feed: Feed, { name }: Resource) => feed.rows.get(name)!

function applies(
  resource: Resource,
  { action, fields, ifSeq }: Edit,
  { seq, deleted, document }: Stored,
): boolean {
  if (deleted && !isRestorable(resource, document)) return false
  if (deleted !== (action === 'restore') || ifSeq?.includes(seq) === false) return false
  return (
    action !== 'patch' ||
    Object.keys(fields).some((name) => !sameIn(resource, name, fields, document))
  )
}

function placehold(rows: Map<string, Row>, ids: readonly string[]): void {
  for (const id of ids) if (!rows.has(id)) rows.set(id, PLACEHOLDER)
}

function read(feed: Feed, resource: Resource, ids: readonly string[]): Map<string, Stored> {
  const rows = rowsOf(feed, resource)
  const found = ids.filter((id) => (rows.get(id)?.seq ?? 0) > 0)
  return new Map(found.map((id) => [id, storedOf(rows.get(id)!)]))
}

function changesAfter(feed: Feed, resource: Resource, seq: number): Stored[] {
  const rows = [...rowsOf(feed, resource).values()].filter((row) => row.seq > seq)
  return rows.sort((a, b) => a.seq - b.seq).map(storedOf)
}

/** Writes one document, unless one of its references is invalid. */
function writeFitting(feed: Feed, resource: Resource, state: State): Encoded | undefined {
  try {
    return write(feed, resource, [state])
  } catch (error) {
    if (error instanceof WrongReference) return undefined
    throw error
  }
}

class WrongReference extends Error {
  override name = 'WrongReference'
}

/** Writes documents and returns the last. @throws WrongReference if one is invalid after all writes */
function write(feed: Feed, resource: Resource, states: readonly State[]): Encoded | undefined {
  const before = states.map(({ document }) => rowsOf(feed, resource).get(document.id))
  const rows = states.map((state) => put(feed, resource, state))
  // Only now, like Postgres runs its triggers: these changes are numbered after the documents.
  for (const [i, { document, deleted }] of states.entries()) {
    const was = before[i]
    if (was && (was.deleted !== deleted || was.seq === 0))
      release(feed, resource, document, deleted)
  }
  for (const { document } of states) {
    const row = rowsOf(feed, resource).get(document.id)!
    if (!fits(feed, resource, storedOf(row)))
      throw new WrongReference(`${resource.name}: ${document.id} has an invalid reference`)
  }
  return rows.map(encoded).at(-1)
}

function put(feed: Feed, resource: Resource, state: State): Row {
  const { document, deleted, taken = [], changed = {} } = state
  const columns = columnsOf(resource).map((column) => [column, document[column]])
  const json = JSON.stringify(Object.fromEntries(columns))
  const row = { seq: nextNumber(feed), deleted, json, taken, changed }
  rowsOf(feed, resource).set(document.id, row)
  return row
}

function usageOf(feed: Feed): Usage {
  let [documents, bytes] = [0, 0]
  for (const resource of Object.values<Resource>(resources))
    for (const { deleted, json } of rowsOf(feed, resource).values()) {
      bytes += DOCUMENT_BYTES + json.length
      if (!deleted && !resource.singleton && !resource.readOnly) documents++
    }
  return { documents, bytes }
}

/** As Postgres' `branch_feed` does it. */
function nextNumber(feed: Feed): number {
  const steps = feed.now - feed.timeline
  if (steps > 0) {
    feed.branches = { ...feed.branches, [feed.epoch]: feed.seq }
    feed.epoch = `timeline ${feed.now}`
    feed.seq = (Math.floor(feed.seq / 2 ** 32) + steps) * 2 ** 32
    feed.timeline = feed.now
  }
  return ++feed.seq
}

/** Removes a row, and what a cascade has deleted with it. */
function remove(feed: Feed, resource: Resource, id: string): void {
  const rows = rowsOf(feed, resource)
  const { seq, document } = storedOf(rows.get(id)!)
  rows.delete(id)
  const { table } = resource
  const before = feed.horizons[table] ?? { seq: 0, at: 0 }
  const horizon = {
    seq: Math.max(before.seq, seq),
    at: Math.max(before.at, Date.parse(document.updated_at)),
  }
  feed.horizons = { ...feed.horizons, [table]: horizon }
  for (const reference of referencesTo(resource).filter(({ onDelete }) => onDelete === 'cascade'))
    for (const { document } of referringTo(feed, reference, id))
      remove(feed, reference.resource, document.id)
}

/** What becomes of what refers to a document that is deleted or restored. */
function release(feed: Feed, target: Resource, document: Document, isDeleted: boolean): void {
  for (const reference of inOrder(referencesTo(target))) {
    const { resource, field, onDelete } = reference
    if (onDelete === 'clear') {
      if (!isDeleted) continue
      for (const state of referringTo(feed, reference, document.id))
        change(feed, resource, state, document, { [field]: null }, state.deleted)
      continue
    }
    const isAffected = ({ deleted, changed }: Stored) =>
      isDeleted ? !deleted : deleted && changed?._deleted === changed?.[takenKey(field)]
    const affected = affectedBy(feed, reference, document.id, isAffected)
    const takenBy = isDeleted ? field : undefined
    const changed = affected.map((state) =>
      change(feed, resource, state, document, {}, isDeleted, takenBy),
    )
    for (const one of changed) release(feed, resource, one, isDeleted)
    if (!isDeleted) for (const { id } of changed) takeAgain(feed, resource, id)
  }
}

/** Sorted by name, like Postgres fires triggers. */
const inOrder = (references: readonly Referring[]) => {
  const nameOf = ({ resource, field }: Referring) => `${resource.table}_${field}`
  return references.toSorted((a, b) => (nameOf(a) < nameOf(b) ? -1 : 1))
}

/** The documents that refer to a document, with all levels of a tree, in the order of their last changes. */
function affectedBy(
  feed: Feed,
  reference: Referring,
  id: string,
  isAffected: (state: Stored) => boolean,
): Stored[] {
  const found = new Map<string, Stored>()
  for (let ids = [id]; ids.length > 0; ) {
    const next = ids.flatMap((one) => referringTo(feed, reference, one)).filter(isAffected)
    const fresh = next.filter(({ document }) => document.id !== id && !found.has(document.id))
    for (const state of fresh) found.set(state.document.id, state)
    ids = reference.resource === reference.target ? fresh.map(({ document }) => document.id) : []
  }
  return [...found.values()].sort((a, b) => a.seq - b.seq)
}

/** Deletes a restored document again if another of its targets is deleted by now. */
function takeAgain(feed: Feed, resource: Resource, id: string): void {
  for (const { field, target, onDelete } of referencesOf(resource)) {
    const state = storedOf(rowsOf(feed, resource).get(id)!)
    if (onDelete === 'clear' || state.deleted) continue
    const row = rowsOf(feed, target).get(state.document[field] as string)
    if (!row?.deleted || row.seq === 0) continue
    release(feed, resource, change(feed, resource, state, state.document, {}, true, field), true)
  }
}

function change(
  feed: Feed,
  resource: Resource,
  state: Stored,
  { updated_at }: Document,
  fields: Fields,
  deleted: boolean,
  takenBy?: string,
): Document {
  const next = { ...state.document, ...fields, updated_at }
  const after = { ...state, deleted, document: settle(resource, next, state.document, updated_at) }
  const changed = { ...changeTimes(resource, state, after) }
  if (takenBy !== undefined) changed[takenKey(takenBy)] = changed._deleted!
  put(feed, resource, { ...after, changed })
  return after.document
}

const referringTo = (feed: Feed, { resource, field }: Referring, id: string): Stored[] =>
  changesAfter(feed, resource, 0).filter(({ document }) => document[field] === id)

function above(
  feed: Feed,
  resource: Resource,
  field: string,
  ids: readonly string[],
): Map<string, Stored> {
  const found = new Map<string, Stored>()
  for (let next = [...ids]; next.length > 0; ) {
    const fresh = [...read(feed, resource, next)].filter(([id]) => !found.has(id))
    for (const [id, stored] of fresh) found.set(id, stored)
    next = fresh.map(([, { document }]) => document[field]).filter((id) => typeof id === 'string')
  }
  return found
}

/** The rule for REST: the targets of all references are live. */
const refersToLive = (feed: Feed, resource: Resource, fields: Fields) =>
  referencesOf(resource).every(
    ({ field, target }) =>
      typeof fields[field] !== 'string' ||
      rowsOf(feed, target).get(fields[field])?.deleted === false,
  )

/** The rule for every document: a target may still be a placeholder, and there are no cycles. */
function fits(feed: Feed, resource: Resource, { document, deleted }: Stored): boolean {
  return referencesOf(resource).every(({ field, target, onDelete }) => {
    const id = document[field]
    if (typeof id !== 'string') return true
    const row = rowsOf(feed, target).get(id)
    if (!row) return false
    if (onDelete === 'cascade' && deleted) return true
    if (row.deleted && row.seq > 0) return false
    return (
      target !== resource ||
      !(id === document.id || above(feed, target, field, [id]).has(document.id))
    )
  })
}

const encoded = ({ seq, json }: Row): Encoded => ({ seq, json })

const storedOf = ({ seq, deleted, json, taken, changed }: Row): Stored => ({
  seq,
  deleted,
  document: JSON.parse(json) as Document,
  ...(taken.length > 0 && { taken }),
  ...(Object.keys(changed).length > 0 && { changed }),
})

const onTheWire = ({ document, deleted }: Stored): WireDocument => ({
  ...document,
  _deleted: deleted,
})

function undefinedForUnknownUser(error: unknown): undefined {
  if (!(error instanceof UnknownUser)) throw error
}
