/**
 * The revision tree of a document, kept as one path for each of its leaves: the hashes from the leaf to its oldest
 * known ancestor. Pure, and without content: `Revision` of server/sync/revisions.ts has what a node needs.
 */
import { createHash } from 'node:crypto'
import type { Revision } from '../sync/revisions.ts'

/** Longer paths lose their oldest ancestors. A replica that edits more often while it is offline makes a branch. */
export const REVS_LIMIT = 250

/** The name of a revision on the wire. */
export interface RevisionName {
  readonly generation: number
  readonly hash: string
}

export const revOf = ({ generation, path }: Pick<Revision, 'generation' | 'path'>) =>
  `${generation}-${path[0]}`

const nameOf = ({ generation, path }: Pick<Revision, 'generation' | 'path'>): RevisionName => ({
  generation,
  hash: path[0]!,
})

/** Undefined if the text is not the name of a revision. */
export function parseRev(text: unknown): RevisionName | undefined {
  const [, generation, hash] = typeof text === 'string' ? (REV.exec(text) ?? []) : []
  return hash === undefined ? undefined : { generation: Number(generation), hash }
}

/** Of a revision that comes in: those that the server makes on top have to fit into an int4. */
export const MAX_GENERATION = 2_000_000_000

// Postgres keeps neither NUL nor half a surrogate pair, and numbers without end are no generations.
const REV = /^(\d{1,10})-([^\0\p{Surrogate}]{0,200})$/u

/** The hash of a new revision. Whoever makes the same change to the same revision gets the same one. */
export function hashOf(isDeleted: boolean, parent: string | undefined, body: object): string {
  const content = canonical([isDeleted, parent ?? null, body])
  return createHash('md5').update(content).digest('hex')
}

/** JSON with sorted names. */
export function canonical(value: unknown): string {
  if (Array.isArray(value)) return `[${value.map(canonical).join()}]`
  if (typeof value !== 'object' || value === null) return JSON.stringify(value)
  const own = value as Record<string, unknown>
  const names = Object.keys(own).sort()
  return `{${names.map((name) => `${JSON.stringify(name)}:${canonical(own[name])}`).join()}}`
}

/** Whether a revision is on a path. */
export const isOn = (
  { generation, path }: Pick<Revision, 'generation' | 'path'>,
  name: RevisionName,
): boolean => path[generation - name.generation] === name.hash

/** Whether the tree has a revision, as a leaf or as an ancestor of one. */
export const isKnown = (revisions: readonly Revision[], name: RevisionName): boolean =>
  revisions.some((one) => one.isLeaf && isOn(one, name))

/** The generation of the oldest known ancestor. */
const oldestOf = ({ generation, path }: Pick<Revision, 'generation' | 'path'>) =>
  generation - path.length + 1

/** A path that also has the ancestors that another one knows of its oldest revision. */
function lengthened<T extends Pick<Revision, 'generation' | 'path'>>(
  one: T,
  other: Pick<Revision, 'generation' | 'path'>,
): T {
  const generation = oldestOf(one)
  if (oldestOf(other) >= generation) return one
  if (!isOn(other, { generation, hash: one.path.at(-1)! })) return one
  return { ...one, path: [...one.path, ...other.path.slice(other.generation - generation + 1)] }
}

function stemmed<T extends Pick<Revision, 'path'>>(one: T, limit: number): T {
  return one.path.length > limit ? { ...one, path: one.path.slice(0, limit) } : one
}

interface Graft {
  /** All revisions of the document. Those that have not changed are the same values. */
  readonly revisions: readonly Revision[]
  /** Whether the tree lacked the revision. */
  readonly isNew: boolean
}

/** Adds a leaf with its path to the revisions of a document. */
export function graft(revisions: readonly Revision[], incoming: Revision, limit: number): Graft {
  if (revisions.length === 0) return { revisions: [stemmed(incoming, limit)], isNew: true }
  const leaves = revisions.filter(({ isLeaf }) => isLeaf)
  let added = incoming
  for (const leaf of leaves) added = lengthened(added, leaf)
  const isNew = !isKnown(leaves, nameOf(incoming))
  const longer = new Map(leaves.map((leaf) => [leaf, lengthened(leaf, added)]))
  // A path that has become longer may have come to another leaf.
  const written = [...(isNew ? [added] : []), ...longer.values()].filter(
    (one) => !leaves.includes(one),
  )
  const isSuperseded = (leaf: Revision) =>
    written.some((one) => one.generation > leaf.generation && isOn(one, nameOf(leaf)))
  const after = revisions.map((one) => {
    const leaf = longer.get(one)
    if (!leaf) return one
    return isSuperseded(leaf) ? { ...leaf, isLeaf: false } : stemmed(leaf, limit)
  })
  return { revisions: isNew ? [...after, stemmed(added, limit)] : after, isNew }
}

/** The leaves, the winner first: live before deleted, then by generation, then by hash. All replicas agree on it. */
export function leavesOf(revisions: readonly Revision[]): Revision[] {
  return revisions.filter(({ isLeaf }) => isLeaf).sort(byRank)
}

function byRank(a: Revision, b: Revision): number {
  if (a.deleted !== b.deleted) return a.deleted ? 1 : -1
  if (a.generation !== b.generation) return b.generation - a.generation
  return a.path[0]! < b.path[0]! ? 1 : -1
}

/** The wire's `_revisions` of a revision that is on this path. */
export function revisionsFrom(
  { generation, path }: Pick<Revision, 'generation' | 'path'>,
  from = generation,
) {
  return { start: from, ids: path.slice(generation - from) }
}
