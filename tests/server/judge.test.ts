import { randomUUID } from 'node:crypto'
import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { type Document, resources, sameFields, settle } from '../../protocol/index.ts'
import { type Judgement, judge, type Row, type State } from '../../server/sync/judge.ts'

const { tasks } = resources
const T = (minute: number) => `2026-11-22T08:${String(minute).padStart(2, '0')}:00.000Z`
const NOW = T(59)
const id = randomUUID()

const base = settle(tasks, { id, title: 'Milk', position: 'a0' }, undefined, T(0))
const edited = (fields: Partial<Document>, minute: number, from: Document = base) =>
  settle(tasks, { ...from, ...fields, updated_at: T(minute) }, from, NOW)
const live = (document: Document): State => ({ document, deleted: false })
const gone = (document: Document): State => ({ document, deleted: true })
const row = (next: State, assumed?: State): Row => {
  const { id: _, ...fields } = next.document
  return {
    id,
    next: fields,
    nextDeleted: next.deleted,
    assumed: assumed?.document,
    assumedDeleted: assumed?.deleted ?? false,
  }
}
const decide = (stored: State | undefined, ...rows: Row[]): Judgement =>
  judge(tasks, rows, new Map(stored ? [[id, stored]] : []), NOW)

const mine = edited({ title: 'Oat milk' }, 10)
const theirs = edited({ title: 'Soy milk' }, 20)
const done = edited({ completed: true }, 20)

interface Case {
  name: string
  stored?: State
  rows: Row[]
  /** What is stored afterwards; undefined where nothing is written. */
  written?: Partial<Document> & { deleted?: boolean }
  conflicts: boolean
  lost?: Record<string, unknown>
}

const cases: Case[] = [
  {
    name: 'a new document',
    rows: [row(live(mine))],
    written: { title: 'Oat milk' },
    conflicts: false,
  },
  {
    name: 'a new document that claims to follow one',
    rows: [row(live(mine), live(base))],
    written: { title: 'Oat milk' },
    conflicts: false,
  },
  {
    name: 'an edit of what is stored',
    stored: live(base),
    rows: [row(live(mine), live(base))],
    written: { title: 'Oat milk' },
    conflicts: false,
  },
  {
    name: 'the same edit again',
    stored: live(mine),
    rows: [row(live(mine), live(base))],
    conflicts: false,
  },
  {
    name: 'the same creation again',
    stored: live(mine),
    rows: [row(live(mine))],
    conflicts: false,
  },
  {
    name: 'edits of different fields',
    stored: live(done),
    rows: [row(live(mine), live(base))],
    written: { title: 'Oat milk', completed: true, completed_at: done.completed_at },
    conflicts: true,
  },
  {
    name: 'an earlier edit of the same field',
    stored: live(theirs),
    rows: [row(live(mine), live(base))],
    conflicts: true,
    lost: { title: 'Oat milk' },
  },
  {
    name: 'a later edit of the same field',
    stored: live(mine),
    rows: [row(live(theirs), live(base))],
    written: { title: 'Soy milk' },
    conflicts: false,
    lost: { title: 'Oat milk' },
  },
  {
    name: 'an edit from the future, which counts as made now',
    stored: live(theirs),
    rows: [row(live({ ...mine, updated_at: '2099-01-01T00:00:00.000Z' }), live(base))],
    written: { title: 'Oat milk', updated_at: NOW },
    conflicts: true,
    lost: { title: 'Soy milk' },
  },
  {
    name: 'an edit by a client that keeps no updated_at, which counts as made now',
    stored: live(theirs),
    rows: [row(live({ ...mine, updated_at: base.updated_at }), live(base))],
    written: { title: 'Oat milk', updated_at: NOW },
    conflicts: true,
    lost: { title: 'Soy milk' },
  },
  {
    name: 'an edit of something since deleted',
    stored: gone(base),
    rows: [row(live(mine), live(base))],
    conflicts: true,
    lost: { title: 'Oat milk' },
  },
  {
    name: 'a deletion of something since edited',
    stored: live(theirs),
    rows: [row(gone(base), live(base))],
    written: { deleted: true, title: 'Soy milk' },
    conflicts: true,
    lost: { title: 'Soy milk' },
  },
  {
    name: 'a deletion of what is stored',
    stored: live(base),
    rows: [row(gone(base), live(base))],
    written: { deleted: true },
    conflicts: false,
  },
  {
    name: 'a deletion of something deleted',
    stored: gone(base),
    rows: [row(gone(base), live(base))],
    conflicts: false,
  },
  {
    name: 'the repetition of a creation that was since deleted',
    stored: gone(base),
    rows: [row(live(base))],
    conflicts: true,
    lost: {},
  },
  {
    name: 'a new document in the place of a deleted one',
    stored: gone(base),
    rows: [row(live(settle(tasks, { id, title: 'Bread', position: 'a0' }, undefined, T(30))))],
    written: { title: 'Bread', deleted: false, created_at: T(30) },
    conflicts: false,
  },
  {
    name: 'an undeletion of the tombstone that is stored',
    stored: gone(base),
    rows: [row(live(base), gone(base))],
    written: { deleted: false },
    conflicts: false,
  },
  {
    name: 'two edits in one batch',
    stored: live(base),
    rows: [row(live(mine), live(base)), row(live(edited({ title: 'Oats' }, 30, mine)), live(mine))],
    written: { title: 'Oats' },
    conflicts: false,
  },
]

describe('judge', () => {
  test.each(cases)('$name', ({ stored, rows, written, conflicts, lost }) => {
    const judgement = decide(stored, ...rows)
    expect(judgement.writes.map(({ document, deleted }) => ({ ...document, deleted }))).toEqual(
      written ? [expect.objectContaining(written)] : [],
    )
    expect(judgement.conflicts.length > 0).toBe(conflicts)
    const losses = judgement.losses.map((loss) => loss.lost)
    expect(losses).toEqual(lost && Object.keys(lost).length > 0 ? [lost] : [])
  })

  test('a narrower client does not touch what it does not know', () => {
    const stored = live(edited({ description: 'two', priority: 'high' }, 5))
    const narrow = (title: string) => ({ title, created_at: base.created_at })
    const { writes } = decide(stored, {
      id,
      next: { ...narrow('Oat milk'), updated_at: T(10) },
      nextDeleted: false,
      assumed: narrow('Milk'),
      assumedDeleted: false,
    })
    expect(writes[0]!.document).toMatchObject({
      title: 'Oat milk',
      description: 'two',
      priority: 'high',
    })
  })
})

const change = fc.record(
  {
    title: fc.constantFrom('a', 'b', 'c'),
    priority: fc.constantFrom('low', 'medium', 'high'),
    completed: fc.boolean(),
    due_date: fc.constantFrom(null, '2026-12-01', '2026-12-02'),
  },
  { requiredKeys: [] },
)
const version = fc
  .tuple(change, fc.integer({ min: 1, max: 58 }))
  .map(([fields, minute]) => edited(fields, minute))

describe('merging', () => {
  test('takes the side that changed', () => {
    fc.assert(
      fc.property(version, (x) => {
        const [ours] = decide(live(base), row(live(x), live(base))).writes
        expect(sameFields(tasks, (ours ?? live(base)).document, x)).toBe(true)
        expect(decide(live(x), row(live(base), live(base))).losses).toEqual([])
      }),
    )
  })

  test('has no second effect when the same row comes again', () => {
    fc.assert(
      fc.property(version, version, (ours, other) => {
        const once = decide(live(other), row(live(ours), live(base)))
        const stored = once.writes[0] ?? live(other)
        const twice = decide(stored, row(live(ours), live(base)))
        expect(twice.writes).toEqual([])
        const known = once.losses.map((loss) => JSON.stringify([loss.lost, loss.dated]))
        for (const loss of twice.losses)
          expect(known).toContain(JSON.stringify([loss.lost, loss.dated]))
      }),
      // Of one instant, each giving way in one of two fields.
      {
        numRuns: 1_000,
        examples: [
          [
            edited({ priority: 'high', due_date: '2026-12-02' }, 5),
            edited({ priority: 'low', due_date: '2026-12-01' }, 5),
          ],
        ],
      },
    )
  })

  test('does not depend on how rows are put into batches', () => {
    fc.assert(
      fc.property(fc.array(version, { minLength: 1, maxLength: 5 }), (versions) => {
        const rows = versions.map((x) => row(live(x), live(base)))
        const together = decide(live(base), ...rows).writes.at(-1) ?? live(base)
        const oneByOne = rows.reduce(
          (stored, one) => decide(stored, one).writes.at(-1) ?? stored,
          live(base),
        )
        expect(together).toEqual(oneByOne)
      }),
    )
  })

  test('gives both orders of arrival the same fields, and loses none of the values', () => {
    fc.assert(
      fc.property(version, version, (a, b) => {
        const arrive = (first: Document, second: Document) => {
          const stored = decide(live(base), row(live(first), live(base))).writes[0] ?? live(base)
          const { writes, losses } = decide(stored, row(live(second), live(base)))
          return { document: (writes[0] ?? stored).document, losses }
        }
        const [ab, ba] = [arrive(a, b), arrive(b, a)]
        expect(sameFields(tasks, ab.document, ba.document)).toBe(true)
        for (const side of [a, b])
          for (const name of tasks.writable as (keyof Document)[]) {
            if (side[name] === base[name]) continue
            const kept = [ab.document[name], ...ab.losses.map(({ lost }) => lost[name])]
            expect(kept).toContainEqual(side[name])
          }
      }),
    )
  })
})
