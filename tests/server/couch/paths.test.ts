import * as pouch from 'pouchdb-merge'
import { describe, expect, test } from 'vitest'
import { graft, isKnown, leavesOf, parseRev, revOf } from '../../../server/couch/paths.ts'
import type { Revision } from '../../../server/sync/revisions.ts'

const MERGES = 60_000
const STEM = 1_000

/** A revision of a random tree that both sides are told about, in parts. */
interface Node {
  readonly hash: string
  readonly generation: number
  readonly parent: Node | undefined
  readonly deleted: boolean
}

const seed = Number(process.env.SEED ?? Math.floor(Math.random() * 2 ** 31))

describe.each([
  ['whole paths', () => Number.POSITIVE_INFINITY],
  ['paths without their oldest revisions', (random: Random) => 1 + random(5)],
])('%s', (name, lengthOf) => {
  test(`are merged as PouchDB merges them (SEED=${seed})`, () => {
    const random = randomFrom(seed)
    let [merges, apart] = [0, 0]
    while (merges < MERGES) {
      const nodes = randomTree(random)
      const ours = { revisions: [] as readonly Revision[] }
      let theirs: pouch.Tree = []
      for (let i = 0; i < 2 * nodes.length; i++, merges++) {
        const path = pathTo(nodes[random(nodes.length)]!, lengthOf(random))
        ours.revisions = graft(ours.revisions, path.ours, STEM).revisions
        theirs = pouch.merge(theirs, path.theirs, STEM).tree
        // It may keep a revision twice, once with fewer ancestors: then its leaves contradict each other.
        if (holdsTwice(theirs)) {
          apart++
          break
        }
        expect(summaryOf(ours.revisions, nodes), `merge ${merges}`).toEqual(
          summaryOfPouch(theirs, nodes),
        )
      }
    }
    expect(apart).toBeLessThan(MERGES / 20)
    console.info(`${name}: ${merges} merges, ${apart} trees in which PouchDB has a revision twice`)
  })
})

function summaryOf(revisions: readonly Revision[], nodes: readonly Node[]) {
  const leaves = leavesOf(revisions)
  return {
    leaves: leaves.map(revOf).sort(),
    winner: revOf(leaves[0]!),
    known: nodes.filter((node) => isKnown(revisions, node)).map(nameOf),
  }
}

function summaryOfPouch(tree: pouch.Tree, nodes: readonly Node[]) {
  return {
    leaves: pouch
      .collectLeaves(tree)
      .map(({ rev }) => rev)
      .sort(),
    winner: pouch.winningRev({ rev_tree: tree }),
    known: nodes.filter((node) => pouch.revExists(tree, nameOf(node))).map(nameOf),
  }
}

function holdsTwice(tree: pouch.Tree): boolean {
  const seen = new Set<string>()
  let isTwice = false
  pouch.traverseRevTree(tree, (_isLeaf, pos, id) => {
    isTwice ||= seen.has(`${pos}-${id}`)
    seen.add(`${pos}-${id}`)
  })
  return isTwice
}

function randomTree(random: Random): Node[] {
  const nodes: Node[] = []
  const count = 2 + random(9)
  for (let i = 0; i < count; i++) {
    const parent = i === 0 || random(12) === 0 ? undefined : nodes[random(i)]!
    const generation = (parent?.generation ?? 0) + 1
    nodes.push({ hash: `${random(10)}${i}`, generation, parent, deleted: random(4) === 0 })
  }
  return nodes
}

function pathTo(leaf: Node, length: number): { ours: Revision; theirs: pouch.Path } {
  const path: Node[] = []
  for (let node: Node | undefined = leaf; node && path.length < length; node = node.parent)
    path.push(node)
  const { generation, deleted } = leaf
  let ids: pouch.TreeNode = [leaf.hash, { status: 'available', deleted }, []]
  for (const { hash } of path.slice(1)) ids = [hash, { status: 'missing' }, [ids]]
  const ours = { generation, path: path.map(({ hash }) => hash), deleted, body: '{}', isLeaf: true }
  return { ours, theirs: { pos: path.at(-1)!.generation, ids } }
}

const nameOf = ({ generation, hash }: Node) => `${generation}-${hash}`

type Random = (below: number) => number

/** Mulberry32. */
function randomFrom(seed: number): Random {
  let state = seed
  return (below) => {
    state = (state + 0x6d2b79f5) | 0
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state)
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed
    return ((mixed ^ (mixed >>> 14)) >>> 0) % below
  }
}

describe('the limit of a path', () => {
  const chain = (generation: number, length: number): Revision => {
    const path = Array.from({ length }, (_, i) => `h${generation - i}`)
    return { generation, path, deleted: false, body: '{}', isLeaf: true }
  }

  test('cuts off the oldest ancestors, and a later revision still supersedes its parent', () => {
    const before = graft([], chain(5, 5), 3).revisions
    expect(before.map(({ path }) => path)).toEqual([['h5', 'h4', 'h3']])
    const after = graft(before, chain(6, 2), 3).revisions
    expect(after.map(({ path, isLeaf }) => [path, isLeaf])).toEqual([
      [['h5', 'h4', 'h3'], false],
      [['h6', 'h5', 'h4'], true],
    ])
  })

  test('values that a merge does not change stay the same', () => {
    const other = { ...chain(2, 1), path: ['other'] }
    const before = graft(graft([], chain(3, 3), 9).revisions, other, 9).revisions
    const { revisions, isNew } = graft(before, chain(2, 2), 9)
    expect(isNew).toBe(false)
    expect(revisions.every((one, i) => one === before[i])).toBe(true)
  })
})

test.each([
  ['3-abc', { generation: 3, hash: 'abc' }],
  ['10-a-b', { generation: 10, hash: 'a-b' }],
  // PouchDB accepts it.
  ['1-', { generation: 1, hash: '' }],
  ['abc', undefined],
  ['-1-abc', undefined],
  ['1-a\0', undefined],
  ['1-a\ud800', undefined],
  ['12345678901-a', undefined],
  [undefined, undefined],
  [7, undefined],
])('the name of a revision %j', (text, expected) => {
  expect(parseRev(text)).toEqual(expected)
})
