import { useEffect, useState } from 'preact/hooks'
import { useIsPaused, useSyncState } from '../documents/documents.ts'

/**
 * Asks the browser not to delete what the app keeps when room is short: once only this device has
 * something, or the person works offline. Not before, since some browsers ask the person.
 *
 * @returns whether the browser may delete something that no server has
 */
export function useMayBeDeleted(): boolean {
  const { status, pending } = useSyncState()
  const isPaused = useIsPaused()
  const [isRejected, setIsRefused] = useState(false)
  // While it is on its way to the server, it will not be here alone for long.
  const isUnsent = pending > 0 && status !== 'syncing' && status !== 'connecting'
  const isWanted = isUnsent || isPaused
  useEffect(() => {
    if (!isWanted || !navigator.storage?.persist) return
    navigator.storage.persist().then(
      (isKept) => setIsRefused(!isKept),
      () => {}, // not in this context
    )
  }, [isWanted])
  return isRejected && isUnsent
}
