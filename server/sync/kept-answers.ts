/**
 * The answers to requests with a key, without HTTP: a repeated request gets the same answer. They are kept in the
 * transaction of what the request has written. docs/decisions/0055-repeating-requests.md
 */

/** How long an answer is kept. */
export const KEPT_MS = 24 * 60 * 60 * 1000
/** For each person at a time. */
export const MAX_KEPT = 5_000
export const MAX_KEPT_BYTES = 16 * 1024 * 1024

export interface KeptAnswer {
  /** What the request was. */
  readonly fingerprint: Buffer
  /** Null if it mentions a document that was deleted for good. */
  readonly answer: string | null
}

export interface KeptAnswers {
  /** @param since an older answer counts as none */
  find(key: string, since: Date): Promise<KeptAnswer | undefined>
  /**
   * Keeps an answer, in the place of an older one.
   *
   * @returns whether there was room for it: otherwise nothing is kept
   */
  keep(
    key: string,
    kept: KeptAnswer & { readonly answer: string },
    times: { readonly since: Date; readonly at: Date },
  ): Promise<boolean>
  /** Drops the content of the answers that mention one of these documents. Their keys stay used. */
  dropAbout(ids: readonly string[]): Promise<void>
}

/** The ids that a text has. */
export const idsIn = (text: string): string[] => [...new Set(text.match(ID))]

const ID = /\b[\da-f]{8}-[\da-f]{4}-[\da-f]{4}-[\da-f]{4}-[\da-f]{12}\b/g
