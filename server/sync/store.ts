/**
 * What the sync core needs of a database. `server/store/` keeps these promises with Postgres.
 *
 * Every call takes the user first, and sees and touches that user's documents only: an id that
 * belongs to somebody else is simply not there.
 */
import type { ChangeTimes, Document, Resource, WireDocument } from '../../protocol/index.ts'

/** A document in its JSON text, so that what is only passed on is never taken apart. */
export interface Encoded {
  /** The user's change counter at the last change of this document: its version. */
  readonly seq: number
  readonly json: string
}

/** A document with what the store knows of it. A deleted one is a tombstone: it keeps its fields. */
export interface Stored {
  readonly seq: number
  readonly deleted: boolean
  readonly document: Document
  /** Marks of the pushed edits that it has taken last, oldest first. Not told by `changes`. */
  readonly taken?: readonly number[]
  /** When its fields were last changed, whoever changed them. Not told by `changes`. */
  readonly changed?: ChangeTimes
}

/** How far a user's feed is. Its numbers mean something within one epoch: see cursors.ts. */
export interface Head {
  readonly epoch: string
  readonly seq: number
}

/** The same with where each former epoch ends: what came after that in it was lost with its database. */
export interface Branched extends Head {
  readonly branches: Readonly<Record<string, number>>
}

/**
 * What one commit has changed: everything after `prev` up to the head. So that whoever follows the feed
 * need not read back what was just written.
 */
export interface Changes {
  readonly prev: number
  readonly head: Head
  /** By resource. */
  documents(): Record<string, WireDocument[]>
}

/** A change of one document that names only what it touches. */
export interface Edit {
  readonly action: 'patch' | 'delete' | 'restore'
  readonly id: string
  /** For a patch: the fields to change. Empty otherwise. */
  readonly fields: Readonly<Record<string, unknown>>
  /** Only if the document is at one of these versions. */
  readonly ifSeq?: readonly number[] | undefined
  /** When the edit was made: UTC instant with milliseconds. */
  readonly now: string
}

/** There is no such user any more: an account may go while its requests are under way. */
export class UnknownUser extends Error {
  override name = 'UnknownUser'
}

export interface Store {
  /** The document, unless it is deleted. */
  find(user: string, resource: Resource, id: string): Promise<Encoded | undefined>

  /** Those of the documents that there are, deleted or not, by id. */
  read(user: string, resource: Resource, ids: readonly string[]): Promise<Map<string, Stored>>

  /**
   * Adds one settled document and commits, all in one round trip. Answers undefined, with nothing
   * written, when the id is taken or when what it refers to is not there: `read` tells which.
   */
  insert(user: string, resource: Resource, document: Document): Promise<Encoded | undefined>

  /**
   * Makes one edit and commits, all in one round trip, with the result that `settle` would give.
   * Answers undefined, with nothing written, when the edit does not apply or changes nothing:
   * `judgeEdit` on what `read` answers tells why.
   */
  edit(user: string, resource: Resource, edit: Edit): Promise<Encoded | undefined>

  /**
   * Runs `work` while nobody else writes this user's documents. All that it wrote is there
   * afterwards, or, when it throws, nothing. Work of different users shares nothing.
   *
   * @throws UnknownUser
   */
  transaction<T>(user: string, work: (transaction: Transaction) => Promise<T>): Promise<T>

  /**
   * The changes after `seq`, oldest first, tombstones included; each document once, as it is now.
   * The counter rises in commit order, so whoever has seen n has seen everything up to n.
   */
  changes(user: string, resource: Resource, seq: number, limit: number): Promise<Stored[]>

  /** How far the feeds of these users are. */
  heads(users: readonly string[]): Promise<Map<string, Branched>>

  /**
   * The changes after `seq` of all kinds, in one read, with how far the feed is then. Without
   * documents when there are more than fit into one frame. Undefined where there is no such user.
   */
  frame(
    user: string,
    seq: number,
  ): Promise<{ head: Head; documents?: Record<string, WireDocument[]> } | undefined>

  /**
   * The same as `changes`, as a JSON array of documents in their wire form, with the number of the last
   * one, and how far the feed is at that moment. Undefined where there is no such user.
   */
  page(
    user: string,
    resource: Resource,
    seq: number,
    limit: number,
  ): Promise<{ documents: string; last: number | undefined; head: Branched } | undefined>
}

export interface Transaction {
  /** How far the feed is, with what has been written. */
  readonly head: Branched
  read(resource: Resource, ids: readonly string[]): Promise<Map<string, Stored>>
  /** The documents with this value in a field that are not deleted, in the order of their changes. */
  having(resource: Resource, field: string, value: string): Promise<Stored[]>
  /**
   * These documents, those that they refer to by a field which points into their own resource, those that
   * these refer to, and so on.
   */
  above(resource: Resource, field: string, ids: readonly string[]): Promise<Map<string, Stored>>
  /**
   * Makes these ids ones that a document may refer to, where there is nothing yet: outside the feed,
   * and seen by no reader until the document itself is written.
   */
  placehold(resource: Resource, ids: readonly string[]): Promise<void>
  /**
   * Inserts or replaces whole settled documents, numbered in the order given, with the marks and the
   * change times given. What refers to those that are deleted, and what was deleted with those that are
   * restored, changes afterwards.
   */
  write(resource: Resource, documents: readonly Omit<Stored, 'seq'>[]): Promise<void>
}
