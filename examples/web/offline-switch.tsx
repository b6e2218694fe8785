import { useEffect, useState } from 'preact/hooks'
import { useClient } from './client-context.ts'

const KEPT_AS = 'tasktide offline'

/**
 * Cuts this device off on purpose, so that one can see what happens: all of its tabs, until it is
 * switched back or the person signs out.
 */
export function OfflineSwitch() {
  const { sync } = useClient()
  const [isOffline, setIsOffline] = useState(isKept)

  useEffect(() => {
    if (isKept()) sync.pause()
    // Another tab has switched; the client has heard of it by itself.
    const look = () => setIsOffline(isKept())
    addEventListener('storage', look)
    return () => {
      removeEventListener('storage', look)
      localStorage.removeItem(KEPT_AS)
    }
  }, [sync])

  function turn() {
    if (isOffline) {
      localStorage.removeItem(KEPT_AS)
      sync.resume()
    } else {
      localStorage.setItem(KEPT_AS, 'true')
      sync.pause()
    }
    setIsOffline(!isOffline)
  }

  return (
    <button type="button" role="switch" class="switch" aria-checked={isOffline} onClick={turn}>
      <span class="track" />
      <span class="words">
        <span class="spare">Work </span>offline
      </span>
    </button>
  )
}

const isKept = () => localStorage.getItem(KEPT_AS) !== null
