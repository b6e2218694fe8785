export interface Counted {
  /** What was counted in this window, with this. */
  count: number
  /** Until the window ends. */
  left_ms: number
}

export const WINDOW_MS = 60_000
const MAX_IN_MEMORY = 50_000

/** Counts by key in windows of a minute, in the memory of this node. */
export function createMinuteCounts() {
  const windows = new Map<string, { count: number; end: number }>()
  return (key: string, more = 1): Counted => {
    const moment = performance.now()
    const known = windows.get(key)
    const window = known && known.end > moment ? known : { count: 0, end: moment + WINDOW_MS }
    window.count += more
    if (windows.size >= MAX_IN_MEMORY) windows.clear()
    windows.set(key, window)
    return { count: window.count, left_ms: window.end - moment }
  }
}
