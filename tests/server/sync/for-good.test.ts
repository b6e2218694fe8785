import { randomUUID } from 'node:crypto'
import { describe, expect, test } from 'vitest'
import {
  blanked,
  type Document,
  isBlank,
  type Resource,
  resources,
  settle,
} from '../../../protocol/index.ts'
import { deleteForGood } from '../../../server/sync/for-good.ts'
import { restoreLoss } from '../../../server/sync/journal.ts'
import { push } from '../../../server/sync/replicate.ts'
import { memoryStore } from '../../support/memory-store.ts'

const { tasks, categories, conflicts } = resources
const T = (minute: number) => `2026-11-22T08:${String(minute).padStart(2, '0')}:00.000Z`
const NOW = T(59)

interface State {
  document: Document
  deleted: boolean
}
const live = (document: Document): State => ({ document, deleted: false })
const gone = (document: Document): State => ({ document, deleted: true })
const wire = ({ document, deleted }: State) => ({ ...document, _deleted: deleted })
const edited = (from: Document, fields: object, minute: number) =>
  settle(tasks, { ...from, ...fields, updated_at: T(minute) }, from, NOW)
const emptied = (from: Document, minute: number) =>
  gone(settle(tasks, { ...blanked(tasks, from), updated_at: T(minute) }, from, NOW))
/** The base of a device that has deleted the document for good: only its dates are left. */
const undone = ({ document, deleted }: State): State => ({
  document: { ...document, ...tasks.blank },
  deleted,
})

async function aPerson() {
  const store = memoryStore()
  const user = randomUUID()
  store.addUser(user)
  const party = { user, session: user }
  const milk = settle(
    tasks,
    { id: randomUUID(), title: 'Milk', description: 'From the farm', position: 'a0' },
    undefined,
    T(0),
  )
  const pushes = (next: State, assumed?: State, now = NOW) =>
    push(
      store,
      party,
      tasks,
      [
        {
          newDocumentState: wire(next),
          ...(assumed && { assumedMasterState: wire(assumed) }),
        },
      ],
      now,
    )
  await pushes(live(milk), undefined, T(0))
  return {
    store,
    party,
    milk,
    pushes,
    stored: async () => (await store.read(user, tasks, [milk.id])).get(milk.id)!,
    journal: async () =>
      (await store.changes(user, conflicts, 0, 1_000)).filter(({ deleted }) => !deleted),
    everything: async () => JSON.stringify(await store.frame(user, 0)),
    deletes: (ifSeq?: number[], minute = 30) =>
      deleteForGood(store, user, tasks, { id: milk.id, ifSeq, now: T(minute) }),
  }
}

type Person = Awaited<ReturnType<typeof aPerson>>

interface Case {
  name: string
  /** What reaches the server, in this order. */
  pushed: (milk: Document) => (readonly [next: State, assumed?: State])[]
  /** What the journal has then. */
  lost?: readonly object[]
  /** By default the document is deleted for good. */
  title?: string
}

const oat = (milk: Document, minute = 10) => edited(milk, { title: 'Oat milk' }, minute)
const cases: Case[] = [
  {
    name: 'a device that has seen all',
    pushed: (milk) => [[emptied(milk, 20), live(milk)]],
  },
  {
    name: 'one that has dropped the base',
    pushed: (milk) => [[emptied(milk, 20), undone(live(milk))]],
  },
  {
    name: 'one that knows no base, because it has created the document',
    pushed: (milk) => [[emptied(milk, 20)]],
  },
  {
    name: 'the same again',
    pushed: (milk) => [
      [emptied(milk, 20), live(milk)],
      [emptied(milk, 20), undone(live(milk))],
    ],
  },
  {
    name: 'from the trash',
    pushed: (milk) => [
      [gone(edited(milk, {}, 10)), live(milk)],
      [emptied(edited(milk, {}, 10), 20), undone(gone(edited(milk, {}, 10)))],
    ],
  },
  {
    name: 'over an edit that it has not seen',
    pushed: (milk) => [
      [live(oat(milk)), live(milk)],
      [emptied(milk, 20), live(milk)],
    ],
    lost: [{ title: 'Oat milk' }],
  },
  {
    name: 'over such an edit, without the base',
    pushed: (milk) => [
      [live(oat(milk)), live(milk)],
      [emptied(milk, 20), undone(live(milk))],
    ],
    lost: [{ title: 'Oat milk' }],
  },
  {
    name: 'over an edit that is later',
    pushed: (milk) => [
      [live(oat(milk, 40)), live(milk)],
      [emptied(milk, 20), undone(live(milk))],
    ],
    lost: [{ title: 'Oat milk' }],
  },
  {
    name: 'over an edit that has cleared a field',
    pushed: (milk) => [
      [live(edited(milk, { description: '' }, 10)), live(milk)],
      [emptied(milk, 20), undone(live(milk))],
    ],
  },
  {
    name: 'before an edit that has not seen it',
    pushed: (milk) => [
      [emptied(milk, 20), live(milk)],
      [live(oat(milk, 40)), live(milk)],
    ],
    lost: [{ title: 'Oat milk' }],
  },
  {
    name: 'before an edit and a deletion that have not seen it',
    pushed: (milk) => [
      [emptied(milk, 20), live(milk)],
      [gone(oat(milk, 40)), live(milk)],
    ],
    lost: [{ title: 'Oat milk' }],
  },
  {
    name: 'before two such edits',
    pushed: (milk) => [
      [emptied(milk, 20), live(milk)],
      [live(oat(milk, 40)), live(milk)],
      [live(edited(milk, { description: 'Half a litre' }, 41)), live(milk)],
    ],
    lost: [{ title: 'Oat milk' }, { description: 'Half a litre' }],
  },
  {
    name: 'before a deletion that has not seen it',
    pushed: (milk) => [
      [emptied(milk, 20), live(milk)],
      [gone(edited(milk, {}, 40)), live(milk)],
    ],
  },
  {
    name: 'before a deletion by somebody who pushes everything without a base',
    pushed: (milk) => [[emptied(milk, 20), live(milk)], [gone(edited(milk, {}, 40))]],
  },
  {
    name: 'before an edit that clears a field',
    pushed: (milk) => [
      [emptied(milk, 20), live(milk)],
      [live(edited(milk, { description: '' }, 40)), live(milk)],
    ],
  },
  {
    name: 'before a later restore of a tombstone with its text',
    pushed: (milk) => {
      const trashed = gone(edited(milk, {}, 10))
      return [
        [trashed, live(milk)],
        [emptied(trashed.document, 20), trashed],
        [live(edited(trashed.document, {}, 40)), trashed],
      ]
    },
  },
  {
    name: 'after a later restore that it has not seen',
    pushed: (milk) => {
      const trashed = gone(edited(milk, {}, 10))
      return [
        [trashed, live(milk)],
        [live(edited(trashed.document, {}, 40)), trashed],
        [emptied(trashed.document, 20), undone(trashed)],
      ]
    },
    title: 'Milk',
  },
  {
    name: 'and created again',
    pushed: (milk) => {
      const again = { id: milk.id, title: 'Cheese', created_at: T(50) }
      return [[emptied(milk, 20), live(milk)], [live(settle(tasks, again, undefined, NOW))]]
    },
    title: 'Cheese',
  },
  {
    name: 'by a device that has not seen that it was created again',
    pushed: (milk) => {
      const again = { id: milk.id, title: 'Cheese', created_at: T(50) }
      return [
        [gone(edited(milk, {}, 10)), live(milk)],
        [live(settle(tasks, again, undefined, T(50)))],
        [emptied(milk, 58), undone(live(milk))],
      ]
    },
    lost: [{ title: 'Cheese' }],
  },
]

describe('a device deletes a task for good', () => {
  test.each(cases)('$name', async ({ pushed, lost = [], title = '' }) => {
    const ann = await aPerson()
    for (const [next, assumed] of pushed(ann.milk)) await ann.pushes(next, assumed)
    const stored = await ann.stored()
    expect(stored).toMatchObject({ deleted: title === '', document: { title } })
    expect((await ann.journal()).map(({ document }) => document.lost)).toEqual(lost)
    if (title !== '') return
    expect(isBlank(tasks, stored.document)).toBe(true)
    expect(stored.document.position).not.toBe('a0')
    expect(await ann.everything()).not.toMatch(/Milk|farm/)
  })

  test('what the journal has of it is dropped, and of nothing else', async () => {
    const ann = await aPerson()
    await loses(ann)
    // A category may have the same id.
    const shop = settle(categories, { id: ann.milk.id, name: 'Shop' }, undefined, T(0))
    for (const [name, minute] of [
      ['Shop', 0],
      ['Market', 2],
      ['Kiosk', 1],
    ] as const) {
      const newDocumentState = { ...shop, name, updated_at: T(minute) }
      const assumed = minute > 0 && { assumedMasterState: { ...shop, _deleted: false } }
      await push(ann.store, ann.party, categories, [{ newDocumentState, ...assumed }], NOW)
    }
    expect(await ann.journal()).toHaveLength(2)
    const { document } = await ann.stored()
    await ann.pushes(emptied(document, 20), live(document))
    expect(await ann.journal()).toMatchObject([{ document: { lost: { name: 'Kiosk' } } }])
    expect(await ann.everything()).not.toMatch(/milk/i)
  })

  test.each<[string, object, object]>([
    ['an edit', { title: '' }, { title: ['Enter some text; this is blank.'] }],
    ['an edit of all fields', tasks.blank, { title: ['Enter some text; this is blank.'] }],
    [
      'a deletion of one with text',
      { title: '', _deleted: true },
      { title: ['Enter some text; this is blank.'] },
    ],
  ])('%s has no blank title', async (_what, fields, errors) => {
    const ann = await aPerson()
    const newDocumentState = { ...ann.milk, ...fields }
    const { rejected } = await push(ann.store, ann.party, tasks, [{ newDocumentState }], NOW)
    expect(rejected).toEqual([{ id: ann.milk.id, code: 'invalid', errors }])
  })
})

describe('a REST client deletes a task for good', () => {
  test('a live one, one in the trash, and again', async () => {
    const ann = await aPerson()
    await loses(ann)
    const seen = (await ann.stored()).seq
    expect(await ann.deletes([seen + 1])).toMatchObject({ outcome: 'precondition_failed' })
    expect(await ann.deletes([seen])).toEqual({ outcome: 'deleted' })
    expect(await ann.journal()).toEqual([])
    const first = await ann.stored()
    const { id, created_at } = ann.milk
    const document = { id, created_at, updated_at: T(30), title: '', completed: false }
    expect(first).toMatchObject({ deleted: true, document })
    expect(first.changed).toMatchObject({ title: Date.parse(T(30)), _deleted: Date.parse(T(30)) })
    // The journal keeps what another device had typed, until it is deleted for good once more.
    await ann.pushes(live(oat(ann.milk, 40)), live(ann.milk))
    expect(await ann.journal()).toMatchObject([{ document: { lost: { title: 'Oat milk' } } }])
    expect(await ann.deletes()).toEqual({ outcome: 'deleted' })
    expect(await ann.journal()).toEqual([])
    expect((await ann.stored()).document).toEqual(first.document)
  })

  test('what it has not seen can be restored from the journal if it is whole', async () => {
    const ann = await aPerson()
    await ann.deletes()
    await ann.pushes(live(edited(ann.milk, { description: 'Half a litre' }, 40)), live(ann.milk))
    const [part] = await ann.journal()
    expect(await restoreLoss(ann.store, ann.party, part!.document.id, NOW)).toEqual({
      outcome: 'invalid',
      errors: { title: ['Required.'] },
    })
    await ann.pushes(live(oat(ann.milk, 41)), live(ann.milk))
    const [, title] = await ann.journal()
    await restoreLoss(ann.store, ann.party, title!.document.id, NOW)
    const { document, deleted } = await ann.stored()
    expect(deleted).toBe(false)
    expect(document).toMatchObject({ title: 'Oat milk', description: '' })
    expect(await ann.journal()).toHaveLength(2)
  })
})

/** One edit of the task that has lost to another. */
async function loses({ pushes, milk }: Person): Promise<void> {
  await pushes(live(edited(milk, { title: 'Soy milk', completed: true }, 12)), live(milk))
  await pushes(live(oat(milk)), live(milk))
}

test.each(Object.values<Resource>(resources))(
  '$name has blank values that can be stored',
  (resource) => {
    const { blank, neverBlank, writable, required } = resource
    const kinds = writable
      .filter((name) => !(name in blank))
      .map((name) => resource.fields[name]!.kind)
    expect(new Set(kinds)).toEqual(kinds.length > 0 ? new Set(['order_key']) : new Set())
    expect(required).toEqual(expect.arrayContaining([...neverBlank]))
    for (const name of neverBlank)
      expect(resource.fields[name]!.schema.safeParse(blank[name]).success).toBe(false)
  },
)
