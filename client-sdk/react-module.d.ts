/** The part of React that the hooks use, so that its types need not be installed here. */
declare module 'react' {
  export type ReactNode = object | string | number | boolean | null | undefined
  export interface Context<T> {
    readonly Provider: (props: { value: T; children?: ReactNode }) => ReactNode
  }
  export function createContext<T>(initial: T): Context<T>
  export function createElement<P>(
    component: (props: P) => ReactNode,
    props: P,
    children: ReactNode,
  ): ReactNode
  export function useContext<T>(context: Context<T>): T
  export function useEffect(effect: () => (() => void) | undefined, deps: readonly unknown[]): void
  export function useMemo<T>(make: () => T, deps: readonly unknown[]): T
  export function useState<T>(initial: T): [T, (next: T) => void]
  export function useSyncExternalStore<T>(
    subscribe: (changed: () => void) => () => void,
    read: () => T,
    readOnServer: () => T,
  ): T
}
