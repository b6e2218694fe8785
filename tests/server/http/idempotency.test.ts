import { randomUUID } from 'node:crypto'
import { describe, expect } from 'vitest'
import type { Scope } from '../../../protocol/index.ts'
import { deleteExpired } from '../../../server/processes/retention.ts'
import { MAX_KEPT } from '../../../server/sync/kept-answers.ts'
import { test } from '../../support/fixtures.ts'
import { bodyOf, examplePath, PROVOKED, readApi } from '../../support/openapi-walk.ts'
import { callerTo, type Person, type Reply } from '../../support/server.ts'

type Sent = [method: string, path: string, body?: object, headers?: Record<string, string>]

const withKey = ({ call }: Pick<Person, 'call'>, key: string, [method, path, body, more]: Sent) =>
  call(method, path, body, { headers: { 'idempotency-key': key, ...more } })

const head = async ({ call }: Person) =>
  (await call('GET', '/api/tasks/')).headers.get('etag')!.split('-')[0]

async function aTask({ call }: Person, fields: object = {}): Promise<Reply & { path: string }> {
  const made = await call('POST', '/api/tasks/', { title: 'Milk', ...fields })
  return { ...made, path: `/api/tasks/${made.body.id}/` }
}

const alike = ({ status, text, headers }: Reply) => [
  status,
  text,
  ...['etag', 'location', 'content-type'].map((name) => headers.get(name)),
]

const REUSED = { status: 422, body: { code: 'idempotency_key_reused' } }

/** Requests that would have another effect, or another answer, if they were carried out again. */
const WRITES: [string, (ann: Person) => Promise<Sent>, number][] = [
  ['a creation', async () => ['POST', '/api/tasks/', { title: 'Milk' }], 201],
  [
    'an edit',
    async (ann) => ['PATCH', (await aTask(ann)).path, { completed: true, priority: 'high' }],
    200,
  ],
  [
    'an edit at a version',
    async (ann) => {
      const { path, headers } = await aTask(ann)
      return ['PUT', path, { title: 'Oat milk' }, { 'if-match': headers.get('etag')! }]
    },
    200,
  ],
  ['a deletion', async (ann) => ['DELETE', (await aTask(ann)).path], 204],
  ['a deletion for good', async (ann) => ['DELETE', `${(await aTask(ann)).path}?for_good=1`], 204],
  [
    'a restore',
    async (ann) => {
      const { path } = await aTask(ann)
      await ann.call('DELETE', path)
      return ['POST', `${path}restore/`]
    },
    200,
  ],
  ['an edit of the profile', async () => ['PATCH', '/api/profile/', { bio: 'Sails.' }], 200],
  [
    'a restored conflict',
    async ({ call }) => {
      await PROVOKED['/api/conflicts/']!(call)
      const [entry] = (await call('GET', '/api/conflicts/')).body.results
      return ['POST', `/api/conflicts/${entry.id}/restore/`]
    },
    200,
  ],
  [
    'a batch',
    async (ann) => {
      const { path } = await aTask(ann)
      const operations = [
        { method: 'POST', path: '/api/tasks/', body: { title: 'Bread' } },
        { method: 'DELETE', path },
        { method: 'DELETE', path },
      ]
      return ['POST', '/api/batch/', { operations }]
    },
    200,
  ],
  // What was refused is not done later, when it could be.
  [
    'a stale edit',
    async (ann) => ['PATCH', (await aTask(ann)).path, { title: 'a' }, { 'if-match': '"1"' }],
    412,
  ],
  ['an edit of nothing', async () => ['DELETE', `/api/tasks/${randomUUID()}/`], 404],
  [
    'a creation that refers to nothing',
    async () => ['POST', '/api/tasks/', { title: 'Milk', category_id: randomUUID() }],
    400,
  ],
  [
    'an atomic batch that is refused',
    async (ann) => {
      const { path } = await aTask(ann)
      const operations = [
        { method: 'POST', path: '/api/tasks/', body: { title: 'Bread' } },
        { method: 'DELETE', path },
        { method: 'DELETE', path },
      ]
      return ['POST', '/api/batch/', { operations, atomic: true }]
    },
    404,
  ],
]

test.for(WRITES)(
  '%s that is repeated with its key has one effect and one answer, on every node',
  async ([_what, prepare, status], { server, other, ann }) => {
    await aTask(ann) // so that no document has the version 1
    const sent = await prepare(ann)
    const key = randomUUID()
    const before = await head(ann)
    const first = await withKey(ann, key, sent)
    expect(first.status, first.text).toBe(status)
    const after = await head(ann)
    expect(after === before).toBe(status >= 400)
    const elsewhere = { call: callerTo(other.url, { authorization: `Bearer ${ann.access}` }) }
    for (const where of [ann, elsewhere, ann])
      expect(alike(await withKey(where, key, sent))).toEqual(alike(first))
    expect(await head(ann)).toBe(after)

    const [method, path, body] = sent
    for (const another of [
      [method, path, body, { 'if-match': '"12"' }],
      ['POST', '/api/categories/', { name: 'Travel' }],
    ] satisfies Sent[])
      expect(await withKey(ann, key, another)).toMatchObject(REUSED)
    expect(await head(ann)).toBe(after)
    expect(server.logged.filter((line) => line.includes('request failed'))).toEqual([])
  },
)

test('the same request may be written in other ways', async ({ ann }) => {
  const key = randomUUID()
  const made = await withKey(ann, key, ['POST', '/api/tasks/', { title: 'Milk', priority: 'low' }])
  for (const [name, sent] of [
    [key, ['POST', '/api/tasks', { priority: 'low', title: 'Milk' }]],
    [`"${key}"`, ['POST', '/api/tasks/', { title: 'Milk', priority: 'low' }]],
  ] satisfies [string, Sent][])
    expect(alike(await withKey(ann, name, sent))).toEqual(alike(made))
  expect((await ann.call('GET', '/api/tasks/')).body.count).toBe(1)
})

test.for<[string, Sent]>([
  ['another title', ['POST', '/api/tasks/', { title: 'Oat milk' }]],
  ['one field more', ['POST', '/api/tasks/', { title: 'Milk', priority: 'medium' }]],
  ['another path', ['POST', '/api/categories/', { name: 'Milk' }]],
  [
    'in a batch',
    [
      'POST',
      '/api/batch/',
      { operations: [{ method: 'POST', path: '/api/tasks/', body: { title: 'Milk' } }] },
    ],
  ],
])('another request with the key is refused: %s', async ([_what, another], { ann }) => {
  await withKey(ann, 'k', ['POST', '/api/tasks/', { title: 'Milk' }])
  const before = await head(ann)
  expect(await withKey(ann, 'k', another)).toMatchObject(REUSED)
  expect(await head(ann)).toBe(before)
})

test('of requests with one key at the same time, the others wait for the first', async ({
  server,
  other,
  ann,
}) => {
  const key = randomUUID()
  const elsewhere = { call: callerTo(other.url, { authorization: `Bearer ${ann.access}` }) }
  const replies = await Promise.all(
    Array.from({ length: 20 }, (_, i) =>
      withKey(i % 2 ? ann : elsewhere, key, ['POST', '/api/tasks/', { title: 'Milk' }]),
    ),
  )
  expect(new Set(replies.map((reply) => JSON.stringify(alike(reply)))).size).toBe(1)
  expect(replies[0]!.status).toBe(201)
  expect((await ann.call('GET', '/api/tasks/')).body.count).toBe(1)
  expect(server.logged.filter((line) => line.includes('request failed'))).toEqual([])
})

test('a key is its person’s', async ({ ann, bob }) => {
  const sent: Sent = ['POST', '/api/tasks/', { title: 'Known to one' }]
  const [hers, his] = [await withKey(ann, 'same', sent), await withKey(bob, 'same', sent)]
  expect([hers.status, his.status]).toEqual([201, 201])
  expect(his.body.id).not.toBe(hers.body.id)
})

test('a personal token with other scopes does not get the answer', async ({ server, ann }) => {
  const token = async (scopes: Scope[]) => {
    const wanted = { name: 'Report', scopes, password: ann.password }
    const { body } = await ann.call('POST', '/api/account/tokens/', wanted)
    return { call: callerTo(server.url, { authorization: `Bearer ${body.token}` }) }
  }
  const path = '/api/profile/'
  const operations = [{ method: 'PATCH', path, body: { bio: 'Sails.' } }]
  const sent: Sent = ['POST', '/api/batch/', { operations }]
  const first = await withKey(ann, 'k', sent)
  expect(first.text).toContain('Sails.')
  const repeated = await withKey(await token(['tasks:read', 'tasks:write']), 'k', sent)
  expect(repeated).toMatchObject(REUSED)
  expect(repeated.text).not.toContain('Sails.')
  const both = [await token(['tasks:read', 'profile']), await token(['profile', 'tasks:read'])]
  const answers = [await withKey(both[0]!, 'l', sent), await withKey(both[1]!, 'l', sent)]
  expect(answers.map(({ status }) => status)).toEqual([200, 200])
})

describe('an answer', () => {
  test('of a failure is not kept, and nothing of it is done', async ({ serverWith }) => {
    const server = await serverWith()
    const ann = await server.person()
    const { db } = server.testDatabase
    await db.raw(`
      create function fail() returns trigger language plpgsql as $$ begin raise 'broken'; end $$;
      create trigger fail before insert on idempotency_keys for each row execute function fail()`)
    const sent: Sent = ['POST', '/api/tasks/', { title: 'Milk' }]
    expect((await withKey(ann, 'k', sent)).status).toBe(500)
    expect((await ann.call('GET', '/api/tasks/')).body.count).toBe(0)
    await db.raw('drop trigger fail on idempotency_keys')
    expect((await withKey(ann, 'k', sent)).status).toBe(201)
  })

  test('is kept for 24 hours, and swept after them', async ({ serverWith }) => {
    const server = await serverWith()
    const { username, password, ...ann } = await server.person()
    const { db } = server.testDatabase
    const again = async () => {
      const { access } = (await server.call('POST', '/api/token/', { username, password })).body
      const person = { call: callerTo(server.url, { authorization: `Bearer ${access}` }) }
      return (await withKey(person, 'k', ['POST', '/api/tasks/', { title: 'Milk' }])).body.id
    }
    const first = await again()
    const HOUR_MS = 60 * 60 * 1000
    server.clock.advance(24 * HOUR_MS - 60_000)
    await deleteExpired(db, server.clock.now(), 180)
    expect(await again()).toBe(first)
    server.clock.advance(120_000)
    const second = await again()
    expect(second).not.toBe(first)
    expect(await again()).toBe(second)
    server.clock.advance(25 * HOUR_MS)
    await deleteExpired(db, server.clock.now(), 180)
    expect(await db('idempotency_keys').where({ user_id: ann.id })).toEqual([])
  })

  test('is deleted with the account', async ({ server }) => {
    const ann = await server.person()
    await withKey(ann, 'k', ['POST', '/api/tasks/', { title: 'Milk' }])
    const { db } = server.testDatabase
    const kept = () => db('idempotency_keys').where({ user_id: ann.id })
    expect(await kept()).toHaveLength(1)
    await db('users').where({ id: ann.id }).delete()
    expect(await kept()).toEqual([])
  })

  test('has nothing of a document that was deleted for good', async ({ server, ann }) => {
    const text = 'a text that is to be gone'
    const sent: Sent = ['POST', '/api/tasks/', { title: text }]
    const { body } = await withKey(ann, 'k', sent)
    const other = await withKey(ann, 'other', ['POST', '/api/tasks/', { title: 'Milk' }])
    await ann.call('DELETE', `/api/tasks/${body.id}/?for_good=true`)
    const kept = await server.testDatabase.db('idempotency_keys').where({ user_id: ann.id })
    expect(JSON.stringify(kept)).not.toContain(text)
    expect(await withKey(ann, 'k', sent)).toMatchObject({
      status: 404,
      body: { code: 'not_found' },
    })
    expect((await ann.call('GET', '/api/tasks/')).body.count).toBe(1)
    const same = await withKey(ann, 'other', ['POST', '/api/tasks/', { title: 'Milk' }])
    expect(alike(same)).toEqual(alike(other))
  })

  test('is refused, and nothing done, once there are too many', async ({ server, ann }) => {
    const { db } = server.testDatabase
    const row = { user_id: ann.id, fingerprint: Buffer.of(1), answer: '{}', mentions: [] }
    const keys = Array.from({ length: MAX_KEPT }, (_, i) => `k${i}`)
    const created_at = server.clock.now()
    await db.batchInsert(
      'idempotency_keys',
      keys.map((key) => ({ ...row, key, created_at })),
      500,
    )
    const refused = await withKey(ann, 'one-more', ['POST', '/api/tasks/', { title: 'Milk' }])
    expect(refused).toMatchObject({ status: 429, body: { code: 'too_many_requests' } })
    expect(Number(refused.headers.get('retry-after'))).toBeGreaterThan(0)
    expect((await ann.call('GET', '/api/tasks/')).body.count).toBe(0)
    expect((await ann.call('POST', '/api/tasks/', { title: 'Milk' })).status).toBe(201)
  })

  test('that is too large to keep is refused, and nothing done', async ({ ann }) => {
    const made = await aTask(ann, { description: 'x'.repeat(8_000) })
    const edit = (i: number) => ({ method: 'PATCH', path: made.path, body: { position: `a${i}` } })
    const operations = Array.from({ length: 200 }, (_, i) => edit(i % 10))
    const refused = await withKey(ann, 'k', ['POST', '/api/batch/', { operations }])
    expect(refused).toMatchObject({ status: 413, body: { code: 'too_large' } })
    expect((await ann.call('GET', made.path)).text).toBe(made.text)
    expect((await ann.call('POST', '/api/batch/', { operations })).status).toBe(200)
  })
})

test.for(['', ' ', 'a b', '"', '"a', 'a"b', 'ü', 'x'.repeat(256), 'a, b'])(
  'the key %j is refused',
  async (key, { ann }) => {
    const refused = await withKey(ann, key, ['POST', '/api/tasks/', { title: 'Milk' }])
    expect(refused).toMatchObject({
      status: 400,
      body: { code: 'invalid', errors: { 'idempotency-key': [expect.any(String)] } },
    })
    expect((await ann.call('GET', '/api/tasks/')).body.count).toBe(0)
  },
)

test('every other operation that changes something refuses the key, except pushes', async ({
  server,
  ann,
}) => {
  const api = await readApi(server.call)
  const taking = ({ parameters }: (typeof api.operations)[number]) =>
    parameters.some(({ name }) => name === 'Idempotency-Key')
  const ids = api.operations.filter(taking).map(({ id }) => id)
  expect(ids).toEqual(expect.arrayContaining(['create_task', 'patch_profile', 'batch']))
  const faults: string[] = []
  for (const operation of api.operations) {
    if (operation.method === 'GET' || taking(operation)) continue
    const path = examplePath(operation)
    const body = bodyOf(operation) as object
    const reply = await withKey(ann, 'k', [operation.method, path, body])
    const isRefused = reply.status === 400 && reply.text.includes('idempotency-key')
    if (isRefused === operation.id.startsWith('push_'))
      faults.push(`${operation.id}: ${reply.text}`)
  }
  expect(faults).toEqual([])
})
