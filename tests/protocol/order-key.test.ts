import fc from 'fast-check'
import { generateKeyBetween, generateNKeysBetween } from 'fractional-indexing'
import { describe, expect, test } from 'vitest'
import { orderKeyAt, resources } from '../../protocol/index.ts'

const schema = resources.tasks.document.shape.position
const LONGEST = 200
const SMALLEST_INTEGER = `A${'0'.repeat(26)}`

// The head of these keys counts milliseconds until 2081; before 1970 there was no such document.
const moment = fc
  .date({
    min: new Date(0),
    max: new Date('2081-01-01T00:00:00.000Z'),
    noInvalidDate: true,
  })
  .map((date) => date.toISOString())

const accepts = (key: unknown) => schema.safeParse(key).success

describe('the key of a document that nobody has placed', () => {
  test('is one that the fractional-indexing package can go on from, on both sides', () => {
    fc.assert(
      fc.property(moment, fc.uuid(), (createdAt, id) => {
        const key = orderKeyAt(createdAt, id)
        expect(schema.parse(key)).toBe(key)
        expect(generateKeyBetween(null, key) < key).toBe(true)
        expect(generateKeyBetween(key, null) > key).toBe(true)
      }),
    )
  })

  test('leaves room between it and any other, into which the schema lets keys go', () => {
    const pair = fc.tuple(moment, fc.uuid(), moment, fc.uuid())
    fc.assert(
      fc.property(pair, fc.boolean(), ([atA, idA, atB, idB], wayDown) => {
        const keys = [orderKeyAt(atA, idA), orderKeyAt(atB, idB)].sort()
        fc.pre(keys[0] !== keys[1])
        let [low, high] = keys as [string, string]
        for (let i = 0; i < 20; i++) {
          const between = generateKeyBetween(low, high)
          expect(low < between && between < high && accepts(between)).toBe(true)
          if (wayDown) high = between
          else low = between
        }
      }),
    )
  })

  test('sorts by the time of creation, whatever the ids', () => {
    fc.assert(
      fc.property(moment, fc.uuid(), moment, fc.uuid(), (atA, idA, atB, idB) => {
        fc.pre(atA < atB)
        expect(orderKeyAt(atA, idA) < orderKeyAt(atB, idB)).toBe(true)
      }),
    )
  })

  test('of one millisecond later sorts later, across every carry of a digit', () => {
    const ids = ['00000000-0000-4000-8000-00000fffffff', '00000000-0000-4000-8000-000000000000']
    for (let digits = 1; digits < 7; digits++) {
      const carry = 62 ** digits
      const [before, after] = [carry - 1, carry].map((ms) => new Date(ms).toISOString())
      expect(orderKeyAt(before!, ids[0]!) < orderKeyAt(after!, ids[1]!)).toBe(true)
    }
  })

  test('of two documents of one millisecond differ by their ids', () => {
    const at = '2026-11-22T08:30:00.000Z'
    const keys = ['00000000', '00000001', '0000003e', '0fffffff', '00ffffff'].map((end) =>
      orderKeyAt(at, `0190a5c2-7a4e-7cc3-98c4-dc0c${end}`),
    )
    expect(new Set(keys).size).toBe(keys.length)
  })

  test('is valid before 1970 too', () => {
    const key = orderKeyAt('1969-12-31T23:59:59.999Z', '0190a5c2-7a4e-7cc3-98c4-dc0c0c07398f')
    expect(schema.parse(key)).toBe(key)
    expect(generateKeyBetween(null, key) < key).toBe(true)
  })
})

describe('the schema takes what the fractional-indexing package makes', () => {
  test('appending and prepending thousands, whose integer parts grow and go below zero', () => {
    const above = generateNKeysBetween(null, null, 10_000)
    const below = generateNKeysBetween(null, above[0]!, 10_000)
    expect(new Set([...above, ...below].map((key) => key[0])).size).toBeGreaterThan(4)
    expect([...below, ...above].filter((key) => !accepts(key))).toEqual([])
  })

  test('dividing anywhere, again and again', () => {
    const step = fc.tuple(fc.nat(), fc.integer({ min: 1, max: 5 }))
    fc.assert(
      fc.property(fc.array(step, { maxLength: 60 }), (steps) => {
        const keys: string[] = []
        for (const [place, n] of steps) {
          const at = place % (keys.length + 1)
          keys.splice(at, 0, ...generateNKeysBetween(keys[at - 1], keys[at], n))
        }
        expect(keys.filter((key) => !accepts(key))).toEqual([])
        expect([...keys].sort()).toEqual(keys)
      }),
    )
  })

  test('at both ends of what there is', () => {
    const greatest = `z${'z'.repeat(26)}`
    const ends = [
      generateKeyBetween(null, `${SMALLEST_INTEGER}V`),
      generateKeyBetween(greatest, null),
    ]
    for (const key of [greatest, ...ends]) expect(schema.parse(key)).toBe(key)
  })

  test('up to 200 characters, and with a remedy beyond', () => {
    let low = 'a0'
    const high = 'a1'
    while (low.length <= LONGEST) {
      expect(accepts(low)).toBe(true)
      low = generateKeyBetween(low, high)
    }
    expect(low).toHaveLength(LONGEST + 1)
    expect(schema.safeParse(low).error?.issues.map(({ message }) => message)).toEqual([
      'This key has grown too long. Give the neighbours new keys.',
    ])
  })
})

test.each([
  ['nothing', ''],
  ['a head alone', 'a'],
  ['an integer part cut short', 'b0'],
  ['an integer part cut short, below zero', 'Y0'],
  ['no head', '00'],
  ['a fraction that ends in the lowest digit', 'a00'],
  ['a longer such fraction', 'a0V0'],
  ['the one integer that nothing fits below', SMALLEST_INTEGER],
  ['a character that is no digit', 'a0-'],
  ['a space before', ' a0'],
  ['a newline after', 'a0\n'],
  ['a letter beyond the alphabet', 'a0é'],
  ['a digit of another script', 'a٠'],
  ['a NUL', 'a0\0'],
  ['a number', 1],
  ['null', null],
])('the schema refuses %s, as the package does', (_what, key) => {
  expect(accepts(key)).toBe(false)
  if (typeof key === 'string' && key !== '' && /^[\x20-\x7e]*$/.test(key) && !/[ -]/.test(key))
    expect(() => generateKeyBetween(key, null)).toThrow()
})
