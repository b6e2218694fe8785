export { createContext, createElement } from 'preact'
export { useContext, useEffect, useMemo, useState } from 'preact/hooks'

import { useEffect, useState } from 'preact/hooks'

/**
 * For the hooks of the SDK. Preact's own is in `preact/compat`, which also changes what `onChange` means in the
 * whole app. This one is enough where rendering is never interrupted.
 */
export function useSyncExternalStore<T>(
  subscribe: (changed: () => void) => () => void,
  read: () => T,
): T {
  const [, redraw] = useState({})
  useEffect(() => subscribe(() => redraw({})), [subscribe])
  return read()
}
