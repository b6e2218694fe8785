import fc from 'fast-check'
import { expect, test } from 'vitest'
import {
  type Field,
  number,
  record,
  reference,
  set,
  uuid,
  wholeNumber,
} from '../../protocol/field.ts'
import { faultIn, type Resource, remedyFor, resources } from '../../protocol/index.ts'

/** The server knows which timezones and languages there are; devices may know others. */
const BY_THE_SERVER = ['timezone', 'locale']

/** What to do, and not what zod expects. */
const IN_OUR_WORDS = /^(Use|Enter|Remove|Nest|This key has grown too long) ?.+[.]$/

const digits = (min: number, max: number) =>
  fc.integer({ min, max }).map((number) => String(number).padStart(2, '0'))
const date = fc
  .tuple(
    fc.constantFrom('0000', '0001', '1900', '2000', '2024', '2026', '9999', '10000'),
    digits(0, 13),
    digits(0, 32),
  )
  .map((parts) => parts.join('-'))
const time = fc.tuple(digits(0, 24), digits(0, 60)).map((parts) => parts.join(':'))
const zone = fc.constantFrom('Z', 'z', '', '+02:00', '-23:59', '+24:00', '+0200')
const seconds = fc.constantFrom('', ':00', ':59', ':60', ':01.5', ':01.123456', ':01.')
const text = fc.oneof(
  fc.constantFrom(
    '',
    ' ',
    '\u200b',
    '\u2800',
    'a\0b',
    'a\ud800',
    'low',
    'urgent',
    '#0EA5E9',
    '#0ea5e',
    'a0V',
    'a0',
    'A00',
  ),
  fc.constantFrom(100, 101, 150, 151, 500, 501, 10_001).map((length) => 'x'.repeat(length)),
  fc.string({ unit: 'binary', maxLength: 30 }),
  fc.uuid(),
  fc.uuid().map((id) => id.toUpperCase()),
  fc.constantFrom('00000000-0000-0000-0000-000000000000', 'ffffffff-ffff-ffff-ffff-ffffffffffff'),
  date,
  time,
  fc
    .tuple(date, time, seconds, zone)
    .map(([day, at, rest, offset]) => `${day}T${at}${rest}${offset}`),
  fc.stringMatching(/^[a-cX-Z][0-9A-Za-z]{0,5}$/),
)
const value = fc.oneof(
  text,
  fc.constantFrom(null, undefined, true, 0, -0, 1.5, -1, 40_320, 40_321, Number.NaN, new Date()),
  fc.array(text, { maxLength: 12 }),
  fc.array(fc.stringMatching(/^[a-z]{1,21}$/), { maxLength: 12 }),
  fc.object(),
  fc.string({ minLength: 980, maxLength: 1_000 }).map((long) => ({ long })),
  fc.integer({ min: 10, max: 20 }).map((depth) => {
    let nested: unknown = 1
    for (let i = 0; i < depth; i++) nested = { nested }
    return nested
  }),
)

const others: Readonly<Record<string, Field>> = {
  number: number(''),
  wholeNumber: wholeNumber('', { min: -1, max: 40_320 }),
  reference: reference('', { to: 'tasks', on_delete: 'clear' }),
  uuid: uuid(''),
  set: set('', { max: 10, maxLength: 20 }),
  record: record('', { max: 1_000 }),
}
const fields = [
  ...Object.values<Resource>(resources).flatMap(({ fields }) => Object.entries(fields)),
  ...Object.entries(others),
].map(([name, rule]) => ({ name, rule }))

test.each(fields)(
  '$name: a device refuses what the server rejects, and nothing else',
  ({ rule, name }) => {
    fc.assert(
      fc.property(value, (value) => {
        const { success, error } = rule.schema.safeParse(value, { error: remedyFor })
        if (BY_THE_SERVER.includes(name) && !success) return
        const isFault = faultIn(rule, value) !== undefined
        expect({ value, isFault }).toEqual({ value, isFault: !success })
        for (const { message } of error?.issues ?? []) expect(message).toMatch(IN_OUR_WORDS)
      }),
      { numRuns: 1_000 },
    )
  },
)
