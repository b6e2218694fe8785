import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { canonical } from '../../protocol/canonical.ts'
import {
  choice,
  day,
  type Field,
  flag,
  instant,
  number,
  record,
  reference,
  set,
  text,
  time,
  uuid,
  wholeNumber,
} from '../../protocol/field.ts'
import {
  type ChangeTimes,
  canonicalJson,
  type Document,
  isStorable,
  type Kind,
  leastValue,
  merge,
  sameIn,
  sameValue,
} from '../../protocol/index.ts'
import { kinds, mergeValues } from '../../protocol/kinds.ts'
import { orderKey, orderKeyAt } from '../../protocol/order-key.ts'
import { defineResource } from '../../protocol/resource.ts'

const NOW = '2026-11-22T12:00:00.000Z'

/** A field of each kind. */
const FIELDS: Record<Kind, Field> = {
  text: text('', { max: 100 }),
  choice: choice('', ['low', 'high']),
  day: day(''),
  time: time(''),
  instant: instant(''),
  flag: flag(''),
  whole_number: wholeNumber('', { min: -9, max: 9 }),
  number: number(''),
  reference: reference('', { to: 'tasks', on_delete: 'cascade' }),
  uuid: uuid(''),
  set: set('', { max: 6, maxLength: 9 }),
  record: record('', { max: 2_000 }),
  order_key: orderKey(''),
}

const aText = fc.string({ unit: 'binary', maxLength: 6 }).filter(isStorable)
const aMoment = fc.date({
  min: new Date('0001-01-02T00:00:00Z'),
  max: new Date('9999-12-30T00:00:00Z'),
  noInvalidDate: true,
})
const anId = fc.uuid().filter((id) => !/^(0|f)\1*(-\1+)+$/.test(id))
const inEitherCase = (id: string) => fc.constantFrom(id, id.toUpperCase())
const aSet = fc.array(fc.constantFrom('a', 'b', 'c', 'd', 'é'), { maxLength: 6 })
const aRecord = fc.dictionary(
  fc.oneof(
    aText,
    fc.constantFrom('a', 'b', 'aa', '10', '9', '__proto__', '\u{1f600}a', '\uff01\u00e9'),
  ),
  fc.jsonValue({ maxDepth: 2, noUnicodeString: false }).filter((value) => isPlain(value)),
  { maxKeys: 4 },
)
const isPlain = (value: unknown) =>
  isStorable(JSON.stringify(value).replaceAll(/\\u0000|\\ud[89a-f]../gi, '\0'))

/** Values as clients write them, in whatever form is understood. */
const VALUES: Record<Kind, fc.Arbitrary<unknown>> = {
  text: aText,
  choice: fc.constantFrom('low', 'high'),
  day: aMoment.map((date) => date.toISOString().slice(0, 10)),
  time: aMoment.map((date) => date.toISOString().slice(11, 16)),
  instant: aMoment.chain((date) =>
    fc.constantFrom(
      date.toISOString(),
      date.toISOString().replace(/Z$/, '+00:00'),
      date.toISOString().replace(/\.000Z$/, 'Z'),
    ),
  ),
  flag: fc.boolean(),
  whole_number: fc.constantFrom(-9, -1, -0, 0, 1, 9),
  number: fc.double({ noNaN: true, noDefaultInfinity: true }),
  reference: anId.chain(inEitherCase),
  uuid: anId.chain(inEitherCase),
  set: aSet,
  record: aRecord,
  order_key: fc.tuple(aMoment, anId).map(([date, id]) => orderKeyAt(date.toISOString(), id)),
}

/** Equal values are likely, in the same form and in others. */
const pairOf = (kind: Kind) =>
  fc.oneof(
    fc.tuple(VALUES[kind], VALUES[kind]),
    VALUES[kind].map((value) => [value, again(value)] as [unknown, unknown]),
  )

/** The same value, said in another way. */
function again(value: unknown): unknown {
  if (Array.isArray(value)) return [...value].reverse()
  if (typeof value === 'object' && value !== null)
    return Object.fromEntries(Object.entries(value).reverse())
  return value
}

const json = (value: unknown) => JSON.stringify(value)

describe.each(Object.keys(kinds) as Kind[])('values of the kind %s', (kind) => {
  const field = FIELDS[kind]
  const parse = (value: unknown) => field.schema.parse(value)

  test('that are plain are what the schema gives for them', () => {
    const plain = new Set<boolean>()
    fc.assert(
      fc.property(fc.oneof(VALUES[kind], fc.anything()), (value) => {
        const isPlain = field.isPlain?.(value) ?? false
        plain.add(isPlain)
        if (isPlain) expect(parse(value)).toEqual(value)
      }),
    )
    expect(plain.has(true)).toBe(kind !== 'record')
  })

  test('have one canonical form, which the schema gives', () => {
    fc.assert(
      fc.property(VALUES[kind], (value) => {
        const once = canonical(field, value)
        expect(json(canonical(field, once))).toBe(json(once))
        expect(json(parse(value))).toBe(json(once))
        expect(json(parse(once))).toBe(json(once))
      }),
    )
  })

  test('are equal where their canonical JSON is, and only there', () => {
    fc.assert(
      fc.property(pairOf(kind), ([a, b]) => {
        const texts = json(canonical(field, a)) === json(canonical(field, b))
        expect(sameValue(field, a, b)).toBe(texts)
        expect(sameValue(field, b, a)).toBe(texts)
        expect(sameValue(field, a, JSON.parse(json(a)))).toBe(true)
        expect(sameValue(field, a, null)).toBe(false)
      }),
    )
  })

  test('are equal like things that are equal: each to itself, and over a third', () => {
    fc.assert(
      fc.property(pairOf(kind), VALUES[kind], ([a, b], c) => {
        expect(sameValue(field, a, a)).toBe(true)
        for (const [x, y, z] of [
          [a, b, c],
          [a, c, b],
          [b, a, again(a)],
        ])
          if (sameValue(field, x, y) && sameValue(field, y, z))
            expect(sameValue(field, x, z)).toBe(true)
      }),
    )
  })

  test('merge alike from both sides, to a value of the kind', () => {
    fc.assert(
      fc.property(VALUES[kind], VALUES[kind], VALUES[kind], (base, a, b) => {
        const merged = mergeValues(field, base, a, b)
        expect(json(mergeValues(field, base, b, a))).toBe(json(merged))
        if (merged === undefined) return
        expect(json(parse(merged))).toBe(json(merged))
        // What one side left as it was is as the other side wants it; made twice, it is as made once.
        const [x, y] = [parse(a), parse(b)]
        expect(json(mergeValues(field, x, x, y))).toBe(json(y))
        expect(json(mergeValues(field, base, merged, b))).toBe(json(merged))
        expect(json(mergeValues(field, base, x, x))).toBe(json(x))
      }),
    )
  })

  test('have a least one', () => {
    expect(leastValue(field)).not.toBeUndefined()
  })
})

test('a set keeps what either side added, and not what either side took away', () => {
  const { set: field } = FIELDS
  expect(mergeValues(field, ['a', 'b'], ['a', 'b', 'c'], ['b', 'd'])).toEqual(['b', 'c', 'd'])
  expect(mergeValues(field, undefined, ['c', 'a'], ['b'])).toEqual(['a', 'b', 'c'])
  const [some, others] = [
    ['a', 'b', 'c', 'd'],
    ['e', 'f', 'g', 'h'],
  ]
  expect(mergeValues(field, [], some, others)).toBeUndefined()
})

test.each<[string, Field, unknown]>([
  ['a set that is too large', FIELDS.set, ['a', 'b', 'c', 'd', 'e', 'f', 'g']],
  ['a set with an element that is too long', FIELDS.set, ['0123456789']],
  ['a set with a blank element', FIELDS.set, [' ']],
  ['a set of numbers', FIELDS.set, [1]],
  ['null in a set', FIELDS.set, [null]],
  ['a list for a record', FIELDS.record, []],
  ['null for a record', FIELDS.record, null],
  ['a record that is too long', FIELDS.record, { text: 'x'.repeat(2_000) }],
  ['a record that is too deep', FIELDS.record, nested(17)],
  ['a record that is far too deep', FIELDS.record, nested(200_000)],
  ['a NUL in a record', FIELDS.record, { text: ['\0'] }],
  ['a NUL in a name', FIELDS.record, { '\0': 1 }],
  ['half a character in a record', FIELDS.record, { text: '\ud800' }],
  ['no finite number', FIELDS.number, Number.POSITIVE_INFINITY],
  ['no number', FIELDS.number, Number.NaN],
  ['a text for a number', FIELDS.number, '1'],
])('%s is refused', (_what, field, value) => {
  expect(field.schema.safeParse(value).success).toBe(false)
})

test('a set of many elements, some of them twice, is no larger than without', () => {
  expect(FIELDS.set.schema.parse(['b', 'a', 'b', 'a', 'b', 'a', 'b'])).toEqual(['a', 'b'])
})

test('a record may be as deep as is said', () => {
  expect(FIELDS.record.schema.parse(nested(15))).toEqual(nested(15))
})

function nested(depth: number): object {
  let value = {}
  for (let i = 0; i < depth; i++) value = { in: value }
  return value
}

/** A resource with a field of each kind. */
const things = defineResource({
  name: 'things',
  singular: 'thing',
  version: 0,
  fields: Object.fromEntries(Object.entries(FIELDS).map(([kind, field]) => [`a_${kind}`, field])),
  initial: {},
  filterable: [],
  sortable: [],
  searchable: [],
  ordering: '-created_at',
  example: {},
})

const aThing: fc.Arbitrary<Document> = fc
  .record(Object.fromEntries(Object.entries(VALUES).map(([kind, value]) => [`a_${kind}`, value])))
  .map((fields) => ({
    ...fields,
    id: '0190a5c2-7a4e-7cc3-98c4-dc0c0c07398f',
    created_at: '2026-11-22T08:00:00.000Z',
    updated_at: '2026-11-22T08:00:00.000Z',
  }))

const at = (document: Document, updated_at: string): Document => ({ ...document, updated_at })
const fieldsOf = (document: Document) =>
  things.writable.map((name) => json(canonical(things.fields[name]!, document[name])))
const EDITS = ['2026-11-22T09:00:00.000Z', '2026-11-22T10:00:00.000Z'] as const

describe('merging documents', () => {
  const mergeThings = (
    base: Document | undefined,
    ours: Document,
    theirs: Document,
    changed: ChangeTimes = {},
  ) => merge(things, base, ours, ours.updated_at, theirs, NOW, changed)

  test('takes what one side changed where the other did not', () => {
    fc.assert(
      fc.property(aThing, aThing, (base, x) => {
        const edited = at(x, EDITS[0])
        for (const merged of [mergeThings(base, base, edited), mergeThings(base, edited, base)]) {
          expect(fieldsOf(merged.document)).toEqual(fieldsOf(x))
          expect(merged).toMatchObject({ oursLost: { lost: {} }, theirsLost: { lost: {} } })
        }
      }),
    )
  })

  test('comes to one result whichever side came first, and tells what gave way', () => {
    fc.assert(
      fc.property(fc.option(aThing, { nil: undefined }), aThing, aThing, (base, x, y) => {
        const [a, b] = [at(x, EDITS[0]), at(y, EDITS[1])]
        const [one, other] = [mergeThings(base, a, b), mergeThings(base, b, a)]
        expect(fieldsOf(one.document)).toEqual(fieldsOf(other.document))
        for (const name of things.writable) {
          const { oursLost, theirsLost, document } = one
          const lost = { ...oursLost.lost, ...theirsLost.lost }
          for (const side of name in lost ? [] : [a, b])
            if (things.fields[name]!.kind !== 'set' && !(base && sameIn(things, name, side, base)))
              expect(sameIn(things, name, side, document)).toBe(true)
        }
      }),
    )
  })

  test('changes nothing when it is done again', () => {
    fc.assert(
      fc.property(aThing, aThing, aThing, (base, x, y) => {
        const [a, b] = [at(x, EDITS[0]), at(y, EDITS[1])]
        const merged = mergeThings(base, a, b).document
        expect(fieldsOf(mergeThings(base, b, merged).document)).toEqual(fieldsOf(merged))
      }),
    )
  })
})

test('the keys of canonical JSON have an order of their own, on all levels', () => {
  const value = { b: [{ bb: 1, a: -0 }], a: null, 10: 1, 9: 2, é: 1, ab: 2, left: undefined }
  expect(json(canonicalJson(value))).toBe(
    '{"9":2,"10":1,"a":null,"b":[{"a":0,"bb":1}],"ab":2,"é":1}',
  )
})
