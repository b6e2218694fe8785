import { randomUUID } from 'node:crypto'
import { once } from 'node:events'
import { io } from 'socket.io-client'
import { afterEach, describe, expect } from 'vitest'
import { personalTokens, type Scope } from '../../../protocol/index.ts'
import { withApp } from '../../support/factors.ts'
import { test } from '../../support/fixtures.ts'
import {
  bodyOf,
  type DescribedOperation,
  examplePath,
  readApi,
} from '../../support/openapi-walk.ts'
import { callerTo, type Person, type TestServer } from '../../support/server.ts'

const SCOPES = personalTokens.scope.options
const PATH = '/api/account/tokens/'

const closing: (() => void)[] = []
afterEach(() => {
  for (const close of closing.splice(0)) close()
})

const create = ({ call, password }: Person, wanted: object = {}) =>
  call('POST', PATH, { name: 'Report', scopes: SCOPES, password, ...wanted })

async function tokenOf(person: Person, scopes: readonly Scope[] = SCOPES) {
  const { status, text, body } = await create(person, { scopes })
  expect(status, text).toBe(201)
  return body as { id: string; token: string }
}

const callerWith = ({ url }: Pick<TestServer, 'url'>, token: string) =>
  callerTo(url, { authorization: `Bearer ${token}` })

const REFUSED = { status: 401, body: { code: 'token_not_valid' } }

test('a personal token is shown once, and stored as a hash', async ({ server, ann }) => {
  const created = await create(ann, { expires_at: '2099-01-01T00:00:00+01:00' })
  expect(created).toMatchObject({ status: 201, body: { name: 'Report', scopes: SCOPES } })
  const { token, ...listed } = created.body
  expect(listed).toMatchObject({ last_used_at: null, expires_at: '2098-12-31T23:00:00.000Z' })
  expect((await ann.call('GET', PATH)).body).toEqual({ results: [listed] })
  expect((await ann.call('GET', '/api/account/sessions/')).body.results).toHaveLength(1)
  const secret = Buffer.from(token.slice('tasktide_'.length), 'base64url').subarray(32)
  const [stored] = await server.testDatabase.db('sessions').where({ id: listed.id })
  expect(JSON.stringify(stored)).not.toContain(secret.toString('hex'))
  expect(stored.token_hash.equals(secret)).toBe(false)
  expect(server.logged.join()).not.toContain(token)

  const script = callerWith(server, token)
  expect((await script('POST', '/api/tasks/', { title: 'Ferry' })).status).toBe(201)
  expect((await ann.call('GET', '/api/tasks/')).body.count).toBe(1)
  const used = async () => (await ann.call('GET', PATH)).body.results[0].last_used_at
  await expect.poll(used).not.toBeNull()
  const events = (await ann.call('GET', '/api/account/events/')).body.results
  expect(events).toContainEqual(
    expect.objectContaining({ kind: 'token_created', details: { scopes: SCOPES.join(' ') } }),
  )
})

describe('every operation', () => {
  const needed = ({ node }: DescribedOperation) =>
    (node.security as { personal_token?: Scope[] }[]).find((one) => one.personal_token)
      ?.personal_token

  test('needs its scopes, and what changes an account is never allowed', async ({
    server,
    ann,
  }) => {
    const api = await readApi(server.call)
    const bearers = api.operations.filter(({ bearer }) => bearer)
    for (const operation of bearers) {
      const { method, path, guarded } = operation
      const isOfAccount = method !== 'GET' && path.startsWith('/api/account/')
      if (isOfAccount || guarded) expect(needed(operation), operation.id).toBeUndefined()
    }
    const sets: (readonly Scope[])[] = [
      SCOPES,
      ...SCOPES.map((one) => [one]),
      ...SCOPES.map((one) => SCOPES.filter((other) => other !== one)),
    ]
    const faults: string[] = []
    for (const scopes of sets) {
      const { token } = await tokenOf(ann, scopes)
      for (const operation of bearers.filter(({ succeeds }) => succeeds)) {
        const isAllowed = needed(operation)?.every((one) => scopes.includes(one)) ?? false
        const { status, code } = await statusOf(server, operation, token)
        const isRefused = status === 403 && code === 'forbidden'
        if (isRefused === isAllowed || status === 401 || status >= 500)
          faults.push(`${operation.id} with ${scopes}: ${status} ${code}`)
      }
    }
    expect(faults).toEqual([])
    expect(bearers.length).toBeGreaterThan(40)
  })

  /** Streams are not read to their end. */
  async function statusOf({ url }: TestServer, operation: DescribedOperation, token: string) {
    const body = bodyOf(operation)
    const abort = new AbortController()
    const response = await fetch(url + examplePath(operation), {
      method: operation.method,
      signal: abort.signal,
      headers: { authorization: `Bearer ${token}`, 'content-type': 'application/json' },
      ...(body !== undefined && { body: JSON.stringify(body) }),
    })
    const refusal = response.ok
      ? {}
      : ((await response.json()) as { code?: string; error?: string })
    const code = refusal.code ?? refusal.error
    abort.abort()
    return { status: response.status, code }
  }

  test('of administrators, and sockets, too', async ({ server, admin }) => {
    for (const [scopes, code] of [
      [SCOPES, undefined],
      [['tasks:read', 'profile'], undefined],
      [['tasks:read', 'tasks:write', 'account'], 'forbidden'],
      [['profile'], 'forbidden'],
    ] as const) {
      const { token } = await tokenOf(admin, scopes)
      expect(await connected(server, token)).toBe(code)
      expect((await callerWith(server, token)('GET', '/api/admin/accounts/')).status).toBe(403)
    }
  })
})

/** @returns the code of the refusal, if it is refused */
async function connected({ url }: Pick<TestServer, 'url'>, token: string) {
  const options = { transports: ['websocket'], forceNew: true, reconnection: false }
  const socket = io(url, { ...options, auth: { token } })
  closing.push(() => socket.disconnect())
  return Promise.race([
    once(socket as never, 'ready').then(() => undefined),
    once(socket as never, 'connect_error').then(([error]) => error.data.code as string),
  ])
}

const ENDS: [string, (ann: Person, id: string, server: TestServer) => Promise<unknown>][] = [
  ['revoked', ({ call }, id) => call('DELETE', `${PATH}${id}/`)],
  [
    'ended by another password',
    ({ call, password }) =>
      call('POST', '/api/account/change-password/', {
        current_password: password,
        new_password: 'an early train to Porto',
      }),
  ],
  ['ended with all devices', ({ call }) => call('DELETE', '/api/account/sessions/')],
  [
    'of a deactivated account',
    ({ id }, _, { testDatabase }) =>
      testDatabase.db('users').where({ id }).update({ is_active: false }),
  ],
]

test.for(ENDS)(
  'a personal token that is %s is good nowhere, and its socket and stream end on another node',
  async ([_how, end], { server, other, ann }) => {
    const { id, token } = await tokenOf(ann)
    const socket = io(other.url, { transports: ['websocket'], forceNew: true, auth: { token } })
    closing.push(() => socket.disconnect())
    await once(socket as never, 'ready')
    const headers = { authorization: `Bearer ${token}` }
    const stream = await fetch(`${other.url}/replication/tasks/0/pullStream`, { headers })
    expect(stream.status).toBe(200)
    const cut = Promise.all([once(socket as never, 'disconnect'), stream.text()])
    await end(ann, id, server)
    await cut
    for (const node of [server, other])
      await expect
        .poll(() => callerWith(node, token)('GET', '/api/tasks/'), { timeout: 2_000 })
        .toMatchObject(REFUSED)
  },
)

test('a personal token ends when it expires', async ({ serverWith }) => {
  const server = await serverWith()
  const ann = await server.person()
  const expires_at = new Date(server.clock.now().getTime() + 60_000).toISOString()
  const { token } = (await create(ann, { expires_at })).body
  const script = callerWith(server, token)
  expect((await script('GET', '/api/tasks/')).status).toBe(200)
  server.clock.advance(60_000)
  await expect.poll(() => script('GET', '/api/tasks/'), { timeout: 2_000 }).toMatchObject(REFUSED)
  expect((await ann.call('GET', PATH)).body.results).toEqual([])
})

test('only the owner creates and revokes: with the password, and a second factor', async ({
  server,
  ann,
  bob,
}) => {
  const { id } = await tokenOf(ann)
  expect((await bob.call('DELETE', `${PATH}${id}/`)).status).toBe(404)
  expect((await ann.call('DELETE', `${PATH}${randomUUID()}/`)).status).toBe(404)
  expect(await create(ann, { password: 'wrong' })).toMatchObject({
    status: 400,
    body: { errors: { password: ['Wrong password.'] } },
  })
  await withApp(server, ann)
  expect(await create(ann)).toMatchObject({ status: 401, body: { code: 'factor_required' } })
  expect((await ann.call('GET', PATH)).body.results).toHaveLength(1)
})

test('a forged token is refused', async ({ server, ann }) => {
  const { token } = await tokenOf(ann)
  const bytes = Buffer.from(token.slice('tasktide_'.length), 'base64url')
  const { sid } = JSON.parse(Buffer.from(ann.access.split('.')[1]!, 'base64url').toString())
  const forged = (change: (copy: Buffer) => void) => {
    const copy = Buffer.from(bytes)
    change(copy)
    return `tasktide_${copy.toString('base64url')}`
  }
  for (const one of [
    forged((copy) => copy.fill(7, 63)),
    forged((copy) => copy.fill(7, 0, 1)),
    forged((copy) => copy.write(sid.replaceAll('-', ''), 16, 'hex')), // a device has no secret
    forged((copy) => copy.fill(0)),
    'tasktide_',
    `${token}AAAA`,
  ])
    expect(await callerWith(server, one)('GET', '/api/tasks/'), one).toMatchObject(REFUSED)
})

test.for<[string, object, string]>([
  ['no name', { name: ' ' }, 'name'],
  ['a long name', { name: 'x'.repeat(101) }, 'name'],
  ['NUL in a name', { name: 'a\0' }, 'name'],
  ['no scopes', { scopes: [] }, 'scopes'],
  ['an unknown scope', { scopes: ['admin'] }, 'scopes.0'],
  ['a scope twice', { scopes: ['profile', 'profile'] }, 'scopes'],
  ['an end in the past', { expires_at: '2020-01-01T00:00:00Z' }, 'expires_at'],
  ['no date', { expires_at: 'tomorrow' }, 'expires_at'],
])('%s is refused', async ([_what, wanted, field], { ann }) => {
  expect(await create(ann, wanted)).toMatchObject({
    status: 400,
    body: { code: 'invalid', errors: { [field]: [expect.any(String)] } },
  })
  expect((await ann.call('GET', PATH)).body.results).toEqual([])
})

test('there are 50 at most', async ({ server, ann }) => {
  const { id } = await tokenOf(ann)
  const { db } = server.testDatabase
  const [row] = await db('sessions').where({ id })
  for (let i = 1; i < 50; i++) await db('sessions').insert({ ...row, id: randomUUID() })
  expect(await create(ann)).toMatchObject({
    status: 400,
    body: { errors: { '': [expect.stringContaining('50')] } },
  })
  await ann.call('DELETE', `${PATH}${id}/`)
  expect((await create(ann)).status).toBe(201)
})
