import * as z from 'zod'
import { type Field, fieldOf, invalid, type Kind, type Resource } from '../../../protocol/index.ts'
import type { Bookmark, Filter, Listing, Operator, OrderKey } from '../../store/lists.ts'
import type { Parameter } from '../operation.ts'

/** What the URL of a list may say, and what it means. */
export interface ListParameters {
  readonly parameters: readonly Parameter[]
  read(query: Readonly<Record<string, unknown>>): ListRequest
}

export interface ListRequest extends Listing {
  readonly size: number
  /** A numbered page, or paging by cursor: from a bookmark or, with none, from the start. */
  readonly at: NumberedPage | { readonly bookmark: Bookmark | undefined }
}

export interface NumberedPage {
  readonly page: number
  readonly size: number
  /** How many come before it. */
  readonly offset: number
}

const MAX_PAGE_SIZE = 200
const DEFAULT_PAGE_SIZE = 20
const MAX_PAGE = 1_000_000
const MAX_IN = 200
const MAX_WORDS = 10

/** Which comparisons make sense for which kind of value; those of null are for what may be null. */
const OPERATORS: Record<Kind, readonly Operator[]> = {
  text: ['eq', 'in'],
  choice: ['eq', 'in', 'gt', 'gte', 'lt', 'lte'],
  day: ['eq', 'in', 'gt', 'gte', 'lt', 'lte'],
  time: ['eq', 'in', 'gt', 'gte', 'lt', 'lte'],
  instant: ['eq', 'gt', 'gte', 'lt', 'lte'],
  flag: ['eq'],
  whole_number: ['eq', 'in', 'gt', 'gte', 'lt', 'lte'],
  number: ['eq', 'in', 'gt', 'gte', 'lt', 'lte'],
  reference: ['eq', 'in'],
  uuid: ['eq', 'in'],
  set: ['contains', 'overlaps'],
  record: [],
  order_key: [],
}

const MEANINGS: Record<Operator, string> = {
  eq: 'is this',
  gt: 'is after (above) this',
  gte: 'is this or after (above) it',
  lt: 'is before (below) this',
  lte: 'is this or before (below) it',
  in: 'is one of these, separated by commas',
  contains: 'has all of these, separated by commas',
  overlaps: 'has any of these, separated by commas',
  isnull: 'is null (true) or is not (false)',
}

export function listParameters(resource: Resource): ListParameters {
  const filters = resource.filterable.flatMap((name) => filtersOf(resource, name))
  const filterByName = new Map(filters.map((filter) => [filter.parameter.name, filter]))
  return {
    parameters: [
      ...(resource.searchable.length > 0 ? [search(resource)] : []),
      ordering(resource),
      page,
      pageSize,
      cursor,
      deleted,
      ...filters.map(({ parameter }) => parameter),
    ],
    read(query) {
      const order = (query.ordering as OrderKey[] | undefined) ?? readOrder(resource.ordering)
      const page = readNumberedPage(query)
      const at =
        query.cursor === undefined
          ? page
          : { bookmark: readCursor(resource, order, query.cursor as string) }
      if (query.cursor !== undefined && query.page !== undefined)
        throw invalid('query', { page: ['Give either page or cursor, not both.'] })
      return {
        filters: Object.entries(query).flatMap(([name, value]) => {
          const filter = filterByName.get(name)
          return filter ? [{ field: filter.field, operator: filter.operator, value }] : []
        }),
        words: (query.search as string[] | undefined) ?? [],
        order,
        deleted: (query.deleted as boolean | undefined) ?? false,
        size: page.size,
        at,
      }
    },
  }
}

const page: Parameter = {
  name: 'page',
  description: 'Which page: the first is 1, and the default.',
  schema: wholeNumber(1, MAX_PAGE),
  json: { type: 'integer', minimum: 1, maximum: MAX_PAGE },
}

const pageSize: Parameter = {
  name: 'page_size',
  description: `How many documents a page has; ${DEFAULT_PAGE_SIZE} if not given.`,
  schema: wholeNumber(1, MAX_PAGE_SIZE),
  json: { type: 'integer', minimum: 1, maximum: MAX_PAGE_SIZE },
}

/** Of lists that have numbered pages alone. */
export const numberedPages: readonly Parameter[] = [page, pageSize]

export function readNumberedPage(query: Readonly<Record<string, unknown>>): NumberedPage {
  const page = (query.page as number | undefined) ?? 1
  const size = (query.page_size as number | undefined) ?? DEFAULT_PAGE_SIZE
  return { page, size, offset: (page - 1) * size }
}

const cursor: Parameter = {
  name: 'cursor',
  description:
    'Pages that stay right while documents come and go: start with an empty cursor (in Swagger UI: tick *Send empty value*), then follow `next`. Such a list is not counted.',
  schema: z.string().max(8_000),
  mayBeEmpty: true,
}

const deleted: Parameter = {
  name: 'deleted',
  description: 'The deleted documents instead of the others; any of them can be restored.',
  schema: boolean(),
  json: { type: 'boolean' },
}

function search(resource: Resource): Parameter {
  return {
    name: 'search',
    description: `Every one of these words is in ${resource.searchable.join(' or ')}, in either case.`,
    schema: z
      .string()
      .max(500)
      .refine((value) => !value.includes('\0'), 'Remove the NUL character.')
      .refine((value) => !/[\ud800-\udfff]/u.test(value), 'Remove the broken characters.')
      .transform((value) => value.split(/\s+/).filter((word) => word !== ''))
      .refine((words) => words.length <= MAX_WORDS, `Use at most ${MAX_WORDS} words.`),
    json: { type: 'string', maxLength: 500 },
  }
}

function ordering(resource: Resource): Parameter {
  const known = resource.sortable
  const key = `[-+]?(${known.join('|')})`
  return {
    name: 'ordering',
    description: `Sort by these, separated by commas, each with - in front for descending: ${known.join(', ')}. Nulls come last, ties go by id. Default: ${resource.ordering}.`,
    schema: z.string().transform((value, ctx) => {
      const order = readOrder(value)
      const unknown = order.filter(({ field }) => !known.includes(field))
      const names = new Set(order.map(({ field }) => field))
      if (unknown.length > 0) ctx.addIssue(`Sort by any of: ${known.join(', ')}.`)
      else if (names.size < order.length) ctx.addIssue('Name each field once.')
      return order
    }),
    json: { type: 'string', pattern: `^${key}(,${key})*$` },
  }
}

function readOrder(value: string): OrderKey[] {
  return value.split(',').map((part) => {
    const key = part.trim()
    return { field: key.replace(/^[-+]/, ''), descending: key.startsWith('-') }
  })
}

interface FilterParameter extends Pick<Filter, 'field' | 'operator'> {
  readonly parameter: Parameter
}

function filtersOf(resource: Resource, name: string): FilterParameter[] {
  const field = fieldOf(resource, name)
  const operators = [...OPERATORS[field.kind], ...(field.nullable ? (['isnull'] as const) : [])]
  return operators.map((operator) => ({
    field: name,
    operator,
    parameter: {
      name: operator === 'eq' ? name : `${name}__${operator}`,
      description: `Only where ${name} ${MEANINGS[operator]}.`,
      ...valuesOf(field, operator),
    },
  }))
}

function valuesOf(field: Field, operator: Operator): Pick<Parameter, 'schema' | 'json'> {
  if (operator === 'isnull' || field.kind === 'flag')
    return { schema: boolean(), json: { type: 'boolean' } }
  const value = operandOf(field)
  const one = z
    .string()
    .transform((text) => FROM_TEXT[field.kind]?.(text) ?? text)
    .pipe(value as z.ZodType<unknown, string>)
  const { $schema: _, ...json } = z.toJSONSchema(value, { io: 'input' })
  if (!LISTS.has(operator)) return { schema: one, json }
  return {
    schema: z
      .string()
      .transform((text) => text.split(','))
      .pipe(z.array(one).max(MAX_IN, `Give at most ${MAX_IN} values.`)),
    json: { type: 'array', items: json, maxItems: MAX_IN },
  }
}

/** Operators that take several values. */
const LISTS: ReadonlySet<Operator> = new Set(['in', 'contains', 'overlaps'])

/** What a text in a URL stands for, where it is not itself. */
const FROM_TEXT: Partial<Record<Kind, (text: string) => unknown>> = {
  // An unescaped + in a URL means a space, and no moment has one where an offset begins.
  instant: (text) => text.replace(' ', '+'),
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

export function wholeNumber(min: number, max: number) {
  const remedy = `Give a whole number from ${min} to ${max}.`
  return z
    .string()
    .regex(/^\d{1,16}$/, remedy)
    .transform(Number)
    .pipe(z.int().min(min, remedy).max(max, remedy))
}

export function boolean() {
  return z
    .string()
    .toLowerCase()
    .pipe(z.enum(['true', 'false', '1', '0'], 'Write true or false.'))
    .transform((value) => value === 'true' || value === '1')
}

/** A bookmark as text for a URL. It names its order, so that it cannot be used in another. */
export function writeCursor(order: readonly OrderKey[], bookmark: Bookmark): string {
  const content = [orderText(order), bookmark.backward ? 1 : 0, bookmark.id, ...bookmark.values]
  return Buffer.from(JSON.stringify(content)).toString('base64url')
}

function readCursor(
  resource: Resource,
  order: readonly OrderKey[],
  text: string,
): Bookmark | undefined {
  if (text === '') return undefined
  const values = order.map(({ field }) => fieldOf(resource, field).schema)
  const content = z.tuple([
    z.literal(orderText(order)),
    z.union([z.literal(0), z.literal(1)]),
    z.uuid(),
    ...(values as [z.ZodType<Bookmark['values'][number]>]),
  ])
  const result = content.safeParse(jsonOf(text))
  if (!result.success)
    throw invalid('query', {
      cursor: ['Not a cursor of this list and ordering: start again with an empty one.'],
    })
  const [, backward, id, ...rest] = result.data as [string, number, string, ...Bookmark['values']]
  return { id, values: rest, backward: backward === 1 }
}

function jsonOf(base64url: string): unknown {
  try {
    return JSON.parse(Buffer.from(base64url, 'base64url').toString())
  } catch {
    return undefined
  }
}

const orderText = (order: readonly OrderKey[]) =>
  order.map(({ field, descending }) => (descending ? `-${field}` : field)).join(',')
