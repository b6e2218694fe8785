import { useClient } from './client-context.ts'
import { useObserved } from './observed.ts'

/** Cuts this device off on purpose, so that one can see what happens: all of its tabs. */
export function OfflineSwitch() {
  const { sync } = useClient()
  const isOffline = useObserved(() => sync.isPaused$, false, [sync])
  return (
    <button
      type="button"
      role="switch"
      class="switch"
      aria-checked={isOffline}
      onClick={() => (isOffline ? sync.resume() : sync.pause())}
    >
      <span class="track" />
      <span class="words">
        <span class="spare">Work </span>offline
      </span>
    </button>
  )
}
