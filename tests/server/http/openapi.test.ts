import { randomUUID } from 'node:crypto'
import { Validator } from '@seriousme/openapi-schema-validator'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { resources } from '../../../protocol/index.ts'
import { createUnsubscribeTokens } from '../../../server/reminders/unsubscribing.ts'
import { readConfig } from '../../../server/runtime/config.ts'
import { FACTOR_FACTS } from '../../support/factors.ts'
import { LINKED, tokenByMail } from '../../support/links.ts'
import {
  type Api,
  bodyOf,
  type DescribedOperation,
  examplePath,
  examplesOf,
  type Facts,
  type Media,
  otherSlash,
  readApi,
  revisionFacts,
  targetOf,
} from '../../support/openapi-walk.ts'
import {
  type Caller,
  callerTo,
  type Person,
  type Reply,
  SECRET,
  startServer,
  type TestServer,
} from '../../support/server.ts'

/** Unless an operation says otherwise. */
const { MAX_BODY_BYTES } = readConfig({ SECRET_KEY: SECRET })
const METHODS = ['GET', 'POST', 'PUT', 'PATCH', 'DELETE']

let server: TestServer
let api: Api
let ann: Person
/** Statuses that were met and found to be as described, by operation. */
const seen = new Map<string, Set<number>>()

beforeAll(async () => {
  server = await startServer({ SECURITY_CONTACT: 'security@example.com' })
  api = await readApi(server.call)
  ann = await someAdmin()
})
afterAll(() => server.stop())

describe('the document', () => {
  test('is valid OpenAPI 3.1', async () => {
    const validator = new Validator()
    expect(await validator.validate(structuredClone(api.document) as never)).toEqual({
      valid: true,
    })
    expect(validator.version).toBe('3.1')
  })

  test.each(['application/yaml', 'text/yaml'])('says the same as %s', async (type) => {
    const reply = await server.call('GET', '/api/schema/', undefined, { headers: { accept: type } })
    expect(reply.headers.get('content-type')).toBe(`${type}; charset=utf-8`)
    expect(reply.headers.get('vary')).toBe('Accept')
    expect(() => JSON.parse(reply.text)).toThrow()
    const validator = new Validator()
    expect(await validator.validate(reply.text)).toEqual({ valid: true })
    expect(validator.specification).toEqual(api.document)
  })

  test('names, sums up, groups and guards every operation', () => {
    const ids = api.operations.map(({ node }) => node.operationId)
    expect(new Set(ids).size).toBe(ids.length)
    expect(
      complaintsOfAll(({ node }) => [
        ...(node.operationId ? [] : ['no operationId']),
        ...(node.summary ? [] : ['no summary']),
        ...(node.tags?.length ? [] : ['no tag']),
        ...(node.security ? [] : ['says nothing of security']),
      ]),
    ).toEqual([])
  })

  test('has an example of every body, of every answer and of every refusal', () => {
    expect(
      complaintsOfAll((operation) => [
        ...(operation.body?.examples.length === 0 ? ['no example of its body'] : []),
        ...mediaOf(operation).flatMap(([where, media]) =>
          examplesOf(media).length === 0 ? [`no example of ${where}`] : [],
        ),
        ...refusalsWithoutContent(operation),
      ]),
    ).toEqual([])
  })

  test('has examples that conform to their schemas', () => {
    expect(
      complaintsOfAll(({ body, parameters, responses }) => [
        ...(body?.examples ?? []).flatMap((example) => faults('body', body!.schema, example)),
        ...mediaOf({ responses }).flatMap(([where, media]) =>
          examplesOf(media).flatMap((example) => faults(where, media.schema, example)),
        ),
        ...parameters.flatMap(({ name, schema, example }) =>
          example === undefined ? [] : faults(name, schema, example),
        ),
      ]),
    ).toEqual([])
  })

  test('names every document and choice once, and refers to it elsewhere', () => {
    const { schemas } = api.document.components
    expect(schemas.TaskList!.properties!.results!.items).toEqual({ $ref: componentAt('Task') })
    expect(schemas.tasksPage!.properties!.documents!.items).toEqual({
      $ref: componentAt('ReplicatedTask'),
    })
    expect(schemas.Task!.properties!.priority).toMatchObject({ $ref: componentAt('TaskPriority') })
    expect(schemas.FeedChanges!.properties!.results!.items).toEqual({
      $ref: componentAt('FeedChange'),
    })
    for (const [name, schema] of Object.entries(schemas))
      for (const part of Object.values(schema))
        expect(JSON.stringify(part), name).not.toMatch(/"enum":\["[^"]*",/)
  })

  test('marks what only the server writes, except where clients replicate it', () => {
    const readOnly = (name: string) =>
      Object.entries(api.document.components.schemas[name]!.properties!)
        .filter(([, property]) => property.readOnly)
        .map(([property]) => property)
        .sort()
    const stamps = ['completed_at', 'created_at', 'id', 'updated_at']
    expect([readOnly('Task'), readOnly('TaskPut')]).toEqual([stamps, stamps])
    expect([readOnly('ReplicatedTask'), readOnly('TaskCreate')]).toEqual([[], []])
  })

  test('has answers that a later release may extend', () => {
    const { schemas } = api.document.components
    const bodies = new Set(api.operations.map(({ body }) => body?.schema.$ref))
    const answers = Object.entries(schemas).filter(([name]) => !bodies.has(componentAt(name)))
    expect(answers.length).toBeGreaterThan(50)
    for (const [name, schema] of answers.filter(([name]) => !PARTS_OF_BODIES.has(name)))
      expect(JSON.stringify(schema), name).not.toContain('"additionalProperties":false')
  })

  test('is where programs look for it', async () => {
    for (const [from, to] of Object.entries({
      '/openapi.json': '/api/schema/',
      '/asyncapi.json': '/api/asyncapi/',
    })) {
      const { status, headers } = await server.call('GET', from)
      expect([status, headers.get('location')]).toEqual([308, to])
    }
  })

  test('has the operations that GET /api/ lists', async () => {
    const { body } = await server.call('GET', '/api/')
    const listed = body.operations.map((one: Record<string, unknown>) => [
      one.method,
      one.path,
      one.access_token,
    ])
    const described = api.operations.map(({ method, path, bearer }) => [method, path, bearer])
    expect(listed.sort()).toEqual(described.sort())
  })

  test('has schemas that reject unknown properties', () => {
    const withBody = withBodies().filter(isOwn)
    const lenient = withBody.filter(
      (operation) => !api.faultsOf(operation.body!.schema, { ...example(operation), nonsense: 1 }),
    )
    expect(lenient.map(({ id }) => id)).toEqual([])
  })
})

// Each walks all operations, with new people for each.
describe('the server answers as described', { timeout: 120_000 }, () => {
  test('to valid requests, with and without the trailing slash', async () => {
    expect(
      await complaintsOfCalls(succeeding(), async (operation) => {
        const replies: Reply[] = []
        for (const inForm of [(path: string) => path, otherSlash]) {
          const person = operation.guarded ? await someAdmin() : await server.person()
          const { path } = await targetOf(api, operation, person.call)
          replies.push(await succeed(operation, inForm(path), person))
        }
        return replies
      }),
    ).toEqual([])
  })

  test('when the document still has the known version', async () => {
    const conditional = api.operations.filter(takes('If-None-Match'))
    expect(conditional).not.toEqual([])
    expect(
      await complaintsOfCalls(conditional, async (operation) => {
        const { path } = await targetOf(api, operation, ann.call)
        const etag = (await ann.call(operation.method, path)).headers.get('etag')!
        return [await expecting(304, operation, ann.call, path, { 'if-none-match': etag })]
      }),
    ).toEqual([])
  })

  test('with tombstones that have no content', async () => {
    const bob = await server.person()
    const { body } = await bob.call('POST', '/api/tasks/', { title: 'Book the ferry' })
    await bob.call('DELETE', `/api/tasks/${body.id}/?for_good=true`)
    const pulls = api.operations.filter(({ id }) => id === 'pull_tasks')
    expect(
      await complaintsOfCalls(pulls, async (operation) => {
        const reply = await expecting(200, operation, bob.call, operation.path)
        expect(reply.body.documents).toMatchObject([{ title: '', _deleted: true }])
        return [reply]
      }),
    ).toEqual([])
  })

  test('when a document is created again, and when the id is taken', async () => {
    const repeatable = api.operations.filter(
      (one) => isOwn(one) && one.responses[201] && one.responses[409],
    )
    expect(repeatable).not.toEqual([])
    expect(
      await complaintsOfCalls(repeatable, async (operation) => {
        const { path } = await targetOf(api, operation, ann.call)
        const body = { ...example(operation), id: randomUUID() }
        const made = await ann.call(operation.method, path, body)
        const again = await ann.call(operation.method, path, body)
        const other = await ann.call(operation.method, path, otherContent(operation, body))
        expect([made.status, again.status, other.status]).toEqual([201, 200, 409])
        expect(other.body.current).toEqual(made.body)
        return [made, again, other]
      }),
    ).toEqual([])
  })

  test('when a request is repeated with its key, and when the key is used for another one', async () => {
    const keyed = api.operations.filter(takes('Idempotency-Key'))
    expect(keyed).not.toEqual([])
    expect(
      await complaintsOfCalls(keyed, async (operation) => {
        const { call } = await server.person()
        const { path } = await targetOf(api, operation, call)
        const send = (headers: object) =>
          call(operation.method, path, bodyOf(operation), {
            headers: {
              'idempotency-key': operation.id,
              ...headers,
            },
          })
        const [first, again, other] = [
          await send({}),
          await send({}),
          await send({ 'if-match': '*' }),
        ]
        expect(first.status, first.text).toBeLessThan(300)
        expect([again.status, again.text]).toEqual([first.status, first.text])
        expect(other.status, other.text).toBe(422)
        return [first, again, other]
      }),
    ).toEqual([])
  })

  test('without a token, and with an invalid one', async () => {
    const guarded = api.operations.filter(({ bearer }) => bearer)
    expect(guarded).not.toEqual([])
    expect(
      await complaintsOfCalls(guarded, async (operation) => {
        const { path } = await targetOf(api, operation, ann.call)
        return [
          await expecting(401, operation, server.call, path),
          await expecting(401, operation, server.call, path, { authorization: 'Bearer nonsense' }),
        ]
      }),
    ).toEqual([])
  })

  test('to a user without permission', async () => {
    const guarded = api.operations.filter(({ guarded }) => guarded)
    expect(guarded).not.toEqual([])
    const bob = await server.person()
    expect(
      await complaintsOfCalls(guarded, async (operation) => [
        await expecting(403, operation, bob.call, operation.path.replace('{id}', bob.id)),
      ]),
    ).toEqual([])
  })

  test('to wrong credentials', async () => {
    const signingIn = api.operations.filter(({ bearer, responses }) => !bearer && responses[401])
    expect(signingIn).not.toEqual([])
    const stranger = { ...factsOf(ann), username: 'nobody', refresh: 'none', token: 'none' }
    expect(
      await complaintsOfCalls(signingIn, async (operation) => {
        const reply = await server.call(
          operation.method,
          operation.path,
          bodyOf(operation, stranger),
        )
        expect(reply.status, operation.id).toBe(401)
        return [reply]
      }),
    ).toEqual([])
  })

  test.each([
    { what: 'an id that nothing has', id: () => randomUUID() },
    { what: 'an id that is none', id: () => 'nonsense' },
  ])('to $what', async ({ id }) => {
    const pointed = withParameters().filter(({ responses }) => responses[404])
    expect(pointed).not.toEqual([])
    expect(
      await complaintsOfCalls(pointed, async (operation) => [
        await expecting(404, operation, ann.call, operation.path.replaceAll(/\{\w+\}/g, id)),
      ]),
    ).toEqual([])
  })

  test('to a path that cannot be decoded', async () => {
    expect(withParameters()).not.toEqual([])
    for (const operation of withParameters()) {
      const path = operation.path.replace(/\{\w+\}/, '%zz')
      const reply = await expecting(400, operation, ann.call, path)
      // No operation is found by it, which would keep caches off.
      expect(api.complaints(operation, reply)).toEqual([])
      meet(operation, reply)
    }
  })

  test('to a page that does not exist', async () => {
    const paged = api.operations.filter(takes('page'))
    expect(paged).not.toEqual([])
    expect(
      await complaintsOfCalls(paged, async (operation) => [
        await expecting(404, operation, ann.call, `${operation.path}?page=1000`),
      ]),
    ).toEqual([])
  })

  test('to an unknown parameter', async () => {
    expect(
      await complaintsOfCalls(api.operations.filter(isOwn), async (operation) => {
        const { path } = await targetOf(api, operation, ann.call)
        return [await expecting(400, operation, ann.call, `${path}?nonsense=1`)]
      }),
    ).toEqual([])
  })

  test.each([
    {
      what: 'with an unknown field',
      of: isOwn,
      status: 400,
      change: (body: object) => ({ ...body, nonsense: 1 }),
    },
    { what: 'that is a list', status: 400, change: (body: object) => [body] },
    {
      what: 'that is too large',
      status: 413,
      change: (body: object, limit: number) => ({ ...body, nonsense: 'x'.repeat(limit) }),
    },
  ])('to a body $what', async ({ of = () => true, status, change }) => {
    expect(
      await complaintsOfCalls(withBodies().filter(of), async (operation) => {
        const { path } = await targetOf(api, operation, ann.call)
        const reply = await ann.call(
          operation.method,
          path,
          change(example(operation), limitOf(operation)),
        )
        expect(reply.status, operation.id).toBe(status)
        return [reply]
      }),
    ).toEqual([])
  })

  test.each([
    { what: 'cut-off JSON', type: 'application/json', raw: '{"', status: 400 },
    { what: 'no JSON at all', type: 'text/plain', raw: 'hello', status: 415 },
    { what: 'a form', type: 'application/x-www-form-urlencoded', raw: 'a=b', status: 415 },
    {
      what: 'JSON in no known charset',
      type: 'application/json; charset=x',
      raw: '{}',
      status: 415,
    },
  ])('to $what', async ({ type, raw, status }) => {
    expect(
      await complaintsOfCalls(withBodies(), async (operation) => {
        const { path } = await targetOf(api, operation, ann.call)
        const options = { raw, headers: { 'content-type': type } }
        const reply = await ann.call(operation.method, path, undefined, options)
        expect(reply.status, operation.id).toBe(status)
        return [reply]
      }),
    ).toEqual([])
  })

  test.each([
    { what: 'of another version', value: '"987654321"', status: 412 },
    { what: 'that is none', value: 'nonsense', status: 400 },
  ])('to an If-Match $what', async ({ value, status }) => {
    const conditional = api.operations.filter(takes('If-Match'))
    expect(conditional).not.toEqual([])
    expect(
      await complaintsOfCalls(conditional, async (operation) => {
        const { path, made } = await targetOf(api, operation, ann.call)
        const reply = await expecting(status, operation, ann.call, path, { 'if-match': value })
        if (status === 412 && made) expect(reply.body.current).toEqual(made.body)
        return [reply]
      }),
    ).toEqual([])
  })

  test('to a checkpoint that is ahead of the feed', async () => {
    const continued = api.operations.filter(
      (one) => takes('lwt')(one) || (takes('since')(one) && isOwn(one) && one.responses[410]),
    )
    expect(continued).not.toEqual([])
    expect(
      await complaintsOfCalls(continued, async (operation) => {
        const cursor = takes('lwt')(operation) ? 'id=1&lwt=987654321' : 'since=987654321.1'
        const path = `${operation.path}?${cursor}`
        return [await expecting(410, operation, ann.call, path)]
      }),
    ).toEqual([])
  })

  test('to methods that a path does not support', async () => {
    for (const [path, methods] of Object.entries(api.document.paths)) {
      const known = Object.keys(methods).map((method) => method.toUpperCase())
      const allow = [...known, ...(known.includes('GET') ? ['HEAD'] : []), 'OPTIONS']
      for (const method of METHODS.filter((method) => !known.includes(method))) {
        const reply = await ann.call(
          method,
          path.replaceAll(/\{\w+\}/g, () => randomUUID()),
        )
        const { status, body } = reply
        expect([status, body?.code ?? body?.error], `${method} ${path}`).toEqual([
          405,
          'method_not_allowed',
        ])
        expect(reply.headers.get('allow')?.split(', ').sort()).toEqual(allow.sort())
        const [ofErrors] = Object.values(
          api.operations.find((one) => one.path === path)!.responses[500]!.content!,
        )
        expect(api.faultsOf(ofErrors!.schema, body)).toBeUndefined()
      }
    }
  })

  test('to too many attempts', async () => {
    const hasLimit = new Set(
      server.app.operations.flatMap(({ id, access, limit }) =>
        access === 'limited' || limit ? [id] : [],
      ),
    )
    const limited = api.operations.filter(
      ({ id }) => hasLimit.has(id) && !isStream(id) && !BUSY_FOR_THEIR_OWN_REASON.has(id),
    )
    expect(limited).not.toEqual([])
    const strict = await startServer({ AUTH_RATE_LIMIT: '1' })
    try {
      const person = await strict.person()
      expect(
        await complaintsOfCalls(limited, async (operation) => {
          const { call } = operation.bearer ? person : strict
          await call(operation.method, operation.path, operation.body && {})
          return [await expecting(429, operation, call, operation.path)]
        }),
      ).toEqual([])
    } finally {
      await strict.stop()
    }
  })

  test('to more event streams than a user may have', async () => {
    const narrow = await startServer({ MAX_STREAMS_PER_USER: '1' })
    try {
      const { access, call } = await narrow.person()
      const headers = { authorization: `Bearer ${access}` }
      const held = await fetch(`${narrow.url}/replication/tasks/0/pullStream`, { headers })
      expect(held.status).toBe(200)
      const streams = api.operations.filter(({ id }) => isStream(id))
      expect(streams).toHaveLength(Object.keys(resources).length)
      expect(
        await complaintsOfCalls(streams, async (operation) => [
          await expecting(429, operation, call, operation.path),
        ]),
      ).toEqual([])
      await held.body!.cancel()
    } finally {
      await narrow.stop()
    }
  })

  test('to a personal token without the scope', async () => {
    const { call: own, password } = await server.person()
    const wanted = { name: 'Report', scopes: ['tasks:read'], password }
    const { body } = await own('POST', '/api/account/tokens/', wanted)
    await server.testDatabase.db('sessions').where({ id: body.id }).update({ scopes: [] })
    const call = callerTo(server.url, { authorization: `Bearer ${body.token}` })
    const needsScope = ({ node }: DescribedOperation) =>
      !(node.security as { personal_token?: string[] }[]).some(
        ({ personal_token }) => personal_token?.length === 0,
      )
    const bearers = api.operations.filter((one) => one.bearer && needsScope(one))
    expect(
      await complaintsOfCalls(bearers, async (operation) => {
        return [await expecting(403, operation, call, examplePath(operation))]
      }),
    ).toEqual([])
  })

  test('to a full account', async () => {
    const { url } = server.testDatabase
    const full = await startServer({ DATABASE_URL: url, QUOTA_BYTES: '1' })
    const headers = { authorization: `Bearer ${ann.access}` }
    try {
      const adding = api.operations.filter(({ responses }) => {
        const { examples = {} } = responses[403]?.content?.['application/problem+json'] ?? {}
        return 'quota_exceeded' in examples
      })
      expect(adding).not.toEqual([])
      expect(
        await complaintsOfCalls(adding, async (operation) => {
          const { path } = await targetOf(api, operation, ann.call)
          if (path.endsWith('/restore/')) await ann.call('DELETE', path.replace('restore/', ''))
          const example = bodyOf(operation) as Record<string, unknown>
          // A batch is refused as a whole if it is atomic.
          const body =
            operation.body && (otherContent(operation, example) ?? { ...example, atomic: true })
          const reply = await full.call(operation.method, path, body, { headers })
          expect(reply, operation.id).toMatchObject({ body: { code: 'quota_exceeded' } })
          return [reply]
        }),
      ).toEqual([])
    } finally {
      await full.stop()
    }
  })

  test('to an atomic batch that is stopped', async () => {
    const batches = api.operations.filter(({ body }) => body?.schema.$ref === componentAt('Batch'))
    expect(batches).not.toEqual([])
    const { body: task } = await ann.call('POST', '/api/tasks/', { title: 'Milk' })
    const path = `/api/tasks/${task.id}/`
    const stopping = [
      { method: 'POST', path: '/api/tasks/', body: { id: task.id, title: 'Rye' } },
      { method: 'DELETE', path, if_match: '"1"' },
      { method: 'DELETE', path: `/api/tasks/${randomUUID()}/` },
    ]
    expect(
      await complaintsOfCalls(batches, async (operation) => {
        const replies: Reply[] = []
        for (const one of stopping) {
          const body = { atomic: true, operations: [one] }
          replies.push(await ann.call(operation.method, operation.path, body))
        }
        expect(replies.map(({ status }) => status)).toEqual([409, 412, 404])
        return replies
      }),
    ).toEqual([])
  })

  test('to anything while too much data is in flight', async () => {
    const { bytes } = server.app
    const held = bytes.take('somebody else', bytes.limit)
    // A stream holds nothing until its reader is slow.
    const counted = api.operations.filter(({ id, responses }) => responses[429] && !isStream(id))
    try {
      expect(
        await complaintsOfCalls(counted, async (operation) => {
          const { call } = operation.bearer ? ann : server
          return [await expecting(429, operation, call, operation.path)]
        }),
      ).toEqual([])
    } finally {
      held.release()
    }
  })

  test('to what follows no revision, to checkpoints of another feed, and to databases that exist', async () => {
    const foreign = (status: number) =>
      api.operations.filter((one) => one.foreign && one.responses[status])
    const stale: [number, DescribedOperation, string, object?][] = [
      ...foreign(409).map((one): [number, DescribedOperation, string, object] => {
        const rev = one.path.includes('/_local/') ? '0-7' : '7-a'
        return [409, one, takes('rev')(one) ? `?rev=${rev}` : '', { _rev: rev }]
      }),
      ...foreign(410).map((one): [number, DescribedOperation, string] => [
        410,
        one,
        '?feed=longpoll&since=5-00000000',
      ]),
      ...foreign(412).map((one): [number, DescribedOperation, string] => [412, one, '']),
    ]
    expect(new Set(stale.map(([status]) => status)).size).toBe(3)
    for (const [status, operation, query, fields] of stale)
      expect(
        await complaintsOfCalls([operation], async () => {
          const { path } = await targetOf(api, operation, ann.call)
          const body = operation.body && { ...example(operation), ...fields }
          const headers = { accept: 'application/json' }
          const reply = await ann.call(operation.method, path + query, body, { headers })
          expect(reply.status, `${operation.id}: ${reply.text}`).toBe(status)
          return [reply]
        }),
      ).toEqual([])
  })

  test('with every declared status', () => {
    const notMet = complaintsOfAll((operation) =>
      Object.keys(operation.responses)
        .filter((status) => isReachable(operation, Number(status)))
        .filter((status) => !seen.get(operation.id)?.has(Number(status)))
        .map((status) => `${status} is declared and was never met`),
    )
    expect(notMet).toEqual([])
  })
})

describe('Swagger UI', () => {
  test('forgets the token in production, where others may use the browser', async () => {
    const settings = async ({ call }: TestServer) => {
      const { text } = await call('GET', '/api/docs/swagger-ui-init.js')
      return /"persistAuthorization": (\w+)/.exec(text)?.[1]
    }
    expect(await settings(server)).toBe('true')
    const production = await startServer({ NODE_ENV: 'production' })
    try {
      expect(await settings(production)).toBe('false')
    } finally {
      await production.stop()
    }
  })

  test('is at /api/docs/, with all its files', async () => {
    const path = '/api/docs/'
    const page = await server.call('GET', path)
    expect(page.status).toBe(200)
    expect(page.headers.get('content-type')).toMatch(/^text\/html/)
    const assets = [...page.text.matchAll(/(?:src|href)="([^"]*)"/g)].map(([, address]) => address!)
    expect(assets.length).toBeGreaterThan(2)
    let start = ''
    for (const asset of assets) {
      const url = new URL(asset, server.url + path)
      expect(url.origin).toBe(server.url)
      const reply = await server.call('GET', url.pathname)
      expect(reply.status, asset).toBe(200)
      expect(reply.headers.get('content-type'), asset).toMatch(/javascript|css|image/)
      if (asset.endsWith('swagger-ui-init.js')) start = reply.text
    }
    const described = /"swaggerUrl": "([^"]+)"/.exec(start)?.[1]
    expect((await server.call('GET', described!)).body).toEqual(api.document)
  })

  test('is found without the trailing slash, too', async () => {
    const { status, headers } = await server.call('GET', '/api/docs')
    expect({ status, location: headers.get('location') }).toEqual({
      status: 308,
      location: '/api/docs/',
    })
  })

  test('loads nothing from other hosts', async () => {
    const { headers } = await server.call('GET', '/api/docs/')
    const policy = headers.get('content-security-policy')!
    expect(policy).toMatch(/default-src 'none'/)
    expect(policy).not.toMatch(/https?:|\*|unsafe-eval|script-src[^;]*unsafe-inline/)
  })
})

/** Somebody who may call every operation, and somebody newer for them to do it to. */
async function someAdmin(): Promise<Person> {
  const admin = await server.staff('admin')
  await server.person()
  return admin
}

const componentAt = (name: string) => `#/components/schemas/${name}`

const PARTS_OF_BODIES: ReadonlySet<string> = new Set(['BatchOperation', 'FactorProof', 'PushRow'])

const isStream = (id: string) => id.startsWith('stream_')

/**
 * What may be too many requests beside the usual limit: exports while many others run, and mails while their
 * address has had enough. `account-export.test.ts` and `roles.test.ts` show that.
 */
const BUSY_FOR_THEIR_OWN_REASON = new Set([
  'export_account',
  'export_tasks_csv',
  'export_tasks_icalendar',
  'resend_confirmation_of_account',
])

function isReachable({ path, parameters }: DescribedOperation, status: number): boolean {
  if (status >= 500) return false
  const canMiss = path.includes('{') || parameters.some(({ name }) => name === 'page')
  return status !== 404 || canMiss
}

const withBodies = () => api.operations.filter(({ body }) => body)

const withParameters = () => api.operations.filter(({ path }) => path.includes('{'))

const succeeding = () => api.operations.filter(({ succeeds }) => succeeds)

/** Of a protocol that says what is to be refused. */
const isOwn = ({ foreign }: DescribedOperation) => !foreign

const takes =
  (parameter: string) =>
  ({ parameters }: DescribedOperation) =>
    parameters.some(({ name }) => name === parameter)

function example(operation: DescribedOperation): Record<string, unknown> {
  return bodyOf(operation) as Record<string, unknown>
}

function factsOf({ username, password, access, refresh }: Person): Facts {
  return { username, email: `${username}@example.com`, password, refresh, token: access }
}

/** Who makes an account has none yet: the only operation that an existing person's facts cannot serve. */
function newcomer(): Facts {
  const username = `n${randomUUID().slice(0, 8)}`
  return { username, email: `${username}@example.com`, password: 'a ferry to Lisbon' }
}

async function factsFor({ id }: DescribedOperation, person: Person): Promise<Facts> {
  if (id === 'register') return newcomer()
  if (id === 'change_email') return { ...factsOf(person), email: newcomer().email }
  const token = LINKED[id] && (await tokenByMail(server, person, LINKED[id]))
  return { ...factsOf(person), ...(token && { token }) }
}

const unsubscribeToken = ({ id }: Person) =>
  createUnsubscribeTokens([SECRET]).tokenFor(id, 'digest')

async function succeed(operation: DescribedOperation, path: string, person: Person) {
  const revision = await revisionFacts(operation, path, person.call)
  const facts = { ...(await factsFor(operation, person)), ...revision }
  const call = operation.bearer ? person.call : server.call
  const token = takes('token')(operation) ? `?token=${unsubscribeToken(person)}` : ''
  const query = operation.method === 'DELETE' && revision._rev ? `?rev=${revision._rev}` : token
  const factor = await FACTOR_FACTS[operation.id]?.(server, person)
  const body = bodyOf(operation, facts)
  const reply = await call(
    operation.method,
    path + query,
    factor ? { ...Object(body), ...factor } : body,
  )
  expect(reply.status, `${operation.method} ${path}: ${reply.text}`).toBeGreaterThanOrEqual(200)
  expect(reply.status, `${operation.method} ${path}: ${reply.text}`).toBeLessThan(400)
  return reply
}

async function expecting(
  status: number,
  operation: DescribedOperation,
  call: Caller,
  path: string,
  headers: Record<string, string> = {},
) {
  const reply = await call(operation.method, path, bodyOf(operation), { headers })
  expect(reply.status, `${operation.method} ${path}: ${reply.text}`).toBe(status)
  return reply
}

/** The bytes that its body may have. */
const limitOf = ({ id }: DescribedOperation) =>
  server.app.operations.find((one) => one.id === id)!.maxBodyBytes ?? MAX_BODY_BYTES

/** The body with one text changed, in a way that the schema allows. */
function otherContent({ body }: DescribedOperation, content: Record<string, unknown>) {
  const changed = Object.entries(content)
    .filter(([name, value]) => name !== 'id' && typeof value === 'string')
    .map(([name, value]) => ({ ...content, [name]: `${value} or another` }))
  return changed.find((other) => api.faultsOf(body!.schema, other) === undefined)
}

/** Makes calls of each operation and holds each reply against the document. */
async function complaintsOfCalls(
  operations: readonly DescribedOperation[],
  calls: (operation: DescribedOperation) => Promise<Reply[]>,
): Promise<string[]> {
  const complaints: string[] = []
  for (const operation of operations)
    for (const reply of await calls(operation)) {
      const faults = [...api.complaints(operation, reply), ...cacheComplaints(operation, reply)]
      complaints.push(...faults.map((fault) => `${operation.id} ${reply.status}: ${fault}`))
      if (faults.length > 0) continue
      meet(operation, reply)
    }
  return complaints
}

function meet({ id }: DescribedOperation, { status }: Reply): void {
  seen.set(id, (seen.get(id) ?? new Set()).add(status))
}

/** No cache keeps what needed a token, or a password, and no proxy compresses it unless we may. */
function cacheComplaints({ id, path }: DescribedOperation, { headers }: Reply): string[] {
  const { access, compressed } = server.app.operations.find((one) => one.id === id)!
  const [kept, encoding] = [headers.get('cache-control'), headers.get('content-encoding')]
  const expected = compressed ? 'no-store' : 'no-store, no-transform'
  return [
    ...(access === 'open' || kept === expected ? [] : [`Cache-Control of ${path} is ${kept}`]),
    ...(encoding === null || compressed ? [] : [`${path} is compressed`]),
  ]
}

function complaintsOfAll(complaintsOf: (operation: DescribedOperation) => string[]): string[] {
  return api.operations.flatMap((operation) =>
    complaintsOf(operation).map((complaint) => `${operation.id}: ${complaint}`),
  )
}

function mediaOf({ responses }: Pick<DescribedOperation, 'responses'>): [string, Media][] {
  return Object.entries(responses).flatMap(([status, { content = {} }]) =>
    Object.entries(content).map(([type, media]): [string, Media] => [`${status} ${type}`, media]),
  )
}

function refusalsWithoutContent({ responses, foreign }: DescribedOperation): string[] {
  const type = foreign ? 'application/json' : 'application/problem+json'
  return Object.entries(responses).flatMap(([status, { content = {} }]) =>
    Number(status) >= 400 && !content[type] ? [`${status} is not told as ${type}`] : [],
  )
}

function faults(where: string, schema: Media['schema'], value: unknown): string[] {
  const found = api.faultsOf(schema, value)
  return found === undefined ? [] : [`${where}: ${found}`]
}
