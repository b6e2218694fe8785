import { randomUUID } from 'node:crypto'
import { io } from 'socket.io-client'
import { afterEach, describe, expect } from 'vitest'
import { resources, settle } from '../../../protocol/index.ts'
import { createEvents } from '../../../server/accounts/events.ts'
import { createLinks } from '../../../server/accounts/links.ts'
import { deletionDate, unconfirmedCheck } from '../../../server/accounts/unconfirmed.ts'
import { createLog } from '../../../server/runtime/log.ts'
import { mailing as test } from '../../support/fixtures.ts'
import { idle, retryNow, runJob } from '../../support/jobs.ts'
import { type Mailbox, mailingTo } from '../../support/mailbox.ts'
import { type Person, SECRET, type TestServer } from '../../support/server.ts'

const DAY = 24 * 60 * 60_000
const HOUR = 60 * 60_000
const SUBJECT = 'Confirm your address to keep your account'

let mailbox: Mailbox
test.beforeAll(({ mailbox: opened }) => {
  mailbox = opened
})
afterEach(() => {
  mailbox.refuse = undefined
})

const addressOf = ({ username }: Pick<Person, 'username'>) => `${username}@example.com`

/** Lets time pass, and runs the job. */
async function pass(server: TestServer, milliseconds: number): Promise<void> {
  server.clock.advance(milliseconds)
  await check(server)
}

const check = ({ testDatabase }: TestServer) => runJob(testDatabase.db, 'check_unconfirmed')

/** What the account says of itself, on a device that has signed in again. */
async function read(server: TestServer, { username, password }: Person) {
  const { body } = await server.call('POST', '/api/token/', { username, password })
  const headers = { authorization: `Bearer ${body.access}` }
  return (await server.call('GET', '/api/account/', undefined, { headers })).body
}

const exists = async ({ testDatabase: { db } }: TestServer, { id }: Pick<Person, 'id'>) =>
  (await db('users').where({ id }).first('id')) !== undefined

/** The subjects of all mail to an address, without those of the registration. */
const mailsTo = (address: string) =>
  mailbox.delivered
    .filter(({ recipients }) => recipients.includes(address))
    .map(({ mail }) => mail.subject)
    .filter((subject) => subject !== 'Confirm your email address')

async function warningTo(address: string) {
  for (;;) {
    const { mail } = await mailbox.next(address)
    if (mail.subject !== SUBJECT) continue
    const token = /#confirm_email=([\w-]{43})/.exec(mail.text!)?.[1]
    expect(token, mail.text).toBeDefined()
    return { token, text: mail.text! }
  }
}

describe('an account whose address is not confirmed', () => {
  test('is warned a week before, and kept if the address is confirmed at the last moment', async ({
    serverWith,
  }) => {
    const server = await serverWith(mailingTo(mailbox))
    const ann = await server.person()
    const registered = Date.parse((await read(server, ann)).created_at)
    const deletes_at = new Date(registered + 14 * DAY).toISOString()
    expect(await read(server, ann)).toMatchObject({ email_verified_at: null, deletes_at })
    await pass(server, 7 * DAY - HOUR)
    expect(mailsTo(addressOf(ann))).toEqual([])
    await pass(server, HOUR)
    const { token, text } = await warningTo(addressOf(ann))
    const date = Date.parse((await read(server, ann)).deletes_at)
    expect(date).toBeGreaterThanOrEqual(registered + 14 * DAY)
    expect(text).toContain(
      new Intl.DateTimeFormat('en', { dateStyle: 'full', timeZone: 'UTC' }).format(date),
    )
    await pass(server, 7 * DAY - HOUR)
    expect(mailsTo(addressOf(ann))).toEqual([SUBJECT])
    const confirmed = await server.call('POST', '/api/account/confirm-email/', { token })
    expect(confirmed.status, confirmed.text).toBe(204)
    await pass(server, 30 * DAY)
    expect(await read(server, ann)).toMatchObject({
      email_verified_at: expect.any(String),
      deletes_at: null,
    })
    expect(mailsTo(addressOf(ann))).toEqual([SUBJECT])
  })

  test('is deleted with all its data, its devices are signed out, and its names are free', async ({
    serverWith,
  }) => {
    const server = await serverWith(mailingTo(mailbox))
    const { db } = server.testDatabase
    const ann = await server.person()
    await ann.call('POST', '/api/tasks/', { title: 'Book the ferry' })
    await pass(server, 7 * DAY)
    const { token } = await warningTo(addressOf(ann))
    await pass(server, 7 * DAY - HOUR)
    expect(await exists(server, ann)).toBe(true)
    await pass(server, 2 * HOUR)

    for (const table of ['tasks', 'profiles', 'feeds', 'sessions', 'mails', 'account_links'])
      expect(await db(table).where({ user_id: ann.id }), table).toEqual([])
    expect(await exists(server, ann)).toBe(false)
    // On `account_deleted`, devices would delete what they keep.
    expect(
      await server.call('POST', '/api/token/refresh/', { refresh: ann.refresh }),
    ).toMatchObject({ status: 401, body: { code: 'token_not_valid' } })
    expect(await server.call('POST', '/api/account/confirm-email/', { token })).toMatchObject({
      status: 400,
      body: { code: 'link_not_valid' },
    })
    expect(await db('audit_log').where({ account_id: ann.id })).toMatchObject([
      { action: 'delete_unconfirmed', actor: 'the server', actor_id: null, account: ann.username },
    ])
    const event = server.logged.find(
      (line) => line.includes('"event":"deletion"') && line.includes(ann.id),
    )
    expect(event).toContain('"reason":"unconfirmed"')
    const again = await server.person(ann.username)
    expect(again.id).toBeDefined()
    expect(mailsTo(addressOf(ann))).toEqual([SUBJECT])
  })

  test('is kept while its address is being confirmed', async ({ serverWith }) => {
    const server = await serverWith(mailingTo(mailbox))
    const { db } = server.testDatabase
    const [ann, bob] = [await server.person(), await server.person()]
    await pass(server, 7 * DAY)
    server.clock.advance(8 * DAY)
    await db.transaction(async (trx) => {
      // As if confirming had got so far.
      await trx('users').where({ id: ann.id }).update({ email_verified_at: server.clock.now() })
      await runJob(db, 'check_unconfirmed')
    })
    await check(server)
    expect([await exists(server, ann), await exists(server, bob)]).toEqual([true, false])
  })

  test('is kept as long as its mail has not been sent, and for a week after that', async ({
    serverWith,
  }) => {
    const server = await serverWith(mailingTo(mailbox))
    const { db } = server.testDatabase
    const ann = await server.person()
    await mailbox.next(addressOf(ann))
    mailbox.refuse = () => Object.assign(new Error('try later'), { responseCode: 451 })
    await pass(server, 7 * DAY)
    // The mail server is out of order for ten days.
    await pass(server, 10 * DAY)
    expect(await exists(server, ann)).toBe(true)
    mailbox.refuse = undefined
    await retryNow(db)
    const { deletes_at } = await read(server, ann)
    const week = Date.parse(deletes_at) - server.clock.now().getTime()
    expect(week).toBeGreaterThan(7 * DAY - HOUR)
    expect((await warningTo(addressOf(ann))).text).toContain(
      new Intl.DateTimeFormat('en', { dateStyle: 'full', timeZone: 'UTC' }).format(
        Date.parse(deletes_at),
      ),
    )
    await pass(server, 7 * DAY - HOUR)
    expect(await exists(server, ann)).toBe(true)
    await pass(server, HOUR)
    expect(await exists(server, ann)).toBe(false)
  })

  test('is kept if its mailbox refuses mail, and not bothered again and again', async ({
    serverWith,
  }) => {
    const server = await serverWith(mailingTo(mailbox))
    const { db } = server.testDatabase
    const ann = await server.person()
    await mailbox.next(addressOf(ann))
    let refusals = 0
    mailbox.refuse = () => {
      refusals++
      return Object.assign(new Error('no such mailbox'), { responseCode: 550 })
    }
    await pass(server, 7 * DAY)
    expect((await read(server, ann)).deletes_at).toBeNull()
    for (let week = 0; week < 20; week++) {
      await pass(server, 7 * DAY)
      await runJob(db, 'forget_old')
    }
    expect(await exists(server, ann)).toBe(true)
    expect(refusals).toBeLessThanOrEqual(2)
  })
})

test('of many accounts with one mailbox, one an hour is warned', async ({ serverWith }) => {
  const server = await serverWith(mailingTo(mailbox))
  const name = `p${randomUUID().slice(0, 8)}`
  const addresses = ['a', 'b', 'c', 'd', 'e'].map((tag) => `${name}+${tag}@example.com`)
  for (const [index, email] of addresses.entries()) {
    const account = { username: `${name}${index}`, email, password: 'a ferry to Lisbon' }
    expect((await server.call('POST', '/api/register/', account)).status).toBe(201)
  }
  const warned = () => addresses.flatMap(mailsTo).length
  server.clock.advance(7 * DAY)
  await Promise.all([check(server), check(server)])
  expect(warned()).toBe(1)
  await pass(server, HOUR)
  expect(warned()).toBe(2)
  // What the owner requests comes as well.
  const { db } = server.testDatabase
  const [first] = addresses
  await server.call('POST', '/api/account/forgot-password/', { email: first })
  await idle(db)
  expect(mailsTo(first!)).toContain('Choose a new password')
})

describe.each<[string, Record<string, string>]>([
  ['that sends no mail', { SMTP_URL: '', MAIL_FROM: '' }],
  ['that deletes none', { UNCONFIRMED_DAYS: '0' }],
])('on a server %s', (_, environment) => {
  test('unconfirmed accounts stay', async ({ serverWith }) => {
    const server = await serverWith({ ...mailingTo(mailbox), ...environment })
    const ann = await server.person()
    const before = mailbox.delivered.length
    for (let week = 0; week < 4; week++) await pass(server, 7 * DAY)
    expect(await read(server, ann)).toMatchObject({ email_verified_at: null, deletes_at: null })
    expect(mailbox.delivered.slice(before).map(({ mail }) => mail.subject)).not.toContain(SUBJECT)
  })
})

test('accounts that somebody vouches for, and those without an address, stay', async ({
  serverWith,
}) => {
  const server = await serverWith(mailingTo(mailbox))
  const { administration } = server.app
  const password = 'a ferry to Lisbon'
  const named = (username: string) => ({ username, email: `${username}@example.com`, password })
  await administration.create({}, named('created'), 'user')
  const { invite } = await administration.invite({})
  await server.call('POST', '/api/register/', { ...named('invited'), invite })
  const promoted = await server.person('promoted')
  await administration.changeRole({}, promoted.id, 'support')
  const left = await server.person('deactivated')
  await administration.deactivate({}, left.id)
  await server.person('disowned')
  const { mail } = await mailbox.next('disowned@example.com')
  const [, token] = /#confirm_email=([\w-]{43})/.exec(mail.text!)!
  const disowned = await server.call('POST', '/api/account/disown-email/', { token })
  expect(disowned.status).toBe(204)
  await server.person('ordinary')
  await pass(server, 7 * DAY)
  await pass(server, 8 * DAY)
  expect(await server.testDatabase.db('users').orderBy('username').pluck('username')).toEqual([
    'created',
    'deactivated',
    'disowned',
    'invited',
    'promoted',
  ])
})

test('until the address is confirmed, an account has two sockets', async ({ server, ann }) => {
  const open = (access: string) => {
    const socket = io(server.url, {
      transports: ['websocket'],
      forceNew: true,
      reconnection: false,
      auth: { token: access },
    })
    return new Promise<() => void>((opened, refused) => {
      socket.once('ready', () => opened(() => void socket.disconnect()))
      socket.once('connect_error', refused)
    })
  }
  const closing = [await open(ann.access), await open(ann.access)]
  await expect(open(ann.access)).rejects.toMatchObject({
    data: { code: 'too_many_connections', detail: expect.stringContaining('2 live') },
  })
  const { db } = server.testDatabase
  await db('users').where({ id: ann.id }).update({ email_verified_at: server.clock.now() })
  await expect.poll(async () => closing.push(await open(ann.access)), { timeout: 5_000 }).toBe(3)
  for (const close of closing) close()
})

test('until the address is confirmed, an account has a tenth of the quota', async ({
  serverWith,
}) => {
  const server = await serverWith({ ...mailingTo(mailbox), QUOTA_DOCUMENTS: '20' })
  const { db } = server.testDatabase
  const ann = await server.person()
  const add = async () => (await ann.call('POST', '/api/tasks/', { title: 'Ferry' })).status
  const most = async () => (await ann.call('GET', '/api/account/')).body.usage.max_documents
  expect([await add(), await add(), await add()]).toEqual([201, 201, 403])
  expect(await most()).toBe(2)
  await db('users').where({ id: ann.id }).update({ email_verified_at: server.clock.now() })
  await expect.poll(most, { timeout: 5_000 }).toBe(20)
  expect(await add()).toBe(201)
})

test('more accounts than one batch are warned, each once', async ({ serverWith }) => {
  // Without a worker: this is about who is warned, not about the mail.
  const server = await serverWith({ ...mailingTo(mailbox), RUN_WORKER: 'false' })
  const { db } = server.testDatabase
  const created_at = new Date(server.clock.now().getTime() - 8 * DAY)
  const ids = Array.from({ length: 501 }, () => randomUUID())
  await db('users').insert(
    ids.map((id) => ({
      id,
      username: id,
      email: `${id}@example.com`,
      password_hash: '',
      must_confirm: true,
      created_at,
    })),
  )
  const made = created_at.toISOString()
  await db('profiles').insert(
    ids.map((id) => ({ user_id: id, ...settle(resources.profile, { id }, undefined, made) })),
  )
  const { now } = server.clock
  const events = createEvents(db, createLog('silent', { readable: false }), now)
  const links = createLinks([SECRET], now)
  const run = unconfirmedCheck({ db, links, events, confirmation: { days: 14 }, now })
  const warned = () => db('mails').where({ letter: 'unconfirmed_account' }).pluck('user_id')
  await run()
  expect((await warned()).sort()).toEqual(ids.sort())
  await run()
  expect(await warned()).toHaveLength(ids.length)
})

describe('the date of a deletion', () => {
  const created = new Date('2026-11-01T00:00:00.000Z')
  const day = (count: number) => new Date(created.getTime() + count * DAY)
  const sent = (count: number) => ({ outcome: 'sent', settled: day(count) }) as const
  const failed = (outcome: 'refused' | 'unwanted') => ({ outcome, settled: day(7) })
  const queued = { outcome: null, settled: null }

  test.for<[string, number, Parameters<typeof deletionDate>[0]['warning'], number, number | null]>([
    ['at first', 0, undefined, 14, 14],
    ['after the mail', 8, sent(7), 14, 14],
    ['after a late mail', 12, sent(10), 14, 17],
    ['while the mail is late', 12, undefined, 14, 19],
    ['while the mail is under way', 12, queued, 14, 19],
    ['after a refused mail', 8, failed('refused'), 14, null],
    ['after a mail that was not sent', 8, failed('unwanted'), 14, null],
    ['with few days', 0, undefined, 4, 4],
    ['with few days and a late mail', 3, sent(3), 4, 5],
    ['with many days and a late mail', 28, sent(28), 30, 35],
    ['with no days', 0, undefined, 0, null],
    ['after two months without a mail', 68, undefined, 14, null],
    ['just before that', 67, undefined, 14, 74],
  ])('%s', ([, now, warning, days, expected]) => {
    expect(deletionDate({ created, warning }, { days }, day(now))).toEqual(
      expected === null ? undefined : day(expected),
    )
  })
})
