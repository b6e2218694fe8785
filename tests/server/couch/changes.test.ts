import { randomUUID } from 'node:crypto'
import { describe, expect } from 'vitest'
import { beginEpoch } from '../../../server/store/epoch.ts'
import { test as served } from '../../support/fixtures.ts'
import { startServer } from '../../support/server.ts'

const test = served
  .extend('environment', { COUCH_TEST_MODE: '1', MAX_STREAMS_PER_USER: '2' })
  .extend('feed', async ({ server }) => {
    const path = `/couch-test/d${randomUUID()}`
    await server.call('PUT', path)
    const store = (...docs: object[]) =>
      server.call('POST', `${path}/_bulk_docs`, { docs, new_edits: false })
    return {
      url: `${server.url}${path}`,
      store,
      async changes(query = '', body?: object, headers: Record<string, string> = {}) {
        const method = body ? 'POST' : 'GET'
        return server.call(method, `${path}/_changes?${query}`, body, { headers })
      },
      /** An answer that is written over time. */
      async follow(query: string, headers: Record<string, string> = {}) {
        const end = new AbortController()
        const response = await fetch(`${server.url}${path}/_changes?${query}`, {
          headers,
          signal: end.signal,
        })
        const reader = response.body!.pipeThrough(new TextDecoderStream()).getReader()
        let text = ''
        return {
          response,
          end: () => end.abort(),
          /** What has come, as soon as it has this. */
          async until(pattern: RegExp) {
            while (!pattern.test(text)) {
              const { value, done } = await reader.read()
              if (done) throw new Error(`It ended without ${pattern}: ${text}`)
              text += value
            }
            return text
          },
          async rest() {
            for (;;) {
              const { value, done } = await reader.read()
              if (done) return text
              text += value
            }
          },
        }
      },
    }
  })
  .extend('filled', async ({ feed }) => {
    await feed.store(
      { _id: 'a', _rev: '1-a', type: 'x', n: 1 },
      { _id: 'b', _rev: '1-a', type: 'y' },
      { _id: '_design/d', _rev: '1-a' },
    )
    await feed.store(
      { _id: 'b', _rev: '2-b', _revisions: { start: 2, ids: ['b', 'a'] }, _deleted: true },
      { _id: 'c', _rev: '1-c', type: 'x', n: 3 },
      { _id: 'c', _rev: '1-d', type: 'x', n: 4 },
    )
    return feed
  })

interface Row {
  id: string
  seq: string
  deleted?: true
  changes: { rev: string }[]
  doc?: object
}

const idsOf = ({ body }: { body: { results: Row[] } }) => body.results.map(({ id }) => id)

describe('changes', () => {
  test.for([
    ['', ['a', '_design/d', 'b', 'c']],
    ['limit=2', ['a', '_design/d']],
    ['limit=0', ['a']],
    ['descending=true', ['c', 'b', '_design/d', 'a']],
    ['descending=true&limit=1', ['c']],
    ['since=now', []],
    ['since=0', ['a', '_design/d', 'b', 'c']],
    ['since=3', ['b', 'c']],
    ['filter=_design', ['_design/d']],
    ['filter=_doc_ids&doc_ids=["c","a","x"]', ['a', 'c']],
    ['filter=_doc_ids&doc_ids=["c","a"]&limit=1', ['a']],
    ['some=thing&attachments=true&seq_interval=10', ['a', '_design/d', 'b', 'c']],
  ] as const)('with %s', async ([query, expected], { filled }) => {
    const reply = await filled.changes(query)
    expect(reply.status, reply.text).toBe(200)
    expect(idsOf(reply)).toEqual(expected)
  })

  test.for([
    ['filter=_doc_ids', { doc_ids: ['c'] }, ['c']],
    ['filter=_selector', { selector: { type: 'x' } }, ['a', 'c']],
    ['filter=_selector', { selector: { n: { $gt: 1 } } }, ['c']],
    ['filter=_selector', { selector: { $or: [{ _id: 'b' }, { n: 1 }] } }, ['a', 'b']],
  ] as const)('by POST with %s %j', async ([query, body, expected], { filled }) => {
    expect(idsOf(await filled.changes(query, body))).toEqual(expected)
  })

  test.for([
    ['filter=_selector', { selector: { a: { $regex: '(a+)+$' } } }, 400],
    ['filter=_selector', { selector: { $or: [{ a: { $not: { $regex: 'x' } } }] } }, 400],
    ['filter=_selector', { selector: 7 }, 400],
    ['filter=_selector', { selector: { a: 'x'.repeat(5_000) } }, 400],
    ['filter=_doc_ids', { doc_ids: 7 }, 400],
    ['filter=design/name', {}, 404],
    ['filter=_view', {}, 400],
    ['filter=_view&view=a/b', {}, 404],
    ['since=yesterday', {}, 400],
    ['feed=other', {}, 400],
    ['heartbeat=often&feed=longpoll', {}, 400],
  ] as const)('with %s %j are refused', async ([query, body, status], { filled }) => {
    const reply = await filled.changes(query, body, { accept: 'application/json' })
    expect([reply.status, reply.text]).toEqual([status, expect.stringContaining('"reason"')])
  })

  test('tell of leaves, deletions and documents', async ({ filled }) => {
    const { body } = await filled.changes('style=all_docs&include_docs=true&conflicts=true&since=3')
    expect(body.results).toEqual([
      {
        id: 'b',
        seq: expect.stringMatching(/^4-/),
        changes: [{ rev: '2-b' }],
        deleted: true,
        doc: { _id: 'b', _rev: '2-b', _deleted: true },
      },
      {
        id: 'c',
        seq: expect.stringMatching(/^5-/),
        changes: [{ rev: '1-d' }, { rev: '1-c' }],
        doc: { _id: 'c', _rev: '1-d', type: 'x', n: 4, _conflicts: ['1-c'] },
      },
    ])
    expect(body.last_seq).toBe(body.results[1].seq)
    const next = await filled.changes(`since=${body.results[0].seq}`)
    expect(idsOf(next)).toEqual(['c'])
  })

  test('that a filter looks for are found however far away they are', async ({ feed }) => {
    const docs = Array.from({ length: 2_500 }, (_, n) => ({ _id: `${n}`, _rev: '1-a', n }))
    await feed.store(...docs)
    const reply = await feed.changes('filter=_selector&limit=1', { selector: { n: 2_400 } })
    expect(idsOf(reply)).toEqual(['2400'])
    const ids = await feed.changes('filter=_doc_ids&limit=1', { doc_ids: ['2300', '2499'] })
    expect(idsOf(ids)).toEqual(['2300'])
    expect((await feed.changes('')).body.results).toHaveLength(2_500)
  })
})

describe('a feed that waits', () => {
  test('longpoll answers at once if there is something', async ({ filled }) => {
    const { body } = await filled.changes('feed=longpoll&heartbeat=10000')
    expect(body.results).toHaveLength(4)
  })

  test('longpoll writes line feeds until something comes', async ({ filled }) => {
    const poll = await filled.follow('feed=longpoll&since=now&heartbeat=100&include_docs=true')
    await poll.until(/\n\n\n/)
    await filled.store({ _id: 'new', _rev: '1-a', n: 1 })
    const { results, last_seq } = JSON.parse(await poll.rest())
    expect(results).toMatchObject([{ id: 'new', doc: { n: 1 } }])
    expect(last_seq).toBe(results[0].seq)
  })

  test('longpoll waits on when its filter leaves something out', async ({ filled }) => {
    const poll = await filled.follow('feed=longpoll&since=now&filter=_doc_ids&doc_ids=["wanted"]')
    await filled.store({ _id: 'other', _rev: '1-a' })
    await filled.store({ _id: 'wanted', _rev: '1-a' })
    expect(idsOf({ body: JSON.parse(await poll.rest()) })).toEqual(['wanted'])
  })

  test('longpoll ends without anything after its time', async ({ filled }) => {
    const { body } = await filled.changes('feed=longpoll&since=now&timeout=50')
    expect(body).toEqual({ results: [], last_seq: expect.stringMatching(/^5-/) })
  })

  test('continuous goes on, up to its limit', async ({ filled }) => {
    const follower = await filled.follow('feed=continuous&since=3&heartbeat=10000&limit=3')
    await follower.until(/"c"/)
    await filled.store({ _id: 'new', _rev: '1-a' })
    const lines = (await follower.rest())
      .trim()
      .split('\n')
      .map((line) => JSON.parse(line))
    expect(lines.map(({ id, last_seq }) => id ?? last_seq)).toEqual([
      'b',
      'c',
      'new',
      expect.stringMatching(/^6-/),
    ])
  })

  test('eventsource can be continued', async ({ filled }) => {
    const follower = await filled.follow('feed=eventsource&heartbeat=10000')
    expect(follower.response.headers.get('content-type')).toContain('text/event-stream')
    const text = await follower.until(/id: 4-/)
    follower.end()
    const [, id] = /id: (4-\S+)/.exec(text)!
    // A browser asks for the same URL again.
    for (const since of ['', '&since=0']) {
      const next = await filled.follow(`feed=eventsource${since}`, { 'last-event-id': id! })
      expect(await next.until(/\n\n/)).toMatch(/^data: \{"seq":"5-/)
      next.end()
    }
  })

  test('is refused in JSON to PouchDB only: RxDB would never ask again', async ({
    filled,
    server,
  }) => {
    const unknown = `${server.url}/couch-test/unknown/_changes?feed=longpoll`
    const json = await fetch(unknown, { headers: { accept: 'application/json' } })
    expect([json.status, await json.json()]).toEqual([404, expect.any(Object)])
    const text = await fetch(unknown)
    expect([text.status, text.headers.get('content-type')]).toEqual([404, 'text/plain'])
    await expect(text.json()).rejects.toThrow()
    // Neither when too many wait.
    const waiting = await Promise.all([1, 2].map(() => filled.follow('feed=longpoll&since=now')))
    const third = await fetch(`${filled.url}/_changes?feed=longpoll&since=now`)
    expect([third.status, await third.text()]).toEqual([
      429,
      expect.stringMatching(/^too_many_connections: /),
    ])
    for (const one of waiting) one.end()
    // Their places are free again.
    await expect
      .poll(async () => (await filled.changes('feed=longpoll&since=now&timeout=1')).status)
      .toBe(200)
  })
})

test('a feed that is refused takes no place', async ({ filled }) => {
  for (const wrong of ['heartbeat=often', 'timeout=-1', 'heartbeat=1000&timeout=soon'])
    expect((await filled.changes(`feed=longpoll&since=now&${wrong}`)).status).toBe(400)
  expect((await filled.changes('feed=longpoll&since=now&timeout=1')).status).toBe(200)
})

test('a feed that waits is answered when its node stops', async () => {
  const server = await startServer({ COUCH_TEST_MODE: '1' })
  await server.call('PUT', '/couch-test/db')
  const waiting = fetch(`${server.url}/couch-test/db/_changes?feed=longpoll&heartbeat=10000`)
  const response = await waiting
  await server.stop()
  expect(await response.json()).toEqual({ results: [], last_seq: expect.any(String) })
})

test('after a restore from a backup, a place in the old feed is none in the new one', async ({
  filled,
  server,
}) => {
  const { body } = await filled.changes()
  await beginEpoch(server.testDatabase.db)
  expect(idsOf(await filled.changes(`since=${body.last_seq}`))).toHaveLength(4)
  const poll = `feed=longpoll&since=${body.last_seq}`
  // Of neither of the names that end a replication.
  const told = await filled.changes(poll, undefined, { accept: 'application/json' })
  expect([told.status, told.body.error]).toEqual([410, 'gone'])
  const rxdb = await fetch(`${filled.url}/_changes?${poll}`)
  expect(((await rxdb.json()) as { results: Row[] }).results).toHaveLength(4)
  const now = await filled.changes('since=now')
  expect(now.body.last_seq).not.toBe(body.last_seq)
})
