import { randomUUID } from 'node:crypto'
import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import {
  BUCKETS,
  bucketOf,
  Digest,
  type Document,
  type Resource,
  resources,
  settle,
} from '../../protocol/index.ts'

const { tasks, conflicts } = resources
const NOW = '2026-11-16T08:00:00.000Z'

const anId = fc.uuid()
const aTask = fc
  .record({
    id: anId,
    title: fc.string({ unit: 'binary' }),
    description: fc.string({ unit: 'binary' }),
    due_date: fc.option(fc.constantFrom('2026-12-01', '2026-12-02')),
    completed: fc.boolean(),
    priority: fc.constantFrom('low', 'medium', 'high'),
  })
  .map((fields): Document => settle(tasks, fields, undefined, NOW))
const aValue = fc.oneof(fc.string(), fc.integer(), fc.boolean(), fc.constant(null))
const someTasks = fc.uniqueArray(aTask, { maxLength: 40, selector: ({ id }) => id })

test('the order of documents does not matter', () => {
  const shuffled = someTasks.chain((all) =>
    fc.tuple(fc.constant(all), fc.shuffledSubarray(all, { minLength: all.length })),
  )
  fc.assert(
    fc.property(shuffled, ([all, others]) => {
      expect(digestOf(others).buckets).toEqual(digestOf(all).buckets)
    }),
  )
})

test('any change of any field changes the bucket of its document and the total, and no other bucket', () => {
  const names = ['created_at', 'updated_at', ...tasks.fieldNames]
  fc.assert(
    fc.property(someTasks, aTask, fc.constantFrom(...names), aValue, (all, task, name, value) => {
      const changed = { ...task, [name]: value }
      const before = digestOf([...all, task])
      const after = digestOf([...all, changed])
      fc.pre(!Object.is(value, task[name]) && value !== 0)
      expect(after.total).not.toBe(before.total)
      const differing = [...before.buckets.keys()].filter(
        (bucket) => before.buckets[bucket] !== after.buckets[bucket],
      )
      expect(differing).toEqual([bucketOf(task.id)])
    }),
  )
})

test('a document more or less changes it', () => {
  fc.assert(
    fc.property(someTasks, aTask, (all, task) => {
      expect(digestOf([...all, task]).total).not.toBe(digestOf(all).total)
    }),
  )
})

test.each([
  ['titles', 'title', 'A', 'B'],
  ['titles that differ in one bit', 'title', 'same 0', 'same 1'],
  ['flags', 'completed', true, false],
  ['dates', 'updated_at', '2026-11-16T08:00:00.000Z', '2026-11-16T08:00:00.001Z'],
])('two documents that swap their %s do not cancel out', (_what, name, a, b) => {
  for (let i = 0; i < 1_000; i++) {
    // In the same bucket.
    const [one, other] = [`${randomUUID().slice(0, -2)}a7`, `${randomUUID().slice(0, -2)}a7`].map(
      (id) => settle(tasks, { id, title: 'Ferry' }, undefined, NOW),
    )
    const before = digestOf([
      { ...one!, [name]: a },
      { ...other!, [name]: b },
    ])
    const after = digestOf([
      { ...one!, [name]: b },
      { ...other!, [name]: a },
    ])
    expect(after.total).not.toBe(before.total)
  }
})

describe('values that are equal have one digest', () => {
  test('records with their keys in another order', () => {
    const entry = {
      id: randomUUID(),
      resource: 'tasks',
      lost: { title: 'Ferry', due_date: null },
      created_at: NOW,
      updated_at: NOW,
    }
    const same = { ...entry, lost: { due_date: null, title: 'Ferry' } }
    expect(digestOf([same], conflicts).total).toBe(digestOf([entry], conflicts).total)
  })

  test('documents with their fields in another order, or with fields of another release', () => {
    const task = settle(tasks, { id: randomUUID(), title: 'Ferry' }, undefined, NOW)
    const reversed = Object.fromEntries(Object.entries(task).reverse()) as unknown as Document
    expect(digestOf([{ ...reversed, mood: 'good' }]).total).toBe(digestOf([task]).total)
  })
})

test('the format is that of the README', () => {
  const task = settle(
    tasks,
    { id: '0190a5c2-7a4e-7cc3-98c4-dc0c0c07398f', title: 'Ferry to Lisbon ⛴', position: 'g5' },
    undefined,
    NOW,
  )
  const digest = digestOf([task])
  // Computed by another program from the README.
  expect(digest.total).toBe('dcaca3302836a7bd')
  expect(bucketOf(task.id)).toBe(0x8f)
  expect(digest.buckets[0x8f]).toBe(digest.total)
  expect(digest.buckets.filter((one) => one === '0'.repeat(16))).toHaveLength(BUCKETS - 1)
  expect(digestOf([]).total).toBe('0'.repeat(16))
})

function digestOf(documents: readonly Document[], resource: Resource = tasks): Digest {
  const digest = new Digest(resource)
  for (const document of documents) digest.add(document)
  return digest
}
