import type { Request } from 'express'
import { MAX, NIL } from 'uuid'
import { Problem, type Resource, resources } from '../../../protocol/index.ts'
import type { Bookmark, Filter, Listed, Lists } from '../../store/lists.ts'
import { type Feed, type Store, UnknownUser } from '../../sync/store.ts'
import type { Answer, Call } from '../operation.ts'
import { isKnown, listEtag } from './etags.ts'
import { withDays } from './list-filters.ts'
import { type ListRequest, type NumberedPage, writeCursor } from './list-parameters.ts'
import { dateAfter, dateIn, isRelativeDay } from './relative-days.ts'

interface ListCall {
  resource: Resource
  store: Pick<Store, 'heads' | 'find'>
  lists: Lists
  now: () => Date
  publicUrl: string | undefined
  call: Call
  request: ListRequest
}

/** A page of a list, or a 304 that needs no list. Its links keep all other parameters. */
export async function answerList(list: ListCall): Promise<Answer> {
  const { store, resource, call, request } = list
  const today = isOfToday(request) ? await todayOf(list) : undefined
  if (call.request.headers['if-none-match'] !== undefined) {
    const feed = (await store.heads([call.user])).get(call.user)
    if (!feed) throw new UnknownUser()
    const ETag = listEtag(resource, feed, today)
    if (isKnown(call.request.headers, ETag)) return { status: 304, headers: { ETag } }
  }
  const plain =
    today === undefined ? list : { ...list, request: withoutRelativeDays(request, today) }
  const { at } = request
  const { feed, body } = await ('page' in at
    ? numberedPage(plain, at)
    : pageAtCursor(plain, at.bookmark))
  return { status: 200, headers: { ETag: listEtag(resource, feed, today) }, body }
}

type Value = Bookmark['values'][number]

/** A page, and the feed when it was read. */
interface Page {
  feed: Feed
  body: string | object
}

function isOfToday({ filters, alternatives = [] }: ListRequest): boolean {
  return [...filters, ...alternatives.flat()].some(({ value }) =>
    [value].flat().some(isRelativeDay),
  )
}

/** Where the person is, by their profile. */
async function todayOf({ store, call: { user }, now }: ListCall): Promise<string> {
  const found = await store.find(user, resources.profile, user)
  const { timezone } = JSON.parse(found?.json ?? '{}') as { timezone?: string }
  return dateIn(timezone ?? 'UTC', now())
}

function withoutRelativeDays(request: ListRequest, today: string): ListRequest {
  const plain = (filters: readonly Filter[]) => withDays(filters, (day) => dateAfter(today, day))
  const { filters, alternatives = [] } = request
  return { ...request, filters: plain(filters), alternatives: alternatives.map(plain) }
}

async function numberedPage(
  { resource, lists, publicUrl, call, request }: ListCall,
  at: NumberedPage,
): Promise<Page> {
  const { feed, count, results } = await lists.page(
    call.user,
    resource,
    request,
    at.size,
    at.offset,
  )
  const around = pageLinks(publicUrl, call.request, { ...at, count })
  // The documents are JSON text already, from Postgres.
  const body = `${JSON.stringify({ count, ...around }).slice(0, -1)},"results":${results}}`
  return { feed, body }
}

/** The links of a numbered page. @throws Problem `not_found` after the last page */
export function pageLinks(
  publicUrl: string | undefined,
  request: Request,
  { page, size, count }: NumberedPage & { count: number },
): { next: string | null; previous: string | null } {
  const pages = size === 0 ? 1 : Math.max(1, Math.ceil(count / size))
  if (page > pages)
    throw new Problem('not_found', `Page ${page} does not exist; the last page is ${pages}.`)
  const link = (to: number) => linkTo(publicUrl, request, { page: String(to) })
  return { next: page < pages ? link(page + 1) : null, previous: page > 1 ? link(page - 1) : null }
}

async function pageAtCursor(
  { resource, lists, publicUrl, call, request }: ListCall,
  bookmark: Bookmark | undefined,
): Promise<Page> {
  const { size, order } = request
  const { feed, documents, more } = await lists.slice(call.user, resource, request, size, bookmark)
  const backward = bookmark?.backward ?? false
  const link = (to: Bookmark) => linkTo(publicUrl, call.request, { cursor: writeCursor(order, to) })
  const beside = (
    { document, relevance }: Listed,
    direction: Pick<Bookmark, 'backward'>,
  ): Bookmark => ({
    id: document.id,
    values: order.map(({ field }) => ({ ...document, relevance })[field] as Value),
    ...direction,
  })
  // If all documents of a page were deleted, its links point to the bookmark it started from, with an id
  // before (or after) all others, to include documents at that position.
  const last = documents.at(-1)
  const next = last
    ? beside(last, { backward: false })
    : bookmark && { ...bookmark, id: NIL, backward: false }
  const first = documents[0]
  const previous = first
    ? beside(first, { backward: true })
    : bookmark && { ...bookmark, id: MAX, backward: true }
  // Paging backward, there is always a next page; paging forward, always a previous one.
  const body = {
    count: null,
    next: next && (backward || more) ? link(next) : null,
    previous: previous && (backward ? more : bookmark) ? link(previous) : null,
    results: documents.map(({ document }) => document),
  }
  return { feed, body }
}

export function linkTo(
  publicUrl: string | undefined,
  request: Request,
  changes: Record<string, string>,
): string {
  const base = publicUrl ?? `${request.protocol}://${request.get('host') ?? 'localhost'}`
  const parameters = new URLSearchParams()
  for (const [name, given] of Object.entries(request.query as Record<string, string | string[]>))
    for (const value of [given].flat()) parameters.append(name, value)
  for (const [name, value] of Object.entries(changes)) parameters.set(name, value)
  return `${base}${request.path}?${parameters}`
}
