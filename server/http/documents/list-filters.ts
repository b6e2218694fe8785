import * as z from 'zod'
import {
  type Field,
  fieldOf,
  id,
  type Kind,
  type Resource,
  remedyFor,
} from '../../../protocol/index.ts'
import type { Filter, Operator } from '../../store/lists.ts'
import { unknownName } from '../nearest-name.ts'
import type { Parameter } from '../operation.ts'
import { isRelativeDay, RELATIVE_DAY, type RelativeDay, relativeDay } from './relative-days.ts'
import { boolean } from './url-values.ts'

const MAX_IN = 200
const MAX_GROUPS = 5
const MAX_ALTERNATIVES = 10

const WHICH_DAY =
  'Use a date as YYYY-MM-DD, in a year from 0001 to 9999, or today, tomorrow, yesterday, or a distance such as +7d or -2w.'

/** Every document has one. */
const ID: Field = { kind: 'uuid', schema: id(), nullable: false, description: 'The id.' }

/** The operators by kind. `isnull` is added for nullable fields. */
const OPERATORS: Record<Kind, readonly Operator[]> = {
  text: ['eq', 'ne', 'in'],
  choice: ['eq', 'ne', 'in', 'gt', 'gte', 'lt', 'lte'],
  day: ['eq', 'ne', 'in', 'gt', 'gte', 'lt', 'lte'],
  time: ['eq', 'ne', 'in', 'gt', 'gte', 'lt', 'lte'],
  instant: ['eq', 'ne', 'gt', 'gte', 'lt', 'lte'],
  flag: ['eq', 'ne'],
  whole_number: ['eq', 'ne', 'in', 'gt', 'gte', 'lt', 'lte'],
  number: ['eq', 'ne', 'in', 'gt', 'gte', 'lt', 'lte'],
  reference: ['eq', 'ne', 'in'],
  uuid: ['eq', 'ne', 'in'],
  set: ['contains', 'overlaps'],
  record: [],
  order_key: [],
}

const MEANINGS: Record<Operator, string> = {
  eq: 'equals this value',
  ne: 'differs from this value, or is null',
  gt: 'is greater than (after) this value',
  gte: 'is greater than (after) or equal to this value',
  lt: 'is less than (before) this value',
  lte: 'is less than (before) or equal to this value',
  in: 'is one of these values, separated by commas',
  contains: 'contains all of these values, separated by commas',
  overlaps: 'contains any of these values, separated by commas',
  isnull: 'is null (true) or not null (false)',
}

interface FilterParameter extends Pick<Filter, 'field' | 'operator'> {
  readonly parameter: Parameter
}

/** The parameters that filter by a field. */
export function filtersOf(resource: Resource, name: string): FilterParameter[] {
  const field = name === 'id' ? ID : fieldOf(resource, name)
  const operators = [...OPERATORS[field.kind], ...(field.nullable ? (['isnull'] as const) : [])]
  return operators.map((operator) => ({
    field: name,
    operator,
    parameter: {
      name: operator === 'eq' ? name : `${name}__${operator}`,
      description: `Documents whose ${name} ${MEANINGS[operator]}.`,
      ...valuesOf(field, operator),
    },
  }))
}

function valuesOf(field: Field, operator: Operator): Pick<Parameter, 'schema' | 'json' | 'isList'> {
  if (operator === 'isnull' || field.kind === 'flag')
    return { schema: boolean(), json: { type: 'boolean' } }
  const value = operandOf(field)
  const one = z
    .string()
    .transform((text) => FROM_TEXT[field.kind]?.(text) ?? text)
    .pipe((field.kind === 'day' ? orRelative(value) : value) as z.ZodType<unknown, string>)
  const { $schema: _, ...plain } = z.toJSONSchema(value, { io: 'input' })
  const json =
    field.kind === 'day' ? { anyOf: [plain, { type: 'string', pattern: RELATIVE_DAY }] } : plain
  if (!LISTS.has(operator)) return { schema: one, json }
  return {
    schema: z
      .string()
      .transform((text) => text.split(','))
      .pipe(z.array(one).max(MAX_IN, `Use at most ${MAX_IN} values.`)),
    json: { type: 'array', items: json, maxItems: MAX_IN },
    isList: true,
  }
}

/** A day, or a relative one, with one message: a union has that of the day alone. */
const orRelative = (day: z.ZodType) =>
  z.custom((value) => isRelativeDay(value) || day.safeParse(value).success, WHICH_DAY)

/** Operators that take several values. */
const LISTS: ReadonlySet<Operator> = new Set(['in', 'contains', 'overlaps'])

/** What a text in a URL stands for, where it is not itself. */
const FROM_TEXT: Partial<Record<Kind, (text: string) => unknown>> = {
  // An unescaped + in a URL means a space, and no moment has one where an offset begins.
  instant: (text) => text.replace(' ', '+'),
  day: relativeDay,
  whole_number: numberIn,
  number: numberIn,
}

function numberIn(text: string): unknown {
  return /^-?\d{1,400}(\.\d{1,400})?(e[-+]?\d{1,3})?$/i.test(text) ? Number(text) : text
}

/** The schema of what a field is compared with: one value that is not null, one element of a set. */
function operandOf({ schema }: Field): z.ZodType {
  const plain = schema instanceof z.ZodNullable ? schema.unwrap() : schema
  return (plain instanceof z.ZodArray ? plain.element : plain) as z.ZodType
}

/** Groups of filters, of which one must match: `due_date__lt:today|priority:high`. */
export function alternativesOf(filters: readonly FilterParameter[]): Parameter {
  const byName = new Map(filters.map((filter) => [filter.parameter.name, filter]))
  return {
    name: 'or',
    description: `Documents that match one of these filters or more: \`due_date__lt:today|priority:high\`. Up to ${MAX_ALTERNATIVES}, each as \`filter:value\`, with \`|\` between them, and \`\\|\` for a \`|\` in a value. Given several times (up to ${MAX_GROUPS}), one of each group must match.`,
    mayRepeat: true,
    schema: z
      .union([z.string().transform((text) => [text]), z.array(z.string())])
      .transform((groups, context) => {
        if (groups.length > MAX_GROUPS) context.addIssue(`Use at most ${MAX_GROUPS} groups.`)
        return groups.slice(0, MAX_GROUPS).map((group) => readGroup(group, context))
      }),
    json: { type: 'array', items: { type: 'string' }, maxItems: MAX_GROUPS },
  }

  function readGroup(group: string, context: z.RefinementCtx): Filter[] {
    const texts = group.split(/(?<!\\)\|/)
    if (texts.length > MAX_ALTERNATIVES)
      context.addIssue(`Use at most ${MAX_ALTERNATIVES} filters in a group.`)
    return texts.slice(0, MAX_ALTERNATIVES).flatMap((text) => {
      const colon = text.indexOf(':')
      const name = colon < 0 ? text : text.slice(0, colon)
      const filter = byName.get(name)
      if (!filter || colon < 0) {
        context.addIssue(unknownName('filter', name, [...byName.keys()]))
        return []
      }
      const operand = text.slice(colon + 1).replaceAll('\\|', '|')
      const parsed = filter.parameter.schema.safeParse(operand, { error: remedyFor })
      if (parsed.success)
        return [{ field: filter.field, operator: filter.operator, value: parsed.data }]
      for (const { message } of parsed.error.issues) context.addIssue(`${name}: ${message}`)
      return []
    })
  }
}

/** The same filters with days in place of relative ones. */
export function withDays(
  filters: readonly Filter[],
  dayOf: (day: RelativeDay) => string,
): Filter[] {
  const plain = (value: unknown) => (isRelativeDay(value) ? dayOf(value) : value)
  return filters.map(({ value, ...filter }) => ({
    ...filter,
    value: Array.isArray(value) ? value.map(plain) : plain(value),
  }))
}
