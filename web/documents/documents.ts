import type {
  Category,
  Client,
  ConflictRow,
  Profile,
  RejectedRow,
  SyncState,
  Task,
} from '@tasktide/client'
import * as sdk from '@tasktide/client/react'
import { useContext } from 'preact/hooks'
import { of } from 'rxjs'
import { ClientContext } from './client-context.ts'

/** A rejected edit. To retry or discard it, see `edits.tsx`. */
export type RejectedEdit = Omit<RejectedRow, 'retry' | 'discard'>

/** A sync error, as a message. */
interface SyncError {
  code: string
  message: string
}

/** All tasks that are not deleted, in the user's order; undefined while they are read. */
export const useAllTasks = (): readonly Readonly<Task>[] | undefined =>
  sdk.useTasks(useWholeClient())

/** Undefined while they are read. */
export const useDeletedTasks = (isWanted: boolean): readonly Readonly<Task>[] | undefined =>
  sdk.useTasks<Task>(useWholeClient(), (tasks) => (isWanted ? tasks.deleted() : NOTHING))

export const useCategories = (): readonly Readonly<Category>[] =>
  sdk.useCategories(useWholeClient()) ?? NONE

/** Null until the first sync. */
export const useProfile = (): Readonly<Profile> | null => sdk.useProfile(useWholeClient()) ?? null

/** Rejected edits, until they are retried or discarded. */
export const useRejectedEdits = (): readonly RejectedEdit[] =>
  sdk.useRejected(useWholeClient()) ?? NONE

export const useConflicts = (): readonly ConflictRow[] => sdk.useConflicts(useWholeClient()) ?? NONE

export const useSyncState = (): SyncState & { error?: SyncError | null } =>
  sdk.useSyncStatus(useWholeClient())

/** Whether the user has paused sync on this device. */
export const useIsPaused = (): boolean =>
  sdk.useObservable(useWholeClient().sync.isPaused$) ?? false

const useWholeClient = (): Client => useContext(ClientContext)!

/** The same on each render. */
export const NONE: never[] = []
const NOTHING = { $: of(NONE) }
