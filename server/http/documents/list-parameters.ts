import * as z from 'zod'
import { type Field, fieldOf, invalid, type Kind, type Resource } from '../../../protocol/index.ts'
import type { Bookmark, Filter, Listing, Operator, OrderKey } from '../../store/lists.ts'
import type { Parameter } from '../operation.ts'

/** The query parameters of a list and their parser. */
export interface ListParameters {
  readonly parameters: readonly Parameter[]
  read(query: Readonly<Record<string, unknown>>): ListRequest
}

export interface ListRequest extends Listing {
  readonly size: number
  /** A numbered page, or a cursor: from a bookmark, or from the start without one. */
  readonly at: NumberedPage | { readonly bookmark: Bookmark | undefined }
}

export interface NumberedPage {
  readonly page: number
  readonly size: number
  /** The number of results before this page. */
  readonly offset: number
}

const MAX_PAGE_SIZE = 200
const DEFAULT_PAGE_SIZE = 20
const MAX_PAGE = 1_000_000
const MAX_IN = 200
const MAX_WORDS = 10

/** The operators by kind. `isnull` is added for nullable fields. */
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
  eq: 'equals this value',
  gt: 'is greater than (after) this value',
  gte: 'is greater than (after) or equal to this value',
  lt: 'is less than (before) this value',
  lte: 'is less than (before) or equal to this value',
  in: 'is one of these values, separated by commas',
  contains: 'contains all of these values, separated by commas',
  overlaps: 'contains any of these values, separated by commas',
  isnull: 'is null (true) or not null (false)',
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
        throw invalid('query', { page: ['Use either page or cursor, not both.'] })
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
  description: 'The page number, from 1. Default: 1.',
  schema: wholeNumber(1, MAX_PAGE),
  json: { type: 'integer', minimum: 1, maximum: MAX_PAGE },
}

const pageSize: Parameter = {
  name: 'page_size',
  description: `The number of documents per page. Default: ${DEFAULT_PAGE_SIZE}.`,
  schema: wholeNumber(1, MAX_PAGE_SIZE),
  json: { type: 'integer', minimum: 1, maximum: MAX_PAGE_SIZE },
}

/** For lists without cursor pages. */
export const numberedPages: readonly Parameter[] = [page, pageSize]

export function readNumberedPage(query: Readonly<Record<string, unknown>>): NumberedPage {
  const page = (query.page as number | undefined) ?? 1
  const size = (query.page_size as number | undefined) ?? DEFAULT_PAGE_SIZE
  return { page, size, offset: (page - 1) * size }
}

const cursor: Parameter = {
  name: 'cursor',
  description:
    'Pagination that stays correct while documents are created and deleted: start with an empty cursor (in Swagger UI: tick *Send empty value*), then follow `next`. `count` is null.',
  schema: z.string().max(8_000),
  mayBeEmpty: true,
}

const deleted: Parameter = {
  name: 'deleted',
  description:
    'Lists deleted documents instead of the others. They can be restored; those deleted for good are left out.',
  schema: boolean(),
  json: { type: 'boolean' },
}

function search(resource: Resource): Parameter {
  return {
    name: 'search',
    description: `Documents that contain all of these words in ${resource.searchable.join(' or ')}, ignoring case.`,
    schema: z
      .string()
      .max(500)
      .refine((value) => !value.includes('\0'), 'Remove NUL characters.')
      .refine((value) => !/[\ud800-\udfff]/u.test(value), 'Remove the invalid characters.')
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
    description: `The sort fields, separated by commas, with - in front for descending: ${known.join(', ')}. Nulls come last, ties are sorted by id. Default: ${resource.ordering}.`,
    schema: z.string().transform((value, ctx) => {
      const order = readOrder(value)
      const unknown = order.filter(({ field }) => !known.includes(field))
      const names = new Set(order.map(({ field }) => field))
      if (unknown.length > 0) ctx.addIssue(`Unknown field. Sort by one of: ${known.join(', ')}.`)
      else if (names.size < order.length) ctx.addIssue('Use each field only once.')
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
    .pipe(value as z.ZodType<unknown, string>)
  const { $schema: _, ...json } = z.toJSONSchema(value, { io: 'input' })
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
  const remedy = `Use a whole number from ${min} to ${max}.`
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
    .pipe(z.enum(['true', 'false', '1', '0'], 'Use true or false.'))
    .transform((value) => value === 'true' || value === '1')
}

/** A bookmark as text for a URL. It contains its sort order, so it cannot be used with another. */
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
      cursor: [
        'This cursor does not belong to this list and ordering. Start again with an empty cursor.',
      ],
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
