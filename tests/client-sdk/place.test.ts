import fc from 'fast-check'
import { generateKeyBetween } from 'fractional-indexing'
import { describe, expect, test } from 'vitest'
import { keysAt, MAX_KEY, type Placed } from '../../client-sdk/local/place.ts'
import { orderKeyAt, resources } from '../../protocol/index.ts'

const { position: schema } = resources.tasks.document.shape

/** As lists show them. */
const inOrder = (tasks: Iterable<Placed>) =>
  [...tasks].sort((a, b) => {
    const [x, y] = a.position === b.position ? [a.id, b.id] : [a.position, b.position]
    return x < y ? -1 : 1
  })

/** The tasks of a person, moved as `client.tasks.move` does it. */
class List {
  readonly keys: Map<string, string>
  /** How many neighbours have got new keys. */
  rewritten = 0

  constructor(keys: readonly string[]) {
    this.keys = new Map(keys.map((key, i) => [String(i).padStart(4, '0'), key]))
  }

  order(): string[] {
    return this.placed().map(({ id }) => id)
  }

  move(id: string, anchor: string, isAfter: boolean): void {
    const rest = this.placed().filter((one) => one.id !== id)
    const place = rest.findIndex((one) => one.id === anchor) + (isAfter ? 1 : 0)
    for (let limit = 1; ; limit *= 4) {
      const before = rest.slice(0, place).reverse()
      const after = rest.slice(place)
      const keys = keysAt(
        id,
        { nearest: before.slice(0, limit), isWhole: before.length <= limit },
        { nearest: after.slice(0, limit), isWhole: after.length <= limit },
      )
      if (!keys) continue
      for (const [one, key] of keys) this.keys.set(one, key)
      this.rewritten += keys.size - 1
      const expected = rest.map((one) => one.id).toSpliced(place, 0, id)
      expect(this.order()).toEqual(expected)
      for (const key of keys.values()) expect(schema.safeParse(key).success).toBe(true)
      return
    }
  }

  longest(): number {
    return Math.max(...[...this.keys.values()].map((key) => key.length))
  }

  private placed(): Placed[] {
    return inOrder([...this.keys].map(([id, position]) => ({ id, position })))
  }
}

/** Keys as devices and REST clients come to make them: derived, long, equal, at the ends. */
const long = (length: number) => {
  let [low, high] = ['a0', 'a1']
  while (low.length < length) [low, high] = [generateKeyBetween(low, high), high]
  return low
}
const LONGEST = [long(199), long(200)]
const derived = fc
  .tuple(fc.integer({ min: 1, max: 9 }), fc.uuid())
  .map(([ms, id]) => orderKeyAt(new Date(ms).toISOString(), id))
const anyKey = fc.oneof(
  fc.constantFrom('a0', 'a1', 'a0V', 'Zz', ...LONGEST),
  fc.constantFrom(`A${'0'.repeat(25)}1`, `A${'0'.repeat(26)}V`, `z${'z'.repeat(26)}`),
  derived,
)

describe('a move', () => {
  test('ends at the right place with any keys, and moves nothing else', () => {
    const moves = fc.array(fc.tuple(fc.nat(), fc.nat(), fc.boolean()), { maxLength: 12 })
    fc.assert(
      fc.property(fc.array(anyKey, { minLength: 2, maxLength: 12 }), moves, (keys, all) => {
        const list = new List(keys)
        for (const [from, to, isAfter] of all) {
          const [id, anchor] = [list.order()[from % keys.length]!, list.order()[to % keys.length]!]
          if (id !== anchor) list.move(id, anchor, isAfter)
        }
      }),
      { numRuns: 500 },
    )
  })

  test.each([
    ['after the first', '0000', true],
    ['before the second', '0001', false],
  ])('between two equal keys changes one of them: %s', (_where, anchor, isAfter) => {
    const list = new List(['a1', 'a1', 'a5'])
    list.move('0002', anchor, isAfter)
    expect(list.order()).toEqual(['0000', '0002', '0001'])
    expect(list.rewritten).toBe(1)
  })

  test('with enough room changes no other task', () => {
    const list = new List(['a0', 'a1', 'a2'])
    list.move('0002', '0000', true)
    expect(list.rewritten).toBe(0)
  })

  test.each<[string, (round: number) => [id: string, anchor: string, isAfter: boolean]]>([
    ['right after one', (round) => [`000${1 + (round % 2)}`, '0000', true]],
    ['right before one', (round) => [`000${1 + (round % 2)}`, '0003', false]],
    ['by turns', (round) => [`000${1 + (round % 2)}`, `000${2 - (round % 2)}`, round % 4 < 2]],
    ['to the front', (round) => [`000${round % 4}`, `000${(round + 3) % 4}`, false]],
  ])(
    'thousands of times into one gap keeps keys short, and seldom changes others: %s',
    (_, next) => {
      const at = '2026-11-22T08:00:00.000Z'
      const ids = ['1', '2', '3', '4'].map((n) => `0190a5c2-7a4e-7cc3-98c4-dc0c0000000${n}`)
      const list = new List(ids.map((id) => orderKeyAt(at, id)))
      for (let round = 0; round < 5_000; round++) list.move(...next(round))
      expect(list.longest()).toBeLessThanOrEqual(MAX_KEY)
      expect(list.rewritten).toBeLessThan(250)
    },
  )

  test('shortens keys of the maximum length', () => {
    const list = new List([...LONGEST, 'a1'])
    list.move('0002', '0000', true)
    expect(list.order()).toEqual(['0000', '0002', '0001'])
  })
})
