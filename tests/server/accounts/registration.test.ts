import { randomUUID } from 'node:crypto'
import { describe, expect } from 'vitest'
import { readConfig } from '../../../server/runtime/config.ts'
import { test } from '../../support/fixtures.ts'
import { type Person, type Reply, startServer, type TestServer } from '../../support/server.ts'

const WEEK_MS = 7 * 24 * 60 * 60 * 1000

describe('where only invited people can register', () => {
  let server: TestServer
  let admin: Person
  let call: TestServer['call']
  test.beforeAll(async ({ server: open }) => {
    admin = await open.staff('admin')
    server = await startServer({
      REGISTRATION: 'invite',
      PUBLIC_URL: 'https://tasks.example.com',
      DATABASE_URL: open.testDatabase.url,
    })
    call = (method, path, body) =>
      server.call(method, path, body, { headers: { authorization: `Bearer ${admin.access}` } })
    return server.stop
  })

  test('an invitation makes one account, and no second one', async ({
    server: { testDatabase },
  }) => {
    expect(await register(server)).toMatchObject({
      status: 400,
      body: { errors: { invite: [expect.stringContaining('ask an admin')] } },
    })
    const { status, body } = await call('POST', '/api/admin/invites/', {})
    expect(status).toBe(201)
    expect(body.url).toBe(`https://tasks.example.com/#invite=${body.invite}`)
    const race = await Promise.all([1, 2, 3].map(() => register(server, { invite: body.invite })))
    expect(race.map((reply) => reply.status).sort()).toEqual([201, 400, 400])
    for (const { status, body } of race)
      if (status === 400) expect(Object.keys(body.errors)).toEqual(['invite'])
    const made = race.find((reply) => reply.status === 201)!
    const audit = await call('GET', `/api/admin/audit/?account_id=${made.body.id}`)
    expect(audit.body.results).toMatchObject([{ action: 'invite', actor: admin.username }])
    // Not even when the account is erased: devices delete what has its id.
    const { db } = testDatabase
    await db('deleted_accounts').insert({ user_id: made.body.id, deleted_at: new Date() })
    await db('users').where({ id: made.body.id }).delete()
    expect((await register(server, { invite: body.invite })).status).toBe(400)
  })

  test('an invitation is for its address', async () => {
    const email = `${newName()}@example.com`
    const { invite } = (await call('POST', '/api/admin/invites/', { email })).body
    expect((await register(server, { invite })).body.errors).toHaveProperty('invite')
    expect((await register(server, { invite, email: email.toUpperCase() })).status).toBe(201)
  })

  test('an invitation is refused that is forged, too old, or of a former admin', async ({
    server: { testDatabase },
  }) => {
    const { invite } = (await call('POST', '/api/admin/invites/', {})).body
    const isRefused = async (token: string) =>
      expect(await register(server, { invite: token })).toMatchObject({
        status: 400,
        body: { errors: { invite: [expect.anything()] } },
      })
    await isRefused(`${invite.slice(0, -2)}xx`)
    await isRefused('x')
    const admins = testDatabase.db('users').where({ id: admin.id })
    await admins.clone().update({ role: 'support' })
    await isRefused(invite)
    await admins.clone().update({ role: 'admin' })
    server.clock.advance(WEEK_MS)
    await isRefused(invite)
    server.clock.advance(-1_000)
    expect((await register(server, { invite })).status).toBe(201)
  })
})

test('where registration is closed, nobody registers, and existing people sign in', async ({
  serverWith,
  server: open,
  ann,
}) => {
  const closed = await serverWith({
    REGISTRATION: 'closed',
    DATABASE_URL: open.testDatabase.url,
  })
  expect(await register(closed)).toMatchObject({
    status: 400,
    body: { code: 'invalid', detail: expect.stringContaining('Nobody can register') },
  })
  const { username, password } = ann
  expect((await closed.call('POST', '/api/token/', { username, password })).status).toBe(200)
})

test('with allowed mail domains, only their addresses register', async ({ serverWith }) => {
  const server = await serverWith({ REGISTRATION_DOMAINS: 'Example.org, .example.net' })
  const statusOf = async (domain: string) =>
    (await register(server, { email: `${newName()}@${domain}` })).status
  const allowed = ['example.org', 'EXAMPLE.ORG', 'mail.example.net']
  const refused = [
    'example.com',
    'sub.example.org',
    'notexample.org',
    'example.net',
    'example.org.com',
  ]
  expect(await Promise.all(allowed.map(statusOf))).toEqual([201, 201, 201])
  expect(await Promise.all(refused.map(statusOf))).toEqual([400, 400, 400, 400, 400])
  expect(() => readConfig({ REGISTRATION_DOMAINS: '@example.org' })).toThrow('REGISTRATION_DOMAINS')
})

describe('a username', () => {
  test.for([
    'admin',
    'Administrator',
    '4dm1n',
    'a.d.m.i.n',
    'Support-Team',
    'tasktide',
    'аdmin',
    'рауреr1',
    'αlice',
    'ѕᴜpport',
    'ԛа_ѕаlеѕ',
  ])('that poses as the operator or mixes scripts is refused: %s', async (username, { server }) => {
    const refused = await register(server, { username })
    expect(refused).toMatchObject({
      status: 400,
      body: { errors: { username: [expect.anything()] } },
    })
  })

  test.for([
    'badminton',
    'ann.support2',
    '田中さん',
    'taro太郎',
    '김철수',
    'Ольга',
    'Ζωή',
    'Łukasz',
    '42',
  ])('of one language is accepted: %s', async (username, { server }) => {
    expect((await register(server, { username })).status).toBe(201)
  })

  test.for([
    ['scope', 'ѕсоре'],
    ['ехрос', 'expoc'],
    ['κοα', 'koa'],
  ])('that looks like one that is taken is refused: %s, %s', async ([taken, alike], { server }) => {
    expect((await register(server, { username: taken })).status).toBe(201)
    const refused = await register(server, { username: alike })
    expect(refused).toMatchObject({
      status: 400,
      body: { errors: { username: [expect.anything()] } },
    })
  })
})

function register(
  server: TestServer,
  wanted: { username?: string; email?: string; invite?: string } = {},
): Promise<Reply> {
  const username = newName()
  const email = `${username}@example.com`
  return server.call('POST', '/api/register/', {
    username,
    email,
    password: 'a ferry to Lisbon',
    ...wanted,
  })
}

const newName = () => `p${randomUUID().slice(0, 13)}`
