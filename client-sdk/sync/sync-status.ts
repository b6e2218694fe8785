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

/** How far the first sync has come, in documents. */
export interface Progress {
  done: number
  total: number
}

export interface SyncState {
  status: SyncStatus
  /** Edits that the server has not confirmed. */
  pending: number
  /** When this device last had all that the server had; null before the first time. */
  last_synced_at: string | null
  /** Of the first sync of this device, while it lasts. */
  progress: Progress | null
  /** Why the status is `error`: a code of `ClientError`, and words for people. */
  error: { code: string; message: string } | null
}

export interface Situation {
  isSignedIn: boolean
  isOutdated: boolean
  isPaused: boolean
  contact: Contact
  /** All that the server has told of is here. */
  isComplete: boolean
  /** It has not been for a while. */
  isBehind: boolean
  /** Edits that the server has not confirmed. */
  pending: number
  /** What the storage of this device does not keep. */
  fault: ClientError | undefined
  /** What something on the way to the server does not let through, when nothing else is unsent. */
  stuck: ClientError | undefined
}

/**
 * What to tell the person, the weightiest first.
 *
 * @param before what was told last: what comes while all is synced does not show at once
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
