/** What differs between a browser, React Native and Node. Each of these may be missing. */
interface Environment {
  document?: Partial<Listenable> & { visibilityState?: string }
  navigator?: {
    product?: string
    onLine?: boolean
    locks?: { request<T>(name: string, run: () => Promise<T>): Promise<T> }
  }
  addEventListener?: Listenable['addEventListener']
  removeEventListener?: Listenable['removeEventListener']
}

interface Listenable {
  addEventListener(event: string, listener: () => void): void
  removeEventListener(event: string, listener: () => void): void
}

const here = globalThis as unknown as Environment

const HEARTBEAT_MS = 10_000

/** Whether somebody may be looking. Where nobody can tell, somebody is. */
export const isVisible = () => here.document?.visibilityState !== 'hidden'

/** Browsers know for certain only when they are offline. */
export const isOnline = () => here.navigator?.onLine !== false

/** Some libraries make a `document` there, and whatever else they look for in browsers. */
const isReactNative = () => here.navigator?.product === 'ReactNative'

/** Where other tabs may have the same database open. */
export const mayHaveTabs = () =>
  here.document !== undefined &&
  typeof globalThis.BroadcastChannel === 'function' &&
  !isReactNative()

/** As far as the device tells. */
export function timezoneAndLocale(): { timezone?: string; locale?: string } {
  try {
    const { timeZone: timezone, locale } = Intl.DateTimeFormat().resolvedOptions()
    return { timezone, locale }
  } catch {
    return {}
  }
}

/** Milliseconds that no setting of the clock changes, where there is such a measure. */
export const elapsed = () => globalThis.performance?.now() ?? Date.now()

/** Calls when it is worth trying again at once: back online, looked at, or awake after sleep. */
export function onWake(wake: () => void): () => void {
  const look = () => {
    if (isVisible()) wake()
  }
  let last = Date.now()
  const heartbeat = setInterval(() => {
    const slept = Date.now() - last > 2 * HEARTBEAT_MS
    last = Date.now()
    if (slept) wake()
  }, HEARTBEAT_MS)
  here.addEventListener?.('online', wake)
  here.addEventListener?.('offline', wake)
  here.document?.addEventListener?.('visibilitychange', look)
  return () => {
    clearInterval(heartbeat)
    here.removeEventListener?.('online', wake)
    here.removeEventListener?.('offline', wake)
    here.document?.removeEventListener?.('visibilitychange', look)
  }
}

/** One tab at a time, where there is a way to say so; elsewhere the caller is on its own. */
export function exclusively<T>(name: string, run: () => Promise<T>): Promise<T> {
  const { locks } = here.navigator ?? {}
  return locks ? locks.request(name, run) : run()
}
