import { randomUUID } from 'node:crypto'
import fc from 'fast-check'
import { describe, expect, test, vi } from 'vitest'
import { record, set } from '../../../protocol/field.ts'
import {
  changeTimes,
  type Document,
  type Resource,
  resources,
  sameFields,
  sameIn,
  settle,
} from '../../../protocol/index.ts'
import { defineResource } from '../../../protocol/resource.ts'
import {
  type Judgement,
  judge,
  judgeInPieces,
  type Row,
  type State,
} from '../../../server/sync/judge.ts'
import { readRows } from '../../../server/sync/rows.ts'
import { justAfter } from '../../support/store-contract.ts'

/** With a field of each kind that has parts. */
const tasks: Resource = defineResource({
  ...resources.tasks,
  fields: {
    ...resources.tasks.fields,
    labels: set('What it is filed under.', { max: 5, maxLength: 20 }),
    settings: record('Whatever the app wants to know of it.', { max: 100 }),
  },
  initial: { ...resources.tasks.initial, labels: ['old'], settings: {} },
  example: resources.tasks.example,
  filterable: [],
  sortable: [],
  searchable: [],
})
const user = randomUUID()
const category_id = randomUUID()
const T = (minute: number) => `2026-11-22T08:${String(minute).padStart(2, '0')}:00.000Z`
const NOW = T(59)
const id = randomUUID()

const base = settle(tasks, { id, title: 'Milk', position: 'a0' }, undefined, T(0))
const edited = (fields: Partial<Document>, minute: number, from: Document = base) =>
  settle(tasks, { ...from, ...fields, updated_at: T(minute) }, from, NOW)
const live = (document: Document): State => ({ document, deleted: false })
const gone = (document: Document): State => ({ document, deleted: true })

/** Without a mark, as of whoever keeps no dates. */
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

/** As a device sends it, with its mark. */
const sent = (next: State, assumed?: State): Row => {
  const newDocumentState = onTheWire(next)
  const pushed = assumed
    ? { newDocumentState, assumedMasterState: onTheWire(assumed) }
    : { newDocumentState }
  return readRows(tasks, user, [pushed]).rows[0]!
}
const onTheWire = ({ document, deleted }: State) => ({ ...document, _deleted: deleted })

const decide = (stored: State | undefined, ...rows: Row[]): Judgement =>
  judge(tasks, rows, new Map(stored ? [[id, stored]] : []), NOW)
/** What is stored once all rows have come, each in a batch of its own. */
const applied = (stored: State | undefined, ...rows: Row[]): State =>
  rows.reduce((state, one) => decide(state, one).writes[0] ?? state, stored)!
/** What the journal keeps: a loss of nothing is none. */
const lossesOf = ({ losses }: Judgement) =>
  losses.filter(({ lost }) => Object.keys(lost).length > 0)

const mine = edited({ title: 'Oat milk' }, 10)
const theirs = edited({ title: 'Soy milk' }, 20)
const done = edited({ completed: true }, 20)
const filed = edited({ category_id }, 5)

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
    rows: [row(gone(edited({}, 10)), live(base))],
    written: { deleted: true, updated_at: T(10) },
    conflicts: false,
  },
  {
    name: 'a deletion that keeps the date of what it deletes',
    stored: live(base),
    rows: [row(gone(base), live(base))],
    written: { deleted: true, updated_at: NOW },
    conflicts: true,
  },
  {
    name: 'a deletion by somebody who has seen only what is stored, and no answer',
    stored: live(base),
    rows: [row(gone(edited({}, 10)))],
    written: { deleted: true, updated_at: T(10) },
    conflicts: false,
  },
  {
    name: 'a deletion by somebody who has heard no answer, of something since edited',
    stored: live(edited({ title: 'Soy milk', priority: 'high' }, 20)),
    rows: [row(gone(edited({}, 30)))],
    written: { deleted: true, title: 'Milk', priority: 'medium' },
    conflicts: false,
    lost: { title: 'Soy milk', priority: 'high' },
  },
  {
    name: 'a deletion of what was edited just before, of something since edited elsewhere',
    stored: live(done),
    rows: [row(gone(mine), live(base))],
    written: { deleted: true, title: 'Oat milk', completed: true },
    conflicts: true,
    lost: { completed: true },
  },
  {
    name: 'a deletion of what was edited just before, by somebody who has heard no answer',
    stored: live(base),
    rows: [row(gone(mine))],
    written: { deleted: true, title: 'Oat milk' },
    conflicts: false,
    lost: { title: 'Milk' },
  },
  {
    name: 'a deletion of what was edited just before, of something since deleted',
    stored: gone(edited({}, 20)),
    rows: [row(gone(mine), live(base))],
    written: { deleted: true, title: 'Oat milk' },
    conflicts: true,
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
    written: { title: 'Bread', deleted: false, created_at: T(30), updated_at: T(30) },
    conflicts: false,
  },
  {
    name: 'a new document in the place of one deleted later than it was made',
    stored: gone(edited({}, 40)),
    rows: [row(live(settle(tasks, { id, title: 'Bread', position: 'a0' }, undefined, T(30))))],
    written: {
      title: 'Bread',
      deleted: false,
      created_at: T(30),
      updated_at: justAfter(T(40)),
    },
    conflicts: true,
  },
  {
    name: 'an undeletion of the tombstone that is stored',
    stored: gone(base),
    rows: [row(live(edited({}, 10)), gone(base))],
    written: { deleted: false, updated_at: T(10) },
    conflicts: false,
  },
  {
    name: 'an undeletion of a tombstone whose category is gone since',
    stored: gone(edited({ category_id: null }, 20, filed)),
    rows: [row(live(edited({}, 30, filed)), gone(filed))],
    written: { deleted: false, category_id: null, updated_at: T(30) },
    conflicts: true,
  },
  {
    name: 'an undeletion, with edits, of a tombstone that has changed in another field',
    stored: gone(edited({ priority: 'high' }, 20)),
    rows: [row(live(mine), gone(base))],
    written: { deleted: false, title: 'Oat milk', priority: 'high' },
    conflicts: true,
  },
  {
    name: 'an undeletion, with edits, of a tombstone that has changed later in the same field',
    stored: gone(theirs),
    rows: [row(live(mine), gone(base))],
    written: { deleted: false, title: 'Soy milk' },
    conflicts: true,
    lost: { title: 'Oat milk' },
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
    const losses = lossesOf(judgement).map((loss) => loss.lost)
    expect(losses).toEqual(lost && Object.keys(lost).length > 0 ? [lost] : [])
  })

  test('lets others have their turn after each row, and decides the same', async () => {
    const rename = (_: unknown, minute: number) => edited({ title: `Rename ${minute}` }, minute + 1)
    const rows = Array.from({ length: 40 }, rename).map((one) => sent(live(one), live(base)))
    const stored = new Map([[id, live(theirs)]])
    const pause = vi.fn(async () => {})
    const judgement = await judgeInPieces(tasks, rows, stored, NOW, {}, pause)
    expect(judgement).toEqual(judge(tasks, rows, stored, NOW))
    expect(pause).toHaveBeenCalledTimes(rows.length)
  })

  test.each([
    ['without a date', undefined],
    ['with the date of what it has changed', base.updated_at],
  ])('an edit %s was made now', (_how, updated_at) => {
    for (const nextDeleted of [false, true]) {
      const edit = row(live(base), live(base))
      const { updated_at: _, ...fields } = edit.next
      const next = { ...fields, title: 'Oat milk', ...(updated_at && { updated_at }) }
      const { writes, conflicts } = decide(live(base), { ...edit, next, nextDeleted })
      expect(writes[0]!.document).toEqual({ ...base, title: 'Oat milk', updated_at: NOW })
      expect(conflicts).toHaveLength(updated_at === undefined ? 0 : 1)
    }
  })

  test('a client with fewer fields does not change the others', () => {
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

describe('a repeated edit', () => {
  const again = (fields: Partial<Document>, { document }: State) => edited(fields, 40, document)
  const putBack = (state: State): State => ({ ...state, document: again({ title: 'Milk' }, state) })
  // What has become of it since, by the hand of somebody else.
  const since: [string, (state: State) => State][] = [
    ['nothing has happened', (state) => state],
    ['its title was put back', putBack],
    ['it was edited', (state) => ({ ...state, document: again({ title: 'Tea' }, state) })],
    ['it was deleted', (state) => ({ ...state, document: again({}, state), deleted: true })],
    ['it was brought back', (state) => ({ ...state, document: again({}, state), deleted: false })],
    ['its category went', (state) => ({ ...state, document: again({ category_id: null }, state) })],
    [
      'it was deleted and created again',
      (state) => {
        const anew = settle(tasks, { id, title: 'Bread' }, undefined, T(45))
        return applied({ ...state, deleted: true }, sent(live(anew)))
      },
    ],
  ]
  const edits: [string, State | undefined, Row][] = [
    ['a creation', undefined, sent(live(filed))],
    ['an edit', live(base), sent(live(mine), live(base))],
    ['an edit that won', live(mine), sent(live(theirs), live(base))],
    ['an edit that lost', live(theirs), sent(live(mine), live(base))],
    ['an edit that came to the same', live(mine), sent(live(mine), live(base))],
    ['an edit of something deleted', gone(base), sent(live(mine), live(base))],
    ['a deletion', live(base), sent(gone(edited({}, 10)), live(base))],
    ['a deletion that met an edit', live(theirs), sent(gone(edited({}, 10)), live(base))],
    ['an undeletion', gone(base), sent(live(edited({}, 10)), gone(base))],
  ]

  test.each(
    edits.flatMap(([what, stored, edit]) =>
      since.map(([happened, happen]) => [what, happened, stored, edit, happen] as const),
    ),
  )('changes nothing: %s, and %s since', (_what, _happened, stored, edit, happen) => {
    const now = happen(applied(stored, edit))
    const { writes, losses, conflicts } = decide(now, edit)
    expect([writes, losses]).toEqual([[], []])
    for (const conflict of conflicts) expect(conflict).toBe(now)
  })

  test('is answered as a conflict only if the stored state differs', () => {
    const edit = sent(live(mine), live(base))
    const stored = applied(live(base), edit)
    expect(decide(stored, edit).conflicts).toEqual([])
    const now = putBack(stored)
    expect(decide(now, edit).conflicts).toEqual([now])
  })

  test.each(edits)('is written once, even where it changes nothing: %s', (_what, stored, edit) => {
    const [written, ...others] = decide(stored, edit).writes
    expect(others).toEqual([])
    expect(written!.taken).toEqual([edit.mark])
    expect(decide(stored, edit, edit)).toMatchObject({ writes: [{ taken: [edit.mark] }] })
  })

  test.each([
    ['leaves the date as it was', { ...mine, updated_at: base.updated_at }],
    ['tells no date', { ...mine, updated_at: undefined }],
  ])('is a new edit by a client that %s', (_how, newDocumentState) => {
    const pushed = { newDocumentState, assumedMasterState: base }
    const [edit] = readRows(tasks, user, [pushed]).rows
    expect(edit!.mark).toBeUndefined()
    const stored = applied(live(base), edit!)
    expect(stored).toMatchObject({ document: { title: 'Oat milk' }, deleted: false })
    expect(applied(putBack(stored), edit!).document.title).toBe('Oat milk')
  })

  test('is recognized by all of its content, in any order of fields', () => {
    const marks = [
      sent(live(mine), live(base)),
      sent(live(edited({ title: 'Oat milk' }, 11)), live(base)),
      sent(live(theirs), live(base)),
      sent(gone(mine), live(base)),
      sent(live(mine), gone(base)),
      sent(live(mine), live(done)),
      sent(live(mine)),
      sent(live({ ...mine, id: randomUUID() }), live(base)),
    ].map(({ mark }) => mark)
    expect(new Set(marks).size).toBe(marks.length)
    expect(marks.every((mark) => Number.isSafeInteger(mark))).toBe(true)
    const reordered = (document: Document) =>
      Object.fromEntries(Object.entries(document).reverse()) as Document
    expect(sent(live(reordered(mine)), live(reordered(base))).mark).toBe(marks[0])
  })

  test('is recognized until 32 others have come', () => {
    const edits = Array.from({ length: 33 }, (_, i) =>
      sent(live(edited({ title: `${i}` }, 10 + i)), live(base)),
    )
    const known = applied(live(base), ...edits.slice(0, 32))
    expect(known.taken).toEqual(edits.slice(0, 32).map(({ mark }) => mark))
    for (const edit of edits.slice(0, 32)) expect(decide(known, edit).writes).toEqual([])
    const forgotten = applied(known, edits[32]!)
    expect(forgotten.taken).toEqual(edits.slice(1).map(({ mark }) => mark))
  })

  test('is always recognized if it is a creation, by any clock', () => {
    const created = settle(tasks, { id, title: 'Milk' }, undefined, T(59))
    for (const born of [T(30), '2026-11-22T08:59:00.001Z', '2099-01-01T00:00:00.000Z']) {
      const document = { ...created, created_at: born, updated_at: born }
      const stored = applied(undefined, sent(live(document)))
      expect(stored.document.created_at).toBe(born < NOW ? born : NOW)
      let state: State = { ...stored, deleted: true }
      for (let minute = 1; minute < 40; minute++)
        state = applied(state, sent(gone(edited({}, minute)), state))
      // With an edit since, and much later, when its date is no longer ahead.
      const again = sent(live({ ...document, title: 'Tea', updated_at: T(58) }))
      for (const now of [NOW, '2099-06-01T00:00:00.000Z']) {
        const { writes, losses } = judge(tasks, [again], new Map([[id, state]]), now)
        expect(writes.every(({ deleted }) => deleted)).toBe(true)
        expect(losses[0]).toMatchObject({ cause: 'deletion', lost: { title: 'Tea' } })
      }
    }
  })

  test('derives no order key from a clock that was ahead', () => {
    const ahead = settle(tasks, { id, title: 'Milk' }, undefined, '2099-01-01T00:00:00.000Z')
    const stored = applied(undefined, sent(live(ahead)))
    const { position } = stored.document
    expect(position).toBe(settle(tasks, { id, title: 'Milk' }, undefined, NOW).position)
    const later = { ...ahead, title: 'Tea', updated_at: '2099-01-01T00:00:01.000Z' }
    for (const assumed of [undefined, stored])
      expect(applied(stored, sent(live(later), assumed)).document).toMatchObject({
        title: 'Tea',
        position,
      })
    const placed = { ...later, position: 'a0V' }
    expect(applied(stored, sent(live(placed), stored)).document.position).toBe('a0V')
  })

  test('is recognized after edits without a mark', () => {
    const edit = sent(live(mine), live(base))
    const stored = applied(live(base), edit)
    for (const next of [live(edited({ title: 'Tea' }, 40, mine)), gone(edited({}, 40, mine))])
      expect(applied(stored, row(next, stored)).taken).toEqual([edit.mark])
  })
})

const change = fc.record(
  {
    title: fc.constantFrom('a', 'b', 'c'),
    priority: fc.constantFrom('low', 'medium', 'high'),
    completed: fc.boolean(),
    due_date: fc.constantFrom(null, '2026-12-01', '2026-12-02'),
    labels: fc.subarray(['old', 'a', 'b', 'c', 'd', 'e'], { maxLength: 4 }),
    settings: fc.constantFrom({}, { zoom: 1, on: true }, { on: true, zoom: 1 }),
  },
  { requiredKeys: [] },
)
const version = fc
  .tuple(change, fc.integer({ min: 1, max: 58 }))
  .map(([fields, minute]) => edited(fields, minute))

const state = fc
  .tuple(fc.oneof(fc.constant(base), version), fc.boolean())
  .map(([document, deleted]): State => ({ document, deleted }))

/** A dated row of any kind: a creation, an edit, a deletion or an undeletion. */
const push = fc
  .tuple(
    fc.option(state, { nil: undefined }),
    change,
    fc.integer({ min: 1, max: 58 }),
    fc.boolean(),
  )
  .map(([assumed, fields, minute, deleted]) => {
    const created = settle(tasks, { id, title: 'Milk', ...fields }, undefined, T(minute))
    const document = assumed ? edited(fields, minute, assumed.document) : created
    return sent({ document, deleted }, assumed)
  })

/** What somebody else does to a document without pushing: by REST, or by deleting its category. */
const elsewhere =
  (fields: Partial<Document>) =>
  (state: State): State => {
    const next = {
      ...state,
      document: edited(fields, 30, state.document),
      deleted: 'title' in fields ? !state.deleted : state.deleted,
    }
    return { ...next, changed: changeTimes(tasks, state, next) }
  }

/** By a clock that is ahead of the server's. */
const AHEAD = '2026-11-22T08:59:30.000Z'
/** What happens to a document: a push, or something done elsewhere. */
const step = fc
  .oneof(push, change.map(elsewhere))
  .map((one) => (typeof one === 'function' ? one : (now: State) => applied(now, one)))

describe('merging', () => {
  test('takes the side that changed', () => {
    fc.assert(
      fc.property(version, (x) => {
        const [ours] = decide(live(base), row(live(x), live(base))).writes
        expect(sameFields(tasks, (ours ?? live(base)).document, x)).toBe(true)
        expect(lossesOf(decide(live(x), row(live(base), live(base))))).toEqual([])
      }),
    )
  })

  test('has no second effect for a repeated row', () => {
    fc.assert(
      fc.property(version, version, (ours, other) => {
        const once = decide(live(other), row(live(ours), live(base)))
        const stored = once.writes[0] ?? live(other)
        const twice = decide(stored, row(live(ours), live(base)))
        expect(twice.writes).toEqual([])
        const known = lossesOf(once).map((loss) => JSON.stringify([loss.lost, loss.dated]))
        for (const loss of lossesOf(twice))
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

  test('does not depend on how rows are batched', () => {
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

  test('gives the same result in both orders of arrival, and loses no value', () => {
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
            if (sameIn(tasks, name as string, side, base)) continue
            if (name === 'labels' && ab.losses.every(({ lost }) => !lost.labels)) {
              const added = (side.labels as string[]).filter((one) => one !== 'old')
              expect(ab.document.labels).toEqual(expect.arrayContaining(added))
              continue
            }
            const kept = [ab.document[name], ...ab.losses.map(({ lost }) => lost[name])]
            expect(kept).toContainEqual(side[name])
          }
      }),
    )
  })

  test('has no effect for a repeated batch, whatever others have done in between', () => {
    const seen = { conflicts: 0, tombstones: 0, losses: 0 }
    fc.assert(
      fc.property(
        fc.option(state, { nil: undefined }),
        fc.array(push, { minLength: 1, maxLength: 3 }),
        fc.array(fc.oneof(push, change.map(elsewhere)), { maxLength: 5 }),
        (stored, batch, others) => {
          const first = decide(stored, ...batch)
          let now = first.writes[0] ?? stored!
          for (const other of others)
            now = typeof other === 'function' ? other(now) : applied(now, other)
          const again = decide(now, ...batch)
          expect(again.writes).toEqual([])
          expect(again.losses).toEqual([])
          for (const conflict of again.conflicts) expect(conflict).toBe(now)
          seen.conflicts += again.conflicts.length
          seen.tombstones += now.deleted ? 1 : 0
          seen.losses += lossesOf(first).length
        },
      ),
      { numRuns: 2_000 },
    )
    expect(Object.entries(seen).filter(([, count]) => count === 0)).toEqual([])
  })

  test('changes nothing for a repeated row whose mark was dropped', () => {
    const seen = { conflicts: 0, losses: 0, tombstones: 0, ahead: 0 }
    fc.assert(
      fc.property(
        fc.array(step, { maxLength: 4 }),
        fc.option(fc.nat(4), { nil: undefined }),
        change,
        fc.integer({ min: 1, max: 58 }),
        fc.boolean(),
        fc.boolean(),
        fc.array(step, { maxLength: 6 }),
        fc.nat(40),
        (before, seenAt, fields, minute, deleted, isAhead, after, when) => {
          const states = [live(base)]
          for (const one of before) states.push(one(states.at(-1)!))
          // What the device has seen was stored once, or it has seen nothing.
          const assumed = seenAt === undefined ? undefined : states[seenAt % states.length]!
          const document = assumed
            ? edited(fields, minute, assumed.document)
            : settle(tasks, { id, title: 'Milk', ...fields }, undefined, T(minute))
          const dated = isAhead ? { ...document, updated_at: AHEAD } : document
          const row = sent({ document: dated, deleted }, assumed)
          const fillers = Array.from({ length: 40 }, (_, i) => (now: State) => {
            const next = { ...now, document: edited({ description: `${i}` }, 30, now.document) }
            return applied(now, sent(next, now))
          })
          let now = applied(states.at(-1)!, row)
          for (const one of fillers.toSpliced(when, 0, ...after)) now = one(now)
          expect(now.taken).not.toContain(row.mark)
          const again = judge(tasks, [row], new Map([[id, now]]), T(59))
          const then = again.writes[0] ?? now
          expect(then.deleted).toBe(now.deleted)
          expect(sameFields(tasks, then.document, now.document)).toBe(true)
          seen.conflicts += again.conflicts.length
          seen.losses += lossesOf(again).length
          seen.tombstones += now.deleted ? 1 : 0
          seen.ahead += row.next.updated_at === AHEAD ? 1 : 0
        },
      ),
      {
        numRuns: 1_000,
        // A creation that changed nothing, and is dated later than what was edited since.
        examples: [[[], undefined, {}, 31, false, false, [], 0]],
      },
    )
    expect(Object.entries(seen).filter(([, count]) => count === 0)).toEqual([])
  }, 120_000)

  test('accepts a late first edit, however old, if nobody has changed the field', () => {
    let now = live(base) as State
    for (let i = 0; i < 40; i++)
      now = applied(now, sent(live(edited({ description: `${i}` }, 30, now.document)), now))
    const late = sent(live(edited({ title: 'Oat milk', description: 'mine' }, 10)), live(base))
    const { writes, losses } = decide(now, late)
    expect(writes[0]!.document).toMatchObject({ title: 'Oat milk', description: '39' })
    expect(losses.map(({ lost }) => lost)).toContainEqual({ description: 'mine' })
  })

  const purged = { seq: 5, at: Date.parse(T(20)) }

  test('creates a document later than any purged tombstone, which devices may still have', () => {
    for (const [minute, at] of [
      [10, justAfter(T(20))],
      [30, T(30)],
    ] as const) {
      const { writes } = judge(tasks, [row(live(edited({}, minute)))], new Map(), NOW, { purged })
      expect(writes[0]!.document.updated_at).toBe(at)
    }
  })

  test('deletes no document that was created again, by a deletion from before the purge', () => {
    const late = row(gone(edited({}, 10)), live(base))
    const again = judge(tasks, [row(live(edited({ title: 'Rye' }, 30)))], new Map(), NOW, {
      purged,
    })
    const [state] = again.writes
    expect(decide(state, late).writes).toEqual([])
    const since = row(gone(edited({}, 40, state!.document)), state)
    expect(decide(state, since).writes[0]!.deleted).toBe(true)
  })

  test.for<[what: string, row: Row, isCreated: boolean]>([
    ['an edit of a live document', row(live(mine), live(base)), false],
    ['the deletion of a live document', row(gone(mine), live(base)), false],
    ['a new document', row(live(mine)), true],
    ['the restore of a deleted document', row(live(mine), gone(base)), true],
  ])('creates a document whose tombstone may be purged by %s: %s', ([, one, isCreated]) => {
    const { writes } = judge(tasks, [one], new Map(), NOW, { purged })
    expect(writes).toHaveLength(isCreated ? 1 : 0)
    expect(judge(tasks, [one], new Map(), NOW).writes, 'if none was').toHaveLength(1)
  })

  test('answers an edit of a purged document with a tombstone, and keeps all of it in the journal', () => {
    const { conflicts, losses } = judge(
      tasks,
      [sent(live(edited({ description: 'Rye' }, 10)), live(base)), sent(gone(mine), live(base))],
      new Map(),
      NOW,
      { purged },
    )
    const lost = { title: base.title, description: 'Rye' }
    expect(conflicts).toMatchObject([{ deleted: true, document: { id, title: 'Oat milk' } }])
    expect(lossesOf({ writes: [], conflicts, losses })).toMatchObject([
      { cause: 'deletion', lost, kept: {} },
    ])
  })

  test('takes the later of a deletion and a restore', () => {
    const restored = elsewhere({ title: 'x' })(elsewhere({ title: 'x' })(live(base)))
    expect(restored).toMatchObject({ deleted: false, document: { title: 'x' } })
    for (const [minute, deleted] of [
      [10, undefined],
      [50, true],
    ] as const)
      expect(decide(restored, sent(gone(edited({}, minute)), live(base))).writes[0]!.deleted).toBe(
        deleted ?? false,
      )
  })
})
