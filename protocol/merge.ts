import { sameValue } from './canonical.ts'
import { mergeValues } from './kinds.ts'
import type { Document, Resource } from './resource.ts'
import { settle } from './settle.ts'

/** Lost values and the values that replaced them, by field. */
export interface GaveWay {
  readonly lost: Readonly<Record<string, unknown>>
  readonly kept: Readonly<Record<string, unknown>>
}

/**
 * The times of the last change by field, in milliseconds: the `updated_at` of the resulting state. A deletion
 * and a restore are changes of `_deleted`; a cascaded deletion is also one of `takenKey`. Unchanged fields are
 * missing.
 */
export type ChangeTimes = Readonly<Record<string, number>>

/** A state of a document, with or without its history. */
interface State {
  readonly document: Document
  readonly deleted: boolean
  readonly changed?: ChangeTimes | undefined
}

/** The key for the time of a cascaded deletion through this field. */
export const takenKey = (field: string) => `_deleted.${field}`

/** The change times of a new state. */
export function changeTimes(resource: Resource, before: State, after: State): ChangeTimes {
  const at = Date.parse(after.document.updated_at)
  const names = resource.writable.filter(
    (name) => !sameIn(resource, name, before.document, after.document),
  )
  if (before.deleted !== after.deleted) names.push('_deleted')
  return { ...before.changed, ...Object.fromEntries(names.map((name) => [name, at])) }
}

/**
 * Whether a field has changed since an earlier stored state, even if it has the same value again. States are
 * ordered by `updated_at`.
 */
export function isChangedSince(base: Document, field: string, changed: ChangeTimes = {}): boolean {
  return (changed[field] ?? 0) > Date.parse(base.updated_at)
}

/** The merged document and the lost values. */
export interface Merged {
  readonly document: Document
  /** Of the fields that both sides changed: those in which ours lost, and those in which theirs did. */
  readonly oursLost: GaveWay
  readonly theirsLost: GaveWay
}

/**
 * Three-way merge, field by field. Pure. A field that one side changed takes that side's value. A field that
 * both changed is merged by its kind if possible (see `kinds.ts`). Otherwise it takes the later edit's value,
 * or the greater JSON on a tie, so that the result does not depend on the order of arrival. A field that was
 * changed and changed back counts as changed, also for a late retry.
 *
 * @param base the base of `ours`; without it, every difference counts as changed by both
 * @param ours the arriving edit
 * @param oursAt when it was made: UTC instant, not ahead of `now`
 * @param theirs the stored document
 * @param changed the times of the last change by field, if known
 * @param mayBeTaken whether `ours` may be a forgotten retry. Fields that have changed later are then not
 *   merged, because a removed element of a set would come back
 */
export function merge(
  resource: Resource,
  base: Document | undefined,
  ours: Document,
  oursAt: string,
  theirs: Document,
  now: string,
  changed: ChangeTimes = {},
  mayBeTaken = false,
): Merged {
  const next: Document = { ...theirs, updated_at: oursAt }
  const oursLost = { lost: {} as Record<string, unknown>, kept: {} as Record<string, unknown> }
  const theirsLost = { lost: {} as Record<string, unknown>, kept: {} as Record<string, unknown> }
  for (const field of resource.writable) {
    const [a, b] = [ours[field], theirs[field]]
    if (sameIn(resource, field, ours, theirs) || (base && sameIn(resource, field, ours, base)))
      continue
    const bothChanged =
      !base || !sameIn(resource, field, theirs, base) || isChangedSince(base, field, changed)
    const theirsAt = changedAt(theirs, field, changed)
    const isMergeable = bothChanged && !(mayBeTaken && theirsAt > oursAt)
    const both = isMergeable && mergeValues(resource.fields[field]!, base?.[field], a, b)
    if (both) {
      next[field] = both
      continue
    }
    if (bothChanged && !isLater(oursAt, a, theirsAt, b)) {
      oursLost.lost[field] = a
      oursLost.kept[field] = b
      continue
    }
    next[field] = a
    if (!bothChanged) continue
    theirsLost.lost[field] = b
    theirsLost.kept[field] = a
  }
  // A stamp follows its flag: `settle` keeps the stored stamp while the flag stays set.
  for (const stamp of Object.keys(resource.stamps)) next[stamp] = ours[stamp]
  return { document: settle(resource, next, theirs, now), oursLost, theirsLost }
}

/** The last change of a field; if unknown, of the document. */
export function changedAt({ updated_at }: Document, field: string, changed: ChangeTimes = {}) {
  const at = changed[field]
  return at === undefined ? updated_at : new Date(at).toISOString()
}

/** Whether all writable fields are equal. */
export function sameFields(resource: Resource, a: Document, b: Document): boolean {
  return resource.writable.every((field) => sameIn(resource, field, a, b))
}

/** Whether a field is equal or missing in both, such as a field of another resource. */
export function sameIn(
  { fields }: Pick<Resource, 'fields'>,
  name: string,
  a: Readonly<Record<string, unknown>>,
  b: Readonly<Record<string, unknown>>,
): boolean {
  const field = fields[name]
  return field ? sameValue(field, a[name], b[name]) : a[name] === b[name]
}

function isLater(at: string, value: unknown, otherAt: string, other: unknown): boolean {
  return at === otherAt ? JSON.stringify(value) > JSON.stringify(other) : at > otherAt
}
