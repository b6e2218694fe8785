import type {
  Category,
  Client,
  ConflictRow,
  Profile,
  RejectedRow,
  SyncState,
  Task,
} from '@tasktide/client'
import { useSyncStatus, useTasks } from '@tasktide/client/react'
import { useContext } from 'preact/hooks'
import { ClientContext } from './client-context.ts'
import { useObserved } from './observed.ts'

/** A rejected edit. To retry or discard it, see `edits.tsx`. */
export type RejectedEdit = Omit<RejectedRow, 'retry' | 'discard'>

/** A sync error, as a message. */
export interface SyncError {
  code: string
  message: string
}

/** All tasks that are not deleted, in the user's order. */
export const useAllTasks = (): readonly Readonly<Task>[] => useTasks(useWholeClient())

export const useDeletedTasks = (isWanted: boolean): readonly Readonly<Task>[] => {
  const client = useWholeClient()
  return useObserved<readonly Task[]>(
    () => (isWanted ? client.tasks.deleted().$ : NOTHING),
    [],
    [client, isWanted],
  )
}

export const useCategories = (): readonly Readonly<Category>[] => {
  const client = useWholeClient()
  return useObserved<readonly Category[]>(
    () => client.categories.find({ sort: [{ position: 'asc' }] }).$,
    [],
    [client],
  )
}

/** Null until the first sync. */
export const useProfile = (id: string): Readonly<Profile> | null => {
  const client = useWholeClient()
  return useObserved<Profile | null>(() => client.profile.findOne(id).$, null, [client, id])
}

/** Rejected edits, until they are retried or discarded. */
export const useRejectedEdits = (): readonly RejectedEdit[] => {
  const { sync } = useWholeClient()
  return useObserved<readonly RejectedRow[]>(() => sync.rejected$, [], [sync])
}

export const useConflicts = (): readonly ConflictRow[] => {
  const { sync } = useWholeClient()
  return useObserved<readonly ConflictRow[]>(() => sync.conflicts$, [], [sync])
}

export const useSyncState = (): SyncState & { error?: SyncError | null } =>
  useSyncStatus(useWholeClient())

/** Whether the user has paused sync on this device. */
export const useIsPaused = (): boolean => {
  const { sync } = useWholeClient()
  return useObserved(() => sync.isPaused$, false, [sync])
}

const useWholeClient = (): Client => useContext(ClientContext)!

const NOTHING = {
  subscribe: () => ({ unsubscribe() {} }),
}
