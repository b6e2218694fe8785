import type { ClientError } from '../runtime/client-error.ts'
import type { Contact } from '../session/connection.ts'

export type SyncStatus =
  | 'offline'
  | 'connecting'
  | 'syncing'
  | 'synced'
  | 'error'
  | 'outdated'
  | 'signed_out'

/** The progress of the first sync, in documents. */
export interface Progress {
  done: number
  total: number
}

export interface SyncState {
  status: SyncStatus
  /** The number of edits that the server has not confirmed. */
  pending: number
  /** When this device was last fully synced; null before the first time. */
  last_synced_at: string | null
  /** The progress of the first sync on this device; null otherwise. */
  progress: Progress | null
  /** Why the status is `error`: a code of `ClientError`, and a message for the user. */
  error: { code: string; message: string } | null
  /**
   * Why the server has refused the live connection, for example because the user has too many: changes of
   * other devices arrive with the next poll. Null otherwise.
   */
  live_refused: { code: string; message: string } | null
}

export interface Situation {
  isSignedIn: boolean
  isOutdated: boolean
  isPaused: boolean
  contact: Contact
  /** Everything that the server has announced is here. */
  isComplete: boolean
  /** Announced changes are missing for a while. */
  isBehind: boolean
  /** The number of edits that the server has not confirmed. */
  pending: number
  /** The storage error of this device. */
  fault: ClientError | undefined
  /** The set-aside edits, if nothing else is unsent. */
  stuck: ClientError | undefined
}

/**
 * The status for the user, the most important first.
 *
 * @param before the previous status: short syncs after `synced` are not shown at once
 */
export function statusOf(situation: Situation, before: SyncStatus): SyncStatus {
  const { isSignedIn, isOutdated, isPaused, contact, pending, fault, stuck } = situation
  const isComplete = situation.isComplete || (before === 'synced' && !situation.isBehind)
  if (!isSignedIn) return 'signed_out'
  if (isOutdated) return 'outdated'
  if (fault) return 'error'
  if (isPaused || contact === 'lost') return 'offline'
  if (contact === 'refused' || (contact === 'good' && stuck)) return 'error'
  if (contact === 'none') return 'connecting'
  return isComplete && pending === 0 ? 'synced' : 'syncing'
}
