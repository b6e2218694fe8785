import { describe, expect } from 'vitest'
import { createTickets } from '../../../server/accounts/factor-tickets.ts'
import { createSeal } from '../../../server/accounts/seal.ts'
import { renewSeals } from '../../../server/accounts/totp.ts'
import { Authenticator, bytes, list, map, number, text } from '../../support/authenticator.ts'
import { App, proofBy, withApp, withPasskey } from '../../support/factors.ts'
import { test } from '../../support/fixtures.ts'
import {
  type Caller,
  callerTo,
  type Person,
  type Reply,
  SECRET,
  type TestServer,
} from '../../support/server.ts'

const STEP_MS = 30_000
const DAY_MS = 24 * 60 * 60 * 1000

const signIn = ({ call }: Pick<TestServer, 'call'>, { username, password }: Person) =>
  call('POST', '/api/token/', { username, password })

const confirm = ({ call }: Pick<TestServer, 'call'>, required: Reply, proof: object) =>
  call('POST', '/api/token/factor/', { ticket: required.body.factor.ticket, ...proof })

const lettersTo = async ({ testDatabase }: TestServer, { id }: Person) => {
  const mails = await testDatabase.db('mails').where({ user_id: id, letter: 'factor_changed' })
  return mails.map(({ data }: { data: { change: string } }) => data.change).sort()
}

const isConfirmed = ({ testDatabase }: TestServer, { id }: Person) =>
  testDatabase.db('users').where({ id }).update({ email_verified_at: new Date() })

describe('an authenticator app', () => {
  test('is asked for after the password, with an error that old apps can show', async ({
    server,
    ann,
  }) => {
    const { app } = await withApp(server, ann)
    const required = await signIn(server, ann)
    expect(required).toMatchObject({
      status: 401,
      body: {
        code: 'factor_required',
        detail: expect.stringContaining('update the app'),
        factor: { methods: ['totp', 'recovery_code'] },
      },
    })
    expect(required.headers.get('www-authenticate')).toContain('insufficient_user_authentication')
    expect(required.text).not.toContain('access')
    server.clock.advance(STEP_MS)
    const wrong = await confirm(server, required, { totp: app.wrongCode() })
    expect(wrong).toMatchObject({ status: 401, body: { code: 'factor_not_valid' } })
    const { status, body } = await confirm(server, required, { totp: app.code() })
    expect(status).toBe(200)
    const call = callerTo(server.url, { authorization: `Bearer ${body.access}` })
    expect((await call('GET', '/api/tasks/')).status).toBe(200)
  })

  test('is not asked for after a wrong password', async ({ server, ann }) => {
    await withApp(server, ann)
    const reply = await signIn(server, { ...ann, password: 'not this one' })
    expect(reply.body).toMatchObject({ code: 'credentials_not_valid' })
    expect(reply.body.factor).toBeUndefined()
  })

  test('counts once it is confirmed, and a former one until then', async ({ server, ann }) => {
    const begin = (more = {}) =>
      ann.call('POST', '/api/account/totp/', { password: ann.password, ...more })
    const unconfirmed = await begin()
    expect((await signIn(server, ann)).status).toBe(200)
    const wrong = { ticket: unconfirmed.body.ticket, code: '000000' }
    expect((await ann.call('POST', '/api/account/totp/confirm/', wrong)).status).toBe(401)
    const { app: former } = await withApp(server, ann)
    server.clock.advance(STEP_MS)
    const next = await begin(proofBy(await begin(), { totp: former.code() }))
    server.clock.advance(STEP_MS)
    const required = await signIn(server, ann)
    expect((await confirm(server, required, { totp: former.code() })).status).toBe(200)
    const app = new App(server, next.body.secret)
    const done = { ticket: next.body.ticket, code: app.code() }
    const replaced = await ann.call('POST', '/api/account/totp/confirm/', done)
    expect(replaced.body).toEqual({ recovery_codes: [] })
    server.clock.advance(STEP_MS)
    const last = await signIn(server, ann)
    expect((await confirm(server, last, { totp: former.code() })).status).toBe(401)
    expect((await confirm(server, last, { totp: app.code() })).status).toBe(200)
  })

  test('is good for no code twice, on two nodes at once, nor for an earlier one', async ({
    server,
    other,
    ann,
  }) => {
    const { app } = await withApp(server, ann)
    server.clock.advance(STEP_MS)
    const totp = app.code()
    const attempts = [server, other, server, other].map(async (node) =>
      confirm(node, await signIn(node, ann), { totp: app.code() }),
    )
    other.clock.advance(server.clock.now().getTime() - other.clock.now().getTime())
    const statuses = (await Promise.all(attempts)).map(({ status }) => status)
    expect(statuses.sort()).toEqual([200, 401, 401, 401])
    const again = await signIn(server, ann)
    expect((await confirm(server, again, { totp })).status).toBe(401)
    expect((await confirm(server, again, { totp: app.code(-1) })).status).toBe(401)
    server.clock.advance(STEP_MS)
    expect((await confirm(server, again, { totp: app.code() })).status).toBe(200)
  })

  test('may be half a minute off, and no more', async ({ server, ann }) => {
    const { app } = await withApp(server, ann)
    server.clock.advance(4 * STEP_MS)
    const required = await signIn(server, ann)
    for (const [steps, status] of [
      [2, 401],
      [-2, 401],
      [-1, 200],
    ] as const)
      expect((await confirm(server, required, { totp: app.code(steps) })).status).toBe(status)
    const next = await signIn(server, ann)
    expect((await confirm(server, next, { totp: app.code(1) })).status).toBe(200)
  })

  test('has its secret encrypted, for its owner alone, and is renewed with SECRET_KEY', async ({
    server,
    serverWith,
    ann,
    bob,
  }) => {
    const { app } = await withApp(server, ann)
    await withApp(server, bob)
    const { db, url } = server.testDatabase
    const kept = await db('totp_secrets').where({ user_id: ann.id }).first()
    expect(kept.secret.toString('latin1')).not.toContain(app.secret)
    const seal = createSeal([SECRET])
    expect(seal.open(kept, ann.id)).toBe(app.secret)
    expect(() => seal.open(kept, bob.id)).toThrow()

    const next = 'another secret for tests: 9876543210'
    const rotated = await serverWith({
      DATABASE_URL: url,
      SECRET_KEY: next,
      SECRET_KEY_PREVIOUS: SECRET,
    })
    rotated.clock.advance(server.clock.now().getTime() + STEP_MS - rotated.clock.now().getTime())
    const ofRotated = new App(rotated, app.secret)
    const required = await signIn(rotated, ann)
    expect((await confirm(rotated, required, { totp: ofRotated.code() })).status).toBe(200)
    const all = await db('totp_secrets')
    expect(await renewSeals(db, createSeal(['a third one: 0123456789 abcdefghijkl']))).toBe(
      all.length,
    )
    expect(await renewSeals(db, createSeal([next, SECRET]))).toBe(0)
    const renewed = await db('totp_secrets').where({ user_id: ann.id }).first()
    expect(createSeal([next]).open(renewed, ann.id)).toBe(app.secret)
  })
})

describe('guessing codes', () => {
  test('ends after ten, however many are tried at once, and not for the owner', async ({
    server,
    ann,
  }) => {
    await isConfirmed(server, ann)
    const { app, codes } = await withApp(server, ann)
    server.clock.advance(STEP_MS)
    const required = await signIn(server, ann)
    const totp = app.wrongCode()
    const tried = await Promise.all(
      Array.from({ length: 30 }, () => confirm(server, required, { totp })),
    )
    const count = (status: number) => tried.filter((reply) => reply.status === status).length
    expect([count(401), count(429)]).toEqual([10, 20])
    const refused = await confirm(server, required, { totp: app.code() })
    expect(refused).toMatchObject({ status: 429, body: { code: 'too_many_requests' } })
    expect(Number(refused.headers.get('retry-after'))).toBeGreaterThan(80_000)
    expect(await lettersTo(server, ann)).toEqual(['codes_tried', 'totp_added'])

    // With a recovery code, and on a device that is signed in.
    const byCode = await confirm(server, required, { recovery_code: codes[0] })
    expect(byCode.status).toBe(200)
    const change = (more: object) =>
      ann.call('POST', '/api/account/change-password/', {
        current_password: ann.password,
        new_password: 'an early train to Porto',
        ...more,
      })
    const stepUp = await change({})
    expect((await change(proofBy(stepUp, { totp: app.code() }))).status).toBe(204)
    // With the new password, which the other does not know.
    server.clock.advance(STEP_MS)
    const next = await signIn(server, { ...ann, password: 'an early train to Porto' })
    expect((await confirm(server, next, { totp: app.code() })).status).toBe(200)
  })

  test('may begin again after a day, or after a right code', async ({ server, ann }) => {
    const { app } = await withApp(server, ann)
    const wrong = async (times: number) => {
      const required = await signIn(server, ann)
      const statuses: number[] = []
      for (let i = 0; i < times; i++)
        statuses.push((await confirm(server, required, { totp: app.wrongCode() })).status)
      return statuses.at(-1)
    }
    server.clock.advance(STEP_MS)
    expect(await wrong(9)).toBe(401)
    expect((await confirm(server, await signIn(server, ann), { totp: app.code() })).status).toBe(
      200,
    )
    expect(await wrong(11)).toBe(429)
    server.clock.advance(DAY_MS + 1000)
    expect((await confirm(server, await signIn(server, ann), { totp: app.code() })).status).toBe(
      200,
    )
  })
})

describe('recovery codes', () => {
  test('are given with the first factor, are good once each, and are hashed', async ({
    server,
    ann,
  }) => {
    await isConfirmed(server, ann)
    const { codes } = await withApp(server, ann)
    expect(new Set(codes).size).toBe(10)
    for (const code of codes) expect(code).toMatch(/^([a-z2-7]{4}-){3}[a-z2-7]{4}$/)
    const rows = JSON.stringify(await server.testDatabase.db('recovery_codes'))
    for (const code of codes) expect(rows).not.toContain(code.replaceAll('-', ''))
    const typed = ` ${codes[3]!.toUpperCase().replaceAll('-', ' ')}`
    const tries = [typed, typed].map(async (recovery_code) =>
      confirm(server, await signIn(server, ann), { recovery_code }),
    )
    const statuses = (await Promise.all(tries)).map(({ status }) => status)
    expect(statuses.sort()).toEqual([200, 401])
    const { body } = await ann.call('GET', '/api/account/factors/')
    expect(body).toMatchObject({ recovery_codes: 9, passkeys: 0, required: false })
    expect(await lettersTo(server, ann)).toEqual(['recovery_code_used', 'totp_added'])
  })

  test('are replaced by new ones, and go with the last factor', async ({ server, ann }) => {
    const { codes } = await withApp(server, ann)
    const renew = (more = {}) =>
      ann.call('POST', '/api/account/recovery-codes/', { password: ann.password, ...more })
    const renewed = await renew(proofBy(await renew(), { recovery_code: codes[0]! }))
    expect(renewed.body.recovery_codes).toHaveLength(10)
    const required = await signIn(server, ann)
    expect((await confirm(server, required, { recovery_code: codes[1] })).status).toBe(401)
    const [first, second] = renewed.body.recovery_codes
    expect((await confirm(server, required, { recovery_code: first })).status).toBe(200)
    const remove = (more = {}) =>
      ann.call('POST', '/api/account/totp/remove/', { password: ann.password, ...more })
    const removed = await remove(proofBy(await remove(), { recovery_code: second }))
    expect(removed.status).toBe(204)
    expect((await signIn(server, ann)).status).toBe(200)
    expect(await server.testDatabase.db('recovery_codes').where({ user_id: ann.id })).toEqual([])
    expect((await renew()).body.code).toBe('invalid')
  })
})

describe('a ticket', () => {
  test('is good for five minutes, once, for its purpose, its user and its password', async ({
    server,
    ann,
    bob,
  }) => {
    const { codes } = await withApp(server, ann)
    const { codes: ofBob } = await withApp(server, bob)
    const code = (i: number) => ({ recovery_code: codes[i]! })
    const used = await signIn(server, ann)
    expect((await confirm(server, used, code(0))).status).toBe(200)
    expect((await confirm(server, used, code(1))).status).toBe(401)

    const late = await signIn(server, ann)
    server.clock.advance(5 * 60_000 + 1_000)
    expect((await confirm(server, late, code(2))).status).toBe(401)

    // One of a step-up signs nobody in, one of a sign-in is no step-up, and neither is somebody else's.
    const remove = (by: Person, more = {}) =>
      by.call('POST', '/api/account/totp/remove/', { password: by.password, ...more })
    const stepUp = await remove(ann)
    expect((await confirm(server, stepUp, code(2))).status).toBe(401)
    const toSignIn = await signIn(server, ann)
    expect((await remove(ann, proofBy(toSignIn, code(2)))).status).toBe(401)
    const bobs = proofBy(stepUp, { recovery_code: ofBob[0]! })
    expect((await remove(bob, bobs)).status).toBe(401)
    const forged = await createTickets(['not our key, but as long: 0123'], server.clock.now).issue(
      'sign_in',
      { user: ann.id, passwordHash: '' },
    )
    const reply = await server.call('POST', '/api/token/factor/', {
      ...forged,
      challenge: undefined,
      ...code(3),
    })
    expect(reply.status).toBe(401)

    const before = await signIn(server, ann)
    const { db } = server.testDatabase
    await db('users').where({ id: ann.id }).update({ password_hash: 'another' })
    expect((await confirm(server, before, code(4))).status).toBe(401)
    const { body } = await ann.call('GET', '/api/account/factors/')
    expect(body.recovery_codes).toBe(8)
  })
})

describe('a passkey', () => {
  const origin = (server: TestServer) => ({ origin: server.url })

  test('is a second factor, on this origin, with this challenge, counted', async ({
    server,
    ann,
    bob,
  }) => {
    const { passkey, codes } = await withPasskey(ann.call)
    expect(codes).toHaveLength(10)
    const { passkey: ofBob } = await withPasskey(bob.call)
    const required = await signIn(server, ann)
    const { public_key, methods } = required.body.factor
    expect(methods).toEqual(['passkey', 'recovery_code'])
    expect(public_key.allowCredentials).toMatchObject([{ id: passkey.id }])
    const answers: Record<string, object> = {
      'of a phishing site': passkey.get(public_key, { origin: 'http://localhost.evil.example' }),
      'for another host': passkey.get({ ...public_key, rpId: 'evil.example' }, origin(server)),
      'to another challenge': passkey.get(
        (await signIn(server, ann)).body.factor.public_key,
        origin(server),
      ),
      'of another person': ofBob.get(public_key, origin(server)),
      'of a stranger': new Authenticator().get(public_key, origin(server)),
    }
    for (const [what, answer] of Object.entries(answers))
      expect((await confirm(server, required, { passkey: answer })).body, what).toMatchObject({
        code: 'factor_not_valid',
      })
    // A security key without a PIN is enough after the password.
    const answer = passkey.get(public_key, { ...origin(server), verifies: false })
    expect((await confirm(server, required, { passkey: answer })).status).toBe(200)
    expect((await confirm(server, required, { passkey: answer })).status).toBe(401)

    const again = await signIn(server, ann)
    const copy = passkey.get(again.body.factor.public_key, {
      ...origin(server),
      counter: passkey.counter,
    })
    expect((await confirm(server, again, { passkey: copy })).status).toBe(401)
    const { body } = await ann.call('GET', '/api/account/passkeys/')
    expect(body.results).toMatchObject([
      { name: 'Phone', is_synced: false, last_used_at: expect.any(String) },
    ])
  })

  test('signs in alone, if it verifies its owner; it says who it is without a name', async ({
    server,
    ann,
    bob,
  }) => {
    const { passkey } = await withPasskey(ann.call)
    const { passkey: ofBob } = await withPasskey(bob.call)
    const begin = async () => (await server.call('POST', '/api/token/passkey/')).body
    const answerWith = async (
      key: Authenticator,
      change: (answer: ReturnType<Authenticator['get']>) => object = (answer) => answer,
      verifies = true,
    ) => {
      const { ticket, public_key } = await begin()
      const answer = change(key.get(public_key, { ...origin(server), verifies }))
      return server.call('POST', '/api/token/factor/', { ticket, passkey: answer })
    }
    const first = await begin()
    expect(first.public_key).toMatchObject({ userVerification: 'required' })
    expect(first.public_key.allowCredentials ?? []).toEqual([])
    const handle = Buffer.from(
      passkey.get(first.public_key, origin(server)).response.userHandle!,
      'base64url',
    )
    expect(handle.toString('latin1')).not.toContain(ann.username)
    expect((await answerWith(passkey, undefined, false)).status).toBe(401)
    const asBob = (answer: ReturnType<Authenticator['get']>) => ({
      ...answer,
      response: {
        ...answer.response,
        userHandle: ofBob.get(first.public_key, origin(server)).response.userHandle,
      },
    })
    expect((await answerWith(passkey, asBob)).status).toBe(401)
    const nameless = (answer: ReturnType<Authenticator['get']>) => ({
      ...answer,
      response: { ...answer.response, userHandle: undefined },
    })
    expect((await answerWith(passkey, nameless)).status).toBe(401)
    const { body, status } = await answerWith(passkey)
    expect(status).toBe(200)
    const call = callerTo(server.url, { authorization: `Bearer ${body.access}` })
    expect((await call('GET', '/api/account/')).body).toMatchObject({ username: ann.username })
    await server.testDatabase.db('users').where({ id: ann.id }).update({ is_active: false })
    expect((await answerWith(passkey)).status).toBe(401)
  })

  test('cannot be added twice, for another origin, or with a certificate', async ({
    server,
    ann,
    bob,
  }) => {
    const passkey = new Authenticator()
    const begin = (by: Person) =>
      by.call('POST', '/api/account/passkeys/begin/', { password: by.password })
    const add = (by: Person, ticket: string, answer: object) =>
      by.call('POST', '/api/account/passkeys/confirm/', { ticket, name: 'Phone', passkey: answer })
    const { ticket, public_key } = (await begin(ann)).body
    expect(public_key).toMatchObject({ rp: { id: 'localhost' }, attestation: 'none' })
    const phished = passkey.create(public_key, { origin: 'https://evil.example' })
    expect((await add(ann, ticket, phished)).status).toBe(401)
    const certificate = map(
      [text('alg'), number(-7)],
      [text('sig'), bytes(Buffer.from('signature'))],
      [text('x5c'), list(bytes(Buffer.from('a certificate with links')))],
    )
    const attested = { format: 'packed', statement: certificate }
    const certified = await add(ann, ticket, passkey.create(public_key, origin(server), attested))
    expect(certified.body).toMatchObject({ code: 'factor_not_valid' })
    const cause = server.logged.filter((line) => line.includes('x5c'))
    expect(cause).toEqual([])
    const good = passkey.create(public_key, origin(server))
    expect((await add(bob, ticket, good)).status).toBe(401)
    expect((await add(ann, ticket, good)).status).toBe(200)
    expect((await add(ann, ticket, good)).status).toBe(400)
    expect((await ann.call('GET', '/api/account/passkeys/')).body.results).toHaveLength(1)
  })

  test('belongs to PUBLIC_URL, whatever host a proxy asks for, on all nodes', async ({
    serverWith,
  }) => {
    const environment = { PUBLIC_URL: 'http://tasks.example.com:8080' }
    const server = await serverWith(environment)
    const ann = await server.person()
    const { body } = await ann.call('POST', '/api/account/passkeys/begin/', {
      password: ann.password,
    })
    expect(body.public_key.rp).toEqual({ name: 'Tasktide', id: 'tasks.example.com' })
    const passkey = new Authenticator()
    const add = (origin: string) =>
      ann.call('POST', '/api/account/passkeys/confirm/', {
        ticket: body.ticket,
        name: 'Phone',
        passkey: passkey.create(body.public_key, { origin }),
      })
    expect((await add(server.url)).status).toBe(401)
    const { PUBLIC_URL: origin } = environment
    expect((await add(origin)).status).toBe(200)

    // One that does not count is good once for each challenge, on two nodes at once.
    const { url: DATABASE_URL } = server.testDatabase
    const other = await serverWith({ ...environment, DATABASE_URL })
    const required = await signIn(server, ann)
    const answer = passkey.get(required.body.factor.public_key, { origin, counter: 0 })
    const replies = await Promise.all(
      [server, other, server].map((node) => confirm(node, required, { passkey: answer })),
    )
    expect(replies.map(({ status }) => status).sort()).toEqual([200, 401, 401])
  })

  test('is renamed and removed by its owner, at most 20 of them', async ({ server, ann }) => {
    const { passkey } = await withPasskey(ann.call, { name: ' Old phone ' })
    const [{ id, name }] = (await ann.call('GET', '/api/account/passkeys/')).body.results
    expect(name).toBe('Old phone')
    const path = `/api/account/passkeys/${id}/`
    expect((await ann.call('PATCH', path, { name: 'Spare' })).body).toMatchObject({ name: 'Spare' })
    const proving = async (to: string) => {
      const ask = (more = {}) => ann.call('POST', to, { password: ann.password, ...more })
      const required = await ask()
      expect(required.body.code).toBe('factor_required')
      const answer = passkey.get(required.body.factor.public_key, origin(server)) as never
      return ask(proofBy(required, { passkey: answer }))
    }
    const { db } = server.testDatabase
    const { credential_id, ...row } = await db('passkeys').where({ user_id: ann.id }).first()
    await db('passkeys').insert(
      Array.from({ length: 19 }, (_, i) => ({
        ...row,
        id: `${id.slice(0, -2)}${10 + i}`,
        credential_id: Buffer.from([i]),
      })),
    )
    const begun = await proving('/api/account/passkeys/begin/')
    const { ticket, public_key } = begun.body
    const more = new Authenticator().create(public_key, origin(server))
    const given = { ticket, name: 'One more', passkey: more }
    const refused = await ann.call('POST', '/api/account/passkeys/confirm/', given)
    expect(refused.body.detail).toContain('You have 20 passkeys')

    await db('passkeys').where({ user_id: ann.id }).whereNot({ credential_id }).delete()
    expect((await proving(`${path}remove/`)).status).toBe(204)
    expect((await signIn(server, ann)).status).toBe(200)
  })
})

describe('changing the password or the address, and deleting the account', () => {
  const changes: Record<string, { path: string; body: (ann: Person) => object; status: number }> = {
    password: {
      path: 'change-password',
      body: ({ password }) => ({
        current_password: password,
        new_password: 'an early train to Porto',
      }),
      status: 204,
    },
    address: {
      path: 'change-email',
      body: ({ username, password }) => ({ email: `new.${username}@example.com`, password }),
      status: 202,
    },
    deletion: { path: 'delete', body: ({ password }) => ({ password }), status: 202 },
    app: { path: 'totp', body: ({ password }) => ({ password }), status: 200 },
    passkey: { path: 'passkeys/begin', body: ({ password }) => ({ password }), status: 200 },
  }

  test.for(Object.entries(changes))(
    'takes a factor: %s',
    async ([, { path, body, status }], { server, ann }) => {
      const { app } = await withApp(server, ann)
      server.clock.advance(STEP_MS)
      const ask = (more = {}) =>
        ann.call('POST', `/api/account/${path}/`, { ...body(ann), ...more })
      const required = await ask()
      expect(required).toMatchObject({ status: 401, body: { code: 'factor_required' } })
      const wrong = await ask(proofBy(required, { totp: app.wrongCode() }))
      expect(wrong.body.code).toBe('factor_not_valid')
      expect((await ann.call('GET', '/api/account/')).body.pending_email).toBeNull()
      expect((await signIn(server, ann)).body.code).toBe('factor_required')
      expect((await ask(proofBy(required, { totp: app.code() }))).status).toBe(status)
    },
  )

  test('keeps a code for a new password that is not refused', async ({ server, ann }) => {
    const { app } = await withApp(server, ann)
    server.clock.advance(STEP_MS)
    const ask = (new_password: string, more = {}) =>
      ann.call('POST', '/api/account/change-password/', {
        current_password: ann.password,
        new_password,
        ...more,
      })
    const required = await ask('an early train to Porto')
    const proof = proofBy(required, { totp: app.code() })
    expect((await ask('password123', proof)).body.errors).toHaveProperty('new_password')
    expect((await ask('an early train to Porto', proof)).status).toBe(204)
  })
})

describe('where a role requires a factor', () => {
  const open = async (call: Caller, server: TestServer) => {
    const operations = server.app.operations.filter(
      ({ access, method, path }) => access === 'bearer' && method === 'get' && !path.includes('{'),
    )
    const replies = await Promise.all(
      operations.map(async ({ id, path }) => [id, await call('GET', path)] as const),
    )
    return (
      replies
        // CouchDB's name for it is the other one.
        .filter(
          ([, { body }]) =>
            !['factor_setup_required', 'unauthorized'].includes(body?.code ?? body?.error),
        )
        .map(([id]) => id)
    )
  }

  test('people without one can do nothing but set one up', async ({ serverWith }) => {
    const server = await serverWith({ FACTOR_ROLES: 'admin,support' })
    const admin = await server.staff('admin')
    const user = await server.person()
    expect((await user.call('GET', '/api/tasks/')).status).toBe(200)
    // The role may still be known on this node.
    server.app.sessions.forgetStanding(admin.id)
    expect((await open(admin.call, server)).sort()).toEqual([
      'list_passkeys',
      'read_account',
      'read_factors',
    ])
    const refused = await admin.call('GET', '/api/admin/accounts/')
    expect(refused).toMatchObject({ status: 401, body: { code: 'factor_setup_required' } })
    const { body } = await admin.call('GET', '/api/account/factors/')
    expect(body).toMatchObject({ required: true })
    const { app } = await withApp(server, admin)
    expect((await admin.call('GET', '/api/admin/accounts/')).status).toBe(200)
    server.clock.advance(STEP_MS)
    const remove = (more = {}) =>
      admin.call('POST', '/api/account/totp/remove/', { password: admin.password, ...more })
    const removed = await remove(proofBy(await remove(), { totp: app.code() }))
    expect(removed).toMatchObject({
      status: 400,
      body: { detail: expect.stringContaining('requires a second factor') },
    })
    expect((await admin.call('GET', '/api/admin/accounts/')).status).toBe(200)
  })
})

test('an export tells what is set up, and no secret', async ({ server, ann }) => {
  const { app, codes } = await withApp(server, ann)
  server.clock.advance(STEP_MS)
  const begun = await ann.call('POST', '/api/account/passkeys/begin/', { password: ann.password })
  const { passkey } = await withPasskey(ann.call, {
    factor: proofBy(begun, { totp: app.code() }),
  })
  const { body, text } = await ann.call('GET', '/api/account/export/')
  expect(body.factors).toMatchObject({ passkeys: 1, recovery_codes: 10 })
  expect(body.passkeys).toMatchObject([{ name: 'Phone' }])
  const { db } = server.testDatabase
  const kept = await db('passkeys').where({ user_id: ann.id }).first()
  for (const secret of [app.secret, passkey.id, kept.public_key.toString('base64url'), ...codes])
    expect(text).not.toContain(secret)
  const logged = server.logged.join('\n')
  for (const secret of [app.secret, ...codes]) expect(logged).not.toContain(secret)
})
