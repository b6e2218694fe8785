/** The part of React that the hooks use, so that its types need not be installed here. */
declare module 'react' {
  export function useEffect(effect: () => () => void, deps: readonly unknown[]): void
  export function useState<T>(initial: T): [T, (next: T) => void]
}
