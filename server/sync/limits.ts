/** What is stored for one person at most. */
export interface Limits {
  /** The entries of the conflict journal about one document. */
  readonly entriesPerDocument: number
  /** The documents that are not deleted, `Infinity` for any number. */
  readonly documents: number
  /** The bytes of everything that is stored, deleted documents and the journal included. `Infinity` for any number. */
  readonly bytes: number
}

export const LIMITS: Limits = {
  entriesPerDocument: 20,
  documents: Number.POSITIVE_INFINITY,
  bytes: Number.POSITIVE_INFINITY,
}
