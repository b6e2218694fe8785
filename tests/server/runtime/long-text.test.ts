import { expect, test } from 'vitest'
import { bytesOf, isLong } from '../../../server/runtime/long-text.ts'

test.each([
  ['a short text', 'é'],
  // One of the two is divided within a character.
  ['characters of two units', '😀'.repeat(100_000)],
  ['characters of two units after another', `a${'😀'.repeat(100_000)}`],
  ['half characters', '\ud83d'.repeat(100_000)],
])('%s is encoded as a whole would be', async (_, text) => {
  expect(isLong(text)).toBe(text.length > 1_000)
  expect((await bytesOf(text)).equals(Buffer.from(text))).toBe(true)
})
