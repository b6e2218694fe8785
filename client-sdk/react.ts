import { useEffect, useState } from 'react'
import type { RxDocument } from 'rxdb'
import { map, type Observable, of } from 'rxjs'
import type { Client } from './client.ts'
import type { Collections } from './local/collections.ts'
import type { Documents, ResourceName, Task } from './local/documents.ts'
import type { TaskCollection, TaskDocument, TaskQuery } from './local/tasks.ts'
import type { User } from './session/token-store.ts'
import type { SyncState } from './sync/sync-status.ts'

/**
 * The documents of a query, updated on every change; empty while nobody is signed in. The query may be a new
 * object on each render: RxDB recognizes equal queries.
 */
export function useDocuments<
  N extends ResourceName,
  T extends Documents[N] = RxDocument<Documents[N]>,
>(
  client: Client<NoInfer<N>>,
  resource: N,
  query: (collection: Collections[N]) => Found<T> = (all) => all.find() as never,
): T[] {
  const [collection, setCollection] = useState<Collections[N] | null>(null)
  useEffect(() => {
    const open = client as Readonly<Pick<Collections, N>>
    const collection$ = client.session.user$.pipe(map((user) => (user ? open[resource] : null)))
    return follow(collection$, setCollection)
  }, [client, resource])

  const current = collection && !collection.closed ? query(collection) : null
  const [found, setFound] = useState<T[]>([])
  useEffect(() => follow(current ? current.$ : of([]), setFound), [current])
  return found
}

/** `useDocuments` for tasks; without a query, all in the user's own order. */
export function useTasks<T extends Task = TaskDocument>(
  client: Client<'tasks'>,
  query: (tasks: TaskCollection) => Found<T> = inOwnOrder as never,
): T[] {
  return useDocuments(client, 'tasks', query)
}

/** The sync state: status, unsent edits, time of the last sync, progress of the first one. */
export function useSyncStatus(client: Client<never>): SyncState {
  const [state, setState] = useState<SyncState>(UNKNOWN)
  useEffect(() => follow(client.sync.state$, setState), [client])
  return state
}

/** The signed-in user, or null. */
export function useUser(client: Client<never>): User | null {
  const [user, setUser] = useState<User | null>(null)
  useEffect(() => follow(client.session.user$, setUser), [client])
  return user
}

const UNKNOWN: SyncState = {
  status: 'connecting',
  pending: 0,
  last_synced_at: null,
  progress: null,
  error: null,
  live_refused: null,
}

interface Found<T> {
  readonly $: Observable<T[]>
}

const inOwnOrder = (tasks: TaskCollection) =>
  tasks.find({ sort: [{ position: 'asc' }] }) as TaskQuery

function follow<T>(values$: Observable<T>, take: (value: T) => void): () => void {
  const subscription = values$.subscribe(take)
  return () => subscription.unsubscribe()
}
