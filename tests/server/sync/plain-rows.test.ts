import fc from 'fast-check'
import { expect, test } from 'vitest'
import {
  isPushRow,
  type PushRow,
  pushRowSchema,
  type Resource,
  resources,
} from '../../../protocol/index.ts'
import { readRows } from '../../../server/sync/rows.ts'

const USER = '0190a5c2-7a4e-7cc3-98c4-dc0c0c07398f'

/** The same resource, whose rows are read by their schemas. */
const bySchema = (resource: Resource): Resource => ({
  ...resource,
  fields: Object.fromEntries(
    Object.entries(resource.fields).map(([name, field]) => [
      name,
      { ...field, isPlain: () => false },
    ]),
  ),
})

const anything = fc.oneof(
  fc.constantFrom<unknown>(null, true, 1, -0, '', ' ', '\0', '\ud800', 'x'.repeat(501), [], {}),
  fc.anything(),
)
/** Now and then a value that has another form, or none that is valid. */
const mostly = <T>(valid: fc.Arbitrary<T>, ...others: unknown[]) =>
  fc.oneof<fc.MaybeWeightedArbitrary<unknown>[]>(
    { weight: 40, arbitrary: valid },
    { weight: 1, arbitrary: anything },
    ...(others.length > 0 ? [{ weight: 1, arbitrary: fc.constantFrom(...others) }] : []),
  )

const instant = mostly(
  fc.constantFrom('2026-11-22T08:30:00.000Z', '2026-11-29T23:59:59.999Z'),
  '2024-02-29T00:00:00.000Z',
  '2023-02-29T00:00:00.000Z',
  '2026-11-22T08:30:00Z',
  '2026-11-22T10:30:00.000+02:00',
  '0000-01-01T00:00:00.000Z',
)
const id = mostly(
  fc.uuid(),
  '0190A5C2-7A4E-7CC3-98C4-DC0C0C07398F',
  '00000000-0000-0000-0000-000000000000',
)
const FIELDS: Record<string, fc.Arbitrary<unknown>> = {
  title: mostly(fc.string({ minLength: 1 }).map((text) => `${text}.`)),
  description: mostly(fc.string()),
  category_id: mostly(fc.option(fc.uuid())),
  priority: mostly(fc.constantFrom('low', 'high'), 'urgent'),
  due_date: mostly(fc.constantFrom('2026-12-31', null), '2026-11-31', '2024-02-29', '2023-02-29'),
  due_time: mostly(fc.constantFrom('08:30', null), '24:00', '8:30'),
  completed: mostly(fc.boolean()),
  completed_at: mostly(fc.constantFrom('2026-11-22T08:30:00.000Z', null)),
  position: mostly(fc.constantFrom('a0V'), 'a0', 'A'.repeat(201)),
  name: mostly(fc.string({ minLength: 1 }).map((text) => `${text}.`)),
  color: mostly(fc.constantFrom('#0ea5e9'), '#0EA5E9', 'red'),
  created_at: instant,
  updated_at: instant,
  _deleted: mostly(fc.boolean()),
}
const state = (resource: Resource) =>
  fc.record(
    {
      id,
      ...Object.fromEntries(
        Object.entries(FIELDS).filter(
          ([name]) => name in resource.document.shape || name === '_deleted',
        ),
      ),
    },
    { requiredKeys: ['id'] },
  )
/** Now and then with a name that no document has. */
const withUnknown = (resource: Resource) =>
  fc.oneof(
    { weight: 9, arbitrary: state(resource) },
    fc
      .tuple(state(resource), fc.constantFrom('mood', 'constructor'), anything)
      .map(([one, name, value]) => ({ ...one, [name]: value }) as typeof one),
  )

test('whatever counts as a row is one by the schema, too', () => {
  const aState = fc.oneof(fc.anything(), fc.record({ id: fc.string() }))
  const aRow = fc.oneof(
    fc.anything(),
    fc.record({ newDocumentState: aState, assumedMasterState: aState }),
    fc.record({ newDocumentState: aState }),
  )
  const found = new Set<boolean>()
  fc.assert(
    fc.property(aRow, (given) => {
      const row = JSON.parse(JSON.stringify(given) ?? 'null')
      found.add(isPushRow(row))
      expect(isPushRow(row)).toBe(pushRowSchema.safeParse(row).success)
    }),
    { numRuns: 1_000 },
  )
  expect(found.size).toBe(2)
})

test.each<[string, Resource]>([
  ['tasks', resources.tasks],
  ['categories', resources.categories],
])('rows of %s are read as by their schemas', (_, resource) => {
  const rowOf = fc.record(
    {
      newDocumentState: withUnknown(resource),
      assumedMasterState: fc.oneof(withUnknown(resource), fc.constant(null)),
    },
    { requiredKeys: ['newDocumentState'] },
  )
  const slow = bySchema(resource)
  let [plain, others] = [0, 0]
  fc.assert(
    fc.property(rowOf, (row) => {
      const pushed = [JSON.parse(JSON.stringify(row))] as PushRow[]
      if (typeof pushed[0]!.newDocumentState.id !== 'string') return
      const read = readRows(resource, USER, pushed)
      expect(read).toEqual(readRows(slow, USER, pushed))
      // Marks are made of the text.
      expect(JSON.stringify(read)).toBe(JSON.stringify(readRows(slow, USER, pushed)))
      if (read.rows.length > 0) plain++
      else others++
    }),
    { numRuns: 3_000 },
  )
  expect(Math.min(plain, others)).toBeGreaterThan(50)
})
