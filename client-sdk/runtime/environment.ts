/** APIs that differ between browsers, React Native and Node. Each may be missing. */
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

/** Whether the app may be visible. True if unknown. */
export const isVisible = () => here.document?.visibilityState !== 'hidden'

/** Browsers only know for certain that they are offline. */
export const isOnline = () => here.navigator?.onLine !== false

/** Some libraries polyfill `document` and other browser globals there. */
const isReactNative = () => here.navigator?.product === 'ReactNative'

/** Whether other tabs can have the same database open. */
export const mayHaveTabs = () =>
  here.document !== undefined &&
  typeof globalThis.BroadcastChannel === 'function' &&
  !isReactNative()

/** If the device reports them. */
export function timezoneAndLocale(): { timezone?: string; locale?: string } {
  try {
    const { timeZone: timezone, locale } = Intl.DateTimeFormat().resolvedOptions()
    return { timezone, locale }
  } catch {
    return {}
  }
}

/** Monotonic milliseconds, if available. */
export const elapsed = () => globalThis.performance?.now() ?? Date.now()

/** Calls back when a retry is worthwhile: back online, visible again, or awake after sleep. */
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

/** Runs in one tab at a time, with Web Locks. Without them, it just runs. */
export function exclusively<T>(name: string, run: () => Promise<T>): Promise<T> {
  const { locks } = here.navigator ?? {}
  return locks ? locks.request(name, run) : run()
}
