/**
 * Revisions: what replicas that speak CouchDB's protocol know of a document. `server/couch/` gives them their
 * meaning; the store keeps them beside the documents, in the same transaction. They are typeless: `type` is the
 * name of a resource, or anything else for documents that are nothing but revisions.
 */

import type { Feed } from './store.ts'

export interface Revision {
  readonly generation: number
  /** The hashes of the revision and of its ancestors, newest first. The oldest may be missing. */
  readonly path: readonly string[]
  readonly deleted: boolean
  /** The content as JSON text, without `_id` and other fields that begin with an underscore. Null once it is erased. */
  readonly body: string | null
  /** Whether no revision follows it. */
  readonly isLeaf: boolean
}

/** A leaf as lists tell of it: without its ancestors, and without its body unless that was asked for. */
export type ListedRevision = Omit<Revision, 'path' | 'isLeaf'> & { readonly hash: string }

export interface Key {
  readonly type: string
  readonly id: string
}

/** A document with its leaves, and with its former revisions if they were asked for. */
export interface Revised extends Key {
  /** The number of its last change in the user's feed. */
  readonly seq: number
  readonly revisions: readonly Revision[]
}

export interface Listed extends Key {
  readonly seq: number
  readonly leaves: readonly ListedRevision[]
}

export interface ListedPart {
  /** Ids by code unit, both ends included. */
  readonly from?: string
  readonly to?: string
  readonly isDescending?: boolean
  readonly skip: number
  readonly limit: number
  readonly withBodies?: boolean
}

export interface ChangesPart {
  readonly after: number
  readonly upTo: number
  readonly limit: number
  /** The latest first. */
  readonly isDescending?: boolean
  readonly withBodies?: boolean
}

/** How far documents that are written through other faces have got revisions. 0 of a user without such replicas. */
export interface Progress {
  /** Up to this number of the feed, all have. */
  readonly seq: number
  /** Up to this one, rows that are gone without a tombstone are deleted here too. */
  readonly horizon: number
}

/** A document that belongs to one client and is not replicated: a checkpoint. */
export interface Local {
  readonly revision: number
  readonly body: string
}

export interface RevisionReader {
  /** By `keyText`. Unknown documents are missing. */
  read(
    user: string,
    keys: readonly Key[],
    withFormer?: boolean,
  ): Promise<ReadonlyMap<string, Revised>>

  /** The documents after a number of the feed, and up to another, in its order. */
  changes(user: string, types: readonly string[], part: ChangesPart): Promise<Listed[]>

  /** Live documents by id. */
  list(user: string, type: string, part: ListedPart): Promise<Listed[]>

  count(user: string, types: readonly string[]): Promise<{ live: number; deleted: number }>

  /** The feed, and how far it has revisions. Undefined if the user does not exist. */
  progress(user: string): Promise<(Progress & { readonly feed: Feed }) | undefined>

  findLocal(user: string, database: string, id: string): Promise<Local | undefined>
}

export interface RevisionStore extends RevisionReader {
  /**
   * Stores or deletes (without a body) the local document if it has this revision; 0 for none.
   *
   * @returns whether it had
   */
  putLocal(
    user: string,
    database: string,
    id: string,
    ifRevision: number,
    body: string | undefined,
  ): Promise<boolean>

  /** Forgets the contents of former revisions. */
  compact(user: string, types: readonly string[]): Promise<void>
}

/** The same within a transaction of the store, which has the only write access to this user's documents. */
export interface RevisionTransaction {
  read(keys: readonly Key[], withFormer?: boolean): Promise<ReadonlyMap<string, Revised>>

  progress(): Promise<Progress>

  /** Takes numbers of the feed for documents that are nothing but revisions. Returns the first. */
  number(count: number): Promise<number>

  /**
   * Stores documents: adds the given revisions, or replaces those of the same generation and hash. Others stay as
   * they are, so one that is followed by a new one has to be given too, without `isLeaf`.
   *
   * @param isLast whether nothing is read or written after it: then it is committed too, in the same round trip
   */
  write(
    documents: readonly (Revised & { readonly deleted: boolean })[],
    progress?: Progress,
    isLast?: boolean,
  ): Promise<void>

  countDeleted(): Promise<number>

  /** Live documents of this type without a row in a table. */
  withoutRow(type: string, table: string): Promise<string[]>

  /** Erases the contents of former revisions and leaves, which were deleted for good. */
  erase(type: string, ids: readonly string[]): Promise<void>
}

export const keyText = ({ type, id }: Key) => `${type} ${id}`
