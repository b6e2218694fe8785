import { randomUUID } from 'node:crypto'
import { describe, expect } from 'vitest'
import type { Scope } from '../../../protocol/index.ts'
import { test } from '../../support/fixtures.ts'
import { callerTo, type Person } from '../../support/server.ts'

interface Part {
  method: string
  path: string
  body?: unknown
  if_match?: string
}

const batch = ({ call }: Pick<Person, 'call'>, operations: readonly Part[], atomic?: boolean) =>
  call('POST', '/api/batch/', { operations, ...(atomic !== undefined && { atomic }) })

const post = (body: object): Part => ({ method: 'POST', path: '/api/tasks/', body })

const titles = async ({ call }: Person) => {
  const { results } = (await call('GET', '/api/tasks/?ordering=title&page_size=200')).body
  return results.map(({ title }: { title: string }) => title)
}

const statuses = ({ body }: { body: { results: { status: number }[] } }) =>
  body.results.map(({ status }) => status)

/** One of each kind, in an order in which each needs what those before have written. */
function story(): { parts: Part[]; expected: object[] } {
  const [category, task, bread] = [randomUUID(), randomUUID(), randomUUID()]
  const at = `/api/tasks/${task}/`
  const steps: [Part, object][] = [
    [
      { method: 'POST', path: '/api/categories', body: { id: category, name: 'Travel' } },
      { status: 201, location: `/api/categories/${category}/`, body: { name: 'Travel' } },
    ],
    [
      post({ id: task, title: 'Ferry', category_id: category }),
      { status: 201, location: at, etag: expect.stringMatching(/^"\d+"$/) },
    ],
    [post({ id: task, title: 'Ferry', category_id: category }), { status: 200 }],
    [
      { method: 'PATCH', path: at, body: { completed: true } },
      { status: 200, body: { id: task, completed: true, completed_at: expect.any(String) } },
    ],
    [
      { method: 'PUT', path: at, body: { title: 'Ferries' } },
      { status: 200, body: { title: 'Ferries', completed: true } },
    ],
    [
      { method: 'PATCH', path: at, body: { title: 'Boat' }, if_match: '"1"' },
      {
        status: 412,
        problem: { code: 'precondition_failed', current: { title: 'Ferries' } },
      },
    ],
    [{ method: 'PATCH', path: at, body: { title: 'Boat' }, if_match: '*' }, { status: 200 }],
    [{ method: 'DELETE', path: `/api/categories/${category}/` }, { status: 204 }],
    [
      { method: 'PATCH', path: at, body: { category_id: category } },
      { status: 400, problem: { code: 'invalid', errors: { category_id: [expect.any(String)] } } },
    ],
    [{ method: 'DELETE', path: at }, { status: 204 }],
    [{ method: 'PATCH', path: at, body: { title: 'Gone' } }, { status: 404 }],
    [
      { method: 'POST', path: `${at}restore/` },
      { status: 200, body: { category_id: null } },
    ],
    [{ method: 'DELETE', path: `${at}?for_good=true` }, { status: 204 }],
    [{ method: 'POST', path: `${at}restore/` }, { status: 404 }],
    [{ method: 'PATCH', path: '/api/profile/', body: { bio: 'Sails.' } }, { status: 200 }],
    [post({ id: bread, title: 'Bread' }), { status: 201 }],
    [post({ id: bread, title: 'Rye' }), { status: 409, problem: { code: 'conflict' } }],
    [post({ title: ' ' }), { status: 400, problem: { errors: { title: [expect.any(String)] } } }],
  ]
  return { parts: steps.map(([part]) => part), expected: steps.map(([, result]) => result) }
}

describe('a batch', () => {
  test('answers each operation as a request of its own, in order', async ({ ann, bob }) => {
    const { parts, expected } = story()
    const reply = await batch(ann, parts)
    expect(reply).toMatchObject({ status: 200, body: { results: expected } })
    expect(reply.headers.get('cache-control')).toBe('no-store, no-transform')
    const { results } = reply.body
    // Bob sends each by itself. Only moments and the ids that follow from them may differ.
    const known = (value: object) =>
      JSON.stringify(value, (name, one) =>
        /_at$|^(position|request_id|id)$/.test(name) ? undefined : one,
      )
    for (const [i, { method, path, body, if_match }] of parts.entries()) {
      const headers: Record<string, string> = if_match ? { 'if-match': if_match } : {}
      const alone = await bob.call(method, path, body, { headers })
      const { status, body: document, problem } = results[i]
      expect([alone.status, known(alone.body ?? {})], path).toEqual([
        status,
        known(document ?? problem ?? {}),
      ])
      expect(alone.headers.get('location') ?? undefined).toBe(results[i].location)
    }
    expect(await titles(ann)).toEqual(['Bread'])
    expect(await titles(bob)).toEqual(['Bread'])
  })

  test('gives every document the ETag that it has afterwards', async ({ ann }) => {
    const reply = await batch(ann, [post({ title: 'Milk' }), post({ title: 'Bread' })])
    for (const { etag, location, body } of reply.body.results) {
      const read = await ann.call('GET', location)
      expect([read.headers.get('etag'), read.body]).toEqual([etag, body])
    }
  })

  test('that is atomic is done as a whole', async ({ ann }) => {
    const all = await batch(ann, [post({ title: 'Milk' }), post({ title: 'Bread' })], true)
    expect(all.status).toBe(200)
    expect(statuses(all)).toEqual([201, 201])
    expect(await titles(ann)).toEqual(['Bread', 'Milk'])
  })

  test('with an unknown name in an operation says which, and what was meant', async ({ ann }) => {
    const operations = [post({ title: 'a' }), { ...post({ title: 'b' }), ifMatch: '"1"' }]
    const { status, body } = await ann.call('POST', '/api/batch/', { operations })
    expect([status, body.errors]).toEqual([
      400,
      {
        'operations.1.ifMatch': [
          'Did you mean if_match? Unknown name. Use one of: method, path, body, if_match.',
        ],
      },
    ])
  })

  test('that is atomic is not done at all if one is refused, and says which one', async ({
    ann,
  }) => {
    const made = await ann.call('POST', '/api/tasks/', { title: 'Milk' })
    const path = `/api/tasks/${made.body.id}/`
    const refused: [Part, object][] = [
      [
        post({ title: ' ' }),
        { status: 400, code: 'invalid', errors: { title: [expect.anything()] } },
      ],
      [{ method: 'DELETE', path: `/api/tasks/${randomUUID()}/` }, { status: 404 }],
      [{ method: 'PATCH', path: '/api/nothing/', body: {} }, { status: 404 }],
      [post({ id: made.body.id, title: 'Rye' }), { status: 409, current: { title: 'Oat milk' } }],
      [
        { method: 'PATCH', path, body: { title: 'Rye' }, if_match: made.headers.get('etag')! },
        { status: 412, code: 'precondition_failed', current: { title: 'Oat milk' } },
      ],
    ]
    const before = [await titles(ann), (await ann.call('GET', path)).text]
    for (const [part, problem] of refused) {
      const parts = [
        post({ title: 'Bread' }),
        { method: 'PATCH', path, body: { title: 'Oat milk' } },
        part,
        post({ title: 'Butter' }),
      ]
      const reply = await batch(ann, parts, true)
      expect(reply.headers.get('content-type')).toBe('application/problem+json')
      expect(reply.body).toMatchObject({ ...problem, operation: 2, request_id: expect.any(String) })
      expect(reply.status).toBe(reply.body.status)
      expect([await titles(ann), (await ann.call('GET', path)).text]).toEqual(before)
    }
  })

  test('reaches devices like every other write', async ({ server, ann }) => {
    const { id } = (await ann.call('POST', '/api/tasks/', { title: 'Milk' })).body
    const stream = await fetch(`${server.url}/replication/tasks/0/pullStream`, {
      headers: { authorization: `Bearer ${ann.access}` },
    })
    const reader = stream.body!.pipeThrough(new TextDecoderStream()).getReader()
    await batch(ann, [
      post({ title: 'Bread' }),
      { method: 'PATCH', path: `/api/tasks/${id}/`, body: { title: 'Oat milk' } },
    ])
    let heard = ''
    while (!heard.includes('Bread') || !heard.includes('Oat milk'))
      heard += (await reader.read()).value
    await reader.cancel()
  })

  test('may have 200 operations, also such that change many documents', async ({ ann }) => {
    const ids = Array.from({ length: 100 }, () => randomUUID())
    const parts = ids.flatMap((id) => [
      { method: 'POST', path: '/api/categories/', body: { id, name: 'Travel' } },
      post({ title: 'Ferry', category_id: id }),
    ])
    expect(new Set(statuses(await batch(ann, parts)))).toEqual(new Set([201]))
    const removals = ids.map((id) => ({ method: 'DELETE', path: `/api/categories/${id}/` }))
    expect(new Set(statuses(await batch(ann, removals)))).toEqual(new Set([204]))
    const { results, count } = (await ann.call('GET', '/api/tasks/?category_id__isnull=true')).body
    expect([count, results[0].category_id]).toEqual([100, null])
    for (const [many, message] of [
      [[...parts, post({ title: 'One more' })], 'Send at most 200 operations.'],
      [[], 'Send at least one operation.'],
    ] as const)
      expect(await batch(ann, many)).toMatchObject({
        status: 400,
        body: { errors: { operations: [message] } },
      })
  })

  test.for<[string, Part, number, string]>([
    ['a read', { method: 'GET', path: '/api/tasks/' }, 400, 'request'],
    ['a path that is not there', { method: 'POST', path: '/api/nothing/' }, 404, 'not_found'],
    [
      'an operation on accounts',
      { method: 'POST', path: '/api/token/', body: {} },
      404,
      'not_found',
    ],
    ['a token', { method: 'POST', path: '/api/account/tokens/', body: {} }, 404, 'not_found'],
    ['a push', { method: 'POST', path: '/replication/tasks/0/push', body: [] }, 404, 'not_found'],
    ['a batch', { method: 'POST', path: '/api/batch/', body: {} }, 404, 'not_found'],
    ['another host', { method: 'POST', path: 'http://h/api/tasks/', body: {} }, 404, 'not_found'],
    ['dots', { method: 'POST', path: '/api/x/../tasks/', body: {} }, 404, 'not_found'],
    ['no body', { method: 'POST', path: '/api/tasks/' }, 400, 'invalid'],
    ['a list as body', { method: 'POST', path: '/api/tasks/', body: [] }, 400, 'invalid'],
    ['a body for nothing', { method: 'DELETE', path: '/api/tasks/1/', body: {} }, 400, 'invalid'],
    ['an unknown field', post({ title: 'a', seq: 1 }), 400, 'invalid'],
    ['a prototype', post(JSON.parse('{"title":"a","__proto__":{"seq":1}}')), 400, 'invalid'],
    ['an unknown parameter', { ...post({ title: 'a' }), path: '/api/tasks/?x=1' }, 400, 'invalid'],
    ['no id', { method: 'DELETE', path: '/api/tasks/%/' }, 404, 'not_found'],
    ['NUL in an id', { method: 'DELETE', path: '/api/tasks/%00/' }, 404, 'not_found'],
    [
      'a parameter twice',
      { method: 'DELETE', path: `/api/tasks/${randomUUID()}/?for_good=true&for_good=false` },
      400,
      'invalid',
    ],
    [
      'no ETag',
      { method: 'DELETE', path: `/api/tasks/${randomUUID()}/`, if_match: '1' },
      400,
      'invalid',
    ],
  ])('refuses %s, and does the rest', async ([_what, part, status, code], { ann }) => {
    const reply = await batch(ann, [part, post({ title: 'Milk' })])
    // What is no operation at all is no batch.
    if (code === 'request') {
      expect(reply.status).toBe(status)
      return
    }
    expect(reply.body.results).toMatchObject([{ status, problem: { code } }, { status: 201 }])
    expect(await titles(ann)).toEqual(['Milk'])
  })

  test("cannot reach another person's documents", async ({ ann, bob }) => {
    const made = await ann.call('POST', '/api/tasks/', { title: 'Known to one' })
    const path = `/api/tasks/${made.body.id}/`
    const reply = await batch(bob, [
      { method: 'PATCH', path, body: { title: 'Mine' } },
      { method: 'DELETE', path },
      { method: 'DELETE', path: `${path}?for_good=true` },
      { method: 'POST', path: `${path}restore/` },
      post({ id: made.body.id, title: 'Mine' }),
    ])
    expect(statuses(reply)).toEqual([404, 404, 404, 404, 201])
    expect(reply.text).not.toContain('Known to one')
    expect((await ann.call('GET', path)).text).toBe(made.text)
  })

  test('needs, with a personal token, the scopes of each operation', async ({ server, ann }) => {
    const parts = [
      post({ title: 'Milk' }),
      { method: 'PATCH', path: '/api/profile/', body: { bio: 'Sails.' } },
      { method: 'POST', path: `/api/conflicts/${randomUUID()}/restore/` },
    ]
    for (const [scopes, expected] of [
      [['tasks:write'], [201, 403, 403]],
      [['profile'], [403, 200, 403]],
      [
        ['tasks:write', 'profile'],
        [201, 200, 404],
      ],
      [
        ['tasks:read', 'account'],
        [403, 403, 403],
      ],
    ] satisfies [Scope[], number[]][]) {
      const wanted = { name: 'Report', scopes, password: ann.password }
      const { token } = (await ann.call('POST', '/api/account/tokens/', wanted)).body
      const script = { call: callerTo(server.url, { authorization: `Bearer ${token}` }) }
      expect(statuses(await batch(script, parts)), scopes.join()).toEqual(expected)
    }
    expect(await titles(ann)).toEqual(['Milk', 'Milk'])
  })
})

describe('the limits of a person', () => {
  test('count the operations of a batch', async ({ serverWith }) => {
    const server = await serverWith({ WRITES_PER_MINUTE: '10', QUOTA_DOCUMENTS: '5' })
    const ann = await server.person()
    const many = (count: number) => Array.from({ length: count }, () => post({ title: 'Milk' }))
    expect(statuses(await batch(ann, many(7)))).toEqual([201, 201, 201, 201, 201, 403, 403])
    const all = await batch(ann, many(3), true)
    expect(all).toMatchObject({ status: 403, body: { code: 'quota_exceeded', operation: 0 } })
    expect((await batch(ann, many(1))).status).toBe(429)
    expect(await titles(ann)).toHaveLength(5)
  })

  test('are counted once, however many operations a batch has', async ({ serverWith }) => {
    const server = await serverWith({ QUOTA_DOCUMENTS: '150' })
    const ann = await server.person()
    const replies = await batch(
      ann,
      Array.from({ length: 200 }, () => post({ title: 'Milk' })),
    )
    expect(statuses(replies).filter((status) => status === 201)).toHaveLength(150)
    const removals = replies.body.results
      .slice(0, 2)
      .map(({ location }: { location: string }) => ({ method: 'DELETE', path: location }))
    const more = await batch(ann, [...removals, ...[1, 2, 3].map(() => post({ title: 'Rye' }))])
    expect(statuses(more)).toEqual([204, 204, 201, 201, 403])
  })
})
