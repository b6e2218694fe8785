/**
 * The storage interface of the sync core. `server/store/` implements it on Postgres.
 *
 * Every call takes the user first and sees only that user's documents: an id of another user is unknown.
 */
import type { ChangeTimes, Document, Resource, WireDocument } from '../../protocol/index.ts'
import type { KeptAnswers } from './kept-answers.ts'
import type { Limits } from './limits.ts'
import type { Usage } from './quota.ts'
import type { RevisionTransaction } from './revisions.ts'

/** A document as JSON text, so that passing it on needs no parsing. */
export interface Encoded {
  /** The version of the document: the user's change counter at its last change. */
  readonly seq: number
  readonly json: string
}

/** A document with its metadata. A deleted one is a tombstone, which keeps its fields unless it was deleted for good. */
export interface Stored {
  readonly seq: number
  readonly deleted: boolean
  readonly document: Document
  /** The marks of the last accepted edits, oldest first. `changes` omits them. */
  readonly taken?: readonly number[]
  /** The times of the last change by field. `changes` omits them. */
  readonly changed?: ChangeTimes
}

/** The end of a user's feed. Numbers are comparable within one epoch only: see cursors.ts. */
export interface Head {
  readonly epoch: string
  readonly seq: number
}

/** A feed: its head, and what has become of its past. */
export interface Feed extends Head {
  /** Where each former epoch ends: what came after that in it was lost with its database. */
  readonly branches: Readonly<Record<string, number>>
  /** By table. A table of which nothing was purged is missing. */
  readonly horizons: Readonly<Record<string, Horizon>>
}

/** What was purged of a table. */
export interface Horizon {
  /** Tombstones up to this number may be missing. */
  readonly seq: number
  /** The latest `updated_at` among them, in milliseconds: devices may still have them. */
  readonly at: number
}

export interface FeedChange {
  readonly resource: string
  readonly id: string
  readonly seq: number
  /** The document as JSON text; null for a deleted one. */
  readonly json: string | null
}

/** A part of the feed of several resources. */
export interface FeedPart {
  readonly changes: readonly FeedChange[]
  /** Whether nothing follows. */
  readonly isLast: boolean
  /** The feed at that moment. */
  readonly feed: Feed
}

/**
 * Reads the changes of several resources in the order of the feed, each document once, in its current state: so
 * many, or as many as fit into a page. Undefined if the user does not exist.
 */
export type ReadFeed = (
  user: string,
  resources: readonly Resource[],
  seq: number,
  limit: number,
) => Promise<FeedPart | undefined>

/** A part of a feed. */
export interface Page {
  /** A JSON array of documents in wire form. */
  readonly documents: string
  readonly count: number
  /** The `seq` of the last one. */
  readonly last: number | undefined
  /** Whether nothing follows: a page may also end before its limit, because it is large. */
  readonly isLast: boolean
  /** The feed at that moment. */
  readonly feed: Feed
}

/**
 * The changes of one commit: everything after `prev` up to the head. They save followers of the feed a
 * read.
 */
export interface Changes {
  readonly prev: number
  readonly head: Head
  /** By resource. */
  documents(): Record<string, WireDocument[]>
}

/** An edit of one document. */
export interface Edit {
  readonly action: 'patch' | 'delete' | 'restore'
  readonly id: string
  /** For a patch: the fields to change. Empty otherwise. */
  readonly fields: Readonly<Record<string, unknown>>
  /** Whether there is room for it: see quota.ts. Otherwise it applies only if there certainly is. */
  readonly hasRoom?: boolean
  /** Applies only if the document has one of these versions. */
  readonly ifSeq?: readonly number[] | undefined
  /** When the edit was made: UTC instant with milliseconds. */
  readonly now: string
}

/** What an insert may have besides its document. */
interface Insertion {
  /** Whether there is room for it: see quota.ts. Otherwise it applies only if there certainly is. */
  readonly hasRoom?: boolean
  /** The first marks of the document. */
  readonly taken?: readonly number[]
}

/** The user does not exist: an account may be deleted while its requests are in progress. */
export class UnknownUser extends Error {
  override name = 'UnknownUser'
}

export interface Store {
  /** The document, unless it is deleted. */
  find(user: string, resource: Resource, id: string): Promise<Encoded | undefined>

  /** The existing documents by id, deleted ones included. */
  read(user: string, resource: Resource, ids: readonly string[]): Promise<Map<string, Stored>>

  /**
   * Inserts one settled document and commits, in one round trip. Returns undefined and writes nothing if
   * the id is taken or a reference is invalid; `read` shows which. The same if the quota might be exceeded,
   * unless `hasRoom`.
   */
  insert(
    user: string,
    resource: Resource,
    document: Document,
    more?: Insertion,
  ): Promise<Encoded | undefined>

  /**
   * Applies one edit and commits, in one round trip, with the same result as `settle`. Returns undefined
   * and writes nothing if the edit does not apply or changes nothing; `judgeEdit` on the result of `read`
   * finds the reason. The same if the quota might be exceeded.
   */
  edit(user: string, resource: Resource, edit: Edit): Promise<Encoded | undefined>

  /**
   * Runs `work` without keeping others from writing meanwhile: what it has read has to hold still when it writes. It
   * can read only what is read ahead, and write once, as its last step. A caller of which that is not enough
   * calls `transaction` next, with the same work.
   *
   * @returns undefined if it was not enough, or does not hold: then nothing is written
   */
  attempt<T>(
    user: string,
    work: (transaction: Transaction) => Promise<T>,
    ahead: readonly ReadAhead[],
  ): Promise<{ result: T } | undefined>

  /**
   * Runs `work` with the only write access to this user's documents. Its writes are committed together,
   * or not at all if it throws. Transactions of different users do not block each other.
   *
   * @param ahead what `work` will read before it writes: it is read together with the beginning, which saves
   *   round trips
   * @throws UnknownUser
   */
  transaction<T>(
    user: string,
    work: (transaction: Transaction) => Promise<T>,
    ahead?: readonly ReadAhead[],
  ): Promise<T>

  /**
   * The changes after `seq`, oldest first, tombstones included; each document once, in its current state.
   * The counter rises in commit order, so a reader that has seen n has seen everything up to n.
   */
  changes(user: string, resource: Resource, seq: number, limit: number): Promise<Stored[]>

  /** How far the feeds of these users are. */
  heads(users: readonly string[]): Promise<Map<string, Feed>>

  /**
   * The changes of all resources after `seq` and the head of the feed, in one read. Without documents if
   * they do not fit into one frame, or if a document was removed without a tombstone. Undefined if the user
   * does not exist.
   */
  frame(
    user: string,
    seq: number,
  ): Promise<{ head: Head; documents?: Record<string, WireDocument[]> } | undefined>

  /**
   * The same as `changes`, as JSON, together with the feed at that moment. Undefined if the user does not
   * exist.
   *
   * @param withoutTombstones up to this number, tombstones are left out
   */
  page(
    user: string,
    resource: Resource,
    seq: number,
    limit: number,
    withoutTombstones?: number,
  ): Promise<Page | undefined>

  /** The same of the documents in some buckets of the digest (protocol/digest.ts), with all tombstones. */
  pageOf(
    user: string,
    resource: Resource,
    buckets: readonly number[],
    seq: number,
    limit: number,
  ): Promise<Page | undefined>
}

/** Documents by id. */
export interface ReadAhead {
  readonly resource: Resource
  readonly ids: readonly string[]
}

export interface Transaction {
  /** The feed, with what has been written. */
  readonly feed: Feed
  readonly limits: Limits
  /** For replicas that speak CouchDB's protocol. Only with a lock. */
  readonly revisions: RevisionTransaction
  /** Only with a lock. */
  readonly answers: KeptAnswers
  /** What is stored at most, as far as the last count tells. */
  readonly atMost: Usage
  /** What is stored. Of a person with many documents it may be a count of some seconds ago. */
  usage(): Promise<Usage>
  read(resource: Resource, ids: readonly string[]): Promise<Map<string, Stored>>
  /**
   * Of the live documents with one of these values in a field, those that are not among the newest `count` with
   * that value, in the order of their changes.
   *
   * @param characters nor, if it is given, among the newest whose JSON has at most so many together
   */
  olderThanNewest(
    resource: Resource,
    field: string,
    values: readonly string[],
    count: number,
    characters?: number,
  ): Promise<Stored[]>
  /** Drops the words that searches know of this resource, so that none is left of what was deleted for good. */
  forgetWords(resource: Resource): Promise<void>
  /**
   * These documents and all their ancestors through a field that refers to their own resource.
   */
  above(resource: Resource, field: string, ids: readonly string[]): Promise<Map<string, Stored>>
  /**
   * Inserts placeholders for ids that do not exist yet, so that documents may refer to them. A placeholder
   * is not in the feed and invisible to readers until the document itself is written.
   */
  placehold(resource: Resource, ids: readonly string[]): Promise<void>
  /**
   * Inserts or replaces whole settled documents, numbered in the given order, with the given marks and
   * change times. Afterwards, deletions and restores are applied to the documents that refer to them.
   *
   * @param isLast whether nothing is read or written after it: then it is committed too, in the same round trip
   */
  write(
    resource: Resource,
    documents: readonly Omit<Stored, 'seq'>[],
    isLast?: boolean,
  ): Promise<void>
  /** Runs a part of the work. If it throws, what it has written is undone, and the transaction can go on. */
  undoing<T>(part: () => Promise<T>): Promise<T>
}
