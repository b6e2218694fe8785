import { randomUUID } from 'node:crypto'
import bcrypt from 'bcrypt'
import { afterAll, afterEach, beforeAll, describe, expect, test, vi } from 'vitest'
import { type Reply, startServer, type TestServer } from '../../support/server.ts'

const PASSWORD = 'a ferry to Lisbon'

let server: TestServer
beforeAll(async () => {
  server = await startServer()
})
afterAll(() => server.stop())
afterEach(() => vi.restoreAllMocks())

describe('registering', () => {
  test('creates an account and its profile, and returns no more than needed', async () => {
    const name = newName()
    const made = await register({ username: name, email: `${name}@example.com` })
    expect(made.status).toBe(201)
    expect(made.body).toEqual({
      id: expect.stringMatching(/^[0-9a-f-]{36}$/),
      username: name,
      email: `${name}@example.com`,
      email_verified_at: null,
      deletes_at: null,
      pending_email: null,
      role: 'user',
      created_at: expect.stringMatching(/^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$/),
    })
    const { body: tokens } = await signIn(name)
    const profile = await server.call('GET', '/api/profile/', undefined, bearer(tokens.access))
    expect(profile).toMatchObject({ status: 200, body: { id: made.body.id } })
  })

  test('creates the profile with the given timezone and language', async () => {
    const name = newName()
    const begin = { timezone: 'Europe/Lisbon', locale: 'de-AT' }
    expect((await register({ username: name, ...begin })).status).toBe(201)
    const { body: tokens } = await signIn(name)
    const profile = await server.call('GET', '/api/profile/', undefined, bearer(tokens.access))
    expect(profile.body).toMatchObject(begin)
    for (const [field, value] of [
      ['timezone', 'Mars/Olympus'],
      ['locale', 'no language'],
    ])
      expect((await register({ [field!]: value })).body.errors).toHaveProperty(field!)
  })

  test('keeps the password as a hash only', async () => {
    const name = newName()
    await register({ username: name })
    const row = await server.testDatabase.db('users').where({ username: name }).first()
    expect(JSON.stringify(row)).not.toContain(PASSWORD)
    expect(await bcrypt.compare(PASSWORD, row.password_hash)).toBe(true)
  })

  test.each([
    ['the username', 'username', (taken: Taken) => ({ username: taken.username })],
    ['in other letter case', 'username', (taken: Taken) => ({ username: upper(taken.username) })],
    ['the address', 'email', (taken: Taken) => ({ email: taken.email })],
    [
      'the address in other letter case',
      'email',
      (taken: Taken) => ({ email: upper(taken.email) }),
    ],
  ])('refuses taken values, naming the field: %s', async (_, field, again) => {
    const name = `é${newName()}`
    const taken = { username: name, email: `${newName()}@example.com` }
    expect((await register(taken)).status).toBe(201)
    const refused = await register(again(taken))
    expect(refused).toMatchObject({ status: 400, body: { code: 'invalid' } })
    expect(Object.keys(refused.body.errors)).toEqual([field])
  })

  test('names both fields when both are taken, by two different people', async () => {
    const [first, second] = [newName(), newName()]
    await register({ username: first })
    await register({ email: `${second}@example.com` })
    const refused = await register({ username: first, email: `${second}@example.com` })
    expect(refused.status).toBe(400)
    expect(Object.keys(refused.body.errors).sort()).toEqual(['email', 'username'])
  })

  test.each([
    ['username', () => ({ email: `${newName()}@example.com` })],
    ['email', () => ({ username: newName() })],
  ] as const)('lets one of those who race for the same %s win', async (field, others) => {
    const name = newName()
    const wanted = { username: name, email: `${name}@example.com` }
    const replies = await Promise.all(
      Array.from({ length: 16 }, (_, i) => {
        const cased = i % 2 === 0 ? wanted[field] : upper(wanted[field])
        return register({ ...others(), [field]: cased })
      }),
    )
    const statuses = replies.map(({ status }) => status).sort()
    expect(statuses).toEqual([201, ...Array<number>(15).fill(400)])
    for (const { status, body } of replies)
      if (status === 400) expect(Object.keys(body.errors)).toEqual([field])
  })

  test.each([
    ['with a NUL', 'an\0n'],
    ['with half a surrogate pair', 'ann\ud800'],
    ['with a space', 'ann lee'],
    ['with an @', 'ann@example.com'],
    ['with a bracket that hides in one character', 'ann⑴'],
    ['with spaces that hide in one letter', 'ﷺann'],
    ['empty', ''],
    ['of 151 characters', 'a'.repeat(151)],
    ['of 150 letters that stand for 2700', 'ﷺ'.repeat(150)],
  ])('refuses a username %s', async (_, username) => {
    const refused = await register({ username })
    expect(refused).toMatchObject({
      status: 400,
      body: { errors: { username: expect.anything() } },
    })
  })

  test.each([
    ['Greek', 'Αλέξης'],
    ['with an accent that is a character of its own', 'rene\u0301'],
    ['Hindi, whose vowels are marks', 'हिन्दी'],
  ])('accepts a username that is %s', async (_, name) => {
    const username = `${name}${Date.now()}`
    const made = await register({ username })
    expect(made).toMatchObject({ status: 201, body: { username: username.normalize('NFC') } })
    expect((await signIn(username.normalize('NFD'))).status).toBe(200)
  })

  test('treats two spellings of the same letters as the same username', async () => {
    const name = newName()
    expect((await register({ username: `${name}\ufb01` })).status).toBe(201)
    const again = await register({ username: `${name}fi` })
    expect(again).toMatchObject({ status: 400, body: { errors: { username: expect.anything() } } })
  })

  test.each([
    ['plus+tag', 'example.org'],
    ["o'brien", 'example.org'],
    ['first&last', 'example.org'],
    ['a/b', 'sub.example.co.uk'],
    ['_under', 'example.museum'],
    ['info', 'xn--mnchen-3ya.example'],
    ['info', 'xn--e1afmkfd.xn--p1ai'],
    ['x', 'xn--90ais.xn--90ais'],
  ])('accepts the address %s@%s', async (local, domain) => {
    const username = newName()
    const email = `${local}${username}@${domain}`
    const made = await register({ username, email })
    expect(made).toMatchObject({ status: 201, body: { email } })
  })

  test.each([
    '.ann@example.com',
    'ann.@example.com',
    'a..n@example.com',
    'ann@-a.example.com',
    'ann@1.2.3.4',
    `${'a'.repeat(65)}@example.com`,
    'ann',
    'ann@',
    'ann@example',
    'a\0nn@example.com',
    `${'a'.repeat(250)}@example.com`,
  ])('refuses the address %j', async (email) => {
    const refused = await register({ email })
    expect(refused).toMatchObject({ status: 400, body: { errors: { email: expect.anything() } } })
  })
})

describe('a password', () => {
  test.each([
    ['of 7 characters', 'ferry 7'],
    ['of 7 characters in 28 bytes', '🚢🚤🛶🚂🚲🛵🚁'],
    ['that is common', 'iloveyou'],
    ['that is common but for its capitals', 'PassWord'],
    ['that is common but for its width', 'ｐａｓｓｗｏｒｄ'],
    ['that is common but for its digits', 'P4ssw0rd'],
    ['that is a common word with digits', 'summer2026!'],
    ['that is the name of the product', 'Tasktide'],
    ['that is the name of the product, disguised', '#T4skT1de2026'],
    ['with a NUL', 'ferry\0Lisbon'],
    ['that is too long to be read', 'x'.repeat(5_000)],
  ])('is refused: one %s', async (_, password) => {
    const refused = await register({ password })
    expect(refused).toMatchObject({ status: 400, body: { code: 'invalid' } })
    expect(Object.keys(refused.body.errors)).toEqual(['password'])
    expect(refused.text).not.toContain(password)
  })

  test.each([
    ['the username', ({ username }: Taken) => username],
    ['the username in capitals', ({ username }: Taken) => upper(username)],
    ['the address', ({ email }: Taken) => email],
    ['the address in capitals', ({ email }: Taken) => upper(email)],
    ['the first part of the address', ({ email }: Taken) => email.split('@')[0]!],
    ['the name of the provider, with a year', () => 'Example.2026'],
    ['the username, with digits around it', ({ username }: Taken) => `!${username}123`],
    ['the username, with letters around it', ({ username }: Taken) => `my${username}`],
  ])('is refused when it is %s', async (_, passwordOf) => {
    const wanted = { username: newName(), email: `${newName()}@example.com` }
    const refused = await register({ ...wanted, password: passwordOf(wanted) })
    expect(refused.status).toBe(400)
    expect(Object.keys(refused.body.errors)).toEqual(['password'])
  })

  test.each([
    ['of 8 characters', 'ferry 8!'],
    ['of 8 characters that take 32 bytes', '🚢🚤🛶🚂🚲🛵🚁🚀'],
    ['of 72 bytes', `${'ferry to Lisbon '.repeat(4)}ferry to`],
    ['of 73 bytes', `${'ferry to Lisbon '.repeat(4)}ferry to!`],
    ['of 25 characters in 75 bytes', 'リスボン行きのフェリーは朝早く出るので急いで歩こう'],
    ['of 1000 characters', 'a ferry to Lisbon '.repeat(56).slice(0, 1000)],
    ['with a common word among others', 'summer ferry'],
    ['of spaces around words', '  ferry  '],
  ])('is accepted and signs in: one %s', async (_, password) => {
    const username = newName()
    expect((await register({ username, password })).status).toBe(201)
    expect((await signIn(username, password)).status).toBe(200)
    expect((await signIn(username, password.trim().slice(1))).status).toBe(401)
  })

  test.each([
    ['composed', 'decomposed', 'NFC', 'NFD'],
    ['decomposed', 'composed', 'NFD', 'NFC'],
  ])('set with %s accents signs in with %s ones', async (_, __, setAs, typedAs) => {
    const username = newName()
    const password = 'o café de amanhã'
    expect(password.normalize(setAs)).not.toBe(password.normalize(typedAs))
    await register({ username, password: password.normalize(setAs) })
    expect((await signIn(username, password.normalize(typedAs))).status).toBe(200)
  })

  test.each([
    ['with more behind its 72 bytes', `${'ferry to Lisbon '.repeat(4)}ferry to`, ' and back'],
    ['with more behind a NUL', PASSWORD, '\0 and back'],
  ])('does not sign in %s', async (_, password, more) => {
    const username = newName()
    await register({ username, password })
    expect((await signIn(username, password)).status).toBe(200)
    expect((await signIn(username, password + more)).status).toBe(401)
  })
})

describe('signing in', () => {
  test.each([
    ['the username', ({ username }: Taken) => username],
    ['the username in capitals', ({ username }: Taken) => upper(username)],
    ['the address', ({ email }: Taken) => email],
    ['the address in capitals', ({ email }: Taken) => upper(email)],
  ])('works with %s', async (_, nameOf) => {
    const account = { username: `é${newName()}`, email: `${newName()}@example.com` }
    await register(account)
    const signedIn = await signIn(nameOf(account))
    expect(signedIn.status).toBe(200)
    expect(Object.keys(signedIn.body).sort()).toEqual(['access', 'device', 'refresh', 'username'])
  })

  test('does not reveal whether an account exists', async () => {
    const [ann, gone] = [newName(), newName()]
    await register({ username: ann })
    await register({ username: gone })
    await server.testDatabase.db('users').where({ username: gone }).update({ is_active: false })

    const compared = vi.spyOn(bcrypt, 'compare')
    const attempts = {
      'wrong password': await signIn(ann, 'a ferry to Porto'),
      'unknown user': await signIn(newName()),
      'unknown address': await signIn(`${newName()}@example.com`),
      'deactivated user': await signIn(gone),
    }
    const { request_id: _, ...expected } = attempts['wrong password'].body
    expect(expected).toMatchObject({ status: 401, code: 'credentials_not_valid' })
    for (const [name, { status, body, headers }] of Object.entries(attempts)) {
      const { request_id: __, ...said } = body
      expect({ name, status, said }).toEqual({ name, status: 401, said: expected })
      expect([...headers.keys()]).toEqual([...attempts['wrong password'].headers.keys()])
    }
    const costs = compared.mock.calls.map(([, hash]) => bcrypt.getRounds(hash))
    expect(costs).toEqual([4, 4, 4, 4])
  })

  test.each([
    ['with a NUL', 'nobody\0'],
    ['of nothing but a NUL', '\0'],
    ['with half a surrogate pair', 'nobody\udfff'],
    ['that is SQL', `' or 1=1; --`],
    ['that is a pattern', '%'],
    ['that is an address of nobody', '@'],
    ['of 254 characters', 'ﷺ'.repeat(254)],
  ])('refuses a name %s as any other', async (_, name) => {
    const refused = await signIn(name)
    expect(refused).toMatchObject({ status: 401, body: { code: 'credentials_not_valid' } })
  })

  test.each([
    ['no password', { username: 'ann' }, 'password'],
    ['no username', { password: PASSWORD }, 'username'],
    ['a password that is no text', { username: 'ann', password: 12345678 }, 'password'],
    ['a field too many', { username: 'ann', password: PASSWORD, role: 'admin' }, 'role'],
  ])('refuses a body with %s', async (_, body, field) => {
    const refused = await server.call('POST', '/api/token/', body)
    expect(refused.status).toBe(400)
    expect(Object.keys(refused.body.errors)).toEqual([field])
  })
})

describe('an account that is', () => {
  // Neither makes a device forget what it keeps: only what the owner has deleted does.
  test.each([
    ['deactivated', (users: Users) => users.update({ is_active: false })],
    ['not in this database', (users: Users) => users.delete()],
  ])('%s has no token that works, and cannot sign in', async (_, end) => {
    const code = 'token_not_valid'
    const ann = await server.person()
    expect((await ann.call('GET', '/api/tasks/')).status).toBe(200)
    await end(server.testDatabase.db('users').where({ id: ann.id }))

    const attempt = async () => (await ann.call('GET', '/api/tasks/')).body
    await expect.poll(attempt, { timeout: 5_000 }).toMatchObject({ status: 401, code })
    const written = await ann.call('POST', '/api/tasks/', { title: 'Milk' })
    expect(written).toMatchObject({ status: 401, body: { code } })
    const renewed = await server.call('POST', '/api/token/refresh/', { refresh: ann.refresh })
    expect(renewed).toMatchObject({ status: 401, body: { code } })
    for (const token of [ann.access, ann.refresh])
      expect(await server.call('POST', '/api/token/verify/', { token })).toMatchObject({
        body: { code },
      })
    expect((await signIn(ann.username)).status).toBe(401)
  })
})

interface Taken {
  username: string
  email: string
}

type Users = ReturnType<TestServer['testDatabase']['db']>

function newName(): string {
  return `p${randomUUID().slice(0, 13)}`
}

const upper = (text: string) => text.toUpperCase()

const bearer = (token: string) => ({ headers: { authorization: `Bearer ${token}` } })

function register(wanted: {
  username?: string
  email?: string
  password?: string
  timezone?: string
  locale?: string
}): Promise<Reply> {
  const name = newName()
  return server.call('POST', '/api/register/', {
    username: name,
    email: `${name}@example.com`,
    password: PASSWORD,
    ...wanted,
  })
}

function signIn(username: string, password = PASSWORD): Promise<Reply> {
  return server.call('POST', '/api/token/', { username, password })
}

test('whose account is deleted during a write is refused, without a server error', async () => {
  const gone = await server.person()
  await gone.call('GET', '/api/tasks/')
  await server.testDatabase.db('users').where({ id: gone.id }).delete()
  const body = { password: gone.password }
  const replies = [
    await gone.call('POST', '/api/tasks/', { title: 'Milk' }),
    await gone.call('POST', '/replication/tasks/0/push', [
      { newDocumentState: { id: randomUUID(), title: 'Milk' } },
    ]),
    await gone.call('GET', '/api/account/'),
    await gone.call('POST', '/api/account/delete/', body),
    await gone.call('POST', '/api/account/resend-confirmation/'),
  ]
  for (const reply of replies)
    expect(reply).toMatchObject({ status: 401, body: { code: 'token_not_valid' } })
})
