import { randomUUID } from 'node:crypto'
import fc from 'fast-check'
import { expect, test } from 'vitest'
import { nullable, reference } from '../../../protocol/field.ts'
import { type Resource, settle } from '../../../protocol/index.ts'
import { defineResource } from '../../../protocol/resource.ts'
import { withoutCyclesOf } from '../../../server/sync/cycles.ts'
import { judge, type Loss, type State } from '../../../server/sync/judge.ts'
import { readRows } from '../../../server/sync/rows.ts'

const parts: Resource = defineResource({
  name: 'parts',
  singular: 'part',
  version: 0,
  fields: {
    parent_id: nullable(reference('Of what.', { to: 'parts', on_delete: 'cascade' })),
  },
  initial: { parent_id: null },
  filterable: [],
  sortable: [],
  searchable: [],
  ordering: '-created_at',
  example: {},
})

const T = (minute: number) => `2026-11-22T08:${String(minute).padStart(2, '0')}:00.000Z`
const NOW = T(59)
const user = randomUUID()
const idOf = (nth: number) => `0190a5c2-7a4e-7cc3-98c4-dc0c0c07398${nth}`

interface Move {
  nth: number
  to: number | null
  minute: number
}

/** What is stored once these moves of documents without parents have come, in this order. */
function arrived(count: number, moves: readonly Move[]) {
  const stored = new Map<string, State>()
  for (let nth = 0; nth < count; nth++) {
    const document = settle(parts, { id: idOf(nth) }, undefined, T(0))
    stored.set(document.id, { document, deleted: false })
  }
  const roots = new Map(stored)
  const losses: Loss[] = []
  for (const { nth, to, minute } of moves) {
    const { document } = roots.get(idOf(nth))!
    const parent_id = to === null ? null : idOf(to)
    const next = settle(parts, { ...document, parent_id, updated_at: T(minute) }, document, NOW)
    const push = { newDocumentState: next, assumedMasterState: document }
    const judged = judge(parts, readRows(parts, user, [push]).rows, stored, NOW)
    const { writes, losses: lost } = withoutCyclesOf(parts, 'parent_id', judged, stored, NOW)
    for (const state of writes) stored.set(state.document.id, state)
    losses.push(...lost.filter(({ lost }) => Object.keys(lost).length > 0))
  }
  return { stored, losses }
}

const parents = (stored: ReadonlyMap<string, State>) =>
  [...stored.values()].map(({ document }) => document.parent_id)

const shuffled = <T>(values: readonly T[]) =>
  fc.shuffledSubarray([...values], { minLength: values.length })

test('the newest reference of a cycle is cleared, in any order of arrival', () => {
  fc.assert(
    fc.property(
      fc
        .uniqueArray(fc.integer({ min: 1, max: 58 }), { minLength: 1, maxLength: 5 })
        .chain((minutes) => {
          const count = minutes.length
          const moves = minutes.map((minute, nth): Move => ({ nth, to: (nth + 1) % count, minute }))
          return fc.tuple(fc.constant(moves), shuffled(moves))
        }),
      ([moves, inOrder]) => {
        const { stored, losses } = arrived(moves.length, inOrder)
        const last = moves.reduce((a, b) => (b.minute > a.minute ? b : a))
        expect(parents(stored)).toEqual(
          moves.map((move) => (move === last ? null : idOf(move.to!))),
        )
        expect(losses).toMatchObject([
          { id: idOf(last.nth), lost: { parent_id: idOf(last.to!) }, kept: { parent_id: null } },
        ])
      },
    ),
  )
})

test('of references of the same instant, that of the greater id is cleared', () => {
  const moves = [
    { nth: 0, to: 1, minute: 5 },
    { nth: 1, to: 0, minute: 5 },
  ]
  for (const inOrder of [moves, moves.toReversed()])
    expect(parents(arrived(2, inOrder).stored)).toEqual([idOf(1), null])
})

test('no moves make a document its own ancestor', () => {
  fc.assert(
    fc.property(
      fc.array(
        fc.record({
          nth: fc.nat(4),
          to: fc.option(fc.nat(4)),
          minute: fc.integer({ min: 1, max: 58 }),
        }),
        { maxLength: 12 },
      ),
      (moves) => {
        const { stored } = arrived(5, moves)
        for (const id of stored.keys()) {
          const met = new Set<unknown>()
          for (let at: unknown = id; typeof at === 'string'; ) {
            expect(met.has(at)).toBe(false)
            met.add(at)
            at = stored.get(at)!.document.parent_id
          }
        }
      },
    ),
  )
})
