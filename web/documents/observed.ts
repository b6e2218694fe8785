import { useEffect, useState } from 'preact/hooks'

interface Observable<T> {
  subscribe(take: (value: T) => void): { unsubscribe(): void }
}

/** The latest value of an observable. */
export function useObserved<T>(
  observe: () => Observable<T>,
  initial: T,
  changes: readonly unknown[],
): T {
  const [value, setValue] = useState(initial)
  useEffect(() => {
    const subscription = observe().subscribe((next) => setValue(() => next))
    return () => subscription.unsubscribe()
  }, changes)
  return value
}
