import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import * as z from 'zod'
import { createJsonScan } from '../../../server/http/json-scan.ts'
import { parseBody } from '../../../server/http/parse-body.ts'

const MAX = 100

/** What a body of a list is, that arrives in pieces of this size. */
function read(text: string, element: z.ZodType = z.unknown(), size = 3) {
  const scan = createJsonScan(100_000)
  const bytes = Buffer.from(text)
  const kept: Buffer[] = []
  for (let i = 0; i < bytes.length; i += size) kept.push(...scan.next(bytes.subarray(i, i + size)))
  const body = {
    name: 'Many',
    schema: z.array(element).max(MAX),
    elements: { schema: element, isPlain: () => false, max: MAX },
    examples: {},
  }
  return parseBody(body, { bytes: Buffer.concat(kept), commas: scan.commas() })
}

const aList = fc.array(fc.jsonValue({ maxDepth: 4 }), { maxLength: 5 })
const INDENTS = [undefined, 1, '\t']

describe('a list', () => {
  test('is parsed like a whole', async () => {
    await fc.assert(
      fc.asyncProperty(aList, fc.constantFrom(...INDENTS), async (list, indent) => {
        const text = JSON.stringify(list, undefined, indent)
        expect(await read(text)).toEqual(JSON.parse(text))
        expect(await read(`\ufeff ${text}\n`)).toEqual(JSON.parse(text))
      }),
    )
  })

  test('that is not JSON is refused, and only then', async () => {
    const anEdit = fc.record({
      at: fc.nat(),
      length: fc.nat({ max: 2 }),
      by: fc.constantFrom('', ',', '[', ']', '{', '}', '"', '1', '],[', ' ', '\ufeff'),
    })
    await fc.assert(
      fc.asyncProperty(aList, anEdit, async (list, { at, length, by }) => {
        const whole = JSON.stringify(list)
        const from = at % (whole.length + 1)
        const text = whole.slice(0, from) + by + whole.slice(from + length)
        const expected = jsonOf(text)
        if (text.startsWith('\ufeff')) return
        if (expected === 'malformed')
          await expect(read(text)).rejects.toMatchObject({ code: 'malformed' })
        else if (Array.isArray(expected.json)) expect(await read(text)).toEqual(expected.json)
        else await expect(read(text)).rejects.toMatchObject({ code: 'invalid' })
      }),
      { numRuns: 2_000 },
    )
  })

  test.each([
    ['an element that is wrong', '[1,2,"three",4]', '2', /^Use a number\.$/],
    ['more elements than there may be', JSON.stringify(Array(101).fill(1)), '', /at most 100/],
    ['no list', '{"a":1,"b":2}', '', /^Use a list\.$/],
  ])('is refused by name: %s', async (_, text, name, message) => {
    await expect(read(text, z.number())).rejects.toMatchObject({
      code: 'invalid',
      errors: { [name]: [expect.stringMatching(message)] },
    })
  })
})

function jsonOf(text: string) {
  try {
    return { json: JSON.parse(text) }
  } catch {
    return 'malformed' as const
  }
}
