import { randomUUID } from 'node:crypto'
import { expect, test } from 'vitest'
import { resources, settle, type WireDocument } from '../../../protocol/index.ts'
import { LIMITS } from '../../../server/sync/limits.ts'
import { push } from '../../../server/sync/replicate.ts'
import { memoryStore } from '../../support/memory-store.ts'

const { tasks, conflicts } = resources
const at = (second: number) => new Date(Date.UTC(2026, 10, 22, 8, 0, second)).toISOString()

/** A person with a task that has been renamed since devices saw it, so that every rename of theirs loses. */
async function aPerson() {
  const store = memoryStore(LIMITS)
  const user = randomUUID()
  store.addUser(user)
  const pushes = (rows: readonly object[], now = at(2_000)) =>
    push(store, { user, session: user }, tasks, rows as [], now)
  const addTask = async () => {
    const seen = settle(tasks, { id: randomUUID(), title: 'Milk' }, undefined, at(0))
    const renamed = { ...seen, title: 'Oat milk', updated_at: at(1_000) }
    await pushes([{ newDocumentState: seen }], at(0))
    await pushes([{ newDocumentState: renamed, assumedMasterState: seen }], at(1_000))
    return seen
  }
  const entriesOf = async (id: unknown) =>
    (await store.changes(user, conflicts, 0, 100_000)).filter(
      ({ document }) => document.document_id === id,
    )
  const rename = (seen: object, nth: number, fields = {}) => ({
    newDocumentState: { ...seen, title: `Rename ${nth}`, updated_at: at(nth), ...fields },
    assumedMasterState: seen as WireDocument,
  })
  return {
    store,
    user,
    pushes,
    addTask,
    rename,
    entriesOf,
    async keptOf(id: unknown) {
      const live = (await entriesOf(id)).filter(({ deleted }) => !deleted)
      return live.map(({ document }) => (document.lost as { title: string }).title)
    },
  }
}

const titles = (from: number, to: number) =>
  Array.from({ length: to - from + 1 }, (_, i) => `Rename ${from + i}`)

test('the journal keeps the last 20 entries of a document, and of each document', async () => {
  const ann = await aPerson()
  const [one, other] = [await ann.addTask(), await ann.addTask()]
  await ann.pushes([ann.rename(other, 1)])
  for (let nth = 1; nth <= 25; nth++) await ann.pushes([ann.rename(one, nth)])
  expect(await ann.keptOf(one.id)).toEqual(titles(6, 25))
  expect(await ann.keptOf(other.id)).toEqual(['Rename 1'])
  const dropped = (await ann.entriesOf(one.id)).filter(({ deleted }) => deleted)
  expect(dropped).toHaveLength(5)
  for (const { document } of dropped) expect(document).toMatchObject({ lost: {}, kept: {} })
})

test('an entry that was dropped does not come back when its edit is pushed again', async () => {
  const ann = await aPerson()
  const task = await ann.addTask()
  const rows = Array.from({ length: 40 }, (_, i) => [ann.rename(task, i + 1)])
  for (const row of rows) await ann.pushes(row)
  const kept = await ann.keptOf(task.id)
  // The first edits are not among the last 32, which a document remembers.
  for (const row of rows) await ann.pushes(row)
  expect(await ann.keptOf(task.id)).toEqual(kept)
})

test('2,000 losing edits of one task leave no more than the pushes did entries', async () => {
  const ann = await aPerson()
  const task = await ann.addTask()
  for (let first = 1; first <= 2_000; first += 1_000)
    await ann.pushes(
      Array.from({ length: 1_000 }, (_, i) =>
        ann.rename(task, 1, { title: `Rename ${first + i}`, updated_at: at((first + i) / 10) }),
      ),
    )
  expect(await ann.keptOf(task.id)).toEqual(titles(1_981, 2_000))
  expect(await ann.entriesOf(task.id)).toHaveLength(2 * 20)
})

test('only a row that lands leaves a placeholder for what it refers to', async () => {
  const ann = await aPerson()
  const task = await ann.addTask()
  const [lost, refused, landed] = [randomUUID(), randomUUID(), randomUUID()]
  // The category of this edit loses too, to a later one.
  const { rename, store, user } = ann
  const filed = { ...task, category_id: null, updated_at: at(1_500) }
  await ann.pushes([
    { newDocumentState: { ...filed, category_id: landed }, assumedMasterState: task },
    rename(task, 1, { category_id: lost }),
    { newDocumentState: { id: randomUUID(), title: 'x', category_id: refused, mood: 'bad' } },
  ])
  const isPlaceheld = (category_id: string) =>
    store
      .transaction(user, (tx) =>
        tx.write(tasks, [
          {
            deleted: false,
            document: settle(tasks, { ...task, id: randomUUID(), category_id }, undefined, at(0)),
          },
        ]),
      )
      .then(
        () => true,
        () => false,
      )
  expect(await Promise.all([landed, lost, refused].map(isPlaceheld))).toEqual([true, false, false])
})
