import { describe, expect, test } from 'vitest'
import type * as z from 'zod'
import { accounts, type Resource, resources } from '../../protocol/index.ts'

/**
 * Some checks take time that grows with the square of a text (normalising combining marks, reading a
 * language tag), so what is too long is refused before any of them looks at it.
 */
const FAR_TOO_LONG = ' \u0301\u0316'.repeat(80_000)

const texts: [string, z.ZodType][] = [
  ...Object.values<Resource>(resources).flatMap(({ name, fields }) =>
    Object.entries(fields)
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
