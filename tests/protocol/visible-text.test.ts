import { expect, test } from 'vitest'
import { isVisible, resources } from '../../protocol/index.ts'

const { categories, tasks } = resources

test.each([
  ['nothing', ''],
  ['spaces', ' \n\t\u00a0\u3000'],
  ['a zero-width space', '\u200b'],
  ['a zero-width joiner', '\u200d'],
  ['a word joiner', '\u2060'],
  ['a soft hyphen', '\u00ad'],
  ['a byte order mark', '\ufeff'],
  ['a Hangul filler', '\u3164'],
  ['an empty Braille cell', '\u2800'],
  ['a mark of direction', '\u200e'],
  ['a variation selector', '\ufe0f'],
  ['a tag', '\u{e0041}'],
  ['a control character', '\u0007'],
  ['several of them', ' \u200b\u2800\ufe0f '],
])('a title of %s is refused, and so is a name', (_, text) => {
  expect(isVisible(text)).toBe(false)
  for (const { schema } of [tasks.fields.title, categories.fields.name])
    expect(schema.safeParse(text).error?.issues).toMatchObject([{ message: /blank/ }])
})

test.each(['x', '.', 'é', '한', 'ا', '🦷', '👩‍👩‍👧', '❤️', '\u200bx', '\ue000'])(
  'a title of %j is kept as it is',
  (text) => {
    expect(isVisible(text)).toBe(true)
    expect(tasks.fields.title.schema.parse(text)).toBe(text)
  },
)
