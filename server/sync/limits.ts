/** What is stored for one person at most. */
export interface Limits {
  /** The entries of the conflict journal about one document. */
  readonly entriesPerDocument: number
}

export const LIMITS: Limits = { entriesPerDocument: 20 }
