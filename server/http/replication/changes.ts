import * as z from 'zod'
import {
  type Document,
  id,
  type Missing,
  Problem,
  type Resource,
  resources,
} from '../../../protocol/index.ts'
import type { Followers } from '../../realtime/followers.ts'
import { limitFor, type Places, tooManyConnections } from '../../runtime/places.ts'
import {
  begunAt,
  cursorAt,
  isStart,
  missedBy,
  numberOf,
  readCursor,
  textOf,
} from '../../sync/cursors.ts'
import type { FeedChange, FeedPart, ReadFeed } from '../../sync/store.ts'
import { linkTo } from '../documents/list-answer.ts'
import { wholeNumber } from '../documents/url-values.ts'
import { exampleDocument } from '../examples.ts'
import type { OpenAnswers } from '../open-answers.ts'
import { type Call, type Operation, operation } from '../operation.ts'
import { scopesOf } from '../scopes.ts'

interface ChangesDependencies {
  readFeed: ReadFeed
  followers: Followers
  answers: OpenAnswers
  /** Shared with the streams of each user. */
  places: Places
  publicUrl: string | undefined
}

export interface Changes {
  readonly operation: Operation
  /** Answers all requests that wait. */
  end(): void
}

const MAX_LIMIT = 100
const MAX_WAIT_SECONDS = 30

const change = z.strictObject({
  resource: z.enum(Object.keys(resources) as [string, ...string[]]),
  id: id(),
  deleted: z.boolean(),
  document: z
    .record(z.string(), z.unknown())
    .nullable()
    .describe('The document as it is now; null if it is deleted.'),
})

const feedChanges = z.strictObject({
  results: z.array(change),
  cursor: z.string().describe('For `since` in the next request. Store it with what you have read.'),
  next: z.string().describe('The URL of the next request, with the same parameters.'),
  has_more: z.boolean().describe('Whether more changes follow at once.'),
})

/** The changes of all resources, for scripts: what is new since the last time, with nothing missed. */
export function createChanges({
  readFeed,
  followers,
  answers,
  places,
  publicUrl,
}: ChangesDependencies): Changes {
  const waiting = new Set<() => void>()
  const example = exampleDocument(resources.tasks) as Document
  const listChanges = operation({
    id: 'list_changes',
    tag: 'changes',
    access: 'bearer',
    // Of the others, it leaves out what the token may not read.
    scopes: ['tasks:read'],
    method: 'get',
    compressed: true,
    path: '/api/changes/',
    summary: 'List changes',
    description:
      'The changes of all resources after a cursor, in the order in which they were stored, each document once, deleted ones included. Without `since` it lists all that there is. It misses nothing: also not what a device did offline an hour ago and sends only now, which `updated_at__gte` misses, because `updated_at` is when an edit was made. With `wait`, a request without news is answered as soon as there are some. A personal token gets the resources that its scopes cover. A 410 says that the cursor is too old: read again without `since`, and delete what is not listed any more.',
    query: [
      {
        name: 'since',
        description: 'The `cursor` of the last answer.',
        schema: z.string().max(200, 'Use the `cursor` of the last answer.'),
        json: { type: 'string', maxLength: 200 },
      },
      {
        name: 'limit',
        description: `The maximum number of changes. Default: ${MAX_LIMIT}. A page ends sooner after about a megabyte.`,
        schema: wholeNumber(1, MAX_LIMIT),
        json: { type: 'integer', minimum: 1, maximum: MAX_LIMIT },
      },
      {
        name: 'wait',
        description: `How many seconds to wait for changes if there are none. Default: 0. Each user may have 20 requests that wait, and event streams, by default.`,
        schema: wholeNumber(0, MAX_WAIT_SECONDS),
        json: { type: 'integer', minimum: 0, maximum: MAX_WAIT_SECONDS },
      },
    ],
    answers: {
      200: {
        description: 'The changes.',
        name: 'FeedChanges',
        parts: { FeedChange: change, ResourceName: change.shape.resource },
        schema: feedChanges,
        example: {
          results: [
            { resource: 'tasks', id: example.id, deleted: false, document: example },
            {
              resource: 'categories',
              id: '0190a5c2-7a4e-7cc3-98c4-dc0c0c073990',
              deleted: true,
              document: null,
            },
          ],
          cursor: '14.1',
          next: 'https://tasks.example.com/api/changes/?since=14.1',
          has_more: false,
        },
      },
    },
    problems: ['checkpoint_expired', 'invalid', 'too_many_connections'],
    async handle(call) {
      const { since, limit = MAX_LIMIT, wait = 0 } = call.query as Query
      const from = readCursor(since)
      const names = Object.values<Resource>(resources).filter((one) => mayRead(call, one))
      const read = () => readFeed(call.user, names, numberOf(from), limit)
      let part = current(await read())
      if (wait > 0 && part.changes.length === 0 && call.request.method !== 'HEAD')
        part = current(await readLater(call, wait, read))
      return { status: 200, body: bodyOf(part) }

      /** @throws Problem `checkpoint_expired` */
      function current(part: FeedPart | undefined): FeedPart {
        if (!part) throw sessionEnded()
        for (const resource of names) {
          const missing = missedBy(from, part.feed, resource)
          if (missing) throw readAgain(missing)
        }
        return part
      }

      function bodyOf({ changes, isLast, feed }: FeedPart): string {
        const seq = isLast ? feed.seq : changes.at(-1)!.seq
        const begun = isStart(from) ? { seq: feed.seq, isLive: false } : begunAt(from)
        const cursor = textOf(cursorAt({ ...feed, seq }, begun))
        const next = linkTo(publicUrl, call.request, { since: cursor })
        const rest = JSON.stringify({ cursor, next, has_more: !isLast })
        // The documents are JSON text already, from Postgres.
        return `{"results":[${changes.map(inJson).join(',')}],${rest.slice(1)}`
      }
    },
  })

  return {
    operation: listChanges,
    end() {
      for (const finish of waiting) finish()
    },
  }

  /** Reads again after each change until there is news, the time is over, or nobody waits any more. */
  async function readLater(
    call: Pick<Call, 'user' | 'session' | 'expires' | 'isLimited' | 'request'>,
    seconds: number,
    read: () => Promise<FeedPart | undefined>,
  ): Promise<FeedPart | undefined> {
    const limit = limitFor(call, places.limit)
    const leavePlace = places.take(call.user, limit)
    if (!leavePlace) throw tooManyConnections(limit)
    let isOver = false
    let isEnded = false
    let wake = () => {}
    const finish = () => {
      isOver = true
      wake()
    }
    waiting.add(finish)
    const timer = setTimeout(finish, seconds * 1000)
    const settle = answers.add(call, () => {
      isEnded = true
      finish()
    })
    call.request.res?.once('close', finish)
    let leave = () => {}
    try {
      // Subscribed before it reads, so that no change comes in between.
      const news = () => wake()
      leave = (await followers.join(call.user, { frame: news, end: finish })).leave
      for (;;) {
        const changed = new Promise<void>((resolve) => {
          wake = resolve
        })
        const part = await read()
        if (isEnded) throw sessionEnded()
        if (isOver || !part || part.changes.length > 0) return part
        await changed
      }
    } finally {
      waiting.delete(finish)
      clearTimeout(timer)
      call.request.res?.off('close', finish)
      settle()
      leave()
      leavePlace()
    }
  }
}

interface Query {
  since?: string
  limit?: number
  wait?: number
}

const mayRead = ({ scopes }: Pick<Call, 'scopes'>, resource: Resource) =>
  !scopes || scopesOf(resource, 'read').every((one) => scopes.includes(one))

const inJson = ({ resource, id, json }: FeedChange) =>
  `{"resource":"${resource}","id":"${id}","deleted":${json === null},"document":${json}}`

const readAgain = (missing: Missing) =>
  new Problem(
    'checkpoint_expired',
    `${MISSED[missing]} Read again without \`since\`, and delete what is not listed any more.`,
    { extensions: { missing } },
  )

const MISSED: Readonly<Record<Missing, string>> = {
  lost: 'The server has lost changes.',
  deleted: 'Deletions since this cursor have been purged.',
}

const sessionEnded = () => new Problem('token_not_valid', 'The session has ended; sign in again.')
