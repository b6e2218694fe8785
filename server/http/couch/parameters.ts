import * as z from 'zod'
import { badRequest } from '../../couch/refusal.ts'
import type { Parameter } from '../operation.ts'

/** A parameter that is JSON, as most of CouchDB's are. */
const jsonValue = z.string().transform((text, context): unknown => {
  try {
    return JSON.parse(text)
  } catch {
    context.addIssue('Use JSON.')
    return z.NEVER
  }
})

const flag = z
  .enum(['true', 'false'], { error: 'Use true or false.' })
  .transform((text) => text === 'true')
const count = z
  .string()
  .regex(/^\d{1,9}$/, 'Use a number.')
  .transform(Number)

export const json = (name: string, description: string): Parameter => ({
  name,
  description,
  schema: jsonValue,
  json: { type: 'string' },
})

export const boolean = (name: string, description: string): Parameter => ({
  name,
  description,
  schema: flag,
  json: { type: 'boolean' },
})

export const number = (name: string, description: string): Parameter => ({
  name,
  description,
  schema: count,
  json: { type: 'integer', minimum: 0 },
})

export const text = (name: string, description: string): Parameter => ({
  name,
  description,
  schema: z.string().max(10_000, 'Too long.'),
  json: { type: 'string', maxLength: 10_000 },
})

/** A text of which only some have a meaning. What another one gets is up to the operation. */
export const choice = (
  name: string,
  values: readonly string[],
  description: string,
): Parameter => ({
  ...text(name, description),
  json: { type: 'string', enum: values },
})

/** The parameters of a POST may be in its body. */
export function both<T extends object>(query: Readonly<Record<string, unknown>>, body?: object): T {
  return { ...body, ...query } as T
}

/** @throws Refusal */
export function requireList(value: unknown, name: string): readonly unknown[] {
  if (Array.isArray(value)) return value
  throw badRequest(`\`${name}\` parameter must be an array.`)
}
