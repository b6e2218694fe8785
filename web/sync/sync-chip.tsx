import type { SyncStatus } from '@tasktide/client'
import { useRefusedEdits, useSyncState } from '../documents/documents.ts'
import { useWriteFault } from '../documents/edits.tsx'
import { SYNC_PANEL } from './sync-panel.tsx'

/** How the sync goes, in a word or two; opens the panel that says more. */
export function SyncChip() {
  const { status, pending } = useSyncState()
  const refused = useRefusedEdits().length
  const isUnsaved = useWriteFault().text !== ''
  const isRefused = refused > 0 && QUIET.has(status)
  const text = isUnsaved ? 'Not saved' : isRefused ? `${refused} refused` : textOf(status, pending)
  return (
    <>
      <button
        type="button"
        class="chip"
        data-testid="sync-status"
        data-status={isUnsaved || isRefused ? 'error' : status}
        data-pending={pending}
        title="How the sync goes"
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

/** Of the first sync, while it lasts. */
export function FirstSync() {
  const { progress } = useSyncState()
  if (!progress) return null
  const { done, total } = progress
  return (
    <div class="first-sync">
      <progress aria-label="First sync" value={total > 0 ? done : undefined} max={total || 1} />
      <p>
        Fetching what is yours: {done.toLocaleString('en')} of {total.toLocaleString('en')}
      </p>
    </div>
  )
}

/** Whoever reads one of these would take it that all is well. */
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
