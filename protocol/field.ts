import * as z from 'zod'
import { canonical, type Kind } from './canonical.ts'
import type { NullableKind } from './kinds.ts'
import { isPlainObject, isRecordable, isStorable, MAX_DEPTH } from './storable.ts'
import { isVisible } from './visible-text.ts'

/**
 * A field of a document. Its schema must not have a zod default: `.partial()` still applies defaults, so a
 * PATCH of one field would reset all others. Initial values are in `initial`.
 */
export interface Field<S extends z.ZodType = z.ZodType> {
  readonly kind: Kind
  readonly schema: S
  /**
   * Whether the schema accepts the value and leaves it as it is, many times quicker. It may say no to what the
   * schema accepts, because the schema is asked then.
   */
  readonly isPlain?: (value: unknown) => boolean
  readonly nullable: boolean
  readonly description: string
  /**
   * The maximum size, for forms: characters of a text, or of a record as JSON; elements of a set; the greatest
   * number.
   */
  readonly max?: number
  /** The least number; 1 for a text that must not be blank. */
  readonly min?: number
  /** For a set: the maximum length of its elements. */
  readonly maxLength?: number
  /** For a text of a certain form. */
  readonly form?: { readonly pattern: string; readonly remedy: string }
  /** For a choice: its values in meaning order, lowest first. */
  readonly values?: readonly string[]
  /** For a reference: its target. */
  readonly references?: Reference
}

/** The target of a reference, and the effect of its deletion. */
export interface Reference {
  /** The name of the target resource, which may be the field's own. */
  readonly to: string
  /**
   * `clear`: the reference becomes null. `cascade`: the document is deleted too, and restored with its
   * target.
   */
  readonly on_delete: 'clear' | 'cascade'
}

/**
 * Text as entered by the user, stored byte for byte, never trimmed. Characters that Postgres or UTF-8 cannot
 * store (NUL, an unpaired surrogate) are rejected here.
 */
export function text(description: string, { min = 0, max }: { min?: 0 | 1; max: number }) {
  const wellFormed = z
    .string()
    .max(max, { error: `Use at most ${max} characters.`, abort: true })
    .refine(isStorable, 'Remove NUL characters and invalid characters (unpaired surrogates).')
  const schema = min === 0 ? wellFormed : visible(wellFormed)
  const isPlain = (value: unknown) =>
    typeof value === 'string' &&
    value.length <= max &&
    isStorable(value) &&
    (min === 0 || isVisible(value))
  return { kind: 'text', schema, isPlain, nullable: false, description, min, max } satisfies Field
}

/** The JSON Schema pattern is weaker than the check: few validators support Unicode properties. */
function visible(schema: z.ZodString) {
  return schema.refine(isVisible, 'Enter some text; this is blank.').meta({ pattern: '\\S' })
}

/** One of several words, in meaning order, which is their sort order. */
export function choice<const V extends readonly [string, ...string[]]>(
  description: string,
  values: V,
) {
  return {
    kind: 'choice',
    schema: z.enum(values),
    isPlain: (value: unknown) => values.includes(value as string),
    nullable: false,
    description,
    values,
  } satisfies Field
}

/** Without the 29th of February, which not every year has. */
const DAY =
  '(?!0000)\\d{4}-(?:(?:0[1-9]|1[0-2])-(?:0[1-9]|1\\d|2[0-8])|(?:0[13-9]|1[0-2])-(?:29|30)|(?:0[13578]|1[02])-31)'
const PLAIN_DAY = new RegExp(`^${DAY}$`)
const PLAIN_INSTANT = new RegExp(`^${DAY}T(?:[01]\\d|2[0-3]):[0-5]\\d:[0-5]\\d\\.\\d{3}Z$`)

/** A date without a timezone: `2026-11-22`. */
export function day(description: string) {
  const schema = z.iso
    .date('Use a date as YYYY-MM-DD.')
    .refine(isInCalendar, 'Use a year from 0001 to 9999.')
  const isPlain = (value: unknown) => typeof value === 'string' && PLAIN_DAY.test(value)
  return { kind: 'day', schema, isPlain, nullable: false, description } satisfies Field
}

/** A time of day, to the minute: `08:30`. */
export function time(description: string) {
  const pattern = /^([01]\d|2[0-3]):[0-5]\d$/
  const remedy = 'Use a time as HH:MM, from 00:00 to 23:59.'
  const schema = z.string(remedy).regex(pattern, remedy)
  const isPlain = (value: unknown) => typeof value === 'string' && pattern.test(value)
  return { kind: 'time', schema, isPlain, nullable: false, description } satisfies Field
}

/** An instant. Accepts any ISO 8601 offset; stored as UTC with milliseconds and `Z`. */
export function instant(description: string) {
  const schema = z.iso
    .datetime({
      offset: true,
      error: 'Use ISO 8601 with an offset, such as 2026-11-22T08:30:00Z.',
    })
    .overwrite((value) => canonical({ kind: 'instant' }, value) as string)
    .refine(isInCalendar, 'Use a year from 0001 to 9999.')
  const isPlain = (value: unknown) => typeof value === 'string' && PLAIN_INSTANT.test(value)
  return { kind: 'instant', schema, isPlain, nullable: false, description } satisfies Field
}

/** True or false. */
export function flag(description: string) {
  const isPlain = (value: unknown) => typeof value === 'boolean'
  return {
    kind: 'flag',
    schema: z.boolean(),
    isPlain,
    nullable: false,
    description,
  } satisfies Field
}

/** A whole number within limits, at most those of a 32-bit integer. */
export function wholeNumber(description: string, { min, max }: { min: number; max: number }) {
  const remedy = `Use a whole number from ${min} to ${max}.`
  const schema = z
    .int(remedy)
    .min(min, remedy)
    .max(max, remedy)
    .overwrite((value) => canonical({ kind: 'whole_number' }, value) as number)
  const isPlain = (value: unknown) =>
    Number.isInteger(value) && min <= Number(value) && Number(value) <= max && !isMinusZero(value)
  return {
    kind: 'whole_number',
    schema,
    isPlain,
    nullable: false,
    description,
    min,
    max,
  } satisfies Field
}

/** A finite 64-bit number. */
export function number(description: string) {
  const schema = z
    .number('Use a number.')
    .overwrite((value) => canonical({ kind: 'number' }, value) as number)
  const isPlain = (value: unknown) => Number.isFinite(value) && !isMinusZero(value)
  return { kind: 'number', schema, isPlain, nullable: false, description } satisfies Field
}

/** The id of another document of the same user. */
export function reference(description: string, references: Reference) {
  return {
    kind: 'reference',
    schema: id(),
    isPlain: isPlainId,
    nullable: false,
    description,
    references,
  } satisfies Field
}

/** An id without a reference: its target need not exist. */
export function uuid(description: string) {
  return {
    kind: 'uuid',
    schema: id(),
    isPlain: isPlainId,
    nullable: false,
    description,
  } satisfies Field
}

/** An unordered set of short texts, such as labels. Two edits of a set merge by element. */
export function set(description: string, { max, maxLength }: { max: number; maxLength: number }) {
  const schema = z
    .array(text('', { min: 1, max: maxLength }).schema, 'Use a list of texts.')
    .overwrite((elements) => canonical({ kind: 'set' }, elements) as string[])
    .max(max, `Use at most ${max} values.`)
  const isPlain = (value: unknown) => Array.isArray(value) && value.length === 0
  return {
    kind: 'set',
    schema,
    isPlain,
    nullable: false,
    description,
    max,
    maxLength,
  } satisfies Field
}

/** A JSON object, compared and merged as one value. */
export function record(description: string, { max }: { max: number }) {
  const schema = z
    .unknown()
    .meta({ type: 'object', additionalProperties: true })
    .refine(isPlainObject, { error: 'Use an object.', abort: true })
    .refine(isRecordable, {
      error: `Nest at most ${MAX_DEPTH} levels, and remove NUL characters and invalid characters (unpaired surrogates).`,
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

const PLAIN_ID = /^[0-9a-f]{8}-[0-9a-f]{4}-[1-8][0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/

/** See `Field`; for `id`. */
export const isPlainId = (value: unknown) => typeof value === 'string' && PLAIN_ID.test(value)

const isMinusZero = (value: unknown) => Object.is(value, -0)

/** A UUID of any version, in lower case like in Postgres. */
export function id() {
  return z
    .uuid('Use a UUID such as 0190a5c2-7a4e-7cc3-98c4-dc0c0c07398f.')
    .overwrite((value) => canonical({ kind: 'uuid' }, value) as string)
    .refine(
      (value) => !/^(0|f)\1*(-\1+)+$/.test(value),
      'Use a generated UUID, not the nil or max UUID.',
    )
}

/** The same field, or null. */
export function nullable<F extends Field & { readonly kind: NullableKind }>(field: F) {
  const schema = field.schema.nullable() as z.ZodNullable<F['schema']>
  const isPlain = field.isPlain && ((value: unknown) => value === null || field.isPlain!(value))
  return {
    ...(field as Omit<F, 'schema' | 'nullable' | 'isPlain'>),
    schema,
    ...(isPlain && { isPlain }),
    nullable: true as const,
  }
}

function isInCalendar(value: string): boolean {
  // Values that failed the format check get here too, and need no second message.
  return Number.isNaN(Date.parse(value)) || /^(?!0000)\d{4}-/.test(value)
}
