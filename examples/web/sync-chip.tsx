import type { SyncStatus } from '../../client-sdk/index.ts'
import { useSyncStatus } from '../../client-sdk/react.ts'
import { useClient } from './client-context.ts'

/** How the sync goes, in a word or two. */
export function SyncChip() {
  const { status, pending, last_synced_at } = useSyncStatus(useClient())
  const time = last_synced_at && new Date(last_synced_at).toLocaleTimeString()
  return (
    <span
      role="status"
      class="chip"
      data-testid="sync-status"
      data-status={status}
      data-pending={pending}
      title={time ? `In sync at ${time}` : 'Not in sync yet'}
    >
      {textOf(status, pending)}
    </span>
  )
}

/** Of the first sync, while it lasts. */
export function FirstSync() {
  const { progress } = useSyncStatus(useClient())
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
