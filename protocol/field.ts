import * as z from 'zod'
import { canonical, type Kind } from './canonical.ts'
import type { NullableKind } from './kinds.ts'
import { isVisible } from './visible-text.ts'

/**
 * One field of a document. The schemas carry no zod defaults on purpose: `.partial()` still applies
 * them, so a PATCH of one field would reset every other one. Starting values stand in `initial`.
 */
export interface Field<S extends z.ZodType = z.ZodType> {
  readonly kind: Kind
  readonly schema: S
  readonly nullable: boolean
  readonly description: string
  /**
   * How much it may hold, so that forms can say so before anything is sent: characters of a text, or of a
   * record as JSON; elements of a set.
   */
  readonly max?: number
  /** For a choice: its values in meaning order, lowest first. */
  readonly values?: readonly string[]
  /** For a reference: what it points to. */
  readonly references?: Reference
}

/** What a reference points to, and what becomes of what refers to a document that is deleted. */
export interface Reference {
  /** The name of the resource, which may be that of the field itself. */
  readonly to: string
  /**
   * `clear`: it refers to nothing from then on. `cascade`: it is deleted too, and comes back when what
   * it refers to is restored.
   */
  readonly on_delete: 'clear' | 'cascade'
}

/**
 * Text as a person typed it: kept to the byte, never trimmed. What Postgres or UTF-8 cannot hold (a
 * NUL, half a surrogate pair) is refused here rather than failing later.
 */
export function text(description: string, { min = 0, max }: { min?: 0 | 1; max: number }) {
  const wellFormed = z
    .string()
    .max(max, { error: `Use at most ${max} characters.`, abort: true })
    .refine(isStorable, 'Remove the NUL or broken (unpaired surrogate) characters.')
  const schema = min === 0 ? wellFormed : visible(wellFormed)
  return { kind: 'text', schema, nullable: false, description, max } satisfies Field
}

/** The pattern in JSON Schema says less than is checked: few validators know Unicode's properties. */
function visible(schema: z.ZodString) {
  return schema.refine(isVisible, 'Write something: it is blank.').meta({ pattern: '\\S' })
}

/** One of a few words, listed in meaning order: that is how they sort and compare. */
export function choice<const V extends readonly [string, ...string[]]>(
  description: string,
  values: V,
) {
  return {
    kind: 'choice',
    schema: z.enum(values),
    nullable: false,
    description,
    values,
  } satisfies Field
}

/** A calendar day, in nobody's timezone: `2026-11-22`. */
export function day(description: string) {
  const schema = z.iso
    .date('Write a calendar day as YYYY-MM-DD.')
    .refine(isInCalendar, 'Years run from 0001 to 9999.')
  return { kind: 'day', schema, nullable: false, description } satisfies Field
}

/** A time on the clock, to the minute: `08:30`. */
export function time(description: string) {
  const schema = z
    .string()
    .regex(/^([01]\d|2[0-3]):[0-5]\d$/, 'Write a time as HH:MM, from 00:00 to 23:59.')
  return { kind: 'time', schema, nullable: false, description } satisfies Field
}

/** A moment. Any ISO 8601 offset is understood; UTC with milliseconds and `Z` is what is kept. */
export function instant(description: string) {
  const schema = z.iso
    .datetime({
      offset: true,
      error: 'Write a moment as ISO 8601 with an offset, such as 2026-11-22T08:30:00Z.',
    })
    .overwrite((value) => canonical({ kind: 'instant' }, value) as string)
    .refine(isInCalendar, 'Years run from 0001 to 9999.')
  return { kind: 'instant', schema, nullable: false, description } satisfies Field
}

/** True or false. */
export function flag(description: string) {
  return { kind: 'flag', schema: z.boolean(), nullable: false, description } satisfies Field
}

/** A whole number within limits, which are to be those of a 32-bit integer at most. */
export function wholeNumber(description: string, { min, max }: { min: number; max: number }) {
  const remedy = `Write a whole number from ${min} to ${max}.`
  const schema = z
    .int(remedy)
    .min(min, remedy)
    .max(max, remedy)
    .overwrite((value) => canonical({ kind: 'whole_number' }, value) as number)
  return { kind: 'whole_number', schema, nullable: false, description } satisfies Field
}

/** Any number that is finite in 64 bits. */
export function number(description: string) {
  const schema = z
    .number('Write a number.')
    .overwrite((value) => canonical({ kind: 'number' }, value) as number)
  return { kind: 'number', schema, nullable: false, description } satisfies Field
}

/** The id of another document of the same person, or of one of the same resource. */
export function reference(description: string, references: Reference) {
  return {
    kind: 'reference',
    schema: id(),
    nullable: false,
    description,
    references,
  } satisfies Field
}

/** The id of something that need not be a document, or not be there. */
export function uuid(description: string) {
  return { kind: 'uuid', schema: id(), nullable: false, description } satisfies Field
}

/** Short texts without an order, each once, such as labels. Two edits of a set merge by element. */
export function set(description: string, { max, maxLength }: { max: number; maxLength: number }) {
  const schema = z
    .array(text('', { min: 1, max: maxLength }).schema)
    .overwrite((elements) => canonical({ kind: 'set' }, elements) as string[])
    .max(max, `Give at most ${max}.`)
  return { kind: 'set', schema, nullable: false, description, max } satisfies Field
}

/** How deep objects and lists may be within each other. */
const MAX_DEPTH = 16

/** Any JSON under names of its own: as a whole, one value. */
export function record(description: string, { max }: { max: number }) {
  const schema = z
    .unknown()
    .meta({ type: 'object', additionalProperties: true })
    .refine(isPlainObject, { error: 'Write an object.', abort: true })
    .refine(isRecordable, {
      error: `Nest at most ${MAX_DEPTH} deep, and remove the NUL or broken (unpaired surrogate) characters.`,
      abort: true,
    })
    .refine((value) => JSON.stringify(value).length <= max, {
      error: `Use at most ${max} characters of JSON.`,
      abort: true,
    })
    .overwrite((value) => canonical({ kind: 'record' }, value)) as z.ZodType<
    Record<string, unknown>,
    Record<string, unknown>
  >
  return { kind: 'record', schema, nullable: false, description, max } satisfies Field
}

/** Whether it is JSON that Postgres can hold, and not deeper than a record may be. */
export function isRecordable(value: unknown): boolean {
  return !isDeeperThan(MAX_DEPTH, value) && isStorableJson(value)
}

/** Whether objects and lists are so deep within each other. Some that JSON can say, no recursion gets through. */
export function isDeeperThan(max: number, value: unknown): boolean {
  let level = [value].filter(hasParts)
  for (let depth = 0; level.length > 0; depth++) {
    if (depth > max) return true
    level = level.flatMap((one) => Object.values(one).filter(hasParts))
  }
  return false
}

function isStorableJson(value: unknown): boolean {
  if (typeof value === 'string') return isStorable(value)
  if (typeof value === 'number') return Number.isFinite(value)
  if (!hasParts(value)) return value === null || typeof value === 'boolean'
  return Object.entries(value).every(([key, one]) => isStorable(key) && isStorableJson(one))
}

const hasParts = (value: unknown): value is object => typeof value === 'object' && value !== null

function isPlainObject(value: unknown): boolean {
  return hasParts(value) && !Array.isArray(value)
}

/** A UUID, of any version, in the lower case that Postgres answers with. */
export function id() {
  return z
    .uuid('Write a UUID, such as 0190a5c2-7a4e-7cc3-98c4-dc0c0c07398f.')
    .overwrite((value) => canonical({ kind: 'uuid' }, value) as string)
    .refine((value) => !/^(0|f)\1*(-\1+)+$/.test(value), 'Write a UUID of your own making.')
}

/** The same field, or null. */
export function nullable<F extends Field & { readonly kind: NullableKind }>(field: F) {
  const schema = field.schema.nullable() as z.ZodNullable<F['schema']>
  return { ...(field as Omit<F, 'schema' | 'nullable'>), schema, nullable: true as const }
}

/** Whether Postgres and UTF-8 can hold it. */
export function isStorable(value: string): boolean {
  return !value.includes('\0') && !/[\ud800-\udfff]/u.test(value)
}

function isInCalendar(value: string): boolean {
  // What the format check has refused passes through here too, and needs no second complaint.
  return Number.isNaN(Date.parse(value)) || /^(?!0000)\d{4}-/.test(value)
}
