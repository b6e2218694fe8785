/** What the state of a row and the revisions of its document make of each other. Pure. */
import type { PushRow } from '../../protocol/index.ts'
import type { Revision } from '../sync/revisions.ts'
import type { Stored } from '../sync/store.ts'
import type { Landing } from './database.ts'
import { canonical, hashOf, isOn, leavesOf, REVS_LIMIT, revOf } from './paths.ts'

type Content = Readonly<Record<string, unknown>>

/** What a revision says. */
export interface State {
  readonly deleted: boolean
  readonly content: Content
}

export function stateOf({ document, deleted }: Stored): State {
  const { id: _, ...content } = document
  return { deleted, content }
}

const contents = new WeakMap<Revision, Content>()

/** A leaf with this content, which `contentOf` need not parse. */
export function leafOf(
  generation: number,
  path: readonly string[],
  { deleted, content }: State,
): Revision {
  const leaf = { generation, path, deleted, body: JSON.stringify(content), isLeaf: true }
  contents.set(leaf, content)
  return leaf
}

export function contentOf(revision: Revision): Content {
  let content = contents.get(revision)
  if (!content) {
    content = JSON.parse(revision.body ?? '{}') as Content
    contents.set(revision, content)
  }
  return content
}

/** Adds a revision of the state after the winner, unless the winner has it already. */
export function follow(revisions: readonly Revision[], state: State) {
  const [winner] = leavesOf(revisions)
  if (winner && isSame(winner, state)) return { changed: [], all: revisions }
  const child = childOf(winner, state)
  const former = winner && { ...winner, isLeaf: false }
  const others = revisions.filter((one) => one !== winner)
  return {
    changed: former ? [former, child] : [child],
    all: former ? [...others, former, child] : [...others, child],
  }
}

/**
 * The revisions that leave one leaf with the state of the row, so that no conflict stays open: it follows the
 * winner, and the other branches end.
 */
export function resolved(revisions: readonly Revision[], state: State): Revision[] {
  const leaves = leavesOf(revisions)
  const live = leaves.filter(({ deleted }) => !deleted)
  const top = state.deleted ? highest(leaves) : leaves[0]!
  const others = live.filter((one) => one !== top)
  const isSettled = isSame(top, state)
  // Whichever deleted leaf wins, it has what the tombstone has.
  const end = { deleted: true, content: state.deleted ? state.content : {} }
  return [...(isSettled ? [] : [childOf(top, state)]), ...others.map((one) => childOf(one, end))]
}

const highest = (leaves: readonly Revision[]) =>
  leaves.reduce((a, b) => (b.generation > a.generation ? b : a))

/** The revision of a state that follows another one, or nothing. */
export function childOf(
  parent: Revision | undefined,
  state: State,
  revsLimit = REVS_LIMIT,
): Revision {
  const hash = hashOf(state.deleted, parent && revOf(parent), state.content)
  const path = [hash, ...(parent?.path ?? [])].slice(0, revsLimit)
  return leafOf((parent?.generation ?? 0) + 1, path, state)
}

function isSame(revision: Revision, { deleted, content }: State): boolean {
  if (revision.body === null || revision.deleted !== deleted) return false
  const own = contentOf(revision)
  const names = Object.keys(content)
  return (
    Object.keys(own).length === names.length &&
    names.every(
      (name) => own[name] === content[name] || canonical(own[name]) === canonical(content[name]),
    )
  )
}

/** What a landing document pushes: each new revision, over the newest one that it follows and that is known. */
export function rowsOf({ id, incoming, before, revisions }: Landing): PushRow[] {
  const known = [...(before?.revisions ?? []), ...revisions].filter(({ body }) => body !== null)
  return incoming.map((one) => {
    const base = baseOf(one, known)
    return {
      newDocumentState: documentOf(id, one),
      ...(base && { assumedMasterState: documentOf(id, base) }),
    } as PushRow
  })
}

function baseOf(one: Revision, known: readonly Revision[]): Revision | undefined {
  return known
    .filter((other) => other.generation < one.generation)
    .filter((other) => isOn(one, { generation: other.generation, hash: other.path[0]! }))
    .reduce<Revision | undefined>(
      (newest, other) => (newest && newest.generation >= other.generation ? newest : other),
      undefined,
    )
}

function documentOf(id: string, revision: Revision) {
  return { ...contentOf(revision), id, ...(revision.deleted && { _deleted: true }) }
}
