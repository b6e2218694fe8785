import type { SyncStatus } from '@tasktide/client'
import { type RefusedEdit, useRefusedEdits, useSyncState } from '../documents/documents.ts'
import { useWriteFault } from '../documents/edits.tsx'
import { spokenMoment } from '../time/moments.ts'
import { useMayBeDeleted } from './persistence.ts'
import { RefusedEdits } from './refused-edits.tsx'

export const SYNC_PANEL = 'sync-panel'

/** How the sync goes, what is wrong with it, and which edits the server refused. */
export function SyncPanel({ onEdit }: { onEdit: (edit: RefusedEdit) => void }) {
  const { status, pending, last_synced_at, error } = useSyncState()
  const refused = useRefusedEdits()
  const { text: writeFault } = useWriteFault()
  const mayBeDeleted = useMayBeDeleted()
  return (
    <div id={SYNC_PANEL} popover="auto" class="menu sync-panel" role="dialog" aria-label="Sync">
      <h2>Sync</h2>
      <p>{refused.length > 0 && status === 'synced' ? OTHERWISE : SENTENCES[status]}</p>
      {pending > 0 && (
        <p>{pending === 1 ? '1 change is' : `${pending} changes are`} not sent yet.</p>
      )}
      {last_synced_at && <p class="hint">Last in sync: {spokenMoment(last_synced_at)}</p>}
      {error && <p class="fault">{error.message}</p>}
      {writeFault && <p class="fault">{writeFault}</p>}
      {mayBeDeleted && (
        <p class="fault">
          This browser may delete what is not sent when the device runs out of room. Go online
          before long.
        </p>
      )}
      <RefusedEdits edits={refused} onEdit={onEdit} />
    </div>
  )
}

export function openSyncPanel(): void {
  document.getElementById(SYNC_PANEL)?.showPopover()
}

const OTHERWISE = 'Everything else here is on the server.'

const SENTENCES: Readonly<Record<SyncStatus, string>> = {
  synced: 'Everything here is on the server.',
  syncing: 'Changes are on their way.',
  connecting: 'Looking for the server.',
  offline: 'What you change is kept on this device and sent later.',
  signed_out: 'Your session has ended. What you change waits on this device until you sign in.',
  outdated: 'A newer version of the app runs here. Reload this tab.',
  error: 'The sync has stopped. What you change is kept on this device.',
}
