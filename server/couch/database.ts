/**
 * What differs between databases: whose they are, what they contain, and what becomes of a write. All else of the
 * protocol is the same for tasks and for documents without a form.
 */
import { createHash } from 'node:crypto'
import type { Key, Progress, Revised, Revision, RevisionStore } from '../sync/revisions.ts'
import type { Head, ReadAhead, Store, Transaction } from '../sync/store.ts'
import { createValidators, type Validators } from './validators.ts'

export interface CouchDatabase {
  readonly name: string
  readonly user: string
  /** In the order of their documents' ids. */
  readonly types: readonly string[]
  /** How many ancestors of a revision are kept. */
  readonly revsLimit: number
  /** The id on the wire. */
  idOf(key: Key): string
  /** Which ids its documents have, for people. */
  readonly whichIds: string
  /** Undefined for an id that no document of this database can have. */
  keyOf(id: string): Key | undefined
  /** The keys of a type whose ids on the wire are in a range; undefined for none. */
  partOf(type: string, range: IdRange): IdRange | undefined
  /** Gives revisions to those of these documents that were written through other faces. */
  revise(keys: readonly Key[]): Promise<void>
  /**
   * The same for the feed, as far as a page of `limit` documents after a number needs it.
   *
   * @returns up to which number documents have revisions, and where the feed was at the beginning
   */
  reviseFeed(after: number, limit: number): Promise<{ upTo: number; head: Head }>
  head(): Promise<Head>
  /** Forgets what the database does not need. */
  compact(): Promise<void>
  /** What a write of these documents reads first. */
  readAhead(keys: readonly Key[]): readonly ReadAhead[]
  /** The same as `revise`, within a write, and reads them with their former revisions. By `keyText`. */
  readIn(transaction: Transaction, keys: readonly Key[]): Promise<ReadonlyMap<string, Revised>>
  /** Called in the transaction of a write before it stores anything. */
  land(transaction: Transaction, documents: readonly Landing[], corrects: boolean): Promise<Landed>
}

/** Ids by code unit, both ends included. */
export interface IdRange {
  readonly from?: string | undefined
  readonly to?: string | undefined
}

/** A document with new revisions. */
export interface Landing extends Key {
  /** Undefined for a document that has no revisions yet. */
  readonly before: Revised | undefined
  /** The new ones, in the order in which they came. */
  readonly incoming: readonly Revision[]
  /** All, with the new ones. */
  readonly revisions: readonly Revision[]
}

interface Landed {
  /** One for each document. */
  readonly documents: readonly LandedDocument[]
  /** How far documents have revisions now, if that is known. */
  readonly progress?: Progress
}

export interface LandedDocument {
  readonly seq: number
  /** The revisions that the server makes on top: corrections and merges. */
  readonly added: readonly Revision[]
  /** Then nothing of it is stored. */
  readonly refused?: {
    readonly error: 'forbidden' | 'unauthorized' | 'conflict'
    readonly reason: string
  }
}

/** What the face reads and writes. */
export interface CouchStore {
  readonly store: Pick<Store, 'transaction' | 'heads'>
  readonly revisions: RevisionStore
}

const BARE = 'document'
/** As in CouchDB. */
const COUCH_REVS_LIMIT = 1_000

/** Documents that are nothing but revisions. */
export function bareDatabase(
  { store, revisions }: CouchStore,
  name: string,
  user: string,
  validators: Validators = createValidators(),
): CouchDatabase {
  return {
    name,
    user,
    types: [BARE],
    revsLimit: COUCH_REVS_LIMIT,
    whichIds: 'Send 1 to 2000 characters without NUL, and no underscore in front.',
    idOf: ({ id }) => id,
    keyOf: (id) => (IS_BARE_ID.test(id) ? { type: BARE, id } : undefined),
    partOf: (_type, range) => range,
    revise: async () => {},
    async reviseFeed() {
      const head = await headOf(store, user)
      return { upTo: head.seq, head }
    },
    head: () => headOf(store, user),
    compact: () => revisions.compact(user, [BARE]),
    readAhead: () => [],
    readIn: (transaction, keys) => transaction.revisions.read(keys, true),
    async land(transaction, documents) {
      const first = await transaction.revisions.number(documents.length)
      for (const document of documents) validators.learn(document)
      return {
        documents: documents.map((document, nth) => {
          const refused = validators.objectionTo(document)
          return { seq: first + nth, added: [], ...(refused && { refused }) }
        }),
      }
    },
  }
}

/** Postgres keeps neither NUL nor half a surrogate pair. */
const IS_BARE_ID = /^(?!_(?!design\/))[^\0\p{Surrogate}]{1,2000}$/u

export async function headOf(store: Pick<Store, 'heads'>, user: string): Promise<Head> {
  const head = (await store.heads([user])).get(user)
  return head ?? { epoch: '', seq: 0 }
}

/**
 * A place in the feed on the wire. After a restore from a backup, the feed is another one: its epoch tells that
 * a client has read what is lost now.
 */
export const seqText = (seq: number, epoch: string) => `${seq}-${markOf(epoch)}`

/** @returns undefined for what is no place in a feed; without `isCurrent`, in another one */
export function parseSeq(
  text: string,
  epoch: string,
): { seq: number; isCurrent: boolean } | undefined {
  const [, seq, mark] = SEQ.exec(text) ?? []
  if (seq === undefined) return undefined
  return { seq: Number(seq), isCurrent: mark === undefined || mark === markOf(epoch) }
}

const SEQ = /^"?(\d{1,15})(?:-([\da-f]{8}))?"?$/

const markOf = (epoch: string) => sha256(epoch).slice(0, 8)

/** The id of the server for one user, of which PouchDB makes the names of its checkpoints: a new one has none. */
export const uuidOf = (user: string, { epoch }: Pick<Head, 'epoch'>) =>
  sha256(`${user} ${epoch}`).slice(0, 32)

const sha256 = (text: string) => createHash('sha256').update(text).digest('hex')
