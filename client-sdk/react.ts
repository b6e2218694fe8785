import { useEffect, useState } from 'react'
import { map, type Observable, of } from 'rxjs'
import type { Client } from './client.ts'
import type { Task } from './local/resources.ts'
import type { TaskCollection, TaskDocument, TaskQuery } from './local/tasks.ts'
import type { User } from './session/token-store.ts'
import type { SyncState } from './sync/sync-status.ts'

/**
 * The tasks of a query, updated on every change; empty while nobody is signed in. The query may be a new
 * object on each render: RxDB recognizes equal queries.
 */
export function useTasks<T extends Task = TaskDocument>(
  client: Client,
  query: (tasks: TaskCollection) => Found<T> = inOwnOrder as never,
): T[] {
  const [tasks, setTasks] = useState<TaskCollection | null>(null)
  useEffect(() => {
    const tasks$ = client.session.user$.pipe(map((user) => (user ? client.tasks : null)))
    return follow(tasks$, setTasks)
  }, [client])

  const current = tasks && !tasks.closed ? query(tasks) : null
  const [found, setFound] = useState<T[]>([])
  useEffect(() => follow(current ? current.$ : of([]), setFound), [current])
  return found
}

/** The sync state: status, unsent edits, time of the last sync, progress of the first one. */
export function useSyncStatus(client: Client): SyncState {
  const [state, setState] = useState<SyncState>(UNKNOWN)
  useEffect(() => follow(client.sync.state$, setState), [client])
  return state
}

/** The signed-in user, or null. */
export function useUser(client: Client): User | null {
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
