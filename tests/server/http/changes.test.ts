import { randomUUID } from 'node:crypto'
import { describe, expect } from 'vitest'
import { purgeTombstones } from '../../../server/store/purge.ts'
import { test } from '../../support/fixtures.ts'
import { callerTo, type Person, type TestServer } from '../../support/server.ts'

const PATH = '/api/changes/'

interface Change {
  resource: string
  id: string
  deleted: boolean
  document: { id: string; title?: string } | null
}

const since = (cursor: string, rest = '') => `${PATH}?since=${encodeURIComponent(cursor)}${rest}`

async function read({ call }: Pick<Person, 'call'>, path = PATH) {
  const { status, body, text } = await call('GET', path)
  expect(status, text).toBe(200)
  return body as { results: Change[]; cursor: string; next: string; has_more: boolean }
}

/** Follows `next` until nothing follows. */
async function readAll(person: Pick<Person, 'call'>, path: string) {
  const results: Change[] = []
  for (let at = path; ; ) {
    const page = await read(person, at)
    results.push(...page.results)
    if (!page.has_more) return { ...page, results }
    const { pathname, search } = new URL(page.next)
    at = pathname + search
  }
}

const push = ({ call }: Person, newDocumentState: object, assumedMasterState?: object) =>
  call('POST', '/replication/tasks/0/push', [
    { newDocumentState, ...(assumedMasterState && { assumedMasterState }) },
  ])

const brief = ({ resource, deleted, document }: Change) =>
  `${resource} ${document?.title ?? deleted}`

test('a poller misses nothing, whatever dates edits have', async ({ ann, bob }) => {
  const wire = async (id: string) => ({
    ...(await ann.call('GET', `/api/tasks/${id}/`)).body,
    _deleted: false,
  })
  const made = async (title: string) => (await ann.call('POST', '/api/tasks/', { title })).body.id
  const [offline, plain, gone] = [await made('Milk'), await made('Bread'), await made('Salt')]
  await bob.call('POST', '/api/tasks/', { title: 'of somebody else' })
  const start = await readAll(ann, `${PATH}?limit=2`)
  expect(start.results.map(brief)).toEqual([
    'profile false',
    'tasks Milk',
    'tasks Bread',
    'tasks Salt',
  ])
  expect(await readAll(ann, PATH)).toMatchObject({ results: start.results, cursor: start.cursor })
  expect((await read(ann, since(start.cursor))).results).toEqual([])

  const hourAgo = new Date(Date.now() - 3_600_000).toISOString()
  const dates = { created_at: hourAgo, updated_at: hourAgo }
  await push(ann, { id: randomUUID(), title: 'Made offline', _deleted: false, ...dates })
  const before = await wire(offline)
  await push(ann, { ...before, title: 'Edited offline', updated_at: hourAgo }, before)
  const assumed = await wire(plain)
  await push(ann, { ...assumed, title: 'Plain RxDB' }, assumed)
  await ann.call('POST', '/api/categories/', { name: 'Travel' })
  await ann.call('DELETE', `/api/tasks/${gone}/`)
  for (const limit of [1, 3, 100]) {
    const { results } = await readAll(ann, since(start.cursor, `&limit=${limit}`))
    expect(results.map(brief).filter((one) => !one.startsWith('conflicts'))).toEqual([
      'tasks Made offline',
      'tasks Edited offline',
      'tasks Plain RxDB',
      'categories false',
      'tasks true',
    ])
    expect(results.at(-1)).toEqual({ resource: 'tasks', id: gone, deleted: true, document: null })
    expect(results[2]!.document).toEqual((await ann.call('GET', `/api/tasks/${plain}/`)).body)
  }
})

test('no change of concurrent writers is skipped', async ({ ann }) => {
  let { cursor } = await read(ann)
  const writers = Array.from({ length: 6 }, async (_, writer) => {
    for (let i = 0; i < 15; i++) await ann.call('POST', '/api/tasks/', { title: `${writer}-${i}` })
  })
  let isOver = false
  const written = Promise.all(writers).then(() => {
    isOver = true
  })
  const seen = new Set<string>()
  for (let isLast = false; !isLast; ) {
    isLast = isOver
    const page = await readAll(ann, since(cursor, '&limit=7'))
    for (const { id } of page.results) seen.add(id)
    cursor = page.cursor
  }
  await written
  for (const { id, resource } of (await readAll(ann, PATH)).results)
    expect(resource === 'profile' || seen.has(id)).toBe(true)
  expect(seen.size).toBe(90)
})

describe('a request that waits', () => {
  const waiting = async (person: Person, seconds: number, call = person.call) => {
    const { cursor } = await readAll(person, PATH)
    return call('GET', since(cursor, `&wait=${seconds}`))
  }
  const isWaiting = (server: TestServer, n = 1) =>
    expect.poll(() => server.app.answers.sessions().length).toBe(n)

  test('is answered by a change on another node, at once', async ({ serverWith }) => {
    const server = await serverWith()
    const other = await serverWith({ DATABASE_URL: server.testDatabase.url })
    const ann = await server.person()
    const answered = waiting(ann, 30)
    await isWaiting(server)
    const began = performance.now()
    const headers = { authorization: `Bearer ${ann.access}` }
    await other.call('POST', '/api/tasks/', { title: 'Ferry' }, { headers })
    const { body } = await answered
    expect(body.results.map(brief)).toEqual(['tasks Ferry'])
    expect(performance.now() - began).toBeLessThan(5_000)
  })

  test('is answered without changes when the time is over', async ({ ann }) => {
    const began = performance.now()
    expect(await waiting(ann, 1)).toMatchObject({ status: 200, body: { results: [] } })
    expect(performance.now() - began).toBeGreaterThan(900)
  })

  test('takes one of the places of event streams, and gives it back', async ({ serverWith }) => {
    const server = await serverWith({ MAX_STREAMS_PER_USER: '1' })
    const ann = await server.person()
    const { cursor } = await readAll(ann, PATH)
    const left = new AbortController()
    const headers = { authorization: `Bearer ${ann.access}` }
    const url = server.url + since(cursor, '&wait=30')
    const held = fetch(url, { headers, signal: left.signal })
    await isWaiting(server)
    expect(await waiting(ann, 30)).toMatchObject({
      status: 429,
      body: { code: 'too_many_connections' },
    })
    left.abort()
    await expect(held).rejects.toThrow()
    await isWaiting(server, 0)
    expect((await waiting(ann, 1)).status).toBe(200)
  })

  test('ends with its session, and with the node', async ({ serverWith }) => {
    const server = await serverWith()
    const ann = await server.person()
    const refused = waiting(ann, 30)
    await isWaiting(server)
    await server.call('POST', '/api/logout/', { refresh: ann.refresh })
    expect(await refused).toMatchObject({ status: 401, body: { code: 'token_not_valid' } })
    const bob = await server.person()
    const answered = waiting(bob, 30)
    await isWaiting(server)
    server.app.changes.end()
    expect(await answered).toMatchObject({ status: 200, body: { results: [] } })
  })
})

test('a personal token gets the resources of its scopes', async ({ server, ann }) => {
  await ann.call('POST', '/api/tasks/', { title: 'Ferry' })
  for (const [scopes, expected] of [
    [['tasks:read'], ['tasks']],
    [
      ['tasks:read', 'profile'],
      ['profile', 'tasks'],
    ],
  ]) {
    const wanted = { name: 'Report', scopes, password: ann.password }
    const { token } = (await ann.call('POST', '/api/account/tokens/', wanted)).body
    const script = callerTo(server.url, { authorization: `Bearer ${token}` })
    const { results } = await read({ call: script })
    expect(results.map(({ resource }) => resource)).toEqual(expected)
  }
})

const READ_AGAIN = 'Read again without `since`, and delete what is not listed any more.'

test('a cursor from before a purge is refused, and the answer says how to continue', async ({
  server,
  ann,
}) => {
  const { body: task } = await ann.call('POST', '/api/tasks/', { title: 'Milk' })
  const { cursor } = await readAll(ann, PATH)
  await ann.call('DELETE', `/api/tasks/${task.id}/`)
  await purgeTombstones(server.testDatabase.db, 0)
  expect(await ann.call('GET', since(cursor))).toMatchObject({
    status: 410,
    body: {
      code: 'checkpoint_expired',
      detail: `Deletions since this cursor have been purged. ${READ_AGAIN}`,
      extensions: { missing: 'deleted' },
    },
  })
  expect((await readAll(ann, PATH)).results.map(brief)).toEqual(['profile false'])
})

const LOST = {
  code: 'checkpoint_expired',
  detail: `The server has lost changes. ${READ_AGAIN}`,
  extensions: { missing: 'lost' },
}

test.for([
  ['no cursor', 'x', 400, { code: 'invalid' }],
  ['an empty one', '', 400, { code: 'invalid' }],
  ['a large number', `${'9'.repeat(15)}.1`, 410, LOST],
  ['another epoch', '1.other', 410, LOST],
] as const)('%s is refused', async ([_what, cursor, status, body], { ann }) => {
  expect(await ann.call('GET', since(cursor))).toMatchObject({ status, body })
})
