import {
  createHash,
  createHmac,
  generateKeyPairSync,
  hkdfSync,
  randomUUID,
  sign,
} from 'node:crypto'
import { beforeAll, describe, expect } from 'vitest'
import { test } from '../../support/fixtures.ts'
import {
  callerTo,
  type Person,
  type Reply,
  SECRET,
  startServer,
  type TestServer,
} from '../../support/server.ts'

const SECOND = 1_000
const MINUTE = 60 * SECOND
const DAY = 24 * 60 * MINUTE

let server: TestServer
test.beforeAll(({ server: started }) => {
  server = started
})

describe('an access token', () => {
  test('is good for 15 minutes', async ({ ann }) => {
    expect(lifeOf(ann.access)).toBe(15 * 60)
    server.clock.advance(15 * MINUTE - 10 * SECOND)
    expect((await ann.call('GET', '/api/tasks/')).status).toBe(200)
    server.clock.advance(10 * SECOND)
    const late = await ann.call('GET', '/api/tasks/')
    expectNotValid(late)
    expect(late.body.detail).toMatch(/expired/)
  })

  test.each(['bearer', 'BEARER', 'Bearer '])('is accepted after %j', async (word) => {
    const { access } = await server.person()
    expect((await read(`${word} ${access}`)).status).toBe(200)
  })
})

describe('a refresh token', () => {
  test('returns the next pair, and so on', async ({ ann }) => {
    let { refresh } = ann
    for (let i = 0; i < 3; i++) {
      const renewed = await renew(refresh)
      expect(renewed.status).toBe(200)
      expect(Object.keys(renewed.body).sort()).toEqual(['access', 'refresh'])
      expect(renewed.body.refresh).not.toBe(refresh)
      expect((await read(`Bearer ${renewed.body.access}`)).status).toBe(200)
      refresh = renewed.body.refresh
    }
  })

  test('is good for 30 days, counted from the last renewal', async ({ ann }) => {
    expect(lifeOf(ann.refresh)).toBe(30 * 24 * 60 * 60)
    server.clock.advance(30 * DAY - MINUTE)
    const first = await renew(ann.refresh)
    expect(first.status).toBe(200)
    server.clock.advance(30 * DAY - MINUTE)
    const second = await renew(first.body.refresh)
    expect(second.status).toBe(200)
    server.clock.advance(30 * DAY)
    expectNotValid(await renew(second.body.refresh))
  })

  test('may be used again when its response was lost', async ({ ann }) => {
    const lost = await renew(ann.refresh)
    const again = await renew(ann.refresh)
    for (const { status, body } of [lost, again]) {
      expect(status).toBe(200)
      expect((await read(`Bearer ${body.access}`)).status).toBe(200)
      expect((await verify(body.refresh)).status).toBe(200)
    }
    expect((await renew(again.body.refresh)).status).toBe(200)
  })

  test('that has been renewed twice ends the session, also for the newest token', async ({
    ann,
  }) => {
    const child = (await renew(ann.refresh)).body
    const grandchild = (await renew(child.refresh)).body
    expect((await read(`Bearer ${grandchild.access}`)).status).toBe(200)

    expectNotValid(await renew(ann.refresh))
    for (const { access } of [ann, child, grandchild])
      expectNotValid(await read(`Bearer ${access}`))
    for (const { refresh } of [ann, child, grandchild]) expectNotValid(await renew(refresh))
  })

  test('that has been renewed twice ends that session only', async ({ ann }) => {
    const phone = (await signIn(ann)).body
    await renew((await renew(ann.refresh)).body.refresh)
    expectNotValid(await renew(ann.refresh))
    expect((await read(`Bearer ${phone.access}`)).status).toBe(200)
    expect((await renew(phone.refresh)).status).toBe(200)
  })

  test('can be renewed by two tabs at once, and both continue', async ({ ann }) => {
    let tabs = [ann.refresh, ann.refresh]
    for (let round = 0; round < 5; round++) {
      const renewed = await Promise.all(tabs.map(renew))
      for (const { status, body } of renewed) {
        expect(status).toBe(200)
        expect((await read(`Bearer ${body.access}`)).status).toBe(200)
      }
      tabs = renewed.map(({ body }) => body.refresh)
    }
  })

  test('survives many concurrent renewals', async ({ ann }) => {
    const storm = await Promise.all(Array.from({ length: 40 }, () => renew(ann.refresh)))
    expect(new Set(storm.map(({ status }) => status))).toEqual(new Set([200]))
    const next = await Promise.all(storm.map(({ body }) => renew(body.refresh)))
    expect(new Set(next.map(({ status }) => status))).toEqual(new Set([200]))
    expectNotValid(await renew(ann.refresh))
  })
})

describe('verifying a token', () => {
  test('works for both kinds', async ({ ann }) => {
    for (const token of [ann.access, ann.refresh])
      expect(await verify(token)).toMatchObject({ status: 200, body: {} })
  })

  test('rejects a refresh token that could not be renewed', async ({ ann }) => {
    const child = (await renew(ann.refresh)).body
    expect((await verify(ann.refresh)).status).toBe(200)
    await renew(child.refresh)
    expectNotValid(await verify(ann.refresh))
  })

  test('does not consume a refresh token', async ({ ann }) => {
    for (let i = 0; i < 3; i++) expect((await verify(ann.refresh)).status).toBe(200)
    expect((await renew(ann.refresh)).status).toBe(200)
  })
})

describe('logging out', () => {
  test('invalidates both tokens at once, and can be repeated', async ({ ann }) => {
    expect((await ann.call('GET', '/api/tasks/')).status).toBe(200)
    const out = await logOut(ann.refresh)
    expect({ status: out.status, text: out.text }).toEqual({ status: 204, text: '' })
    expectNotValid(await ann.call('GET', '/api/tasks/'))
    expectNotValid(await renew(ann.refresh))
    for (const token of [ann.access, ann.refresh]) expectNotValid(await verify(token))
    expect((await logOut(ann.refresh)).status).toBe(204)
  })

  test('leaves the other devices signed in', async ({ ann }) => {
    const phone = (await signIn(ann)).body
    await logOut(ann.refresh)
    expect((await read(`Bearer ${phone.access}`)).status).toBe(200)
  })

  test('also ends a session that is renewed at the same time', async ({ ann }) => {
    const [out, renewed] = await Promise.all([logOut(ann.refresh), renew(ann.refresh)])
    expect(out.status).toBe(204)
    if (renewed.status === 200) {
      expectNotValid(await read(`Bearer ${renewed.body.access}`))
      expectNotValid(await renew(renewed.body.refresh))
    } else expectNotValid(renewed)
  })

  test('reaches another server on the same database within moments', async ({ serverWith }) => {
    const other = await serverWith({ DATABASE_URL: server.testDatabase.url })
    const ann = await server.person()
    const there = callerTo(other.url, { authorization: `Bearer ${ann.access}` })
    align(other)
    expect((await there('GET', '/api/tasks/')).status).toBe(200)
    await logOut(ann.refresh)
    await expect
      .poll(async () => (await there('GET', '/api/tasks/')).status, { timeout: 5_000 })
      .toBe(401)
  })

  test('does not accept an access token as a refresh token', async ({ ann }) => {
    expectNotValid(await logOut(ann.access))
    expect((await ann.call('GET', '/api/tasks/')).status).toBe(200)
  })
})

describe('a request without a token', () => {
  test.each([
    ['no header', undefined],
    ['an empty header', ''],
    ['another scheme', 'Basic YW5uOnNlY3JldA=='],
    ['a scheme without a token', 'Bearer '],
    ['two tokens', 'Bearer one two'],
  ])('is asked for one: %s', async (_, authorization) => {
    const refused = await read(authorization)
    expect(refused).toMatchObject({ status: 401, body: { code: 'unauthenticated' } })
    expect(refused.headers.get('content-type')).toBe('application/problem+json')
    expect(refused.headers.get('www-authenticate')).toBe('Bearer')
  })

  test('is rejected before any other check', async () => {
    const refused = await server.call('POST', '/api/tasks/?nonsense=1', { nonsense: 1 })
    expect(refused).toMatchObject({ status: 401, body: { code: 'unauthenticated' } })
  })
})

const current = derive(SECRET)
const rsa = generateKeyPairSync('rsa', { modulusLength: 2048 })

interface Forgery {
  header?: Record<string, unknown>
  claims?: Record<string, unknown> | ((now: number) => Record<string, unknown>)
  signed?: (input: string) => string
  /** What is done to the finished text. */
  mangled?: (token: string) => string
}

/** Each has one fault; `forge({})` has none, and is taken. */
const FORGERIES: [string, Forgery][] = [
  ['garbage', { mangled: () => 'garbage' }],
  ['two dots', { mangled: () => '..' }],
  ['cut off', { mangled: (token) => token.slice(0, -1) }],
  ['without its signature', { mangled: (token) => token.replace(/[^.]*$/, '') }],
  ['with a part too many', { mangled: (token) => `${token}.${token}` }],
  ['signed for another header', { mangled: (token) => withPart(token, 0, { alg: 'HS256' }) }],
  ['signed for other claims', { mangled: (token) => withPart(token, 1, { sub: randomUUID() }) }],
  ['unsigned (alg none)', { header: { alg: 'none' }, signed: () => '' }],
  ['unsigned (alg NONE)', { header: { alg: 'NONE' }, signed: () => '' }],
  ['signed with HS512', { header: { alg: 'HS512' }, signed: hmac(current.key, 'sha512') }],
  ['signed with RS256', { header: { alg: 'RS256' }, signed: rs256 }],
  ['signed with the secret itself', { signed: hmac(Buffer.from(SECRET)) }],
  ['signed with no key', { signed: hmac(Buffer.alloc(0)) }],
  ['of an unknown key', { header: { kid: 'unknown' } }],
  ['of no key', { header: { kid: undefined } }],
  ['of a key named ""', { header: { kid: '' } }],
  ['of a key named __proto__', { header: { kid: '__proto__' } }],
  ['of a key named constructor', { header: { kid: 'constructor' } }],
  ['of a key that is a path', { header: { kid: '../../../../dev/null' }, signed: hmac('') }],
  ['of a key that is a list', { header: { kid: [current.id] } }],
  ['that brings its own key', { header: { kid: undefined, jwk: ownKey() }, signed: hmac('own') }],
  ['with a type of no use', { header: { typ: 'JWT' } }],
  ['without a type', { header: { typ: undefined } }],
  ['with a type that is a list', { header: { typ: ['at+jwt'] } }],
  ['with an extension that must be understood', { header: { crit: ['b64'], b64: false } }],
  ['of another issuer', { claims: { iss: 'elsewhere' } }],
  ['of no issuer', { claims: { iss: undefined } }],
  ['for another audience', { claims: { aud: 'elsewhere' } }],
  ['for no audience', { claims: { aud: undefined } }],
  ['without an end', { claims: { exp: undefined } }],
  ['with an end that is text', { claims: { exp: 'never' } }],
  ['that has expired', { claims: (now) => ({ exp: now - 1 }) }],
  ['that does not count yet', { claims: (now) => ({ nbf: now + 60 }) }],
  ['of nobody', { claims: { sub: undefined } }],
  ['of no session', { claims: { sid: undefined } }],
]

describe('a broken token is refused in the same way everywhere:', () => {
  let ann: Person
  beforeAll(async () => {
    ann = await server.person()
  })

  test.each([
    ['at+jwt', (token: string) => read(`Bearer ${token}`)],
    ['at+jwt', verify],
    ['refresh+jwt', verify],
    ['refresh+jwt', renew],
  ])('a valid one (%s) is accepted', async (typ, use) => {
    expect((await use(forge(ann, { header: { typ } }))).status).toBe(200)
  })

  test.each(FORGERIES)('%s', async (_, forgery) => {
    const typed = (typ: string) => forge(ann, { ...forgery, header: { typ, ...forgery.header } })
    expectNotValid(await read(`Bearer ${typed('at+jwt')}`))
    for (const use of [verify, renew, logOut]) expectNotValid(await use(typed('refresh+jwt')))
  })

  test('one of an unknown session', async () => {
    const claims = { sid: randomUUID() }
    const refresh = forge(ann, { header: { typ: 'refresh+jwt' }, claims })
    expectNotValid(await read(`Bearer ${forge(ann, { claims })}`))
    for (const use of [verify, renew]) expectNotValid(await use(refresh))
  })

  test('a refresh token as an access token, and the other way round', async () => {
    expectNotValid(await read(`Bearer ${ann.refresh}`))
    expectNotValid(await renew(ann.access))
  })
})

describe('a server with another key', () => {
  const NEXT = 'another secret for tests: 9876543210 zyxwvut'

  test('accepts tokens of the previous key while that is configured, and signs with its own', async () => {
    const rotated = await startServer({
      DATABASE_URL: server.testDatabase.url,
      SECRET_KEY: NEXT,
      SECRET_KEY_PREVIOUS: SECRET,
    })
    try {
      align(rotated)
      const ann = await server.person()
      const there = callerTo(rotated.url)
      expect((await tasksOf(rotated, ann.access)).status).toBe(200)
      const renewed = await there('POST', '/api/token/refresh/', { refresh: ann.refresh })
      expect(renewed.status).toBe(200)
      for (const token of [renewed.body.access, renewed.body.refresh])
        expect(part(token, 0).kid).toBe(derive(NEXT).id)
      expect((await tasksOf(rotated, renewed.body.access)).status).toBe(200)
      expectNotValid(await tasksOf(server, renewed.body.access))
    } finally {
      await rotated.stop()
    }
  })

  test('accepts no token of the previous key otherwise', async () => {
    const replaced = await startServer({
      DATABASE_URL: server.testDatabase.url,
      SECRET_KEY: NEXT,
    })
    try {
      align(replaced)
      const ann = await server.person()
      const there = callerTo(replaced.url)
      expectNotValid(await tasksOf(replaced, ann.access))
      expectNotValid(await there('POST', '/api/token/refresh/', { refresh: ann.refresh }))
      const again = await there('POST', '/api/token/', credentialsOf(ann))
      expect((await tasksOf(replaced, again.body.access)).status).toBe(200)
    } finally {
      await replaced.stop()
    }
  })
})

function expectNotValid(reply: Reply) {
  expect(reply).toMatchObject({ status: 401, body: { status: 401, code: 'token_not_valid' } })
  expect(reply.headers.get('content-type')).toBe('application/problem+json')
  expect(reply.headers.get('www-authenticate')).toBe('Bearer error="invalid_token"')
}

/** This file moves its server's clock on, and tokens count by it. */
function align(other: TestServer) {
  other.clock.advance(server.clock.now().getTime() - other.clock.now().getTime())
}

function read(authorization: string | undefined) {
  const options = authorization === undefined ? {} : { headers: { authorization } }
  return server.call('GET', '/api/tasks/', undefined, options)
}

function tasksOf({ call }: TestServer, access: string) {
  return call('GET', '/api/tasks/', undefined, { headers: { authorization: `Bearer ${access}` } })
}

function renew(refresh: string) {
  return server.call('POST', '/api/token/refresh/', { refresh })
}

function verify(token: string) {
  return server.call('POST', '/api/token/verify/', { token })
}

function logOut(refresh: string) {
  return server.call('POST', '/api/logout/', { refresh })
}

function signIn(person: Person) {
  return server.call('POST', '/api/token/', credentialsOf(person))
}

const credentialsOf = ({ username, password }: Person) => ({ username, password })

/** A token as the server makes them, but for what `forgery` changes; undefined takes away. */
function forge(person: Person, { header, claims, signed, mangled }: Forgery): string {
  const { sub, sid } = part(person.access, 1)
  const now = Math.floor(server.clock.now().getTime() / 1000)
  const changed = typeof claims === 'function' ? claims(now) : claims
  const parts = [
    { alg: 'HS256', typ: 'at+jwt', kid: current.id, ...header },
    { sub, sid, gen: 1, iss: 'tasktide', aud: 'tasktide', iat: now, exp: now + 600, ...changed },
  ]
  const input = parts.map(encode).join('.')
  const token = `${input}.${(signed ?? hmac(current.key))(input)}`
  return mangled ? mangled(token) : token
}

function derive(secret: string): { id: string; key: Buffer } {
  const key = Buffer.from(hkdfSync('sha256', secret, '', 'tasktide tokens', 32))
  return { id: createHash('sha256').update(key).digest('base64url').slice(0, 8), key }
}

function hmac(key: Buffer | string, hash = 'sha256') {
  return (input: string) => createHmac(hash, key).update(input).digest('base64url')
}

function rs256(input: string): string {
  return sign('sha256', Buffer.from(input), rsa.privateKey).toString('base64url')
}

function ownKey() {
  return { kty: 'oct', k: Buffer.from('own').toString('base64url') }
}

function encode(value: unknown): string {
  return Buffer.from(JSON.stringify(value)).toString('base64url')
}

function part(token: string, index: 0 | 1): Record<string, unknown> {
  return JSON.parse(Buffer.from(token.split('.')[index]!, 'base64url').toString())
}

function withPart(token: string, index: 0 | 1, changes: object): string {
  const parts = token.split('.')
  parts[index] = encode({ ...part(token, index), ...changes, extra: true })
  return parts.join('.')
}

function lifeOf(token: string): number {
  const { iat, exp } = part(token, 1) as { iat: number; exp: number }
  return exp - iat
}
