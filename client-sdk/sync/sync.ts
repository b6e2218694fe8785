import type { Observable } from 'rxjs'
import type { Conflict } from '../local/documents.ts'
import type { RejectedEdit } from './rejections.ts'
import type { Progress, SyncState, SyncStatus } from './sync-status.ts'

/** An edit that the server did not take. */
export interface RejectedRow extends RejectedEdit {
  /** Writes it again, with corrections perhaps. If it is rejected again, it comes back here. */
  retry(corrections?: Record<string, unknown>): Promise<void>
  discard(): Promise<void>
}

/** Values that gave way to those of another device. */
export interface ConflictRow extends Conflict {
  /** Puts them back. Needs the network. */
  restore(): Promise<void>
}

export interface Sync {
  /** All of the next four. */
  readonly state$: Observable<SyncState>
  readonly status$: Observable<SyncStatus>
  /** How many edits the server has not confirmed. */
  readonly pending$: Observable<number>
  /** When this device last had all that the server had. */
  readonly last_synced_at$: Observable<string | null>
  /** Of the first sync of this device, while it lasts: documents done and in total. */
  readonly progress$: Observable<Progress | null>
  /** Edits that the server did not take, until they are retried or discarded. */
  readonly rejected$: Observable<RejectedRow[]>
  /** What gave way in merges and has not been put back, the latest first. */
  readonly conflicts$: Observable<ConflictRow[]>
  /**
   * Until all edits are on the server, and here is all that it had when asked.
   *
   * @throws ClientError `timed_out` (after 30 seconds if not told), `signed_out`
   */
  awaitInSync(options?: { timeout?: number }): Promise<void>
  /**
   * Stops syncing, in all tabs, until `resume` or until the person signs in anew; also if the app is
   * closed meanwhile, as soon as the promise resolves. Edits are kept.
   */
  pause(): Promise<void>
  /** Goes on, and tries at once whatever waits. */
  resume(): Promise<void>
  /** Whether the person who is signed in has paused it on this device. */
  readonly isPaused$: Observable<boolean>
  /** Tries at once whatever waits, unless it is paused or nobody is signed in. */
  wake(): void
}
