export type { AccountDetails, AccountRequests, SignedInDevice } from './account-requests.ts'
export { type Client, type ClientOptions, type ClientSession, createClient } from './client.ts'
export { ClientError, type FieldErrors } from './client-error.ts'
export { maxLength } from './max-length.ts'
export type { Category, Conflict, Profile, Task } from './resources.ts'
export type { Credentials } from './session.ts'
export type { ConflictRow, RejectedRow, Sync } from './sync.ts'
export type { Progress, SyncState, SyncStatus } from './sync-status.ts'
export type {
  DeletedTasks,
  NewTask,
  TaskCollection,
  TaskDocument,
  TaskMethods,
  TaskQuery,
} from './tasks.ts'
export type { Storage, User } from './token-store.ts'
