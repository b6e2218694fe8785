import type { SyncStatus } from '@tasktide/client'
import { useRejectedEdits, useSyncState } from '../documents/documents.ts'
import { useWriteFault } from '../documents/edits.tsx'
import { SYNC_PANEL } from './sync-panel.tsx'

/** The sync status in a word or two; opens the panel with details. */
export function SyncChip() {
  const { status, pending } = useSyncState()
  const rejected = useRejectedEdits().length
  const isUnsaved = useWriteFault().text !== ''
  const isRejected = rejected > 0 && QUIET.has(status)
  const text = isUnsaved
    ? 'Not saved'
    : isRejected
      ? `${rejected} rejected`
      : textOf(status, pending)
  return (
    <>
      <button
        type="button"
        class="chip"
        data-testid="sync-status"
        data-status={isUnsaved || isRejected ? 'error' : status}
        data-pending={pending}
        title="Sync status"
        popovertarget={SYNC_PANEL}
      >
        {text}
      </button>
      <span role="status" class="unseen">
        {text}
      </span>
    </>
  )
}

/** The progress of the first sync. */
export function FirstSync() {
  const { progress } = useSyncState()
  if (!progress) return null
  const { done, total } = progress
  return (
    <div class="first-sync">
      <progress aria-label="First sync" value={total > 0 ? done : undefined} max={total || 1} />
      <p>
        Downloading your tasks: {done.toLocaleString('en')} of {total.toLocaleString('en')}
      </p>
    </div>
  )
}

/** Statuses that suggest that nothing is wrong. */
const QUIET: ReadonlySet<SyncStatus> = new Set(['synced', 'syncing', 'connecting'])

function textOf(status: SyncStatus, pending: number): string {
  const waiting = `${pending} pending`
  switch (status) {
    case 'synced':
      return 'Synced'
    case 'syncing':
      return pending > 0 ? waiting : 'Syncing…'
    case 'offline':
      return pending > 0 ? `Offline · ${waiting}` : 'Offline'
    case 'connecting':
      return 'Connecting…'
    case 'signed_out':
      return 'Sign in again'
    case 'outdated':
      return 'Update the app'
    case 'error':
      return 'Sync error'
  }
}
