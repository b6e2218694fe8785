import { categories } from './categories.ts'
import { conflicts } from './conflicts.ts'
import { profile } from './profile.ts'
import type { Resource } from './resource.ts'
import { tasks } from './tasks.ts'

export type { Account, Role, SignedInDevice, TokenPair } from './accounts.ts'
export * as accounts from './accounts.ts'
export type { Action, AuditEntry, ManagedAccount } from './administration.ts'
export * as administration from './administration.ts'
export type { Category } from './categories.ts'
export type { Conflict } from './conflicts.ts'
export { type Field, id, isStorable, type Kind } from './field.ts'
export { follow } from './follow.ts'
export * from './live.ts'
export {
  type ChangeTimes,
  changedAt,
  changeTimes,
  type GaveWay,
  isChangedSince,
  type Merged,
  merge,
  sameFields,
  sameValue,
} from './merge.ts'
export { orderKeyAt } from './order-key.ts'
export {
  type FieldErrors,
  invalid,
  PROBLEMS,
  Problem,
  type ProblemBody,
  type ProblemCode,
  problemSchema,
} from './problem.ts'
export type { Profile } from './profile.ts'
export * from './replication.ts'
export { type Document, type DocumentOf, fieldOf, type Resource } from './resource.ts'
export { isUnplaced, settle, type Unsettled } from './settle.ts'
export type { Task } from './tasks.ts'
export { isVisible } from './visible-text.ts'

/** Everything that a person owns. Another kind is a file like tasks.ts, a line here and a migration. */
export const resources = { tasks, categories, profile, conflicts } satisfies Record<
  string,
  Resource
>
