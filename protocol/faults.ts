import { canonical, canonicalForms, type Kind } from './canonical.ts'
import type { Field } from './field.ts'
import { ORDER_KEY_MAX, orderKeyPattern } from './order-key.ts'
import { isPlainObject, isRecordable, isStorable, MAX_DEPTH } from './storable.ts'
import { isVisible } from './visible-text.ts'

/** The rules of a field as data: what an app checks without validators. */
export type Rule = Pick<
  Field,
  'kind' | 'nullable' | 'values' | 'min' | 'max' | 'maxLength' | 'form'
>

/**
 * What is wrong with a value and what to use instead; undefined if the schema of the field accepts it. A device
 * cannot check all that the server does: it accepts any timezone, and any reference.
 */
export function faultIn(rule: Rule, value: unknown): string | undefined {
  if (value === null && rule.nullable) return undefined
  return faults[rule.kind](rule, value)
}

type FaultOf = (rule: Omit<Rule, 'kind'>, value: unknown) => string | undefined

const faults: Readonly<Record<Kind, FaultOf>> = {
  text({ min = 0, max = Number.POSITIVE_INFINITY, form }, value) {
    if (typeof value !== 'string') return 'Use text.'
    if (value.length > max) return `Use at most ${max} characters.`
    if (!isStorable(value))
      return 'Remove NUL characters and invalid characters (unpaired surrogates).'
    if (min > 0 && !isVisible(value)) return 'Enter some text; this is blank.'
    return form && unless(new RegExp(form.pattern).test(value), form.remedy)
  },
  choice: ({ values = [] }, value) =>
    unless(values.includes(value as string), `Use one of ${values.join(', ')}.`),
  day: (_, value) => unless(isText(value) && isDay(value), 'Use a date as YYYY-MM-DD.'),
  time: (_, value) =>
    unless(isText(value) && TIME.test(value), 'Use a time as HH:MM, from 00:00 to 23:59.'),
  instant: (_, value) =>
    unless(
      isText(value) && isInstant(value),
      'Use ISO 8601 with an offset, such as 2026-11-22T08:30:00Z.',
    ),
  flag: (_, value) => unless(typeof value === 'boolean', 'Use true or false.'),
  whole_number: ({ min, max }, value) =>
    unless(
      Number.isInteger(value) && min! <= Number(value) && Number(value) <= max!,
      `Use a whole number from ${min} to ${max}.`,
    ),
  number: (_, value) => unless(Number.isFinite(value), 'Use a number.'),
  reference: faultInId,
  uuid: faultInId,
  set({ max, maxLength }, value) {
    if (!Array.isArray(value)) return 'Use a list of texts.'
    for (const element of value) {
      const fault = faults.text({ nullable: false, min: 1, max: maxLength! }, element)
      if (fault) return fault
    }
    const distinct = canonicalForms.set(value) as unknown[]
    return unless(distinct.length <= max!, `Use at most ${max} values.`)
  },
  record({ max }, value) {
    if (!isPlainObject(value)) return 'Use an object.'
    if (!isRecordable(value))
      return `Nest at most ${MAX_DEPTH} levels, and remove NUL characters and invalid characters (unpaired surrogates).`
    return unless(JSON.stringify(value).length <= max!, `Use at most ${max} characters of JSON.`)
  },
  order_key: (_, value) =>
    unless(
      isText(value) && value.length <= ORDER_KEY_MAX && orderKeyPattern().test(value),
      'Use a key of the fractional-indexing package, such as a0V.',
    ),
}

function faultInId(_: unknown, value: unknown): string | undefined {
  const isId = isText(value) && ID.test(value)
  return unless(isId, 'Use a UUID such as 0190a5c2-7a4e-7cc3-98c4-dc0c0c07398f.')
}

const ID = /^[0-9a-f]{8}-[0-9a-f]{4}-[1-8][0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/i
const TIME = /^([01]\d|2[0-3]):[0-5]\d$/
const INSTANT =
  /^\d{4}-\d\d-\d\dT([01]\d|2[0-3]):[0-5]\d:[0-5]\d(\.\d+)?(Z|[+-]([01]\d|2[0-3]):[0-5]\d)$/

/** Dates that no calendar has become other dates or none. */
function isDay(value: string): boolean {
  const moment = new Date(`${value}T00:00:00Z`)
  return isInCalendar(value) && !Number.isNaN(moment.getTime()) && dayOf(moment) === value
}

function isInstant(value: string): boolean {
  if (!INSTANT.test(value) || !isDay(value.slice(0, 10))) return false
  return isInCalendar(canonical({ kind: 'instant' }, value) as string)
}

const dayOf = (moment: Date) => moment.toISOString().slice(0, 10)

/** Years from 0001 to 9999. */
const isInCalendar = (value: string) => /^(?!0000)\d{4}-/.test(value)

const isText = (value: unknown) => typeof value === 'string'

const unless = (isRight: boolean, remedy: string) => (isRight ? undefined : remedy)
