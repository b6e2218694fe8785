import { type ChildProcess, spawn } from 'node:child_process'
import { randomUUID } from 'node:crypto'
import { once } from 'node:events'
import http from 'node:http'
import bcrypt from 'bcrypt'
import { afterEach, describe, expect, vi } from 'vitest'
import { createMailer } from '../../../server/mail/mailer.ts'
import { bundledServer } from '../../support/bundled-server.ts'
import { mailing as test } from '../../support/fixtures.ts'
import { idle, retryNow, runJob } from '../../support/jobs.ts'
import { type Mailbox, mailingTo } from '../../support/mailbox.ts'
import {
  type Person,
  type Reply,
  SECRET,
  startServer,
  type TestServer,
} from '../../support/server.ts'

const MINUTE = 60_000
const HOUR = 60 * MINUTE
const DAY = 24 * HOUR
const NEXT_PASSWORD = 'an early train to Porto'

let mailbox: Mailbox
let server: TestServer
test.beforeAll(({ mailbox: opened, server: started }) => {
  mailbox = opened
  server = started
})
afterEach(() => {
  vi.restoreAllMocks()
  mailbox.refuse = undefined
})

interface Newcomer extends Person {
  email: string
  /** What confirms the address. */
  token: string
}

/** Somebody new, with the mail that they get at once. */
async function newcomer(): Promise<Newcomer> {
  const person = await server.person()
  const email = `${person.username}@example.com`
  return { ...person, email, token: await tokenTo(email, 'confirm_email') }
}

async function tokenTo(address: string, purpose: string): Promise<string> {
  const { mail } = await mailbox.next(address)
  const token = new RegExp(`#${purpose}=([\\w-]{43})`).exec(mail.text ?? '')?.[1]
  expect(token, mail.text).toBeDefined()
  return token!
}

const subjectTo = async (address: string) => (await mailbox.next(address)).mail.subject

const account = async ({ call }: Pick<Person, 'call'>) => (await call('GET', '/api/account/')).body

const post = (action: string, body: object) => server.call('POST', `/api/account/${action}/`, body)

const signIn = (username: string, password: string) =>
  server.call('POST', '/api/token/', { username, password })

const renew = (refresh: string) => server.call('POST', '/api/token/refresh/', { refresh })

/** How many jobs have failed too often. */
async function givenUp(): Promise<number> {
  const jobs = server.testDatabase.db('graphile_worker.jobs')
  return (await jobs.whereRaw('attempts >= max_attempts')).length
}

/** Until the worker has nothing left to do. */
async function workIsDone() {
  const { db } = server.testDatabase
  await expect
    .poll(() => db('graphile_worker._private_jobs').where('run_at', '<', db.fn.now()).count(), {
      timeout: 10_000,
    })
    .toEqual([{ count: '0' }])
}

async function resetToken({ email }: Newcomer): Promise<string> {
  expect((await post('forgot-password', { email })).status).toBe(202)
  return tokenTo(email, 'reset_password')
}

function expectLinkRefused(reply: Reply) {
  expect(reply).toMatchObject({ status: 400, body: { code: 'link_not_valid' } })
}

function expectFault(reply: Reply, field: string) {
  expect(reply).toMatchObject({ status: 400, body: { code: 'invalid' } })
  expect(Object.keys(reply.body.errors)).toEqual([field])
}

/** The first letter of a token changed: the last one of 43 has bits that do not count. */
const tampered = (token: string) => (token.startsWith('A') ? 'B' : 'A') + token.slice(1)

describe('an address', () => {
  test('is confirmed by the link that was sent there, once', async () => {
    const ann = await newcomer()
    expect(await account(ann)).toEqual({
      id: ann.id,
      username: ann.username,
      email: ann.email,
      email_verified_at: null,
      pending_email: null,
      role: 'user',
      created_at: expect.stringMatching(/Z$/),
      deletes_at: expect.stringMatching(/Z$/),
      usage: expect.objectContaining({ documents: 0 }),
    })
    const confirmed = await post('confirm-email', { token: ann.token })
    expect({ status: confirmed.status, text: confirmed.text }).toEqual({ status: 204, text: '' })
    expect((await account(ann)).email_verified_at).toMatch(/Z$/)
    expectLinkRefused(await post('confirm-email', { token: ann.token }))
  })

  test('is shown with its account before it is confirmed', async () => {
    const ann = await newcomer()
    const shown = await post('show-confirmation', { token: ann.token })
    expect(shown.body).toEqual({ username: ann.username, email: ann.email, is_change: false })
    expect((await account(ann)).email_verified_at).toBeNull()
    const next = `next-${ann.email}`
    await ann.call('POST', '/api/account/change-email/', { email: next, password: ann.password })
    const change = await post('show-confirmation', { token: await tokenTo(next, 'confirm_email') })
    expect(change.body).toEqual({ username: ann.username, email: next, is_change: true })
    expectLinkRefused(await post('show-confirmation', { token: tampered(ann.token) }))
  })

  test('whose owner says that the account is not theirs is free, and gets no more mail', async () => {
    const ann = await newcomer()
    await ann.call('POST', '/api/tasks/', { title: 'Keep me' })
    expect((await post('disown-email', { token: ann.token })).status).toBe(204)
    expectLinkRefused(await post('confirm-email', { token: ann.token }))
    expect(await account(ann)).toMatchObject({ email: '', email_verified_at: null })
    const changed = { current_password: ann.password, new_password: NEXT_PASSWORD }
    expect((await ann.call('POST', '/api/account/change-password/', changed)).status).toBe(204)
    expect((await ann.call('POST', '/api/account/resend-confirmation/')).status).toBe(202)
    await post('forgot-password', { email: ann.email })
    await idle(server.testDatabase.db)
    expect(mailbox.delivered.filter(({ recipients }) => recipients[0] === ann.email)).toHaveLength(
      1,
    )
    // The account works on, and can get an address of its own.
    expect((await signIn(ann.username, NEXT_PASSWORD)).status).toBe(200)
    expect((await ann.call('GET', '/api/tasks/')).body.count).toBe(1)
    const own = `own-${ann.email}`
    const wanted = { email: own, password: NEXT_PASSWORD }
    expect((await ann.call('POST', '/api/account/change-email/', wanted)).status).toBe(202)
    const token = await tokenTo(own, 'confirm_email')
    expect((await post('confirm-email', { token })).status).toBe(204)
    expect(await account(ann)).toMatchObject({ email: own, email_verified_at: expect.any(String) })
    // And so can the owner of the address.
    const registration = { username: `r${ann.username}`, email: ann.email, password: ann.password }
    expect((await server.call('POST', '/api/register/', registration)).status).toBe(201)
  })

  test('that is confirmed stays when a change to another one is disowned', async () => {
    const ann = await newcomer()
    await post('confirm-email', { token: ann.token })
    const email = `of-a-stranger-${ann.email}`
    await ann.call('POST', '/api/account/change-email/', { email, password: ann.password })
    const token = await tokenTo(email, 'confirm_email')
    expect((await post('disown-email', { token })).status).toBe(204)
    expectLinkRefused(await post('confirm-email', { token }))
    expect(await account(ann)).toMatchObject({ email: ann.email, pending_email: null })
  })

  test('is confirmed once by concurrent attempts', async () => {
    const { token } = await newcomer()
    const replies = await Promise.all(
      Array.from({ length: 12 }, () => post('confirm-email', { token })),
    )
    const statuses = replies.map(({ status }) => status).sort()
    expect(statuses).toEqual([204, ...Array<number>(11).fill(400)])
  })

  test.each<[string, (ann: Newcomer) => Promise<string> | string]>([
    ['that was changed', ({ token }) => tampered(token)],
    ['that is longer', ({ token }) => `${token}A`],
    ['that sets passwords', resetToken],
    ['that signs in', ({ access }) => access.slice(0, 200)],
    ['that is SQL', () => `' or true --`],
  ])('is not confirmed by a token %s', async (_, tokenOf) => {
    const ann = await newcomer()
    expectLinkRefused(await post('confirm-email', { token: await tokenOf(ann) }))
    expect((await account(ann)).email_verified_at).toBeNull()
  })

  test('is not confirmed by a link that is three days old', async () => {
    const ann = await newcomer()
    server.clock.advance(3 * DAY)
    expectLinkRefused(await post('confirm-email', { token: ann.token }))
  })

  test('leaves no link behind: it is deleted a month after it expires', async () => {
    const ann = await newcomer()
    const { db } = server.testDatabase
    const links = async () => {
      await runJob(db, 'forget_old')
      return (await db('account_links').where({ user_id: ann.id })).length
    }
    server.clock.advance(32 * DAY)
    expect(await links()).toBe(1)
    server.clock.advance(2 * DAY)
    expect(await links()).toBe(0)
  })

  test('may be sent the link again: using one invalidates the others', async () => {
    const ann = await newcomer()
    expect((await ann.call('POST', '/api/account/resend-confirmation/')).status).toBe(202)
    const again = await tokenTo(ann.email, 'confirm_email')
    expect(again).not.toBe(ann.token)
    expect((await post('confirm-email', { token: again })).status).toBe(204)
    expectLinkRefused(await post('confirm-email', { token: ann.token }))
    const before = mailbox.delivered.length
    expect((await ann.call('POST', '/api/account/resend-confirmation/')).status).toBe(202)
    await workIsDone()
    expect(mailbox.delivered.length).toBe(before)
  })

  test('is sent at most three links per hour', async () => {
    const ann = await newcomer()
    const resend = () => ann.call('POST', '/api/account/resend-confirmation/')
    expect([(await resend()).status, (await resend()).status]).toEqual([202, 202])
    const refused = await resend()
    expect(refused).toMatchObject({ status: 429, body: { code: 'too_many_requests' } })
    expect(refused.headers.get('retry-after')).toBe('3600')
    server.clock.advance(HOUR + MINUTE)
    const later = (await signIn(ann.username, ann.password)).body.access
    const options = { headers: { authorization: `Bearer ${later}` } }
    const reply = await server.call('POST', '/api/account/resend-confirmation/', undefined, options)
    expect(reply.status).toBe(202)
  })
})

const changeEmail = (person: Person, email: string, password = person.password) =>
  person.call('POST', '/api/account/change-email/', { email, password })

describe('changing the address', () => {
  test('notifies the old address, and takes effect when the new one is confirmed', async () => {
    const ann = await newcomer()
    const next = `new-${ann.email}`
    expect((await changeEmail(ann, next)).status).toBe(202)
    const told = (await mailbox.next(ann.email)).mail
    expect(told.subject).toBe('Change of your email address requested')
    expect(told.text).toContain(next)
    expect(await account(ann)).toMatchObject({ email: ann.email, pending_email: next })

    const token = await tokenTo(next, 'confirm_email')
    expect((await post('confirm-email', { token })).status).toBe(204)
    expect(await account(ann)).toMatchObject({
      email: next,
      pending_email: null,
      email_verified_at: expect.stringMatching(/Z$/),
    })
    expect(await subjectTo(ann.email)).toBe('Your email address has changed')
    expect((await signIn(next, ann.password)).status).toBe(200)
    expect((await signIn(ann.email, ann.password)).status).toBe(401)
  })

  test.each<[string, string, (ann: Newcomer, bob: Newcomer) => Promise<Reply>]>([
    ['with another password', 'password', (ann) => changeEmail(ann, 'x@example.com', 'not mine')],
    ['to an address in use', 'email', (ann, bob) => changeEmail(ann, bob.email)],
    ['to one in other letters', 'email', (ann, bob) => changeEmail(ann, bob.email.toUpperCase())],
    ['to their own address', 'email', (ann) => changeEmail(ann, ann.email.toUpperCase())],
    ['to no address', 'email', (ann) => changeEmail(ann, 'nowhere')],
  ])('is refused %s, and nothing is sent', async (_, field, ask) => {
    const [ann, bob] = [await newcomer(), await newcomer()]
    const before = mailbox.delivered.length
    expectFault(await ask(ann, bob), field)
    await workIsDone()
    expect(mailbox.delivered.length).toBe(before)
    expect((await account(ann)).pending_email).toBeNull()
  })

  test('to an address that two users want succeeds for the first who confirms it', async () => {
    const [ann, bob] = [await newcomer(), await newcomer()]
    const wanted = `wanted-${ann.email}`
    await changeEmail(ann, wanted)
    const first = await tokenTo(wanted, 'confirm_email')
    await changeEmail(bob, wanted)
    const second = await tokenTo(wanted, 'confirm_email')
    const replies = await Promise.all([
      post('confirm-email', { token: first }),
      post('confirm-email', { token: second }),
    ])
    expect(replies.map(({ status }) => status).sort()).toEqual([204, 400])
    const refused = replies.find(({ status }) => status === 400)!
    expectLinkRefused(refused)
    expect(refused.body.detail).toMatch(/uses this address/)
    const emails = [(await account(ann)).email, (await account(bob)).email]
    expect(emails.filter((email) => email === wanted)).toHaveLength(1)
  })

  test('again invalidates the first link, but not that of the current address', async () => {
    const ann = await newcomer()
    const [one, two] = [`one-${ann.email}`, `two-${ann.email}`]
    await changeEmail(ann, one)
    const first = await tokenTo(one, 'confirm_email')
    await changeEmail(ann, two)
    expect((await account(ann)).pending_email).toBe(two)
    expectLinkRefused(await post('confirm-email', { token: first }))
    expect((await post('confirm-email', { token: ann.token })).status).toBe(204)
    const second = await tokenTo(two, 'confirm_email')
    expect((await post('confirm-email', { token: second })).status).toBe(204)
    expect((await account(ann)).email).toBe(two)
  })

  test('invalidates links sent to the old one', async () => {
    const ann = await newcomer()
    const token = await resetToken(ann)
    const next = `new-${ann.email}`
    await changeEmail(ann, next)
    await post('confirm-email', { token: await tokenTo(next, 'confirm_email') })
    expectLinkRefused(await post('reset-password', { token, password: NEXT_PASSWORD }))
    expectLinkRefused(await post('confirm-email', { token: ann.token }))
    expect((await signIn(next, ann.password)).status).toBe(200)
  })

  test('started by somebody else is cancelled by a change of the password', async () => {
    const ann = await newcomer()
    const evil = `evil-${ann.email}`
    await changeEmail(ann, evil)
    const token = await tokenTo(evil, 'confirm_email')
    expect(await subjectTo(ann.email)).toBe('Change of your email address requested')
    await post('reset-password', { token: await resetToken(ann), password: NEXT_PASSWORD })
    expectLinkRefused(await post('confirm-email', { token }))
    expect((await signIn(ann.email, NEXT_PASSWORD)).status).toBe(200)
  })
})

const changePassword = (person: Person, next: string, current = person.password) =>
  person.call('POST', '/api/account/change-password/', {
    current_password: current,
    new_password: next,
  })

describe('changing the password', () => {
  test('ends the other sessions and password links, and notifies the address', async () => {
    const ann = await newcomer()
    const phone = (await signIn(ann.username, ann.password)).body
    const token = await resetToken(ann)
    expect((await changePassword(ann, NEXT_PASSWORD)).status).toBe(204)

    expect((await ann.call('GET', '/api/tasks/')).status).toBe(200)
    expect((await renew(ann.refresh)).status).toBe(200)
    expect(await renew(phone.refresh)).toMatchObject({ body: { code: 'token_not_valid' } })
    expectLinkRefused(await post('reset-password', { token, password: 'a bus to Faro' }))
    expect((await signIn(ann.username, ann.password)).status).toBe(401)
    expect((await signIn(ann.username, NEXT_PASSWORD)).status).toBe(200)
    const { mail } = await mailbox.next(ann.email)
    expect(mail.subject).toBe('Your password has changed')
    expect(mail.text).toContain('http://tasktide.example/#forgot_password')
  })

  test('needs the current one: a wrong one is refused after the same work, and changes nothing', async () => {
    const ann = await newcomer()
    const compared = vi.spyOn(bcrypt, 'compare')
    for (const wrong of ['not mine', 'x'.repeat(100), NEXT_PASSWORD])
      expectFault(await changePassword(ann, NEXT_PASSWORD, wrong), 'current_password')
    expect(compared.mock.calls.map(([, hash]) => bcrypt.getRounds(hash))).toEqual([4, 4, 4])
    expect((await signIn(ann.username, ann.password)).status).toBe(200)
  })

  test.each<[string, (ann: Newcomer) => string]>([
    ['short', () => 'ferry 7'],
    ['common', () => 'iloveyou'],
    ['their name', ({ username }) => username],
    ['their address', ({ email }) => email],
  ])('refuses one that is %s', async (_, next) => {
    const ann = await newcomer()
    expectFault(await changePassword(ann, next(ann)), 'new_password')
    expect((await signIn(ann.username, ann.password)).status).toBe(200)
  })

  test('twice at the same time with the same current one succeeds once', async () => {
    const ann = await newcomer()
    const nexts = ['a bus to Faro 1', 'a bus to Faro 2', 'a bus to Faro 3', 'a bus to Faro 4']
    const replies = await Promise.all(nexts.map((next) => changePassword(ann, next)))
    expect(replies.filter(({ status }) => status === 204)).toHaveLength(1)
    const done = replies.findIndex(({ status }) => status === 204)
    expect((await signIn(ann.username, nexts[done]!)).status).toBe(200)
  })

  test('leaves no session to a concurrent sign-in with the old one', async () => {
    const ann = await newcomer()
    const { db } = server.testDatabase
    const other = await db.transaction()
    await other('users').where({ id: ann.id }).update({ password_hash: 'another' })
    const signingIn = signIn(ann.username, ann.password)
    const waits = () =>
      db('pg_stat_activity').where({ wait_event_type: 'Lock' }).whereLike('query', '%sessions%')
    await expect.poll(waits, { timeout: 5_000 }).toHaveLength(1)
    await other.commit()
    expect(await signingIn).toMatchObject({
      status: 401,
      body: { code: 'credentials_not_valid' },
    })
  })
})

describe('a password that is guessed with a stolen token', () => {
  test('can be guessed a few times per minute, over all devices and operations', async () => {
    const strict = await startServer({
      DATABASE_URL: server.testDatabase.url,
      AUTH_RATE_LIMIT: '3',
    })
    try {
      const [ann, bob] = [await newcomer(), await newcomer()]
      const phone = (await signIn(ann.username, ann.password)).body.access
      strict.clock.advance(server.clock.now().getTime() - strict.clock.now().getTime())
      const guess = (action: string, access: string, body: object) =>
        strict.call('POST', `/api/account/${action}/`, body, {
          headers: { authorization: `Bearer ${access}` },
        })
      const guesses = [
        await guess('delete', ann.access, { password: 'not this' }),
        await guess('change-email', phone, { email: 'e@example.com', password: 'nor this' }),
        await guess('change-password', ann.access, { current_password: 'x', new_password: 'y' }),
        await guess('delete', phone, { password: ann.password }),
      ]
      expect(guesses.map(({ status }) => status)).toEqual([400, 400, 400, 429])
      expect(Number(guesses[3]!.headers.get('retry-after'))).toBeGreaterThan(0)
      expect((await guess('delete', bob.access, { password: 'not this' })).status).toBe(400)
      expect((await account(ann)).id).toBe(ann.id)
    } finally {
      await strict.stop()
    }
  })
})

describe('a forgotten password', () => {
  test('is reset by the link: all sessions end, and nobody is signed in', async () => {
    const ann = await newcomer()
    const phone = (await signIn(ann.username, ann.password)).body
    const token = await resetToken(ann)
    const done = await post('reset-password', { token, password: NEXT_PASSWORD })
    expect({ status: done.status, text: done.text }).toEqual({ status: 204, text: '' })
    expect(done.headers.get('set-cookie')).toBeNull()
    for (const refresh of [ann.refresh, phone.refresh])
      expect(await renew(refresh)).toMatchObject({ body: { code: 'token_not_valid' } })
    expect((await ann.call('GET', '/api/tasks/')).status).toBe(401)
    expect((await signIn(ann.username, ann.password)).status).toBe(401)
    const signedIn = await signIn(ann.email, NEXT_PASSWORD)
    expect(signedIn.status).toBe(200)
    expect(await subjectTo(ann.email)).toBe('Your password has changed')
    const again = { token, password: 'a bus to Faro' }
    expectLinkRefused(await post('reset-password', again))
  })

  test('also confirms the address', async () => {
    const ann = await newcomer()
    await post('reset-password', { token: await resetToken(ann), password: NEXT_PASSWORD })
    const { access } = (await signIn(ann.email, NEXT_PASSWORD)).body
    const options = { headers: { authorization: `Bearer ${access}` } }
    const { body } = await server.call('GET', '/api/account/', undefined, options)
    expect(body.email_verified_at).toMatch(/Z$/)
  })

  test('is reset by one link only, the newest or an older one', async () => {
    const ann = await newcomer()
    const [first, second] = [await resetToken(ann), await resetToken(ann)]
    const replies = await Promise.all(
      [first, second, first, second].map((token) =>
        post('reset-password', { token, password: NEXT_PASSWORD }),
      ),
    )
    expect(replies.map(({ status }) => status).sort()).toEqual([204, 400, 400, 400])
  })

  test('rejected as too weak does not consume the link', async () => {
    const ann = await newcomer()
    const token = await resetToken(ann)
    for (const password of ['iloveyou', ann.username, 'short'])
      expectFault(await post('reset-password', { token, password }), 'password')
    expect((await post('reset-password', { token, password: NEXT_PASSWORD })).status).toBe(204)
  })

  test.each<[string, (ann: Newcomer) => Promise<string>]>([
    ['that was changed', async (ann) => tampered(await resetToken(ann))],
    ['that confirms an address', async ({ token }) => token],
    [
      'of a link that is an hour old',
      async (ann) => {
        const token = await resetToken(ann)
        server.clock.advance(60 * MINUTE)
        return token
      },
    ],
    [
      'of somebody who was deactivated',
      async (ann) => {
        const token = await resetToken(ann)
        await server.testDatabase.db('users').where({ id: ann.id }).update({ is_active: false })
        return token
      },
    ],
  ])('is not reset by a token %s', async (_, tokenOf) => {
    const ann = await newcomer()
    const token = await tokenOf(ann)
    expectLinkRefused(await post('reset-password', { token, password: NEXT_PASSWORD }))
    const { password_hash } = await server.testDatabase.db('users').where({ id: ann.id }).first()
    expect(await bcrypt.compare(ann.password, password_hash)).toBe(true)
  })

  test('gets the same response for every address, and a mail only for accounts', async () => {
    const [ann, inactive, deleted] = [await newcomer(), await newcomer(), await newcomer()]
    const { db } = server.testDatabase
    await db('users').where({ id: inactive.id }).update({ is_active: false })
    await db('users').where({ id: deleted.id }).update({ deleted_at: new Date(), is_active: false })
    const said = async (email: string) => {
      const { status, headers, text } = await post('forgot-password', { email })
      const passing = ['date', 'x-request-id', 'connection', 'keep-alive']
      return { status, text, headers: [...headers].filter(([name]) => !passing.includes(name)) }
    }
    const before = mailbox.delivered.length
    const known = await said(ann.email)
    for (const email of [`nobody-${ann.email}`, inactive.email, deleted.email])
      expect(await said(email)).toEqual(known)
    expect(known).toMatchObject({ status: 202, text: '' })
    await workIsDone()
    const recipients = mailbox.delivered.slice(before).flatMap(({ recipients }) => recipients)
    expect(recipients).toEqual([ann.email])
  })

  test('is looked up in the background, not during the request', async () => {
    const ann = await newcomer()
    const asked: string[] = []
    const listen = ({ sql }: { sql: string }) => void asked.push(sql)
    server.database.db.on('query', listen)
    for (const email of [ann.email, `nobody-${ann.email}`]) await post('forgot-password', { email })
    server.database.db.off('query', listen)
    expect(asked).toEqual([
      expect.stringContaining('graphile_worker.add_job'),
      expect.stringContaining('graphile_worker.add_job'),
    ])
  })

  test('is limited to three mails per hour, without revealing it', async () => {
    const ann = await newcomer()
    server.clock.advance(2 * HOUR)
    await workIsDone() // the mail of the registration
    const before = mailbox.delivered.length
    for (let i = 0; i < 8; i++)
      expect((await post('forgot-password', { email: ann.email.toUpperCase() })).status).toBe(202)
    await workIsDone()
    expect(mailbox.delivered.length - before).toBe(3)
    server.clock.advance(HOUR + MINUTE)
    await post('forgot-password', { email: ann.email })
    await workIsDone()
    expect(mailbox.delivered.length - before).toBe(4)
  })

  test('has a link to the configured host, whatever the Host header says', async () => {
    const ann = await newcomer()
    const { hostname, port } = new URL(server.url)
    const request = http.request({
      hostname,
      port,
      method: 'POST',
      path: '/api/account/forgot-password/',
      headers: {
        host: 'evil.example',
        'x-forwarded-host': 'evil.example',
        'content-type': 'application/json',
      },
    })
    request.end(JSON.stringify({ email: ann.email }))
    const [response] = (await once(request, 'response')) as [http.IncomingMessage]
    response.resume()
    expect(response.statusCode).toBe(202)
    const { raw, mail } = await mailbox.next(ann.email)
    expect(mail.text).toContain('http://tasktide.example/#reset_password=')
    expect(raw).not.toContain('evil.example')
  })
})

describe('a mail', () => {
  test('is in the language and timezone of its reader', async () => {
    const ann = await newcomer()
    const profile = { locale: 'de-AT', timezone: 'Pacific/Auckland' }
    expect((await ann.call('PATCH', '/api/profile/', profile)).status).toBe(200)
    await changePassword(ann, NEXT_PASSWORD)
    const { mail } = await mailbox.next(ann.email)
    expect(mail.subject).toBe('Dein Passwort wurde geändert')
    expect(mail.headers.get('content-language')).toBe('de')
    const format = new Intl.DateTimeFormat('de-AT', {
      dateStyle: 'full',
      timeZone: 'Pacific/Auckland',
    })
    expect(mail.text).toContain(format.format(server.clock.now()))
    expect(mail.text).toMatch(/NZST|NZDT|GMT\+1[23]|Neuseeland/)
  })

  const CRLF = [
    'a@example.com\r\nBcc: evil@example.com',
    'a@example.com\nBcc: evil@example.com',
    'a@example.com%0d%0aBcc: evil@example.com\r\n',
    '"a\r\nBcc: evil@example.com"@example.com',
    'a@example.com, evil@example.com',
    'a@example.com\u2028Bcc: evil@example.com',
  ]
  test.each(CRLF)('goes to no address that would be a header: %j', async (email) => {
    const ann = await newcomer()
    const name = `p${randomUUID().slice(0, 8)}`
    const before = mailbox.delivered.length
    const registration = { username: name, email, password: ann.password }
    expectFault(await server.call('POST', '/api/register/', registration), 'email')
    expectFault(await changeEmail(ann, email), 'email')
    expectFault(await post('forgot-password', { email }), 'email')
    await workIsDone()
    expect(mailbox.delivered.length).toBe(before)
  })

  test('has no headers injected through the display name', async () => {
    const ann = await newcomer()
    const display_name = 'Ann\r\nBcc: evil@example.com\r\n\r\nHello'
    expect((await ann.call('PATCH', '/api/profile/', { display_name })).status).toBe(200)
    await changePassword(ann, NEXT_PASSWORD)
    const { mail, recipients } = await mailbox.next(ann.email)
    expect(recipients).toEqual([ann.email])
    expect(mail.headers.has('bcc')).toBe(false)
  })

  test('has no injected headers, even from values that passed validation', async () => {
    const mailer = createMailer({
      SMTP_URL: mailbox.url,
      MAIL_FROM: 'tasks@tasktide.example',
      SMTP_CONNECTIONS: 1,
      isProduction: true,
    })
    const before = mailbox.delivered.length
    try {
      await mailer.send({
        id: randomUUID(),
        to: 'ann@example.com\r\nBcc: evil@example.com',
        subject: 'Hello\r\nBcc: evil@example.com',
        text: 'Hello',
        html: '<p>Hello</p>',
        language: 'en\r\nBcc: evil@example.com',
      })
    } catch {
      // Refused is as good.
    } finally {
      mailer.close()
    }
    for (const { mail, recipients } of mailbox.delivered.slice(before)) {
      expect(mail.headers.has('bcc')).toBe(false)
      expect(recipients).not.toContain('evil@example.com')
    }
  })
})

const deleteAccount = (person: Person, password = person.password) =>
  person.call('POST', '/api/account/delete/', { password })

/**
 * Rows of a person in any table, however it came by them. That they have deleted their account is
 * kept, for the devices that come back: their id and when, and nothing else.
 */
async function rowsOf(user: string, at = server): Promise<Record<string, number>> {
  const { db } = at.testDatabase
  const { rows: tables } = await db.raw<{ rows: { name: string }[] }>(`
    select table_name as name from information_schema.columns
    join information_schema.tables using (table_schema, table_name)
    where table_schema = 'public' and column_name = 'user_id' and table_type = 'BASE TABLE'
      and table_name <> 'deleted_accounts'`)
  expect(tables.map(({ name }) => name)).toEqual(
    expect.arrayContaining(['tasks', 'sessions', 'mails', 'account_links', 'feeds']),
  )
  const counts: Record<string, number> = {}
  for (const { name } of tables) {
    const [found] = await db(name).where({ user_id: user }).count()
    if (Number(found!.count) > 0) counts[name] = Number(found!.count)
  }
  const [users] = await db('users').where({ id: user }).count()
  return { ...counts, ...(Number(users!.count) > 0 && { users: 1 }) }
}

/** Something of every kind. */
async function fill({ call }: Person) {
  const category = (await call('POST', '/api/categories/', { name: 'Travel' })).body
  const profile = { digest_at: '08:00', remind_minutes_before: 10 }
  expect((await call('PATCH', '/api/profile/', profile)).status).toBe(200)
  for (const title of ['Book the ferry', 'Pack']) {
    const task = { title, category_id: category.id, due_date: '2099-12-01', due_time: '08:30' }
    expect((await call('POST', '/api/tasks/', task)).status).toBe(201)
  }
  const id = randomUUID()
  for (const title of ['Milk', 'Bread'])
    await call('POST', '/replication/tasks/0/push', [
      { newDocumentState: { id, title, _deleted: false } },
    ])
}

describe('deleting the account', () => {
  test('needs the password', async () => {
    const ann = await newcomer()
    expectFault(await deleteAccount(ann, 'not mine'), 'password')
    expect((await ann.call('GET', '/api/tasks/')).status).toBe(200)
  })

  test('signs out everything at once, notifies the address, and leaves no data', async () => {
    const ann = await newcomer()
    const phone = (await signIn(ann.username, ann.password)).body
    await fill(ann)
    const reset = await resetToken(ann)
    expect(Object.keys(await rowsOf(ann.id))).toEqual(
      expect.arrayContaining(['conflicts', 'profiles', 'reminders', 'digests', 'tasks']),
    )
    expect((await deleteAccount(ann)).status).toBe(202)

    const deleted = { status: 401, body: { code: 'account_deleted' } }
    for (const { access, refresh } of [ann, phone]) {
      const authorization = `Bearer ${access}`
      const read = () =>
        server.call('GET', '/api/tasks/', undefined, { headers: { authorization } })
      expect(await read()).toMatchObject(deleted)
      expect(await renew(refresh)).toMatchObject(deleted)
      for (const token of [access, refresh])
        expect(await server.call('POST', '/api/token/verify/', { token })).toMatchObject(deleted)
      expect(await server.call('POST', '/api/logout/', { refresh })).toMatchObject(deleted)
    }
    expect((await signIn(ann.username, ann.password)).status).toBe(401)
    expectLinkRefused(await post('reset-password', { token: reset, password: NEXT_PASSWORD }))
    expectLinkRefused(await post('confirm-email', { token: ann.token }))
    expect(await subjectTo(ann.email)).toBe('Your account has been deleted')

    await expect.poll(() => rowsOf(ann.id), { timeout: 15_000 }).toEqual({})
    expect(await renew(ann.refresh)).toMatchObject(deleted)
    const again = { username: ann.username, email: ann.email, password: ann.password }
    expect((await server.call('POST', '/api/register/', again)).status).toBe(201)
    expect(await renew(ann.refresh)).toMatchObject(deleted)
    server.clock.advance(60 * DAY)
    expect(await renew(ann.refresh)).toMatchObject(deleted)
    expect(await ann.call('GET', '/api/tasks/')).toMatchObject(deleted)
  })

  test('does not affect other accounts', async () => {
    const [ann, bob] = [await newcomer(), await newcomer()]
    await fill(bob)
    const before = await rowsOf(bob.id)
    await deleteAccount(ann)
    await expect.poll(() => rowsOf(ann.id), { timeout: 15_000 }).toEqual({})
    expect(await rowsOf(bob.id)).toEqual(before)
    expect((await bob.call('GET', '/api/tasks/')).body.count).toBe(3)
  })

  test('is remembered for three months', async () => {
    const ann = await newcomer()
    await deleteAccount(ann)
    await expect.poll(() => rowsOf(ann.id), { timeout: 15_000 }).toEqual({})
    const { db } = server.testDatabase
    const known = async () => {
      await runJob(db, 'forget_old')
      return (await renew(ann.refresh)).body.code
    }
    server.clock.advance(89 * DAY)
    expect(await known()).toBe('account_deleted')
    server.clock.advance(2 * DAY)
    expect(await known()).toBe('token_not_valid')
  })

  test('deactivates the account, which cannot be reactivated', async () => {
    const web = await startServer()
    try {
      const ann = await web.person()
      await deleteAccount(ann)
      const users = web.testDatabase.db('users').where({ id: ann.id })
      expect(await users.clone().first('is_active')).toEqual({ is_active: false })
      await expect(users.clone().update({ is_active: true })).rejects.toThrow('inactive')
    } finally {
      await web.stop()
    }
  })

  test('completes even if the last mail cannot be sent', async () => {
    const ann = await newcomer()
    mailbox.refuse = (recipient) =>
      recipient === ann.email
        ? Object.assign(new Error('try later'), { responseCode: 451 })
        : undefined
    expect((await deleteAccount(ann)).status).toBe(202)
    await expect.poll(() => rowsOf(ann.id), { timeout: 15_000 }).toEqual({ mails: 1 })
    const { db } = server.testDatabase
    const jobs = async () => {
      const rows = await db('graphile_worker._private_jobs').whereRaw(
        "payload->>'user' = ? or payload->>'id' in (select id::text from mails where user_id = ?)",
        [ann.id, ann.id],
      )
      return rows.length
    }
    await idle(db)
    await db('graphile_worker._private_jobs')
      .whereRaw("payload->>'id' in (select id::text from mails where user_id = ?)", [ann.id])
      .update({ attempts: db.ref('max_attempts'), run_at: db.raw("now() + interval '1 hour'") })
    server.clock.advance(29 * DAY)
    await runJob(db, 'forget_old')
    expect(await rowsOf(ann.id)).toEqual({ mails: 1 })
    expect(await jobs()).toBeGreaterThan(0)

    server.clock.advance(2 * DAY)
    await runJob(db, 'forget_old')
    expect(await rowsOf(ann.id)).toEqual({})
    expect(await givenUp()).toBe(0)
    await retryNow(db)
    expect(await jobs()).toBe(0)
  })

  test('is never dropped: its failed job stays visible', async () => {
    const { db } = server.testDatabase
    for (const name of ['purge_account', 'send_reset_link'])
      await db.raw(
        `select graphile_worker.permanently_fail_jobs(array[(graphile_worker.add_job(?, run_at := now() + interval '1 hour')).id])`,
        [name],
      )
    server.clock.advance(31 * DAY)
    await runJob(db, 'forget_old')
    const jobs = db('graphile_worker.jobs').whereRaw('attempts >= max_attempts')
    expect(await jobs.clone().pluck('task_identifier')).toEqual(['purge_account'])
    await db('graphile_worker._private_jobs').whereRaw('attempts >= max_attempts').delete()
  })

  test('several times at once is done once, with one mail', async () => {
    const ann = await newcomer()
    const statuses = await Promise.all([1, 2, 3].map(async () => (await deleteAccount(ann)).status))
    expect(statuses.filter((status) => status === 202)).toHaveLength(1)
    expect(await subjectTo(ann.email)).toBe('Your account has been deleted')
    await workIsDone()
    const sent = mailbox.delivered.filter(({ recipients }) => recipients.includes(ann.email))
    expect(sent).toHaveLength(2)
  })

  describe('continues in batches after an interruption:', () => {
    test('by a lost connection', async () => {
      const ann = await newcomer()
      await stoppingPurge(server, ann, async (pid) => {
        await server.testDatabase.db.raw('select pg_terminate_backend(?)', [pid])
      })
      await expect.poll(() => rowsOf(ann.id), { timeout: 20_000 }).toEqual({})
    })

    test('by the end of its worker', async () => {
      const web = await startServer({ ...mailingTo(mailbox), RUN_WORKER: 'false' })
      const workers = [await startWorkerProcess(web)]
      try {
        const ann = await web.person()
        await stoppingPurge(web, ann, async () => {
          workers[0]!.kill('SIGKILL')
          await once(workers[0]!, 'exit')
        })
        workers.push(await startWorkerProcess(web))
        await expect.poll(() => rowsOf(ann.id, web), { timeout: 25_000 }).toEqual({})
      } finally {
        for (const worker of workers) worker.kill('SIGKILL')
        await web.stop()
      }
    }, 60_000)
  })
})

/** Has a purge stop in the middle, at a document that somebody holds, and `end` put an end to it. */
async function stoppingPurge(
  { testDatabase: { db } }: TestServer,
  person: Person,
  end: (pid: number) => Promise<void>,
) {
  await db.raw(
    `insert into tasks (user_id, id, title, description, priority, completed, position, created_at, updated_at, seq)
     select :user, gen_random_uuid(), 'Task', '', 'low', false, 'a0', now(), now(), n
     from generate_series(1, 5000) n`,
    { user: person.id },
  )
  const holding = await db.transaction()
  try {
    const last = 'select from tasks where user_id = ? order by id desc limit 1 for update'
    await holding.raw(last, [person.id])
    expect((await deleteAccount(person)).status).toBe(202)
    const waiting = () =>
      db('pg_stat_activity')
        .where({ wait_event_type: 'Lock', datname: db.raw('current_database()') })
        .whereLike('query', '%delete from tasks%')
        .pluck('pid')
    await expect.poll(waiting, { timeout: 25_000 }).toHaveLength(1)
    // What it had done is done.
    const [left] = await db('tasks').where({ user_id: person.id }).count()
    expect(Number(left!.count)).toBe(1_000)
    await end((await waiting())[0]!)
  } finally {
    await holding.rollback()
  }
}

/** A worker of its own, as in production, on the database of a server. */
async function startWorkerProcess({ testDatabase }: TestServer): Promise<ChildProcess> {
  return spawn(process.execPath, [await bundledServer('worker')], {
    stdio: ['ignore', 'ignore', 'inherit'],
    env: {
      ...process.env,
      ...mailingTo(mailbox),
      NODE_ENV: 'development',
      DATABASE_URL: testDatabase.url,
      SECRET_KEY: SECRET,
      LOG_LEVEL: 'silent',
    },
  })
}
