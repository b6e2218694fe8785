import {
  type ChangeTimes,
  changeTimes,
  type Document,
  type Resource,
  resources,
  sameValue,
  settle,
  type WireDocument,
} from '../../protocol/index.ts'
import { columnsOf } from '../../server/store/columns.ts'
import { MAX_FRAME_DOCUMENTS } from '../../server/store/statements.ts'
import { createTurns } from '../../server/store/turns.ts'
import {
  type Edit,
  type Encoded,
  type Store,
  type Stored,
  type Transaction,
  UnknownUser,
} from '../../server/sync/store.ts'

type Fields = Readonly<Record<string, unknown>>
type State = Omit<Stored, 'seq'>

export interface MemoryStore extends Store {
  /** From here on this user has a feed. To write for anybody else fails as for one who is gone. */
  addUser(user: string): void
}

/**
 * The Store in memory: its promises in their shortest form, and gone with the process. What Postgres
 * answers differently is a fault of one of the two.
 */
export function memoryStore(): MemoryStore {
  const takeTurn = createTurns()
  const feeds = new Map<string, Feed>()
  const feedOf = (user: string) => feeds.get(user) ?? newFeed()

  /** Whatever reads meanwhile reads the feed as it was; a draft that failed was never the feed. */
  function onDraft<T>(user: string, work: (draft: Feed) => Promise<T>): Promise<T> {
    return takeTurn(user, async () => {
      const feed = feeds.get(user)
      if (!feed) throw new UnknownUser()
      const draft = copyOf(feed)
      const result = await work(draft)
      feeds.set(user, draft)
      return result
    })
  }

  const writeOne = (user: string, work: (draft: Feed) => Encoded | undefined) =>
    onDraft(user, async (draft) => work(draft)).catch(undefinedForUnknownUser)

  return {
    addUser(user) {
      if (!feeds.has(user)) feeds.set(user, newFeed())
    },

    async find(user, resource, id) {
      const row = rowsOf(feedOf(user), resource).get(id)
      return row && !row.deleted ? encoded(row) : undefined
    },

    read: async (user, resource, ids) => read(feedOf(user), resource, ids),

    insert: (user, resource, document) =>
      writeOne(user, (draft) => {
        if (read(draft, resource, [document.id]).size > 0) return undefined
        if (!refersToLive(draft, resource, document)) return undefined
        return write(draft, resource, [{ document, deleted: false }])
      }),

    edit: (user, resource, edit) =>
      writeOne(user, (draft) => {
        const stored = read(draft, resource, [edit.id]).get(edit.id)
        if (!stored || !applies(edit, stored)) return undefined
        if (!refersToLive(draft, resource, edit.fields)) return undefined
        const next = { ...stored.document, ...edit.fields, updated_at: edit.now }
        const document = settle(resource, next, stored.document, edit.now)
        const state = { document, deleted: edit.action === 'delete' }
        const changed = changeTimes(resource, stored, state)
        return write(draft, resource, [{ ...stored, ...state, changed }])
      }),

    transaction: (user, work) => onDraft(user, (draft) => work(transactionOn(draft))),

    changes: async (user, resource, seq, limit) =>
      changesAfter(feedOf(user), resource, seq)
        .slice(0, limit)
        .map(({ taken: _, changed: __, ...stored }) => stored),

    async page(user, resource, seq, limit) {
      const changes = changesAfter(feedOf(user), resource, seq).slice(0, limit)
      const last = changes.at(-1)
      return {
        documents: JSON.stringify(changes.map(onTheWire)),
        last: last && { id: last.document.id, seq: last.seq },
      }
    },

    async heads(users) {
      const known = users.filter((user) => feeds.has(user))
      return new Map(known.map((user) => [user, feedOf(user).seq]))
    },

    async frame(user, seq) {
      const feed = feeds.get(user)
      if (!feed) return { seq }
      const documents: Record<string, WireDocument[]> = {}
      for (const [name, resource] of Object.entries<Resource>(resources)) {
        const changes = changesAfter(feed, resource, seq)
        if (changes.length > MAX_FRAME_DOCUMENTS) return { seq: feed.seq }
        if (changes.length > 0) documents[name] = changes.map(onTheWire)
      }
      return { seq: feed.seq, documents }
    },
  }
}

function transactionOn(draft: Feed): Transaction {
  return {
    read: async (resource, ids) => read(draft, resource, ids),
    having: async (resource, field, value) =>
      changesAfter(draft, resource, 0).filter(
        ({ document, deleted }) => !deleted && document[field] === value,
      ),
    placehold: async (resource, ids) => placehold(rowsOf(draft, resource), ids),
    write: async (resource, documents) => void write(draft, resource, documents),
  }
}

interface Feed {
  seq: number
  /** By resource. */
  readonly rows: ReadonlyMap<string, Map<string, Row>>
}

/** A document as text, for a text is nobody's to change. */
interface Row extends Encoded {
  readonly deleted: boolean
  readonly taken: readonly number[]
  readonly changed: ChangeTimes
}

const PLACEHOLDER: Row = { seq: 0, deleted: true, json: '{}', taken: [], changed: {} }

function newFeed(): Feed {
  return { seq: 0, rows: new Map(Object.keys(resources).map((name) => [name, new Map()])) }
}

function copyOf({ seq, rows }: Feed): Feed {
  return { seq, rows: new Map([...rows].map(([name, own]) => [name, new Map(own)])) }
}

const rowsOf = (feed: Feed, { name }: Resource) => feed.rows.get(name)!

function applies({ action, fields, ifSeq }: Edit, { seq, deleted, document }: Stored): boolean {
  if (deleted !== (action === 'restore') || ifSeq?.includes(seq) === false) return false
  return action !== 'patch' || Object.keys(fields).some((f) => !sameValue(fields[f], document[f]))
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

/** Refuses all of the documents or none, and answers with the last. */
function write(feed: Feed, resource: Resource, states: readonly State[]): Encoded | undefined {
  for (const { document } of states)
    if (!refersToKnown(feed, resource, document))
      throw new Error(`${resource.name}: ${document.id} refers to what is not there`)
  const rows = states.map((state) => put(feed, resource, state))
  // Only now, as Postgres runs its triggers: the numbers of these changes follow all of those.
  for (const { document, deleted } of states) if (deleted) clearReferences(feed, resource, document)
  return rows.map(encoded).at(-1)
}

function put(feed: Feed, resource: Resource, state: State): Row {
  const { document, deleted, taken = [], changed = {} } = state
  const columns = columnsOf(resource).map((column) => [column, document[column]])
  const json = JSON.stringify(Object.fromEntries(columns))
  const row = { seq: ++feed.seq, deleted, json, taken, changed }
  rowsOf(feed, resource).set(document.id, row)
  return row
}

/** What referred to a document that is deleted now refers to nothing, tombstones included. */
function clearReferences(feed: Feed, target: Resource, { id, updated_at }: Document): void {
  for (const { resource, field } of references.filter((one) => one.target === target)) {
    for (const state of changesAfter(feed, resource, 0)) {
      if (state.document[field] !== id) continue
      const next = { ...state.document, [field]: null, updated_at }
      const document = settle(resource, next, state.document, updated_at)
      const cleared = { ...state, document }
      put(feed, resource, { ...cleared, changed: changeTimes(resource, state, cleared) })
    }
  }
}

/** Which field of which resource refers to what. */
const references = Object.values<Resource>(resources).flatMap((resource) =>
  resource.fieldNames.flatMap((field) => {
    const name = resource.fields[field]!.references as keyof typeof resources | undefined
    return name === undefined ? [] : [{ resource, field, target: resources[name] as Resource }]
  }),
)

/** As a person needs it, who chose from what is there. */
const refersToLive = (feed: Feed, resource: Resource, fields: Fields) =>
  targetsOf(feed, resource, fields).every((row) => row?.deleted === false)

/** As replication needs it, where the document itself may come later. */
const refersToKnown = (feed: Feed, resource: Resource, fields: Fields) =>
  targetsOf(feed, resource, fields).every((row) => row && (!row.deleted || row.seq === 0))

const targetsOf = (feed: Feed, resource: Resource, fields: Fields) =>
  references
    .filter((one) => one.resource === resource && typeof fields[one.field] === 'string')
    .map(({ field, target }) => rowsOf(feed, target).get(fields[field] as string))

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
