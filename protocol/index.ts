import { batchResultOf } from './batch.ts'
import { categories } from './categories.ts'
import { conflicts } from './conflicts.ts'
import type { Reference } from './field.ts'
import { profile } from './profile.ts'
import type { Resource } from './resource.ts'
import { tasks } from './tasks.ts'

export type { Account, OwnAccount, Role, SignedInDevice, TokenPair } from './accounts.ts'
export * as accounts from './accounts.ts'
export type { Action, AuditEntry, Invitation, ManagedAccount } from './administration.ts'
export * as administration from './administration.ts'
export * as batch from './batch.ts'
export { canonicalJson, type Kind, sameValue } from './canonical.ts'
export type { Category } from './categories.ts'
export type { Conflict } from './conflicts.ts'
export { BUCKETS, bucketOf, Digest } from './digest.ts'
export type { EventKind, ExportedEvent, SecurityEvent } from './events.ts'
export * as events from './events.ts'
export type { Assertion, Attestation, FactorProof, Factors, Passkey } from './factors.ts'
export * as factors from './factors.ts'
export { faultIn, type Rule } from './faults.ts'
export { type Field, id, isPlainId, type Reference } from './field.ts'
export { follow } from './follow.ts'
export { blanked, isBlank, isRestorable } from './for-good.ts'
export { DEVICE_HEADER, REPLICA_HEADER } from './headers.ts'
export { leastValue } from './kinds.ts'
export * from './live.ts'
export { PULL_RESULT, PUSH_RESULT } from './media-types.ts'
export {
  type ChangeTimes,
  changedAt,
  changeTimes,
  type GaveWay,
  isChangedSince,
  type Merged,
  merge,
  sameFields,
  sameIn,
  takenKey,
} from './merge.ts'
export { orderKeyAt } from './order-key.ts'
export type {
  CreatedPersonalToken,
  NewPersonalToken,
  PersonalToken,
  Scope,
} from './personal-tokens.ts'
export * as personalTokens from './personal-tokens.ts'
export {
  type FactorChallenge,
  type FieldErrors,
  invalid,
  missing,
  PROBLEMS,
  Problem,
  type ProblemBody,
  type ProblemCode,
  problemSchema,
} from './problem.ts'
export type { Profile } from './profile.ts'
export { remedyFor } from './remedies.ts'
export * from './replication.ts'
export {
  type Document,
  type DocumentOf,
  fieldOf,
  type NewDocumentOf,
  type Resource,
  stampFields,
} from './resource.ts'
export { type RxSchema, rxSchemaOf } from './rx-schema.ts'
export { foldText, searchRelevance, searchTerms } from './search.ts'
export { isUnplaced, settle, type Unsettled } from './settle.ts'
export { type Shape, shapeOf } from './shape.ts'
export { isDeeperThan, isRecordable, isStorable } from './storable.ts'
export type { Task } from './tasks.ts'
export { isVisible } from './visible-text.ts'

/** All resources. A new one is a file like tasks.ts, a line here and a migration. */
export const resources = { tasks, categories, profile, conflicts } satisfies Record<
  string,
  Resource
>

/** The result of an operation of a batch. */
export const batchResult = batchResultOf(
  Object.values<Resource>(resources).map(({ document }) => document),
)

/** A field of one resource that refers to documents of another, or of the same one. */
export interface Referring {
  readonly resource: Resource
  readonly field: string
  readonly target: Resource
  readonly onDelete: Reference['on_delete']
}

/** The references in documents of a resource. */
export function referencesOf(resource: Resource): Referring[] {
  return resource.fieldNames.flatMap((field) => {
    const { references } = resource.fields[field]!
    if (!references) return []
    return [
      { resource, field, target: resourceNamed(references.to), onDelete: references.on_delete },
    ]
  })
}

/** The references to documents of a resource. */
export function referencesTo(target: Resource): Referring[] {
  return Object.values<Resource>(resources)
    .flatMap(referencesOf)
    .filter((reference) => reference.target === target)
}

export function resourceNamed(name: string): Resource {
  return resources[name as keyof typeof resources]
}
