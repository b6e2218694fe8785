export type { Client, ClientOptions, ClientSession } from './client.ts'
export { createClient } from './create-client.ts'
export type { Collection } from './local/collection.ts'
export type { Collections } from './local/collections.ts'
export type * from './local/documents.ts'
export { maxLength } from './local/max-length.ts'
export { foldText, searchTerms } from './local/search.ts'
export type { Storage } from './local/storage.ts'
export type {
  DeletedTasks,
  NewTask,
  TaskCollection,
  TaskDocument,
  TaskMethods,
  TaskQuery,
} from './local/tasks.ts'
export { ClientError, type FieldErrors } from './runtime/client-error.ts'
export type {
  FactorChallenge,
  FactorProof,
  Factors,
  NewPasskey,
  NewTotp,
  OwnerProof,
  Passkey,
  PublicKeyOptions,
} from './runtime/factors.ts'
export type {
  AccountDetails,
  AccountRequests,
  Confirmation,
  PersonalToken,
  SecurityEvent,
  SignedInDevice,
  StorageUsage,
} from './session/account-requests.ts'
export type { Credentials } from './session/session.ts'
export type { User } from './session/token-store.ts'
export type { ConflictRow, RejectedRow, Sync } from './sync/sync.ts'
export type { Progress, SyncState, SyncStatus } from './sync/sync-status.ts'
