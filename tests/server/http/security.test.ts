import { randomUUID } from 'node:crypto'
import { connect } from 'node:net'
import { afterAll, beforeAll, describe, expect } from 'vitest'
import { networksOf, withoutPorts } from '../../../server/http/networks.ts'
import { test } from '../../support/fixtures.ts'
import { type Person, type Reply, startServer, type TestServer } from '../../support/server.ts'

let server: TestServer
test.beforeAll(({ server: started }) => {
  server = started
})

/** One request for each kind of response. */
const RESPONSES: [string, number, (ann: Person) => Promise<Reply>][] = [
  ['a list', 200, (ann) => ann.call('GET', '/api/tasks/')],
  ['a new document', 201, (ann) => ann.call('POST', '/api/tasks/', { title: 'Milk' })],
  ['health', 200, () => server.call('GET', '/healthz')],
  ['the description', 200, () => server.call('GET', '/api/schema/')],
  ['the documentation', 200, () => server.call('GET', '/api/docs/')],
  ['a script of the documentation', 200, () => server.call('GET', '/api/docs/swagger-ui-init.js')],
  ['a file of the documentation', 200, () => server.call('GET', '/api/docs/swagger-ui.css')],
  ['what is allowed', 204, () => server.call('OPTIONS', '/api/tasks/')],
  ['a fault in the body', 400, (ann) => ann.call('POST', '/api/tasks/', { title: '' })],
  [
    'a body that is no JSON',
    400,
    (ann) => ann.call('POST', '/api/tasks/', undefined, { ...broken }),
  ],
  ['a path that cannot be decoded', 400, (ann) => ann.call('GET', '/api/tasks/%E0%A4%A/')],
  ['no token', 401, () => server.call('GET', '/api/tasks/')],
  [
    'a token that is not valid',
    401,
    () => server.call('GET', '/api/tasks/', undefined, bearer('x')),
  ],
  ['credentials that are wrong', 401, () => server.call('POST', '/api/token/', nobody)],
  ['nothing there', 404, () => server.call('GET', '/nothing/')],
  ['no file of the documentation', 404, () => server.call('GET', '/api/docs/nothing.js')],
  ['a method that is not allowed', 405, () => server.call('DELETE', '/api/register/')],
  ['another media type', 415, (ann) => ann.call('POST', '/api/tasks/', undefined, { raw: 'x' })],
]
const broken = { raw: '{', headers: { 'content-type': 'application/json' } }
const nobody = { username: 'nobody', password: 'a ferry to Lisbon' }

describe('every response', () => {
  let ann: Person
  beforeAll(async () => {
    ann = await server.person()
  })

  test.each(RESPONSES)('is guarded by its headers: %s (%i)', async (_, status, request) => {
    const { status: answered, headers } = await request(ann)
    expect(answered).toBe(status)
    expect(headers.get('x-content-type-options')).toBe('nosniff')
    expect(headers.get('referrer-policy')).toBe('no-referrer')
    expect(headers.get('x-powered-by')).toBeNull()
    expect(headers.get('server')).toBeNull()
    expect(headers.get('strict-transport-security')).toBeNull()
    const policy = policyOf(headers)
    expect(policy['default-src']).toEqual(["'none'"])
    expect(policy['frame-ancestors']).toEqual(["'none'"])
    expect(policy['script-src'] ?? []).not.toContain("'unsafe-inline'")
    expect(policy['script-src'] ?? []).not.toContain("'unsafe-eval'")
  })

  test.each(RESPONSES)('has an id, which problems repeat: %s (%i)', async (_, status, request) => {
    const { headers, body } = await request(ann)
    expect(headers.get('x-request-id')).toMatch(/^[0-9a-f-]{36}$/)
    if (status >= 400) expect(body.request_id).toBe(headers.get('x-request-id'))
  })

  test.each(RESPONSES.filter(([, status]) => status >= 400))(
    'of refusal is a problem in JSON: %s (%i)',
    async (_, status, request) => {
      const { headers, body } = await request(ann)
      expect(headers.get('content-type')).toBe('application/problem+json')
      expect(body).toMatchObject({ status, type: `urn:tasktide:problem:${body.code}` })
      expect(headers.has('www-authenticate')).toBe(status === 401)
      expect(headers.has('allow')).toBe(status === 405)
    },
  )
})

describe('answers that are somebody’s own', () => {
  let ann: Person
  let path: string
  beforeAll(async () => {
    ann = await server.person()
    path = `/api/tasks/${(await ann.call('POST', '/api/tasks/', { title: 'Milk' })).body.id}/`
  })

  test.each([
    ['a list', () => ann.call('GET', '/api/tasks/')],
    ['a document', () => ann.call('GET', path)],
    ['the profile', () => ann.call('GET', '/api/profile/')],
    [
      'a conflict, which carries a document',
      () => ann.call('PATCH', path, { title: 'Bread' }, { headers: { 'if-match': '"0"' } }),
    ],
  ])('are kept by no cache: %s', async (_, request) => {
    const { headers } = await request()
    expect(headers.get('cache-control')).toMatch(/^no-store\b/)
  })

  test('are kept by nobody when they are tokens', async () => {
    const tokens = await server.call('POST', '/api/token/', credentialsOf(ann))
    expect(tokens.headers.get('cache-control')).toBe('no-store, no-transform')
    const { refresh } = tokens.body
    const renewed = await server.call('POST', '/api/token/refresh/', { refresh })
    expect(renewed.headers.get('cache-control')).toBe('no-store, no-transform')
  })
})

describe('the documentation', () => {
  test('runs nothing but files of our own', async () => {
    const page = await server.call('GET', '/api/docs/')
    expect(page.headers.get('content-type')).toMatch(/^text\/html/)
    const tags = [...page.text.matchAll(/<(script|link|img|iframe|base)\b([^>]*)>/g)]
    const addresses = tags.flatMap(([, , attributes]) =>
      [...attributes!.matchAll(/\b(?:src|href)="([^"]*)"/g)].map(([, address]) => address!),
    )
    expect(tags.length).toBeGreaterThan(2)
    expect(addresses).toHaveLength(tags.length)
    expect(page.text).toMatch(/<script [^>]*src="[^"]+"[^>]*>\s*<\/script>/)
    expect(page.text).not.toMatch(/<script[^>]*>\s*[^<\s]/)
    expect(page.text).not.toMatch(/\son\w+=/)
    for (const address of addresses) {
      const { origin, pathname } = new URL(address, `${server.url}/api/docs/`)
      expect(origin).toBe(server.url)
      const file = await server.call('GET', pathname)
      expect({ address, status: file.status }).toEqual({ address, status: 200 })
      if (address.endsWith('.js')) expect(file.headers.get('content-type')).toMatch(/javascript/)
      if (address.endsWith('.css')) expect(file.headers.get('content-type')).toMatch(/^text\/css/)
    }
  })

  test('has a policy that lets it load from and call this server only', async () => {
    const { headers } = await server.call('GET', '/api/docs/')
    const allowed = Object.values(policyOf(headers)).flat()
    expect(new Set(allowed)).toEqual(new Set(["'none'", "'self'", "'unsafe-inline'", 'data:']))
    expect(policyOf(headers)['script-src']).toEqual(["'self'"])
    expect(policyOf(headers)['connect-src']).toEqual(["'self'"])
  })
})

describe('behind a proxy that speaks HTTPS', () => {
  const PUBLIC_URL = 'https://tasks.example.com'
  const http = { 'x-forwarded-proto': 'http' }
  const https = { 'x-forwarded-proto': 'https' }
  let secure: TestServer
  beforeAll(async () => {
    secure = await startServer({ PUBLIC_URL, TRUST_PROXY: '1' })
  })
  afterAll(() => secure.stop())

  test.each([
    ['GET', '/api/tasks/?search=milk'],
    ['GET', '/API/tasks/'],
    ['POST', '/api/token/'],
    ['GET', '/replication/tasks/0/pull'],
    ['GET', '/couch/tasks/_changes'],
    ['OPTIONS', '/api/tasks/'],
    ['POST', '/'],
    ['DELETE', '/nothing'],
  ])('an API call over plain HTTP is refused, and not sent on: %s %s', async (method, path) => {
    for (const headers of [http, {}]) {
      const body = method === 'POST' ? { username: 'ann' } : undefined
      const refused = await secure.call(method, path, body, { headers })
      expect(refused).toMatchObject({
        status: 403,
        body: path.startsWith('/couch/')
          ? { error: 'https_required', reason: expect.stringContaining(PUBLIC_URL) }
          : { code: 'https_required', detail: expect.stringContaining(PUBLIC_URL) },
      })
    }
  })

  test('whatever brings a token over plain HTTP is refused', async () => {
    const { status } = await secure.call('GET', '/', undefined, bearer('x'))
    expect(status).toBe(403)
  })

  test.each([
    ['GET', '/?a=b'],
    ['HEAD', '/tasks'],
    ['GET', '/api/docs/'],
    ['GET', '/api/schema/'],
    ['GET', '//elsewhere.example.net/'],
    ['GET', '/\\elsewhere.example.net/'],
  ])('a page over plain HTTP is sent on: %s %s', async (method, path) => {
    for (const headers of [http, {}]) {
      const sent = await secure.call(method, path, undefined, { headers })
      expect(sent.status).toBe(308)
      const location = new URL(sent.headers.get('location')!)
      expect(location.origin).toBe(PUBLIC_URL)
      expect(location.pathname + location.search).toBe(path.replace('\\', '/'))
    }
  })

  test('nothing is sent on to elsewhere, whatever stands in the request line', async () => {
    const reply = await sendRaw(
      secure.url,
      'GET http://elsewhere.example.net/x HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n',
    )
    const location = /^location: (.*)\r$/im.exec(reply)?.[1]
    if (location !== undefined) expect(new URL(location).origin).toBe(PUBLIC_URL)
    else expect(reply).toMatch(/^HTTP\/1\.1 4/)
  })

  test('HTTPS is answered, with the order to stay there', async () => {
    const ok = await secure.call('GET', '/api/schema/', undefined, { headers: https })
    const refused = await secure.call('GET', '/api/tasks/', undefined, { headers: https })
    expect([ok.status, refused.status]).toEqual([200, 401])
    for (const { headers } of [ok, refused])
      expect(headers.get('strict-transport-security')).toBe('max-age=31536000')
  })

  test('HTTPS for all subdomains is ordered by a setting', async ({ serverWith }) => {
    const environment = { PUBLIC_URL, TRUST_PROXY: '1', HSTS_SUBDOMAINS: 'true' }
    const { headers } = await (await serverWith(environment)).call('GET', '/healthz')
    expect(headers.get('strict-transport-security')).toBe('max-age=31536000; includeSubDomains')
  })

  test.each(['/healthz', '/readyz', '/metrics'])('%s is told in plain HTTP too', async (path) => {
    const { status } = await secure.call('GET', path, undefined, { headers: http })
    expect(status).toBe(200)
  })

  test('links lead to the public address', async () => {
    const account = { username: 'ann', email: 'ann@example.com', password: 'a ferry to Lisbon' }
    await secure.call('POST', '/api/register/', account, { headers: https })
    const tokens = await secure.call('POST', '/api/token/', credentialsOf(account), {
      headers: https,
    })
    const headers = { ...https, authorization: `Bearer ${tokens.body.access}` }
    for (const title of ['Milk', 'Bread'])
      await secure.call('POST', '/api/tasks/', { title }, { headers })
    const list = await secure.call('GET', '/api/tasks/?page_size=1', undefined, { headers })
    expect(new URL(list.body.next).origin).toBe(PUBLIC_URL)
  })
})

describe('without TRUST_PROXY', () => {
  test('what a client says of its scheme and host counts for nothing', async () => {
    const ann = await server.person()
    for (const title of ['Milk', 'Bread']) await ann.call('POST', '/api/tasks/', { title })
    const list = await ann.call('GET', '/api/tasks/?page_size=1', undefined, {
      headers: {
        'x-forwarded-proto': 'https',
        'x-forwarded-host': 'elsewhere.example.net',
        forwarded: 'host=elsewhere.example.net;proto=https',
      },
    })
    expect(new URL(list.body.next).origin).toBe(server.url)
  })

  test('what a client says of its address counts for nothing', async ({ serverWith }) => {
    const limited = await serverWith({ AUTH_RATE_LIMIT: '2' })
    const statuses = []
    for (const address of ['192.0.2.1', '192.0.2.2', '192.0.2.3'])
      statuses.push((await attempt(limited, address)).status)
    expect(statuses).toEqual([401, 401, 429])
  })

  test('a public address in HTTPS sends nobody in circles', async ({ serverWith }) => {
    const { call } = await serverWith({ PUBLIC_URL: 'https://tasks.example.com' })
    const reply = await call('GET', '/api/schema/', undefined, {
      headers: { 'x-forwarded-proto': 'http' },
    })
    expect(reply.status).toBe(200)
  })
})

describe('web apps on other origins', () => {
  const APP = 'https://app.example.com'
  let listing: TestServer
  beforeAll(async () => {
    listing = await startServer({ CORS_ORIGINS: `${APP}, http://localhost:5173` })
  })
  afterAll(() => listing.stop())

  const preflight = (to: TestServer, origin: string, method: string, headers: string) =>
    to.call('OPTIONS', '/api/tasks/', undefined, {
      headers: {
        origin,
        'access-control-request-method': method,
        'access-control-request-headers': headers,
      },
    })

  test.each([APP, 'http://localhost:5173'])('may call when they are listed: %s', async (origin) => {
    const headers =
      'authorization,content-type,idempotency-key,if-match,traceparent,ngrok-skip-browser-warning'
    const asked = await preflight(listing, origin, 'PATCH', headers)
    expect(asked.status).toBe(204)
    expect(asked.headers.get('access-control-allow-origin')).toBe(origin)
    expect(listOf(asked.headers, 'access-control-allow-methods')).toEqual(
      expect.arrayContaining(['get', 'post', 'put', 'patch', 'delete']),
    )
    expect(listOf(asked.headers, 'access-control-allow-headers')).toEqual(headers.split(','))
    expect(asked.headers.get('access-control-allow-credentials')).toBeNull()
    expect(listOf(asked.headers, 'vary')).toContain('access-control-request-headers')
    expect(Number(asked.headers.get('access-control-max-age'))).toBeGreaterThan(0)

    const ann = await listing.person()
    const called = await ann.call('POST', '/api/tasks/', { title: 'Milk' }, { headers: { origin } })
    expect(called.status).toBe(201)
    expect(called.headers.get('access-control-allow-origin')).toBe(origin)
    expect(listOf(called.headers, 'access-control-expose-headers')).toEqual(
      expect.arrayContaining([
        'content-disposition',
        'date',
        'etag',
        'location',
        'retry-after',
        'x-request-id',
      ]),
    )
    expect(listOf(called.headers, 'vary')).toContain('origin')
  })

  test.each([
    ['another one', 'https://elsewhere.example.net'],
    ['one that begins like it', `${APP}.example.net`],
    ['one that ends like it', 'https://bad-app.example.com'],
    ['the same in plain HTTP', 'http://app.example.com'],
    ['one on another port', `${APP}:8443`],
    ['a file', 'null'],
  ])('may not when they are not: %s', async (_, origin) => {
    const asked = await preflight(listing, origin, 'GET', 'authorization')
    const called = await listing.call('GET', '/api/schema/', undefined, { headers: { origin } })
    for (const { headers } of [asked, called]) {
      expect(headers.get('access-control-allow-origin')).toBeNull()
      expect(listOf(headers, 'vary')).toContain('origin')
    }
  })

  test.for(['https://elsewhere.example.net', 'null'])(
    'all may with *: %s',
    async (origin, { serverWith }) => {
      const open = await serverWith({ CORS_ORIGINS: '*' })
      const asked = await preflight(open, origin, 'DELETE', 'authorization')
      const called = await open.call('GET', '/api/schema/', undefined, { headers: { origin } })
      for (const { headers } of [asked, called]) {
        expect(headers.get('access-control-allow-origin')).toBe('*')
        expect(headers.get('access-control-allow-credentials')).toBeNull()
      }
    },
  )

  // PouchDB asks for credentials with each request; without this, its page could read no answer.
  test.for([APP, '*'])(
    'may ask for credentials below /couch/, where there are none: %s',
    async (origins, { serverWith }) => {
      const open = await serverWith({ CORS_ORIGINS: origins })
      const headers = { origin: APP, 'access-control-request-method': 'GET' }
      const asked = await open.call('OPTIONS', '/couch/all/', undefined, { headers })
      const wrong = `Basic ${Buffer.from('nobody:a wrong password').toString('base64')}`
      const authorizations = [undefined, 'Bearer wrong', wrong, 'Basic wrong', 'Digest wrong']
      const refused = authorizations.map((authorization) =>
        open.call('GET', '/couch/all/', undefined, {
          headers: { origin: APP, cookie: 'token=x', ...(authorization && { authorization }) },
        }),
      )
      for (const { status, headers } of await Promise.all(refused)) {
        expect(status).toBe(401)
        // Browsers keep passwords only for who asks for Basic, and would send them from any site.
        expect(headers.get('www-authenticate')).toMatch(/^Bearer/)
        expect(headers.get('set-cookie')).toBeNull()
        expect(headers.get('access-control-allow-origin')).toBe(APP)
        expect(headers.get('access-control-allow-credentials')).toBe('true')
        expect(listOf(headers, 'vary')).toContain('origin')
      }
      expect(asked.status).toBe(204)
      expect(asked.headers.get('access-control-allow-origin')).toBe(APP)
      expect(asked.headers.get('access-control-allow-credentials')).toBe('true')
      const api = await open.call('GET', '/api/schema/', undefined, { headers: { origin: APP } })
      expect(api.headers.get('access-control-allow-credentials')).toBeNull()
    },
  )

  test.each([
    [400, 'POST', '/api/token/', {}],
    [401, 'GET', '/api/tasks/', undefined],
    [401, 'POST', '/api/token/', nobody],
    [404, 'GET', '/nothing/', undefined],
    [405, 'DELETE', '/api/register/', undefined],
  ])('can read a refusal (%i %s %s)', async (status, method, path, body) => {
    const refused = await listing.call(method, path, body, { headers: { origin: APP } })
    expect(refused.status).toBe(status)
    expect(refused.headers.get('access-control-allow-origin')).toBe(APP)
    expect(listOf(refused.headers, 'access-control-expose-headers')).toContain('retry-after')
  })

  test('get no permission from a server in production that lists none', async ({ serverWith }) => {
    const strict = await serverWith({ NODE_ENV: 'production' })
    const asked = await preflight(strict, APP, 'GET', 'authorization')
    expect(asked.headers.get('access-control-allow-origin')).toBeNull()
  })
})

describe('attempts at accounts', () => {
  const environment = { AUTH_RATE_LIMIT: '3', TRUST_PROXY: '1' }
  let limited: TestServer
  beforeAll(async () => {
    limited = await startServer(environment)
  })
  afterAll(() => limited.stop())

  const ATTEMPTS: [string, string, object, number][] = [
    ['signing in', '/api/token/', nobody, 401],
    ['registering', '/api/register/', {}, 400],
    ['renewing', '/api/token/refresh/', { refresh: 'x' }, 401],
    ['verifying', '/api/token/verify/', { token: 'x' }, 401],
    ['logging out', '/api/logout/', { refresh: 'x' }, 401],
    ['renewing with nothing', '/api/token/refresh/', {}, 400],
  ]

  test.each(ATTEMPTS)('are counted: %s', async (_, path, body, refusal) => {
    const options = { headers: { 'x-forwarded-for': someAddress() } }
    for (let i = 0; i < 3; i++) {
      const { status, headers } = await limited.call('POST', path, body, options)
      expect(status).toBe(refusal)
      expect(headers.get('ratelimit-policy')).toBe('"attempts";q=3;w=60')
      const left = new RegExp(`^"attempts";r=${2 - i};t=(60|[1-5]?\\d)$`)
      expect(headers.get('ratelimit')).toMatch(left)
    }
    const tooMany = await limited.call('POST', path, body, options)
    expect(tooMany).toMatchObject({ status: 429, body: { code: 'too_many_requests' } })
    const seconds = Number(tooMany.headers.get('retry-after'))
    expect(seconds).toBeGreaterThan(0)
    expect(seconds).toBeLessThanOrEqual(60)
    expect(tooMany.headers.get('ratelimit')).toBe(`"attempts";r=0;t=${seconds}`)
    expect(tooMany.body.detail).toContain('AUTH_RATE_LIMIT (3 a minute)')
  })

  test('with a token that is good count for nothing, even where others have used up the limit', async () => {
    const options = from(someAddress())
    const devices = await Promise.all(Array.from({ length: 5 }, signedInElsewhere))
    const renew = (refresh: string) =>
      limited.call('POST', '/api/token/refresh/', { refresh }, options)
    for (let i = 0; i < 3; i++) expect((await renew('x')).status).toBe(401)
    expect((await renew('x')).status).toBe(429)
    for (const { refresh } of devices) {
      const renewed = await renew(refresh)
      expect(renewed.status).toBe(200)
      const verified = { token: renewed.body.access }
      expect(await limited.call('POST', '/api/token/verify/', verified, options)).toMatchObject({
        status: 200,
      })
      const ended = { refresh: renewed.body.refresh }
      expect((await limited.call('POST', '/api/logout/', ended, options)).status).toBe(204)
    }
  })

  async function signedInElsewhere(): Promise<{ refresh: string }> {
    const account = { username: newName(), password: 'a ferry to Lisbon' }
    const email = `${account.username}@example.com`
    await limited.call('POST', '/api/register/', { ...account, email }, from(someAddress()))
    return (await limited.call('POST', '/api/token/', account, from(someAddress()))).body
  }

  test('count when they come all at once', async () => {
    const address = someAddress()
    const replies = await Promise.all(Array.from({ length: 12 }, () => attempt(limited, address)))
    expect(replies.filter(({ status }) => status === 429)).toHaveLength(9)
  })

  test('are counted for each endpoint by itself, and for each address', async () => {
    const address = someAddress()
    for (let i = 0; i < 4; i++) await attempt(limited, address)
    expect((await attempt(limited, address)).status).toBe(429)
    expect((await attempt(limited, someAddress())).status).toBe(401)
    const elsewhere = await limited.call('POST', ATTEMPTS[1]![1], {}, from(address))
    expect(elsewhere.status).toBe(400)
  })

  test('go by the address that the nearest proxy saw, not by what was sent to it', async () => {
    const address = someAddress()
    const statuses = []
    for (const forged of ['192.0.2.1', '192.0.2.2', '192.0.2.3', '192.0.2.4'])
      statuses.push((await attempt(limited, `${forged}, ${address}`)).status)
    expect(statuses).toEqual([401, 401, 401, 429])
  })

  test('of one IPv6 network are one’s', async () => {
    const net = `2001:db8:${randomUUID().slice(0, 4)}:1`
    const statuses = []
    for (const host of ['::1', ':ffff:2:3:4', '::dead:beef', '::2'])
      statuses.push((await attempt(limited, net + host)).status)
    expect(statuses).toEqual([401, 401, 401, 429])
    expect((await attempt(limited, `${net.slice(0, -1)}2::1`)).status).toBe(401)
  })

  test('of one IPv6 site are limited together, without harm by a single neighbour', async () => {
    const site = `2001:db8:${randomUUID().slice(0, 4)}`
    for (let i = 0; i < 60; i++) await attempt(limited, `${site}:1::${i}`)
    const statuses = []
    for (let i = 2; i < 80; i++)
      statuses.push((await attempt(limited, `${site}:${(i * 256).toString(16)}::1`)).status)
    // 16 times the limit of 3, of which the first network has used 3.
    expect(statuses).toEqual([...Array(45).fill(401), ...Array(33).fill(429)])
  })

  test('are one address’s whatever port the proxy adds to it', async () => {
    const address = someAddress()
    const statuses = []
    for (const port of [1001, 1002, 1003, 1004])
      statuses.push((await attempt(limited, `${address}:${port}`)).status)
    expect(statuses).toEqual([401, 401, 401, 429])
  })

  test('are counted together by servers on one database', async ({ serverWith }) => {
    const other = await serverWith({ ...environment, DATABASE_URL: limited.testDatabase.url })
    const address = someAddress()
    const statuses = []
    for (const node of [limited, other, limited, other, limited])
      statuses.push((await attempt(node, address)).status)
    expect(statuses).toEqual([401, 401, 401, 429, 429])
  })

  test('are forgotten after a minute', async () => {
    const address = someAddress()
    for (let i = 0; i < 4; i++) await attempt(limited, address)
    expect((await attempt(limited, address)).status).toBe(429)
    await limited.testDatabase.db('rate_limits').decrement('expire', 60_000)
    expect((await attempt(limited, address)).status).toBe(401)
  })

  test('are not forgotten because one that began later was counted first', async () => {
    const address = someAddress()
    for (let i = 0; i < 4; i++) await attempt(limited, address)
    await limited.testDatabase.db('rate_limits').increment('expire', 1_000)
    expect((await attempt(limited, address)).status).toBe(429)
  })

  test('are forgotten too if a node whose clock was ahead counted them', async () => {
    const address = someAddress()
    for (let i = 0; i < 4; i++) await attempt(limited, address)
    await limited.testDatabase.db('rate_limits').increment('expire', 365 * 24 * 60 * 60 * 1000)
    expect((await attempt(limited, address)).status).toBe(401)
  })

  test('are counted by each node while the database cannot', async () => {
    const { db } = limited.testDatabase
    const address = someAddress()
    await db.raw('alter table rate_limits rename to rate_limits_away')
    try {
      const statuses = []
      const verified = { token: 'x' }
      for (let i = 0; i < 4; i++)
        statuses.push(
          (await limited.call('POST', '/api/token/verify/', verified, from(address))).status,
        )
      expect(statuses).toEqual([401, 401, 401, 429])
    } finally {
      await db.raw('alter table rate_limits_away rename to rate_limits')
    }
  })

  test('limit nothing else', async () => {
    const headers = { 'x-forwarded-for': someAddress() }
    for (let i = 0; i < 8; i++) {
      const refused = await limited.call('GET', '/api/tasks/', undefined, { headers })
      const health = await limited.call('GET', '/healthz', undefined, { headers })
      expect([refused.status, health.status]).toEqual([401, 200])
    }
  })

  test('that are refused for their number cost no hash and tell nothing', async () => {
    const address = someAddress()
    for (let i = 0; i < 3; i++) await attempt(limited, address)
    const account = { username: newName(), password: 'a ferry to Lisbon' }
    await limited.call(
      'POST',
      '/api/register/',
      { ...account, email: `${account.username}@example.com` },
      from(someAddress()),
    )
    const right = await limited.call('POST', '/api/token/', account, from(address))
    const wrong = await attempt(limited, address)
    expect([right.status, wrong.status]).toEqual([429, 429])
    expect(right.body.detail.replace(/\d+/, '')).toBe(wrong.body.detail.replace(/\d+/, ''))
  })
})

test.each([
  ['192.0.2.7', ['192.0.2.7']],
  ['::ffff:192.0.2.7', ['192.0.2.7']],
  ['::FFFF:192.0.2.7', ['192.0.2.7']],
  [
    '2001:db8:1:abcd:3:4:5:6',
    ['2001:db8:1:abcd::/64', '2001:db8:1:ab00::/56', '2001:db8:1:0::/48'],
  ],
  ['2001:0DB8:0001:0002::1', ['2001:db8:1:2::/64', '2001:db8:1:0::/56', '2001:db8:1:0::/48']],
  ['2001:db8::1', ['2001:db8:0:0::/64', '2001:db8:0:0::/56', '2001:db8:0:0::/48']],
  ['2001:db8:1::2:3:4:5', ['2001:db8:1:0::/64', '2001:db8:1:0::/56', '2001:db8:1:0::/48']],
  ['fe80::1%eth0', ['fe80:0:0:0::/64', 'fe80:0:0:0::/56', 'fe80:0:0:0::/48']],
  ['::', ['0:0:0:0::/64', '0:0:0:0::/56', '0:0:0:0::/48']],
  ['', ['']],
  ['unknown', ['unknown']],
])('the address %j is in the networks %j', (address, expected) => {
  expect(networksOf(address)).toEqual(expected)
})

test.each([
  ['192.0.2.7:4711', '192.0.2.7'],
  ['192.0.2.7', '192.0.2.7'],
  ['[2001:db8::1]:4711', '2001:db8::1'],
  ['[2001:db8::1]', '2001:db8::1'],
  ['2001:db8::1:4711', '2001:db8::1:4711'],
  ['192.0.2.7:1,  10.0.0.1:2', '192.0.2.7, 10.0.0.1'],
  ['unknown:4711', 'unknown:4711'],
  ['', ''],
])('X-Forwarded-For %j names %j', (header, expected) => {
  expect(withoutPorts(header)).toBe(expected)
})

describe('a request id', () => {
  test.each(['a', 'trace-1.2_3', 'A'.repeat(64)])(
    'that the client gives is kept: %s',
    async (id) => {
      const reply = await server.call('GET', '/nothing/', undefined, {
        headers: { 'x-request-id': id },
      })
      expect(reply.headers.get('x-request-id')).toBe(id)
      expect(reply.body.request_id).toBe(id)
    },
  )

  test.each(['', 'a b', 'a,b', '<script>', '"', 'ü', 'A'.repeat(65), '{"level":60}'])(
    'that is malformed is replaced: %j',
    async (id) => {
      const headers = { 'x-request-id': id }
      const reply = await server.call('GET', '/nothing/', undefined, { headers })
      expect(reply.headers.get('x-request-id')).toMatch(/^[0-9a-f-]{36}$/)
      expect(reply.body.request_id).toBe(reply.headers.get('x-request-id'))
    },
  )

  test('is another one for each request', async () => {
    const replies = await Promise.all(
      Array.from({ length: 20 }, () => server.call('GET', '/healthz')),
    )
    expect(new Set(replies.map(({ headers }) => headers.get('x-request-id'))).size).toBe(20)
  })
})

describe('what is logged', () => {
  const WORDS = {
    password: 'zanzibar-pass-4711',
    wrongPassword: 'zanzibar-wrong-4711',
    title: 'zanzibar-title-4711',
    description: 'zanzibar-description-4711',
    search: 'zanzibar-search-4711',
    bio: 'zanzibar-bio-4711',
    unknownField: 'zanzibar-field-4711',
    header: 'zanzibar-header-4711',
    queryToken: 'zanzibar-query-4711',
    brokenBody: 'zanzibar-broken-4711',
    username: 'zanzibar.user',
    email: 'zanzibar.user@example.com',
  }
  let own: TestServer
  let replies: Reply[]
  let secrets: string[]
  let user: string

  beforeAll(async () => {
    own = await startServer()
    const { call, testDatabase } = own
    const { username, email, password, title, description } = WORDS
    const made = await call('POST', '/api/register/', { username, email, password })
    user = made.body.id
    const first = (await call('POST', '/api/token/', { username, password })).body
    const headers = { authorization: `Bearer ${first.access}` }
    const as = (method: string, path: string, body?: unknown, more = {}) =>
      call(method, path, body, { headers: { ...headers, ...more } })
    const second = (await call('POST', '/api/token/refresh/', { refresh: first.refresh })).body

    replies = [
      made,
      await call('POST', '/api/token/', { username, password: WORDS.wrongPassword }),
      await call('POST', '/api/register/', { username: 'b', email: 'b', password: 'zanzi' }),
      await call('POST', '/api/token/verify/', { token: first.access }),
      await call('POST', '/api/token/verify/', { token: `${first.access}x` }),
      await as('POST', '/api/tasks/', { title, description }),
      await as('POST', '/api/tasks/', { title, [WORDS.unknownField]: 1 }),
      await as('POST', '/api/tasks/', { title, due_date: WORDS.brokenBody }),
      await as('GET', `/api/tasks/?search=${WORDS.search}`),
      await as('GET', `/api/tasks/?due_date=${WORDS.search}`),
      await as('GET', `/api/tasks/?token=${WORDS.queryToken}&access=${first.access}`),
      await as('GET', `/api/tasks/?cursor=${WORDS.queryToken}`),
      await as('PATCH', '/api/profile/', { bio: WORDS.bio }),
      await as('GET', '/api/profile/', undefined, { 'if-none-match': WORDS.header }),
      await as('GET', '/api/tasks/', undefined, { 'x-request-id': `${WORDS.header} !` }),
      await as('GET', '/api/tasks/', undefined, { authorization: `Bearer ${WORDS.header}` }),
      await as('GET', '/api/tasks/', undefined, { authorization: `Basic ${WORDS.header}` }),
      await call('POST', '/api/tasks/', undefined, {
        headers: { ...headers, 'content-type': 'application/json' },
        raw: `{"title": "${WORDS.brokenBody}`,
      }),
    ]
    await testDatabase.db.raw(`
      create function refuse() returns trigger language plpgsql as $$
      begin raise exception 'refused: %', new; end $$;
      create trigger refuse before insert on tasks for each row execute function refuse();
      alter table profiles add constraint short check (length(bio) < 30);
      alter table sessions add constraint no_sessions check (id is null) not valid;
    `)
    replies.push(
      await as('POST', '/api/tasks/', { title, description }),
      await as('PATCH', '/api/profile/', { bio: `${WORDS.bio} and a few words more` }),
      await call('POST', '/api/token/', { username, password }),
    )
    await testDatabase.db.raw('alter table users rename column email to address')
    const another = { username: `${username}.2`, email: `2.${email}`, password }
    replies.push(await call('POST', '/api/register/', another))
    await testDatabase.db.raw('drop table tasks cascade')
    replies.push(await as('GET', `/api/tasks/?search=${WORDS.search}`))
    secrets = [first, second].flatMap(({ access, refresh }) =>
      [access, refresh].flatMap((token: string) => token.split('.').slice(1)),
    )
  })
  afterAll(() => own.stop())

  test('is a line for each request', async () => {
    const lines = () => requestsOf(own)
    await expect.poll(() => lines().length).toBeGreaterThanOrEqual(replies.length)
    for (const { status, headers } of replies) {
      const line = lines().find((each) => each.request_id === headers.get('x-request-id'))
      expect(line).toMatchObject({
        method: expect.stringMatching(/^[A-Z]+$/),
        path: expect.stringMatching(/^\/[^?]*$/),
        status,
        ms: expect.any(Number),
      })
    }
    const created = lines().find(({ path, status }) => path === '/api/tasks/' && status === 201)
    expect(created!.user).toBe(user)
    const refused = lines().find(({ path, status }) => path === '/api/tasks/' && status === 401)
    expect(refused).not.toHaveProperty('user')
  })

  test('has, for each failure, what happened', () => {
    const failed = replies.filter(({ status }) => status === 500)
    expect(failed).toHaveLength(5)
    for (const { headers } of failed) {
      const line = own.logged
        .map((text) => JSON.parse(text))
        .find((each) => each.error && each.request_id === headers.get('x-request-id'))
      expect(line).toMatchObject({
        level: 50,
        msg: 'request failed',
        error: { type: 'error', code: expect.stringMatching(/^[0-9A-Z]{5}$/) },
      })
    }
  })

  test.each(Object.entries(WORDS))('never has a person’s own words: %s', (_, word) => {
    expect(own.logged.filter((line) => line.includes(word))).toEqual([])
  })

  test('never has a token, not even a part of one', () => {
    expect(secrets).toHaveLength(8)
    for (const secret of secrets)
      expect(own.logged.filter((line) => line.includes(secret))).toEqual([])
  })

  test('is not what the caller of a failing request is told', () => {
    for (const { status, body, text, headers } of replies) {
      if (status !== 500) continue
      expect(Object.keys(body).sort()).toEqual(
        ['code', 'detail', 'request_id', 'status', 'title', 'type'].sort(),
      )
      expect(body.code).toBe('internal')
      const said = text + [...headers].join('\n')
      expect(said).not.toMatch(/\bat \S+:\d+|node_modules|select|insert|relation|column|refuse/i)
      expect(said).not.toContain('zanzibar')
    }
  })
})

describe('security.txt', () => {
  const path = '/.well-known/security.txt'

  test('says where to report vulnerabilities, and for how long that holds', async ({
    serverWith,
  }) => {
    const own = await serverWith({
      SECURITY_CONTACT: 'security@example.com',
      PUBLIC_URL: 'https://tasks.example.com',
    })
    const { status, headers, text } = await own.call('GET', path)
    expect(status).toBe(200)
    expect(headers.get('content-type')).toBe('text/plain; charset=utf-8')
    const fields = Object.fromEntries(text.split('\n').map((line) => line.split(': ')))
    expect(fields).toMatchObject({
      Contact: 'mailto:security@example.com',
      Canonical: `https://tasks.example.com${path}`,
    })
    const days = (Date.parse(fields.Expires) - own.clock.now().getTime()) / 86_400_000
    expect(days).toBeGreaterThan(100)
    expect(days).toBeLessThan(365)
  })

  test('is not there without a contact', async () => {
    expect((await server.call('GET', path)).status).toBe(404)
  })
})

describe('another protocol', () => {
  const offer = (method: string, path: string, protocol: string, rest = '\r\n') =>
    `${method} ${path} HTTP/1.1\r\nHost: a\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: ${protocol}\r\n${rest}`
  const body = 'Content-Type: application/json\r\nContent-Length: 2\r\n\r\n{}'

  test.each([
    ['h2c', offer('GET', '/healthz', 'h2c', 'HTTP2-Settings: AAMAAABk\r\n\r\n'), 200],
    ['h2c with a body', offer('POST', '/api/token/', 'h2c', body), 400],
    ['a websocket elsewhere', offer('GET', '/api/tasks/', 'websocket'), 401],
    ['TLS', offer('OPTIONS', '/api/tasks/', 'TLS/1.2'), 204],
  ])('is ignored when it is offered: %s', async (_, bytes, status) => {
    const reply = await sendRaw(server.url, bytes)
    expect(reply).toMatch(new RegExp(`^HTTP/1\\.1 ${status} `))
    expect(reply).toMatch(/^connection: close\r$/im)
  })
})

describe('what is no HTTP', () => {
  const line = 'GET /healthz HTTP/1.1\r\n'
  const chunked = 'Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n'
  test.each([
    ['garbage', 'garbage\r\n\r\n', [400]],
    ['a TLS hello', '\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03', [400]],
    ['an unknown method', 'FETCH / HTTP/1.1\r\nHost: a\r\n\r\n', [400]],
    ['another version', 'GET / HTTP/9.9\r\nHost: a\r\n\r\n', [400, 505]],
    ['a header without a colon', `${line}Host: a\r\nnonsense\r\n\r\n`, [400]],
    ['a NUL in a header', `${line}Host: a\r\nX-Any: a\0b\r\n\r\n`, [400]],
    ['no host', `${line}\r\n`, [400]],
    ['two hosts', `${line}Host: a\r\nHost: b\r\n\r\n`, [400]],
    ['two hosts of HTTP/1.0', 'GET /healthz HTTP/1.0\r\nHost: a\r\nhost: a\r\n\r\n', [400]],
    ['headers of 40 kB', `${line}Host: a\r\nX-Any: ${'a'.repeat(40_000)}\r\n\r\n`, [413, 431]],
    ['a path of 40 kB', `GET /${'a'.repeat(40_000)} HTTP/1.1\r\nHost: a\r\n\r\n`, [413, 414, 431]],
    ['two lengths', `POST /api/token/ HTTP/1.1\r\nHost: a\r\n${lengths(1, 2)}\r\nabc`, [400]],
    ['a length and chunks', `POST /api/token/ HTTP/1.1\r\nHost: a\r\n${chunked}0\r\n\r\n`, [400]],
    ['a length below zero', `POST /api/token/ HTTP/1.1\r\nHost: a\r\n${lengths(-1)}\r\n`, [400]],
  ])('is refused in JSON and hurts nobody: %s', async (_, bytes, statuses) => {
    const reply = await sendRaw(server.url, bytes)
    const [head, body] = reply.split('\r\n\r\n', 2) as [string, string]
    const status = Number(/^HTTP\/1\.1 (\d{3}) \S/.exec(head)?.[1])
    expect(statuses).toContain(status)
    expect(head).toMatch(/^content-type: application\/problem\+json\r?$/im)
    expect(JSON.parse(body)).toMatchObject({ status, code: expect.any(String) })
    expect((await server.call('GET', '/healthz')).status).toBe(200)
  })

  test('and what is cut off in the middle hurts nobody', async () => {
    for (const bytes of [
      'GET /heal',
      `POST /api/token/ HTTP/1.1\r\nHost: a\r\n${lengths(99)}\r\n{`,
    ]) {
      const socket = connect(Number(new URL(server.url).port), '127.0.0.1')
      await new Promise<void>((sent) => socket.write(bytes, () => sent()))
      socket.resetAndDestroy()
    }
    expect((await server.call('GET', '/healthz')).status).toBe(200)
  })
})

function lengths(...values: number[]): string {
  const json = 'Content-Type: application/json\r\n'
  return json + values.map((value) => `Content-Length: ${value}\r\n`).join('')
}

/** Sends bytes as they are and reads until the server closes. */
function sendRaw(url: string, bytes: string): Promise<string> {
  return new Promise((resolve, reject) => {
    const socket = connect(Number(new URL(url).port), '127.0.0.1')
    let reply = ''
    socket.setTimeout(5_000, () => reject(new Error(`the socket stays open after: ${reply}`)))
    socket.on('data', (data) => {
      reply += data.toString('latin1')
    })
    socket.on('close', () => resolve(reply))
    socket.on('error', () => {})
    socket.end(Buffer.from(bytes, 'latin1'))
  })
}

function requestsOf({ logged }: TestServer): Record<string, unknown>[] {
  return logged.map((text) => JSON.parse(text)).filter((line) => line.method && line.status)
}

function attempt(at: TestServer, address: string): Promise<Reply> {
  // Of somebody else each time: attempts at one account are delayed besides.
  return at.call('POST', '/api/token/', { ...nobody, username: newName() }, from(address))
}

const from = (address: string) => ({ headers: { 'x-forwarded-for': address } })

const newName = () => `p${randomUUID().slice(0, 8)}`

/** An address of its own for each test, so that none counts for another. */
let addresses = 0
function someAddress(): string {
  addresses++
  return `198.51.${addresses >> 8}.${addresses & 255}`
}

const bearer = (token: string) => ({ headers: { authorization: `Bearer ${token}` } })

function credentialsOf({ username, password }: { username: string; password: string }) {
  return { username, password }
}

function policyOf(headers: Headers): Record<string, string[]> {
  const policy = headers.get('content-security-policy') ?? ''
  return Object.fromEntries(
    policy.split(';').map((directive) => {
      const [name, ...values] = directive.trim().split(/\s+/)
      return [name!, values]
    }),
  )
}

function listOf(headers: Headers, name: string): string[] {
  return (headers.get(name) ?? '').split(',').map((item) => item.trim().toLowerCase())
}
