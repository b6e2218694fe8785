import { randomUUID } from 'node:crypto'
import { expect, test } from 'vitest'
import { type PushRow, resources } from '../../../protocol/index.ts'
import { MAX_REFUSED, MAX_REFUSED_CHARACTERS } from '../../../server/sync/refusals.ts'
import { push } from '../../../server/sync/replicate.ts'
import { memoryStore } from '../../support/memory-store.ts'

const { tasks, conflicts } = resources
const NOW = '2026-11-22T08:00:00.000Z'

/** A person whose every row is refused. */
function aPerson() {
  const store = memoryStore()
  const user = randomUUID()
  store.addUser(user)
  const entries = () => store.changes(user, conflicts, 0, 100_000)
  return {
    async sends(...titles: string[]): Promise<PushRow[]> {
      const rows = titles.map((title) => ({
        newDocumentState: { id: randomUUID(), title, mood: 'bad' },
      }))
      await push(store, { user, session: user }, tasks, rows, NOW)
      return rows
    },
    repeats: (rows: PushRow[]) => push(store, { user, session: user }, tasks, rows, NOW),
    live: async () =>
      (await entries())
        .filter(({ deleted }) => !deleted)
        .map(({ document }) => (document.lost as { title: string }).title),
    size: async () => JSON.stringify(await entries()).length,
    dropped: async () => (await entries()).filter(({ deleted }) => deleted),
  }
}

const numbered = (from: number, count: number) =>
  Array.from({ length: count }, (_, i) => `${from + i}`)

test('the journal keeps the latest rejected rows, as many as one push may have', async () => {
  const ann = aPerson()
  await ann.sends(...numbered(0, 1_000))
  expect(await ann.live()).toEqual(numbered(0, MAX_REFUSED))
  const [row] = await ann.sends('one more', 'and another')
  expect(await ann.live()).toEqual([...numbered(2, MAX_REFUSED - 2), 'one more', 'and another'])
  await ann.repeats([row!])
  expect(await ann.dropped()).toHaveLength(2)
})

test('the journal is limited in characters too, and dropped entries are emptied', async () => {
  const ann = aPerson()
  const long = (letter: string) => letter.repeat(MAX_REFUSED_CHARACTERS / 3)
  for (const letter of 'abcd') await ann.sends(long(letter))
  expect((await ann.live()).map((title) => title[0])).toEqual(['c', 'd'])
  expect(await ann.dropped()).toMatchObject([
    { document: { lost: {}, lost_json: null, errors: {} } },
    { document: { lost: {}, lost_json: null, errors: {} } },
  ])
  for (let i = 0; i < 50; i++) await ann.sends(`${i}${long('e')}`)
  expect(await ann.size()).toBeLessThan(MAX_REFUSED_CHARACTERS * 1.1)
})

test('a dropped row is journaled again when it is rejected again', async () => {
  const ann = aPerson()
  const rows = await ann.sends('first')
  await ann.sends(...numbered(0, 1_000))
  expect(await ann.live()).not.toContain('first')
  await ann.repeats(rows)
  expect(await ann.live()).toContain('first')
})

test('the same long value rejected twice is one loss, and another one is another', async () => {
  const ann = aPerson()
  const long = 'x'.repeat(100_000)
  const rows = await ann.sends(long)
  await ann.repeats(rows)
  const { newDocumentState } = rows[0]!
  await ann.repeats([{ newDocumentState: { ...newDocumentState, title: `${long.slice(1)}y` } }])
  expect((await ann.live()).map((title) => title.at(-1))).toEqual(['x', 'y'])
})
