import { describe, expect, test } from 'vitest'
import type * as z from 'zod'
import { maxLength } from '../../client-sdk/local/max-length.ts'
import { accounts, type Resource, resources } from '../../protocol/index.ts'

/**
 * Some checks take time that grows with the square of a text (normalising combining marks, reading a
 * language tag), so what is too long is refused before any of them looks at it.
 */
const FAR_TOO_LONG = ' \u0301\u0316'.repeat(80_000)

const texts: [string, z.ZodType][] = [
  // What only the server writes needs no such limit.
  ...Object.values<Resource>(resources).flatMap(({ name, fields, readOnly }) =>
    Object.entries(readOnly ? {} : fields)
      .filter(([, { kind }]) => kind === 'text' || kind === 'order_key')
      .map(([field, { schema }]): [string, z.ZodType] => [`${name}.${field}`, schema]),
  ),
  ['username', accounts.username],
  ['password', accounts.password],
  ['the username of credentials', accounts.credentials.shape.username],
  ['the password of credentials', accounts.credentials.shape.password],
]

describe('what is far too long', () => {
  test.each(texts.filter(([name]) => name !== 'categories.color'))(
    'is refused as %s for its length alone',
    (_name, schema) => {
      const { error } = schema.safeParse(FAR_TOO_LONG)
      expect(error?.issues.map(({ code }) => code)).toEqual(['too_big'])
    },
  )
})

test('forms are told the limit of a text that its schema has', () => {
  const { title, description } = resources.tasks.fields
  const { name } = resources.categories.fields
  const { display_name } = resources.profile.fields
  for (const [limit, { schema }] of [
    [maxLength('tasks', 'title'), title],
    [maxLength('tasks', 'description'), description],
    [maxLength('categories', 'name'), name],
    [maxLength('profile', 'display_name'), display_name],
  ] as const)
    expect([limit! - 1, limit!, limit! + 1].map((count) => accepts(schema, count))).toEqual([
      true,
      true,
      false,
    ])
  expect(maxLength('tasks', 'due_date')).toBeUndefined()
})

const accepts = (schema: z.ZodType, count: number) => schema.safeParse('x'.repeat(count)).success
