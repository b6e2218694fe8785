'use client'

import {
  createContext,
  createElement,
  type ReactNode,
  useContext,
  useEffect,
  useMemo,
  useState,
  useSyncExternalStore,
} from 'react'
import type { RxDocument } from 'rxdb'
import { map, NEVER, type Observable } from 'rxjs'
import type { Client } from './client.ts'
import type { Collections } from './local/collections.ts'
import type { Category, Documents, Profile, ResourceName, Task } from './local/documents.ts'
import type { TaskCollection, TaskDocument, TaskQuery } from './local/tasks.ts'
import type { User } from './session/token-store.ts'
import type { ConflictRow, RejectedRow } from './sync/sync.ts'
import type { SyncState } from './sync/sync-status.ts'

export type TasktideProviderProps = { children?: ReactNode } & (
  | {
      /** A client that the app opens and closes. */
      client: Client<never>
    }
  | {
      /** Opens the client when this is mounted; it is closed when this is unmounted. Later functions are ignored. */
      open: () => Promise<Client<never>>
      /** What is shown until the client is open. */
      fallback?: ReactNode
    }
)

const ClientContext = /* @__PURE__ */ createContext<Client<never> | null>(null)

/** Gives a client to `useClient` in all components inside. Throws in rendering if the client cannot be opened. */
export function TasktideProvider({ children, ...props }: TasktideProviderProps): ReactNode {
  const given = 'client' in props ? props.client : undefined
  const [opened, setOpened] = useState<Client<never> | undefined>(undefined)
  const [failure, setFailure] = useState<{ error: unknown } | undefined>(undefined)
  useEffect(() => {
    if (!('open' in props)) return
    let isMounted = true
    const opening = props.open()
    opening.then(
      (client) => isMounted && setOpened(client),
      (error) => isMounted && setFailure({ error }),
    )
    return () => {
      isMounted = false
      // React may mount this again at once: `createClient` then shares the client.
      opening.then((client) => client.close()).catch(() => {}) // nobody is left to be told
    }
  }, [given])
  if (failure) throw failure.error
  const client = given ?? opened
  if (client) return createElement(ClientContext.Provider, { value: client }, children)
  return 'open' in props ? props.fallback : null
}

/** The client of the `TasktideProvider` around this component. Name its resources if it has not all of them. */
export function useClient<N extends ResourceName = ResourceName>(): Client<N> {
  const client = useContext(ClientContext)
  if (client) return client as Client<N>
  throw new Error('useClient: there is no TasktideProvider around this component.')
}

/**
 * The documents of a query, updated on every change; undefined while they are read, and while nobody is signed
 * in. The query may be a new object on each render: RxDB recognizes equal queries.
 */
export function useDocuments<
  N extends ResourceName,
  T extends Documents[N] = RxDocument<Documents[N]>,
>(
  client: Client<NoInfer<N>>,
  resource: N,
  query: (collection: Collections[N]) => Found<T[]> = (all) => all.find() as never,
): T[] | undefined {
  return useQuery(client, resource, query)
}

/** `useDocuments` for tasks; without a query, all in the user's own order. */
export function useTasks<T extends Task = TaskDocument>(
  client: Client<'tasks'>,
  query: (tasks: TaskCollection) => Found<T[]> = inOwnOrder as never,
): T[] | undefined {
  return useQuery(client, 'tasks', query)
}

/** All categories in the user's own order. */
export function useCategories(client: Client<'categories'>): RxDocument<Category>[] | undefined {
  return useQuery(client, 'categories', (all) => all.find({ sort: [{ position: 'asc' }] }))
}

/** The profile of the user; null until the first sync has brought it. */
export function useProfile(client: Client<'profile'>): RxDocument<Profile> | null | undefined {
  return useQuery(client, 'profile', (all) => all.findOne())
}

/** Edits that the server did not accept, until they are retried or discarded. */
export function useRejected(client: Client<never>): RejectedRow[] | undefined {
  return useObservable(client.sync.rejected$)
}

/** Values that lost in merges and were not restored, the latest first. */
export function useConflicts(client: Client<never>): ConflictRow[] | undefined {
  return useObservable(client.sync.conflicts$)
}

/** The sync state: status, unsent edits, time of the last sync, progress of the first one. */
export function useSyncStatus(client: Client<never>): SyncState {
  return useObservable(client.sync.state$)!
}

/** The signed-in user, or null. Known at the first render. */
export function useUser(client: Client<never>): User | null {
  return useObservable(client.session.user$) ?? null
}

/**
 * The latest value of an observable that is the same object on each render; undefined before the first one. A value
 * that is there at once, as those of `client.session` and `client.sync.state$` are, is known at the first render.
 */
export function useObservable<T>(values$: Observable<T>): T | undefined {
  const { subscribe, read } = useMemo(() => storeOf(values$), [values$])
  return useSyncExternalStore(subscribe, read, read)
}

interface Found<T> {
  readonly $: Observable<T>
}

const inOwnOrder = (tasks: TaskCollection) =>
  tasks.find({ sort: [{ position: 'asc' }] }) as TaskQuery

function useQuery<N extends ResourceName, T>(
  client: Client<NoInfer<N>>,
  resource: N,
  query: (collection: Collections[N]) => Found<T>,
): T | undefined {
  const collection$ = useMemo(() => {
    const open = client as Readonly<Pick<Collections, N>>
    return client.session.user$.pipe(map((user) => (user ? open[resource] : null)))
  }, [client, resource])
  const collection = useObservable(collection$)
  return useObservable(collection && !collection.closed ? query(collection).$ : NEVER)
}

function storeOf<T>(values$: Observable<T>) {
  let value: T | undefined
  const follow = (changed: () => void) => {
    const subscription = values$.subscribe((next) => {
      value = next
      changed()
    })
    return () => subscription.unsubscribe()
  }
  follow(() => {})()
  return { subscribe: follow, read: () => value }
}
