import type { Observable } from 'rxjs'
import type { Conflict } from '../local/documents.ts'
import type { RejectedEdit } from './rejections.ts'
import type { Progress, SyncState, SyncStatus } from './sync-status.ts'

/** An edit that the server did not accept. */
export interface RejectedRow extends RejectedEdit {
  /** Writes it again, with optional corrections. If it is rejected again, it reappears in `rejected$`. */
  retry(corrections?: Record<string, unknown>): Promise<void>
  discard(): Promise<void>
}

/** Values that were replaced by those of another device. */
export interface ConflictRow extends Conflict {
  /** Restores them. Needs the network. */
  restore(): Promise<void>
}

export interface Sync {
  /** The whole state; the next four are parts of it. */
  readonly state$: Observable<SyncState>
  readonly status$: Observable<SyncStatus>
  /** The number of edits that the server has not confirmed. */
  readonly pending$: Observable<number>
  /** When this device was last fully synced; null before the first time. */
  readonly last_synced_at$: Observable<string | null>
  /** The progress of the first sync on this device, in documents; null otherwise. */
  readonly progress$: Observable<Progress | null>
  /** Edits that the server did not accept, until they are retried or discarded. */
  readonly rejected$: Observable<RejectedRow[]>
  /** Values that lost in merges and were not restored, the latest first. */
  readonly conflicts$: Observable<ConflictRow[]>
  /**
   * Resolves when all edits are on the server, and all changes on the server at the time of the call are
   * here.
   *
   * @throws ClientError `timed_out` (by default after 30 seconds), `signed_out`
   */
  awaitInSync(options?: { timeout?: number }): Promise<void>
  /**
   * Compares the documents on this device with the server's and repairs what differs, as also happens by
   * itself about once a day. Unsent edits stay.
   *
   * @returns the number of repaired documents
   * @throws ClientError `timed_out` (by default after 30 seconds), `signed_out`, `unreachable` and others
   */
  verify(options?: { timeout?: number }): Promise<number>
  /**
   * Pauses sync in all tabs until `resume` or the next sign-in, also across restarts of the app once the
   * promise has resolved. Edits are kept.
   */
  pause(): Promise<void>
  /** Resumes sync and retries everything at once. */
  resume(): Promise<void>
  /** Whether the signed-in user has paused sync on this device. */
  readonly isPaused$: Observable<boolean>
  /** Retries everything at once, unless sync is paused or nobody is signed in. */
  wake(): void
}
