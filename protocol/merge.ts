import { sameValue } from './canonical.ts'
import { mergeValues } from './kinds.ts'
import type { Document, Resource } from './resource.ts'
import { settle } from './settle.ts'

/** Values that gave way, and what they gave way to, by field. */
export interface GaveWay {
  readonly lost: Readonly<Record<string, unknown>>
  readonly kept: Readonly<Record<string, unknown>>
}

/**
 * When fields were last changed, by name, in milliseconds: the `updated_at` of the state that the change
 * made. A deletion and a restoration are changes of `_deleted`; a deletion that came with that of what the
 * document refers to is one of `takenKey` too. What never changed is absent.
 */
export type ChangeTimes = Readonly<Record<string, number>>

/** A state of a document, with or without its history. */
interface State {
  readonly document: Document
  readonly deleted: boolean
  readonly changed?: ChangeTimes | undefined
}

/** Under which name it stands when what this field refers to took the document along as it was deleted. */
export const takenKey = (field: string) => `_deleted.${field}`

/** The change times of the state that follows on another one. */
export function changeTimes(resource: Resource, before: State, after: State): ChangeTimes {
  const at = Date.parse(after.document.updated_at)
  const names = resource.writable.filter(
    (name) => !sameIn(resource, name, before.document, after.document),
  )
  if (before.deleted !== after.deleted) names.push('_deleted')
  return { ...before.changed, ...Object.fromEntries(names.map((name) => [name, at])) }
}

/**
 * Whether a field has been changed since a state that was once stored, even if it is as it was: states
 * are in the order of their `updated_at`.
 */
export function isChangedSince(base: Document, field: string, changed: ChangeTimes = {}): boolean {
  return (changed[field] ?? 0) > Date.parse(base.updated_at)
}

/** What became of two edits of one document, and which values had to give way. */
export interface Merged {
  readonly document: Document
  /** Of the fields that both sides changed: those in which ours gave way, and those in which theirs did. */
  readonly oursLost: GaveWay
  readonly theirsLost: GaveWay
}

/**
 * Three-way merge, field by field. Pure. A field that one side changed takes that side's value. What
 * both changed is merged where its kind knows how (see `kinds.ts`). Else it takes the later edit's value,
 * and by the order of their JSON where both are of one instant, so that every end decides alike whatever
 * it heard first. A field that was changed and put back has been changed: an edit that comes again,
 * however late, finds that so.
 *
 * @param base what `ours` was made from; without it, every difference counts as changed by both
 * @param ours the edit that arrives
 * @param oursAt when it was made: UTC instant, not ahead of `now`
 * @param theirs what is stored
 * @param changed when its fields were last changed, as far as that is known
 * @param mayBeTaken whether `ours` may be an edit that comes again and is no longer known. Then what has
 *   been changed later is not merged: an element of a set that was taken away since would come back
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
  // A stamp goes with its flag: `settle` keeps the stored one while the flag was set before.
  for (const stamp of Object.keys(resource.stamps)) next[stamp] = ours[stamp]
  return { document: settle(resource, next, theirs, now), oursLost, theirsLost }
}

/** When a field was last changed; where that is not known, the document. */
export function changedAt({ updated_at }: Document, field: string, changed: ChangeTimes = {}) {
  const at = changed[field]
  return at === undefined ? updated_at : new Date(at).toISOString()
}

/** Equal in everything that a person can write. */
export function sameFields(resource: Resource, a: Document, b: Document): boolean {
  return resource.writable.every((field) => sameIn(resource, field, a, b))
}

/** Equal in one field, or in none of the two: one that is not of the resource. */
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
