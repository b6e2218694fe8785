import { useIsPaused } from '../documents/documents.ts'
import { useEdits } from '../documents/edits.tsx'

/** Pauses sync in all tabs of this device. */
export function OfflineSwitch() {
  const edits = useEdits()
  const isOffline = useIsPaused()
  return (
    <button
      type="button"
      role="switch"
      class="switch"
      aria-checked={isOffline}
      onClick={() => void edits.workOffline(!isOffline)}
    >
      <span class="track" />
      <span class="words">
        <span class="spare">Work </span>offline
      </span>
    </button>
  )
}
