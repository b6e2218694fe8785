import { categories } from './categories.ts'
import { profile } from './profile.ts'
import type { Resource } from './resource.ts'
import { tasks } from './tasks.ts'

export type { Account, TokenPair } from './accounts.ts'
export * as accounts from './accounts.ts'
export type { Category } from './categories.ts'
export { type Field, id, type Kind } from './field.ts'
export { orderKeyAt } from './order-key.ts'
export {
  type FieldErrors,
  PROBLEMS,
  Problem,
  type ProblemBody,
  type ProblemCode,
  problemSchema,
} from './problem.ts'
export type { Profile } from './profile.ts'
export { type Document, type DocumentOf, type Resource, stampFields } from './resource.ts'
export { settle, type Unsettled } from './settle.ts'
export type { Task } from './tasks.ts'

/** Everything that a person owns. Another kind is a file like tasks.ts, a line here and a migration. */
export const resources = { tasks, categories, profile } satisfies Record<string, Resource>
