import * as z from 'zod'
import { fieldOf, invalid, type Resource, searchTerms } from '../../../protocol/index.ts'
import type { Bookmark, Listing, Lists, OrderKey } from '../../store/lists.ts'
import { unknownName } from '../nearest-name.ts'
import type { Parameter } from '../operation.ts'
import { alternativesOf, filtersOf } from './list-filters.ts'
import { boolean, wholeNumber } from './url-values.ts'

/** The query parameters of a list and their parser. */
interface ListParameters {
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
const MAX_WORDS = 10
/** A key of the store, see `Listing`. */
const RELEVANCE = 'relevance'

export function listParameters(
  resource: Resource,
  lists: Pick<Lists, 'isIndexed'>,
): ListParameters {
  const filters = ['id', ...resource.filterable].flatMap((name) => filtersOf(resource, name))
  const filterByName = new Map(filters.map((filter) => [filter.parameter.name, filter]))
  return {
    parameters: [
      ...(resource.searchable.length > 0 ? [search(resource)] : []),
      ordering(resource, lists),
      page,
      pageSizeOrNone,
      cursor,
      deleted,
      ...filters.map(({ parameter }) => parameter),
      alternativesOf(filters),
    ],
    read(query) {
      const words = (query.search as string[] | undefined) ?? []
      const order = (query.ordering as OrderKey[] | undefined) ?? defaultOrder(resource, words)
      const page = readNumberedPage(query)
      const at =
        query.cursor === undefined
          ? page
          : { bookmark: readCursor(resource, order, query.cursor as string) }
      if (query.cursor !== undefined && query.page !== undefined)
        throw invalid('query', { page: ['Use either page or cursor, not both.'] })
      if (query.cursor !== undefined && page.size === 0)
        throw invalid('query', { page_size: ['Omit the cursor to count, or use 1 to 200.'] })
      return {
        filters: Object.entries(query).flatMap(([name, value]) => {
          const filter = filterByName.get(name)
          return filter ? [{ field: filter.field, operator: filter.operator, value }] : []
        }),
        alternatives: (query.or as Listing['alternatives'] | undefined) ?? [],
        words,
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

const pageSizeOrNone: Parameter = {
  ...pageSize,
  description: `${pageSize.description} 0 only counts.`,
  schema: wholeNumber(0, MAX_PAGE_SIZE),
  json: { type: 'integer', minimum: 0, maximum: MAX_PAGE_SIZE },
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

function search({ searchable }: Resource): Parameter {
  const [first, ...others] = searchable
  const best = others.length > 0 ? ` Those with more of the words in \`${first}\` come first.` : ''
  return {
    name: 'search',
    description: `Documents that contain all of these words in ${searchable.join(' or ')}, also within other words. "Several words" in double quotes are found as they are. Case, accents, full and half width, and typographic quotes and dashes make no difference: \`cafe strasse\` finds "Café Straße".${best}`,
    schema: z
      .string()
      .max(500)
      .refine((value) => !value.includes('\0'), 'Remove NUL characters.')
      .refine((value) => !/[\ud800-\udfff]/u.test(value), 'Remove the invalid characters.')
      .transform(searchTerms)
      .refine((words) => words.length <= MAX_WORDS, `Use at most ${MAX_WORDS} words.`),
    json: { type: 'string', maxLength: 500 },
  }
}

function ordering(resource: Resource, lists: Pick<Lists, 'isIndexed'>): Parameter {
  const known = resource.sortable
  const key = `[-+]?(${known.join('|')})`
  return {
    name: 'ordering',
    description: `The sort fields, separated by commas, with - in front for descending: ${known.join(', ')}. Nulls come last, ties are sorted by id. Default: ${resource.ordering}${ofSearch(resource)}.${atAnyDepth(resource, lists)}`,
    schema: z.string().transform((value, ctx) => {
      const order = readOrder(value)
      const unknown = order.find(({ field }) => !known.includes(field))
      const names = new Set(order.map(({ field }) => field))
      if (unknown) ctx.addIssue(unknownName('field', unknown.field, known, 'Sort by one of'))
      else if (names.size < order.length) ctx.addIssue('Use each field only once.')
      return order
    }),
    json: { type: 'string', pattern: `^${key}(,${key})*$` },
  }
}

function atAnyDepth(resource: Resource, lists: Pick<Lists, 'isIndexed'>): string {
  const fields = resource.sortable.filter((field) => lists.isIndexed(resource, field))
  return fields.length > 0
    ? ` With a cursor, pages cost the same at any depth if the first field is ${fields.join(' or ')}; otherwise, each page sorts all documents that match.`
    : ''
}

const ofSearch = ({ searchable, ordering }: Resource) =>
  searchable.length > 1 ? `, and of a search its relevance, then ${ordering}` : ''

/** Of a search, the best come first. */
function defaultOrder({ ordering, searchable }: Resource, words: readonly string[]): OrderKey[] {
  const order = readOrder(ordering)
  return words.length > 0 && searchable.length > 1
    ? [{ field: RELEVANCE, descending: true }, ...order]
    : order
}

function readOrder(value: string): OrderKey[] {
  return value.split(',').map((part) => {
    const key = part.trim()
    return { field: key.replace(/^[-+]/, ''), descending: key.startsWith('-') }
  })
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
  const values = order.map(({ field }) =>
    field === RELEVANCE ? z.int32() : fieldOf(resource, field).schema,
  )
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
