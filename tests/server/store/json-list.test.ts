import { expect, test } from 'vitest'
import { jsonList } from '../../../server/store/json-list.ts'

test.each([
  ['nothing', []],
  ['few short texts', ['a', 'b']],
  ['one long text', ['é'.repeat(70_000)]],
  ['a long text between short ones', ['a', '😀"\\'.repeat(30_000), 'b']],
  ['many texts', Array.from({ length: 5_000 }, (_, n) => `Task ${n} – über alles`)],
])('%s become a JSON array, whether text or bytes', async (_, items) => {
  const list = await jsonList(items, (item) => JSON.stringify(item))
  expect(JSON.parse(String(list))).toEqual(items)
  expect(typeof list === 'string').toBe(JSON.stringify(items).length < 64 * 1024)
})
