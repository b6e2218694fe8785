import { randomUUID } from 'node:crypto'
import fc from 'fast-check'
import { generateNKeysBetween } from 'fractional-indexing'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { type Document, type Resource, resources, settle } from '../../protocol/index.ts'
import { type Person, startServer, type TestServer } from '../support/server.ts'
import { justAfter } from '../support/store-contract.ts'

const { tasks, categories, profile } = resources

const ID = '0190a5c2-7a4e-7cc3-98c4-dc0c0c07398f'
const MONDAY = '2026-11-16T08:00:00.000Z'
const TUESDAY = '2026-11-17T08:00:00.000Z'
const WEDNESDAY = '2026-11-18T08:00:00.000Z'

describe('what a document becomes', () => {
  const open = settle(tasks, { id: ID, title: 'Ferry' }, undefined, MONDAY)
  const done = { ...open, completed: true, completed_at: MONDAY }

  test('absent fields are their initial values', () => {
    expect(open).toEqual({
      id: ID,
      title: 'Ferry',
      description: '',
      category_id: null,
      priority: 'medium',
      due_date: null,
      due_time: null,
      remind_at: null,
      completed: false,
      completed_at: null,
      position: expect.stringMatching(/^g/),
      created_at: MONDAY,
      updated_at: MONDAY,
    })
  })

  test.each<[string, object, Document | undefined, string, string]>([
    ['is now when none is given', { updated_at: undefined }, undefined, TUESDAY, TUESDAY],
    ['is that of the edit when only that is given', {}, undefined, TUESDAY, MONDAY],
    ['is the one given', { created_at: MONDAY }, undefined, TUESDAY, MONDAY],
    ['is not in the future', { created_at: WEDNESDAY }, undefined, TUESDAY, TUESDAY],
    ['never becomes later', { created_at: TUESDAY }, open, WEDNESDAY, MONDAY],
    [
      'never becomes earlier',
      { created_at: MONDAY },
      { ...open, created_at: TUESDAY },
      WEDNESDAY,
      TUESDAY,
    ],
    ['stays when it is left out', {}, open, WEDNESDAY, MONDAY],
  ])('created_at %s', (_rule, next, previous, now, expected) => {
    expect(
      settle(tasks, { ...open, created_at: undefined, ...next }, previous, now),
    ).toHaveProperty('created_at', expected)
  })

  test.each<[string, object, Document | undefined, string, string]>([
    ['is now when none is given', {}, open, TUESDAY, TUESDAY],
    ['is when the edit was made', { updated_at: TUESDAY }, open, WEDNESDAY, TUESDAY],
    ['is not in the future', { updated_at: WEDNESDAY }, open, TUESDAY, TUESDAY],
    [
      'does not go back',
      { updated_at: MONDAY },
      { ...open, updated_at: TUESDAY },
      WEDNESDAY,
      justAfter(TUESDAY),
    ],
    [
      'does not go back with the clock',
      {},
      { ...open, updated_at: WEDNESDAY },
      TUESDAY,
      justAfter(WEDNESDAY),
    ],
    ['moves on within a moment', {}, open, MONDAY, justAfter(MONDAY)],
    [
      'moves on when it is left as it was',
      { updated_at: MONDAY },
      open,
      TUESDAY,
      justAfter(MONDAY),
    ],
    ['of a creation is when it was made', { updated_at: MONDAY }, undefined, TUESDAY, MONDAY],
    ['of a creation is not in the future', { updated_at: WEDNESDAY }, undefined, MONDAY, MONDAY],
    [
      'of a creation is not before it',
      { created_at: TUESDAY, updated_at: MONDAY },
      undefined,
      WEDNESDAY,
      TUESDAY,
    ],
  ])('updated_at %s', (_rule, next, previous, now, expected) => {
    expect(
      settle(tasks, { ...open, updated_at: undefined, ...next }, previous, now),
    ).toHaveProperty('updated_at', expected)
  })

  test.each<[string, object, Document | undefined, string | null]>([
    ['is set to now', { completed: true }, open, TUESDAY],
    ['is when it was done', { completed: true, completed_at: MONDAY }, open, MONDAY],
    ['is not in the future', { completed: true, completed_at: WEDNESDAY }, open, TUESDAY],
    ['is set at creation', { completed: true }, undefined, TUESDAY],
    ['is kept', { completed: true }, done, MONDAY],
    ['is kept against another', { completed: true, completed_at: TUESDAY }, done, MONDAY],
    ['is kept against null', { completed: true, completed_at: null }, done, MONDAY],
    ['is cleared', { completed: false }, done, null],
    ['is cleared against a moment', { completed: false, completed_at: MONDAY }, done, null],
    ['is not set while open', { completed_at: MONDAY }, open, null],
    ['is not set at creation while open', { completed_at: MONDAY }, undefined, null],
  ])('completed_at %s', (_rule, next, previous, expected) => {
    const settled = settle(tasks, { ...open, completed_at: undefined, ...next }, previous, TUESDAY)
    expect(settled.completed_at).toBe(expected)
  })

  test.each([
    ['goes after those created before', undefined, expect.stringMatching(/^g[0-9A-Za-z]{12}V$/)],
    ['stays where it was put', 'a0V', 'a0V'],
  ])('position %s', (_rule, position, expected) => {
    const settled = settle(tasks, { id: ID, title: 'Ferry', position }, undefined, MONDAY)
    expect(settled.position).toEqual(expected)
  })

  test('position is that of the creation, also where a clock ahead has derived another', () => {
    const ahead = settle(tasks, { id: ID, title: 'Ferry' }, undefined, WEDNESDAY)
    const settled = settle(tasks, ahead, undefined, TUESDAY)
    expect(settled).toEqual(settle(tasks, { id: ID, title: 'Ferry' }, undefined, TUESDAY))
  })
})

const id = fc.uuid({ version: 7 })
// Few of them, so that equal ones, earlier ones and later ones all come up; and none at the very end
// of time, for what comes after one must be a moment too.
const moment = fc.oneof(
  fc.constantFrom(MONDAY, TUESDAY, WEDNESDAY),
  fc
    .date({ min: year(1), max: new Date('9999-12-31T23:59:59.000Z'), noInvalidDate: true })
    .map((date) => date.toISOString()),
)
const text = (max: number) =>
  fc
    .string({
      unit: fc.oneof(
        fc.string({ unit: 'grapheme', minLength: 1, maxLength: 1 }),
        fc.constantFrom('"', '\\', '\n', '\u2028', '{', "'", '%'),
      ),
      maxLength: 20,
    })
    .filter((value) => value.length <= max)
const orNull = <T>(values: fc.Arbitrary<T>) => fc.option(values, { nil: null, freq: 3 })
const orderKey = fc.constantFrom(...generateNKeysBetween(null, null, 20), 'Zz', 'a0V', 'b125')

/** Values of every writable field of a resource. */
type Values = Record<string, fc.Arbitrary<unknown>>

const taskValues = (categoryIds: readonly string[]): Values => ({
  title: text(500).map((value) => `${value}x`),
  description: text(10_000),
  category_id: orNull(fc.constantFrom(...categoryIds)),
  priority: fc.constantFrom('low', 'medium', 'high'),
  due_date: orNull(moment.map((value) => value.slice(0, 10))),
  due_time: orNull(fc.constantFrom('00:00', '08:30', '23:59')),
  remind_at: orNull(moment),
  completed: fc.boolean(),
  position: orderKey,
})
const categoryValues: Values = {
  name: text(99).map((value) => `${value}x`),
  color: fc.constantFrom('#000000', '#0ea5e9', '#ffffff'),
  position: orderKey,
}
const profileValues: Values = {
  display_name: text(150),
  bio: text(2_000),
  timezone: fc.constantFrom('UTC', 'Europe/Lisbon', 'Asia/Kolkata'),
  locale: fc.constantFrom('en', 'pt-BR', 'zh-Hant'),
  email_notifications: fc.boolean(),
  remind_minutes_before: orNull(fc.integer({ min: 0, max: 40_320 })),
  remind_all_day_at: orNull(fc.constantFrom('00:00', '08:30', '23:59')),
  digest_at: orNull(fc.constantFrom('00:00', '07:30')),
}

const someOf = (values: Values) => fc.record(values, { requiredKeys: [] })

describe('for any documents', () => {
  const anyTask = fc
    .tuple(
      someOf(taskValues([ID])),
      fc.record(
        { completed_at: orNull(moment), created_at: moment, updated_at: moment },
        { requiredKeys: [] },
      ),
    )
    .map(([fields, stamps]) => ({ title: 'x', ...fields, ...stamps, id: ID }))
  const previous = fc.option(
    fc.tuple(anyTask, moment).map(([task, now]) => settle(tasks, task, undefined, now)),
    { nil: undefined },
  )

  test('settling twice changes nothing', () => {
    fc.assert(
      fc.property(anyTask, previous, moment, (next, before, now) => {
        const once = settle(tasks, next, before, now)
        expect(settle(tasks, once, before, now)).toEqual(once)
      }),
      { numRuns: 500 },
    )
  })

  test('the result is a whole valid document, and the inputs are left alone', () => {
    fc.assert(
      fc.property(anyTask, previous, moment, (next, before, now) => {
        const given = structuredClone([next, before])
        const settled = settle(tasks, next, before, now)
        expect([next, before]).toEqual(given)
        expect(tasks.document.parse(settled)).toEqual(settled)
      }),
      { numRuns: 300 },
    )
  })

  test('both dates are not ahead of now; created_at is fixed, updated_at later than before', () => {
    const notAhead = (date: string | undefined, now: string) => (date && date < now ? date : now)
    fc.assert(
      fc.property(anyTask, previous, moment, (next, before, now) => {
        const settled = settle(tasks, next, before, now)
        const born = notAhead(next.created_at ?? next.updated_at, now)
        expect(settled.created_at).toBe(before?.created_at ?? born)
        const least = before ? justAfter(before.updated_at) : settled.created_at
        const made = notAhead(next.updated_at, now)
        expect(settled.updated_at).toBe(made < least ? least : made)
      }),
      { numRuns: 300 },
    )
  })

  test('completed_at is there exactly when it is done, and stays while it is', () => {
    fc.assert(
      fc.property(anyTask, previous, moment, (next, before, now) => {
        const settled = settle(tasks, next, before, now)
        expect(settled.completed_at !== null).toBe(settled.completed)
        if (settled.completed && before?.completed)
          expect(settled.completed_at).toBe(before.completed_at)
        else if (settled.completed) expect((settled.completed_at as string) <= now).toBe(true)
      }),
      { numRuns: 300 },
    )
  })

  test('an edit touches no field that it does not name, stamps aside', () => {
    fc.assert(
      fc.property(anyTask, someOf(taskValues([ID])), moment, moment, (first, patch, then, now) => {
        const before = settle(tasks, first, undefined, then)
        const after = settle(tasks, { ...before, ...patch, updated_at: undefined }, before, now)
        for (const name of tasks.writable)
          expect(after[name]).toEqual(
            (patch as Record<string, unknown>)[name] ?? (name in patch ? null : before[name]),
          )
      }),
      { numRuns: 300 },
    )
  })
})

describe('the edit in one statement of SQL gives what settle gives', () => {
  let server: TestServer
  let ann: Person
  const categoryIds = [randomUUID(), randomUUID()]
  beforeAll(async () => {
    server = await startServer()
    ann = await personWithCategories()
  })
  afterAll(() => server.stop())

  async function personWithCategories(): Promise<Person> {
    const person = await server.person()
    for (const id of categoryIds) await person.call('POST', '/api/categories/', { id, name: 'x' })
    return person
  }

  const cases: [string, Resource, Values][] = [
    ['tasks', tasks, taskValues(categoryIds)],
    ['categories', categories, categoryValues],
    ['profile', profile, profileValues],
  ]

  test.each(cases)('of %s: every field is covered', (_name, resource, values) => {
    expect(Object.keys(values).sort()).toEqual([...resource.writable].sort())
  })

  test.each(cases)(
    'of %s, at any time before or after the last',
    async (_name, resource, values) => {
      const { store } = server.app
      const stamps = Object.fromEntries(Object.keys(resource.stamps).map((name) => [name, moment]))
      const document = fc.record({ ...values, ...stamps, created_at: moment, updated_at: moment })
      await fc.assert(
        fc.asyncProperty(
          id,
          document,
          moment,
          fc.array(fc.tuple(someOf(values), moment), { minLength: 1, maxLength: 4 }),
          async (newId, fields, createdAt, edits) => {
            const documentId = resource.singleton ? ann.id : newId
            let stored = settle(resource, { ...fields, id: documentId }, undefined, createdAt)
            await store.transaction(ann.id, (transaction) =>
              transaction.write(resource, [{ deleted: false, document: stored }]),
            )
            for (const [patch, now] of edits) {
              const changes = Object.entries(patch).some(([name, value]) => stored[name] !== value)
              const encoded = await store.edit(ann.id, resource, {
                action: 'patch',
                id: documentId,
                fields: patch,
                now,
              })
              expect(encoded !== undefined).toBe(changes)
              if (changes)
                stored = settle(
                  resource,
                  { ...stored, ...patch, updated_at: undefined },
                  stored,
                  now,
                )
              const found = await store.find(ann.id, resource, documentId)
              expect(JSON.parse(found!.json)).toEqual(stored)
              if (encoded) expect(encoded).toEqual(found)
            }
          },
        ),
        { numRuns: 100 },
      )
    },
  )

  test.each(cases)('of %s, by PATCH at the time of the server', async (_name, resource, values) => {
    const bob = await personWithCategories()
    await fc.assert(
      fc.asyncProperty(fc.record(values), someOf(values), async (fields, patch) => {
        const path = `/api/${resource.name}/`
        const made = resource.singleton
          ? await bob.call('PUT', path, fields)
          : await bob.call('POST', path, fields)
        const stored: Document = made.body
        server.clock.advance(5)
        const earliest = server.clock.now().toISOString()
        const one = resource.singleton ? path : `${path}${stored.id}/`
        const patched = await bob.call('PATCH', one, patch)
        const latest = server.clock.now().toISOString()
        const changes = Object.entries(patch).some(([name, value]) => stored[name] !== value)
        expect(patched.status).toBe(200)
        if (!changes) {
          expect(patched.body).toEqual(stored)
          return
        }
        const now = patched.body.updated_at
        expect(now >= earliest && now <= latest).toBe(true)
        expect(patched.body).toEqual(
          settle(resource, { ...stored, ...patch, updated_at: undefined }, stored, now),
        )
      }),
      { numRuns: 40 },
    )
  })
})

function year(number: number): Date {
  const date = new Date(0)
  date.setUTCFullYear(number, 0, 1)
  return date
}
