import type { SyncStatus } from '@tasktide/client'
import { type RejectedEdit, useRejectedEdits, useSyncState } from '../documents/documents.ts'
import { useWriteFault } from '../documents/edits.tsx'
import { formatMoment } from '../time/moments.ts'
import { useMayBeDeleted } from './persistence.ts'
import { RejectedEdits } from './rejected-edits.tsx'

export const SYNC_PANEL = 'sync-panel'

/** Sync status, errors and rejected edits. */
export function SyncPanel({ onEdit }: { onEdit: (edit: RejectedEdit) => void }) {
  const { status, pending, last_synced_at, error, live_refused } = useSyncState()
  const rejected = useRejectedEdits()
  const { text: writeFault } = useWriteFault()
  const mayBeDeleted = useMayBeDeleted()
  return (
    <div id={SYNC_PANEL} popover="auto" class="menu sync-panel" role="dialog" aria-label="Sync">
      <h2>Sync</h2>
      <p>{rejected.length > 0 && status === 'synced' ? OTHERWISE : SENTENCES[status]}</p>
      {pending > 0 && (
        <p>{pending === 1 ? '1 change has' : `${pending} changes have`} not been sent yet.</p>
      )}
      {last_synced_at && <p class="hint">Last synced: {formatMoment(last_synced_at)}</p>}
      {live_refused && status === 'synced' && <p class="hint">{TOO_MANY_DEVICES}</p>}
      {error && <p class="fault">{error.message}</p>}
      {writeFault && <p class="fault">{writeFault}</p>}
      {mayBeDeleted && (
        <p class="fault">
          This browser may delete unsent changes when the device runs out of space. Go online before
          long.
        </p>
      )}
      <RejectedEdits edits={rejected} onEdit={onEdit} />
    </div>
  )
}

export function openSyncPanel(): void {
  document.getElementById(SYNC_PANEL)?.showPopover()
}

const OTHERWISE = 'All other changes are on the server.'

const TOO_MANY_DEVICES =
  'Too many of your devices are connected at once: changes of other devices arrive after some seconds.'

const SENTENCES: Readonly<Record<SyncStatus, string>> = {
  synced: 'All changes are on the server.',
  syncing: 'Sending and receiving changes.',
  connecting: 'Connecting to the server.',
  offline: 'Your changes are saved on this device and sent later.',
  signed_out: 'Your session has ended. Your changes are saved on this device until you sign in.',
  outdated: 'A newer version of the app is running. Reload this tab.',
  error: 'Sync has stopped. Your changes are saved on this device.',
}
