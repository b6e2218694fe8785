import { type ChangesOptions, type ChangesPart, changesAfter } from '../../couch/changes.ts'
import { type CouchDatabase, type CouchStore, parseSeq, seqText } from '../../couch/database.ts'
import { designFilter, type Filter, idFilter, selectorFilter } from '../../couch/filters.ts'
import { badRequest, missing, Refusal } from '../../couch/refusal.ts'
import type { Followers } from '../../realtime/followers.ts'
import { limitFor, type Places, tooManyConnections } from '../../runtime/places.ts'
import type { Head } from '../../sync/store.ts'
import type { OpenAnswers } from '../open-answers.ts'
import type { Answer, Call } from '../operation.ts'
import { pour } from '../send.ts'
import { acceptsJson } from './dialect.ts'
import { requireList } from './parameters.ts'
import { type InParts, listed } from './parts.ts'

interface FeedDependencies {
  stored: CouchStore
  followers: Followers
  answers: OpenAnswers
  /** Shared with the streams of each user. */
  places: Places
  inParts: InParts
}

export interface FeedQuery {
  feed?: unknown
  since?: unknown
  limit?: unknown
  style?: unknown
  filter?: unknown
  view?: unknown
  heartbeat?: unknown
  timeout?: unknown
  include_docs?: unknown
  conflicts?: unknown
  descending?: unknown
  doc_ids?: unknown
  selector?: unknown
}

export const FEEDS = ['normal', 'longpoll', 'continuous', 'eventsource'] as const
type Feed = (typeof FEEDS)[number]
type LiveFeed = Exclude<Feed, 'normal'>

const DEFAULT_MS = 60_000
const LEAST_HEARTBEAT_MS = 100
const MAX_TIMEOUT_MS = 600_000

interface Follow {
  readonly database: CouchDatabase
  /** The number after which it begins. */
  readonly from: number
  readonly epoch: string
  readonly options: ChangesOptions
}

/** `_changes`, of what there is and of what comes. */
export function createFeeds({ stored, followers, answers, places, inParts }: FeedDependencies) {
  const waiting = new Set<() => void>()

  return {
    async serve(call: Call, database: CouchDatabase, query: FeedQuery): Promise<Answer> {
      const feed = feedOf(query.feed)
      const head = await database.head()
      const from = sinceOf(query, head, feed === 'longpoll' && acceptsJson(call.request))
      const follow = { database, from, epoch: head.epoch, options: optionsOf(query) }
      if (feed === 'normal' || call.request.method === 'HEAD') return normal(call, follow)
      return live(call, follow, feed, query)
    },

    /** Answers all requests that wait. */
    end() {
      for (const finish of waiting) finish()
    },
  }

  async function normal(call: Call, follow: Follow): Promise<Answer> {
    return inParts(
      call,
      textOf(follow, changesAfter(stored, follow.database, follow.from, follow.options)),
    )
  }

  /** Subscribed before it reads, so that no change comes in between. */
  async function live(
    call: Call,
    follow: Follow,
    feed: LiveFeed,
    { heartbeat, timeout }: FeedQuery,
  ): Promise<Answer> {
    const { database, options } = follow
    // Before a place is taken, which nobody would leave if one of them is refused.
    const [beat, patience] = [heartbeatOf(heartbeat), timeoutOf(timeout)]
    const limit = limitFor(call, places.limit)
    const leavePlace = places.take(database.user, limit)
    if (!leavePlace) throw tooManyConnections(limit)
    const news = createNews()
    const timer = beat === undefined ? setTimeout(news.end, patience) : undefined
    let isCut = false
    const cut = () => {
      isCut = true
      news.end()
    }
    let leave = () => {}
    const stop = () => {
      waiting.delete(news.end)
      clearTimeout(timer)
      leave()
      leavePlace()
    }
    waiting.add(news.end)
    try {
      leave = (await followers.join(database.user, { frame: news.come, end: cut })).leave
      let { from } = follow
      let changed: Promise<void> | undefined
      if (feed === 'longpoll') {
        changed = news.next()
        const known = await ahead(changesAfter(stored, database, from, options))
        if (known.hasRows) {
          stop()
          return await inParts(call, textOf(follow, known.parts))
        }
        from = known.seq
      }
      return {
        status: 200,
        headers: HEADERS[feed],
        isLive: true,
        stream(response) {
          if (response.destroyed) return stop() // disconnected meanwhile
          const settle = answers.add(call, cut)
          response.once('close', () => {
            cut()
            settle()
            stop()
          })
          pour(follows({ ...follow, from }, changed), response).catch(() => response.destroy())
        },
      }
    } catch (error) {
      stop()
      throw error
    }

    /** @param awaited resolves with the next change, if the feed is read up to it */
    async function* follows(
      { database, from, epoch, options }: Follow,
      awaited?: Promise<void>,
    ): AsyncGenerator<string> {
      const format = FORMATS[feed]
      let [seq, left, isFirst] = [from, options.limit, true]
      yield format.begin
      for (let changed = awaited; ; changed = undefined) {
        if (!changed) {
          changed = news.next()
          yield* read()
        }
        if (left === 0 || (feed === 'longpoll' && !isFirst) || news.isEnded()) break
        while (!(await within(changed, beat))) yield format.heartbeat
        if (isCut) break
      }
      // Its client asks again, and is told why then.
      if (isCut) throw new Error('the feed has ended')
      yield format.end(seqText(seq, epoch))

      async function* read(): AsyncGenerator<string> {
        const parts = changesAfter(stored, database, seq, { ...options, limit: left })
        for await (const part of parts) {
          ;({ seq } = part)
          left -= part.rows.length
          if (part.rows.length === 0) continue
          yield format.rows(part.rows, isFirst)
          isFirst = false
        }
      }
    }
  }
}

export type Feeds = ReturnType<typeof createFeeds>

/** A part of a feed as one JSON text. */
async function* textOf(
  { from, epoch }: Follow,
  parts: AsyncIterable<ChangesPart>,
): AsyncGenerator<string> {
  let last = from
  async function* rows() {
    for await (const part of parts) {
      last = part.seq
      yield part.rows
    }
  }
  yield* listed('{"results":[\n', rows(), () => ending(seqText(last, epoch)))
}

const ending = (seq: string) => `\n],\n"last_seq":${JSON.stringify(seq)}}\n`

/** Reads until there is something. */
async function ahead(parts: AsyncGenerator<ChangesPart>) {
  let seq = 0
  for (;;) {
    const { value, done } = await parts.next()
    if (done) return { hasRows: false as const, seq }
    seq = value.seq
    if (value.rows.length > 0) return { hasRows: true as const, parts: after(value, parts) }
  }
}

async function* after(first: ChangesPart, rest: AsyncGenerator<ChangesPart>) {
  yield first
  yield* rest
}

interface Format {
  readonly begin: string
  readonly heartbeat: string
  rows(rows: readonly string[], isFirst: boolean): string
  end(seq: string): string
}

const FORMATS: Readonly<Record<LiveFeed, Format>> = {
  longpoll: {
    begin: '{"results":[\n',
    heartbeat: '\n',
    rows: (rows, isFirst) => (isFirst ? '' : ',\n') + rows.join(',\n'),
    end: ending,
  },
  continuous: {
    begin: '',
    heartbeat: '\n',
    rows: (rows) => rows.map((row) => `${row}\n`).join(''),
    end: (seq) => `{"last_seq":${JSON.stringify(seq)}}\n`,
  },
  eventsource: {
    begin: '',
    heartbeat: 'event: heartbeat\ndata: \n\n',
    rows: (rows) => rows.map((row) => `data: ${row}\nid: ${JSON.parse(row).seq}\n\n`).join(''),
    end: () => '',
  },
}

// Proxies must not keep back what is written.
const LIVE = { 'Cache-Control': 'no-store, no-transform', 'X-Accel-Buffering': 'no' }
const HEADERS: Readonly<Record<LiveFeed, Readonly<Record<string, string>>>> = {
  longpoll: { ...LIVE, 'Content-Type': 'application/json' },
  continuous: { ...LIVE, 'Content-Type': 'application/json' },
  eventsource: { ...LIVE, 'Content-Type': 'text/event-stream; charset=utf-8' },
}

/** Wakes who waits for changes. */
function createNews() {
  let wake = () => {}
  let isEnded = false
  return {
    come: () => wake(),
    end() {
      isEnded = true
      wake()
    },
    isEnded: () => isEnded,
    /** Resolves with the next change, or at the end. To be called before reading. */
    next: () =>
      new Promise<void>((resolve) => {
        wake = resolve
        if (isEnded) resolve()
      }),
  }
}

/** Whether it comes in time. */
async function within(changed: Promise<void>, ms: number | undefined): Promise<boolean> {
  if (ms === undefined) return changed.then(() => true)
  let timer: NodeJS.Timeout | undefined
  const late = new Promise<boolean>((resolve) => {
    timer = setTimeout(resolve, ms, false)
  })
  return Promise.race([changed.then(() => true), late]).finally(() => clearTimeout(timer))
}

function feedOf(feed: unknown = 'normal'): Feed {
  const found = FEEDS.find((one) => one === feed)
  if (found) return found
  throw badRequest(`Supported \`feed\` types: ${FEEDS.join(', ')}`)
}

/** Undefined for none. */
function heartbeatOf(heartbeat: unknown): number | undefined {
  if (heartbeat === undefined || heartbeat === 'false') return undefined
  if (heartbeat === 'true') return DEFAULT_MS
  return Math.min(Math.max(wholeNumber('heartbeat', heartbeat), LEAST_HEARTBEAT_MS), DEFAULT_MS)
}

const timeoutOf = (timeout: unknown): number =>
  timeout === undefined ? DEFAULT_MS : Math.min(wholeNumber('timeout', timeout), MAX_TIMEOUT_MS)

/** @throws Refusal */
function wholeNumber(name: string, value: unknown): number {
  if (/^\d{1,15}$/.test(String(value))) return Number(value)
  throw badRequest(`\`${name}\` must be a number.`)
}

/** @throws Refusal of what is no place in a feed, or in that of a database that was restored since, if it is to be told */
function sinceOf({ since }: FeedQuery, { seq, epoch }: Head, isTold: boolean): number {
  if (since === undefined || since === '') return 0
  if (since === 'now') return seq
  const place = parseSeq(String(since), epoch)
  if (!place) throw badRequest('Malformed sequence supplied in `since` parameter.')
  if (place.isCurrent) return place.seq
  // PouchDB looks for its checkpoints again, and finds none of this server.
  if (isTold)
    throw new Refusal(
      410,
      'gone',
      'The server was restored from a backup; start again without `since`.',
    )
  return 0
}

function optionsOf(query: FeedQuery): ChangesOptions {
  return {
    // As CouchDB: 0 is 1.
    limit:
      query.limit === undefined
        ? Number.POSITIVE_INFINITY
        : Math.max(1, wholeNumber('limit', query.limit)),
    isDescending: isTrue(query.descending),
    withDocuments: isTrue(query.include_docs),
    conflicts: isTrue(query.conflicts),
    allLeaves: query.style === 'all_docs',
    filter: filterOf(query),
  }
}

const isTrue = (value: unknown) => value === true || value === 'true'

/** @throws Refusal */
function filterOf({ filter, view, doc_ids, selector }: FeedQuery): Filter | undefined {
  if (filter === undefined || filter === '') return undefined
  if (filter === '_doc_ids') return idFilter(requireList(doc_ids, 'doc_ids'))
  if (filter === '_selector') return selectorFilter(selector)
  if (filter === '_design') return designFilter
  if (filter === '_view' && view === undefined)
    throw badRequest('`view` filter parameter is not provided.')
  throw missing(
    'This server supports the filters _doc_ids, _selector and _design, and no filter functions.',
  )
}
