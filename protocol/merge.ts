import type { Document, Resource } from './resource.ts'
import { settle } from './settle.ts'

/** Values that gave way, and what they gave way to, by field. */
export interface GaveWay {
  readonly lost: Readonly<Record<string, unknown>>
  readonly kept: Readonly<Record<string, unknown>>
}

/** What became of two edits of one document, and which values had to give way. */
export interface Merged {
  readonly document: Document
  /** Of the fields that both sides changed: those in which ours gave way, and those in which theirs did. */
  readonly oursLost: GaveWay
  readonly theirsLost: GaveWay
}

/**
 * Three-way merge, field by field. Pure. A field that one side changed takes that side's value. A
 * field that both changed takes the later edit's, and by the order of their JSON where both are of
 * one instant, so that every end decides alike whatever it heard first.
 *
 * @param base what `ours` was made from; without it, every difference counts as changed by both
 * @param ours the edit that arrives
 * @param oursAt when it was made: UTC instant, not ahead of `now`
 * @param theirs what is stored
 */
export function merge(
  resource: Resource,
  base: Document | undefined,
  ours: Document,
  oursAt: string,
  theirs: Document,
  now: string,
): Merged {
  const next: Document = { ...theirs, updated_at: oursAt }
  const oursLost = { lost: {} as Record<string, unknown>, kept: {} as Record<string, unknown> }
  const theirsLost = { lost: {} as Record<string, unknown>, kept: {} as Record<string, unknown> }
  for (const field of resource.writable) {
    const [a, b] = [ours[field], theirs[field]]
    if (sameValue(a, b) || (base && sameValue(a, base[field]))) continue
    const bothChanged = !base || !sameValue(b, base[field])
    if (bothChanged && !isLater(oursAt, a, theirs.updated_at, b)) {
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

/** Equal in everything that a person can write. */
export function sameFields(resource: Resource, a: Document, b: Document): boolean {
  return resource.writable.every((field) => sameValue(a[field], b[field]))
}

export function sameValue(a: unknown, b: unknown): boolean {
  return a === b || (typeof a === 'object' && JSON.stringify(a) === JSON.stringify(b))
}

function isLater(at: string, value: unknown, otherAt: string, other: unknown): boolean {
  return at === otherAt ? JSON.stringify(value) > JSON.stringify(other) : at > otherAt
}
