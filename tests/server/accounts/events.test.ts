import { describe, expect } from 'vitest'
import type { ExportedEvent, SecurityEvent } from '../../../protocol/index.ts'
import { createEvents } from '../../../server/accounts/events.ts'
import { networkOf } from '../../../server/http/networks.ts'
import { deleteExpired } from '../../../server/processes/retention.ts'
import { createLog } from '../../../server/runtime/log.ts'
import { test as plain } from '../../support/fixtures.ts'
import { tokenByMail } from '../../support/links.ts'
import type { Person, Reply, TestServer } from '../../support/server.ts'

const HOUR = 60 * 60_000
const DAY = 24 * HOUR
const FIREFOX = 'Mozilla/5.0 (X11; Linux x86_64; rv:145.0) Gecko/20100101 Firefox/145.0'
const NEXT_PASSWORD = 'an early train to Porto'

const test = plain.extend('environment', { TRUST_PROXY: '1' })

let server: TestServer
test.beforeAll(({ server: started }) => {
  server = started
})

async function eventsOf({ call }: Pick<Person, 'call'>): Promise<SecurityEvent[]> {
  return (await call('GET', '/api/account/events/?page_size=100')).body.results
}

const namesOf = (events: readonly SecurityEvent[]) =>
  events.map(({ kind, outcome }) => `${kind} ${outcome}`)

/** Somebody who guesses the password of an account. */
function guess({ username }: Person, from = '198.51.100.9', userAgent = FIREFOX): Promise<Reply> {
  const headers = { 'x-forwarded-for': from, 'user-agent': userAgent }
  const credentials = { username, password: 'a wrong password' }
  return server.call('POST', '/api/token/', credentials, { headers })
}

const logged = (requestId: string | null) =>
  server.logged
    .map((line) => JSON.parse(line))
    .filter(({ msg, request_id }) => msg === 'security event' && request_id === requestId)

describe('the events of an account', () => {
  test('say who tried to sign in, from where, with what, and how it ended', async ({ ann }) => {
    const refused = await guess(ann)
    await expect.poll(async () => (await eventsOf(ann)).length).toBe(3)
    const [first] = await eventsOf(ann)
    expect(first).toEqual({
      id: expect.any(String),
      kind: 'sign_in',
      outcome: 'refused',
      network: '198.51.100.0/24',
      device: 'Firefox on Linux',
      details: {},
      request_id: refused.headers.get('x-request-id'),
      times: 1,
      created_at: expect.stringMatching(/Z$/),
      last_at: expect.stringMatching(/Z$/),
    })
    expect(namesOf(await eventsOf(ann))).toEqual([
      'sign_in refused',
      'sign_in done',
      'registered done',
    ])
    expect(logged(first!.request_id)).toMatchObject([
      { event: 'sign_in', outcome: 'refused', account: ann.id, network: '198.51.100.0/24' },
    ])
  })

  test.each<[string, string, (person: Person, mailed: typeof tokenOf) => Promise<unknown>]>([
    [
      'a changed password',
      'password_change done',
      ({ call, password }) =>
        call('POST', '/api/account/change-password/', {
          current_password: password,
          new_password: NEXT_PASSWORD,
        }),
    ],
    [
      'a wrong current password',
      'password_change refused',
      ({ call }) =>
        call('POST', '/api/account/change-password/', {
          current_password: 'a wrong password',
          new_password: NEXT_PASSWORD,
        }),
    ],
    [
      'a requested address',
      'email_change_request done',
      ({ call, password, username }) =>
        call('POST', '/api/account/change-email/', {
          email: `b.${username}@example.com`,
          password,
        }),
    ],
    [
      'a refused address',
      'email_change_request refused',
      ({ call, username }) =>
        call('POST', '/api/account/change-email/', {
          email: `b.${username}@example.com`,
          password: 'a wrong password',
        }),
    ],
    [
      'a confirmed address',
      'email_confirmed done',
      async (person, mailed) =>
        server.call('POST', '/api/account/confirm-email/', {
          token: await mailed(person, 'confirm_email'),
        }),
    ],
    [
      'a refused deletion',
      'deletion refused',
      ({ call }) => call('POST', '/api/account/delete/', { password: 'a wrong password' }),
    ],
    ['an export', 'export done', ({ call }) => call('GET', '/api/account/export/tasks.csv')],
    [
      'other sessions that end',
      'session_ended done',
      ({ call }) => call('DELETE', '/api/account/sessions/'),
    ],
  ])('have %s', async (_, name, act) => {
    const ann = await server.person()
    await act(ann, tokenOf)
    expect(namesOf(await eventsOf(ann))[0]).toBe(name)
  })

  test('have what staff read and did, without who; the export for admins has that', async ({
    ann,
    admin,
  }) => {
    await admin.call('GET', `/api/admin/accounts/?search=${ann.username}`)
    await admin.call('GET', `/api/admin/accounts/${ann.id}/`)
    await admin.call('PUT', `/api/admin/accounts/${ann.id}/role/`, { role: 'support' })
    const [changed, read] = await eventsOf(ann)
    expect(changed).toMatchObject({ kind: 'changed_by_staff', details: { action: 'change_role' } })
    expect(read).toMatchObject({ kind: 'read_by_staff', times: 2 })
    expect(JSON.stringify([changed, read])).not.toContain(admin.id)

    const exported = await exportedTo(admin, ann)
    expect(exported.map(({ kind, actor_id }) => [kind, actor_id])).toEqual([
      ['registered', null],
      ['sign_in', null],
      ['read_by_staff', admin.id],
      ['changed_by_staff', admin.id],
    ])
    expect(namesOf(await eventsOf(admin))[0]).toBe('export done')
  })

  test('are for their owner, page by page, the newest first', async ({ ann, bob }) => {
    await bob.call('GET', '/api/account/export/')
    const { body } = await ann.call('GET', '/api/account/events/?page_size=1')
    expect(body).toMatchObject({ count: 2, previous: null, results: [{ kind: 'sign_in' }] })
    const { pathname, search } = new URL(body.next)
    expect((await ann.call('GET', pathname + search)).body).toMatchObject({
      next: null,
      results: [{ kind: 'registered' }],
    })
  })

  test('contain no password, no token and no address', async ({ ann }) => {
    await guess(ann)
    await ann.call('POST', '/api/account/change-email/', {
      email: `b.${ann.username}@example.com`,
      password: ann.password,
    })
    const rows = await server.testDatabase.db('account_events').where({ user_id: ann.id })
    const lines = server.logged.filter((line) => line.includes('security event'))
    const text = JSON.stringify(rows) + lines.join('\n')
    for (const secret of [ann.password, 'a wrong password', ann.access, '@example', '198.51.100.9'])
      expect(text).not.toContain(secret)
  })

  test('go with the account', async ({ ann, admin }) => {
    await server.testDatabase.db('users').where({ id: ann.id }).delete()
    expect(await exportedTo(admin, ann)).toEqual([])
  })

  test('do not tell by their time whether an account exists', async ({ serverWith }) => {
    // A row that is locked holds up the event; the answer does not wait for it.
    const own = await serverWith()
    const ann = await own.person()
    const trx = await own.testDatabase.db.transaction()
    try {
      await trx.raw('lock table account_events in access exclusive mode')
      const credentials = { username: ann.username, password: 'a wrong password' }
      expect((await own.call('POST', '/api/token/', credentials)).status).toBe(401)
    } finally {
      await trx.rollback()
    }
    await expect.poll(async () => namesOf(await eventsOf(ann))[0]).toBe('sign_in refused')
  })
})

test('an unknown name is only logged, without the name', async () => {
  const credentials = { username: 'my password by mistake', password: 'another one' }
  const { headers } = await server.call('POST', '/api/token/', credentials)
  const lines = logged(headers.get('x-request-id'))
  expect(lines).toMatchObject([{ event: 'sign_in', outcome: 'refused' }])
  expect(JSON.stringify(lines)).not.toContain('by mistake')
})

describe('events that strangers cause', () => {
  test('of one origin within an hour are one row that counts them', async ({ ann }) => {
    const { db } = server.testDatabase
    const counts = async () => {
      const refused = { user_id: ann.id, kind: 'sign_in', outcome: 'refused' }
      const rows = await db('account_events').where(refused).orderBy('last_at', 'desc')
      return rows.map(({ times, network }) => `${times} ${network}`)
    }
    for (let i = 0; i < 3; i++) await guess(ann)
    await expect.poll(counts).toEqual(['3 198.51.100.0/24'])
    await guess(ann, '192.0.2.1')
    await expect.poll(counts).toEqual(['1 192.0.2.0/24', '3 198.51.100.0/24'])
    server.clock.advance(HOUR + 1)
    await guess(ann)
    await expect.poll(counts).toEqual(['1 198.51.100.0/24', '1 192.0.2.0/24', '3 198.51.100.0/24'])
  })

  test('of many networks push out only events of their kind, and are bounded', async ({ ann }) => {
    const { db } = server.testDatabase
    const events = createEvents(db, createLog('silent', { readable: false }), server.clock.now)
    await ann.call('POST', '/api/account/delete/', { password: 'a wrong password' })
    const attacks = Array.from({ length: 200 }, (_, i) =>
      events.record(db, {
        user: ann.id,
        kind: 'sign_in',
        outcome: 'refused',
        origin: { network: `10.${i}.1.0/24`, user_agent: `guess/${i}` },
      }),
    )
    await Promise.all(attacks)
    await guess(ann)
    await expect.poll(async () => (await eventsOf(ann))[0]?.network).toBe('198.51.100.0/24')
    const names = namesOf(await eventsOf(ann))
    expect(names.filter((name) => name === 'sign_in refused')).toHaveLength(50)
    expect(names).toEqual(
      expect.arrayContaining(['sign_in done', 'registered done', 'deletion refused']),
    )
  })
})

test('events are deleted after the time that is set', async ({ ann }) => {
  const { db } = server.testDatabase
  const count = async () => (await db('account_events').where({ user_id: ann.id })).length
  const after = (days: number) => new Date(server.clock.now().getTime() + days * DAY)
  await deleteExpired(db, after(29), 30)
  expect(await count()).toBe(2)
  await deleteExpired(db, after(31), 30)
  expect(await count()).toBe(0)
})

test.each<[string, string]>([
  ['203.0.113.77', '203.0.113.0/24'],
  ['::ffff:203.0.113.77', '203.0.113.0/24'],
  ['2001:db8:7:1::5', '2001:db8:7:0::/48'],
])('the network of %s is %s', (address, network) => {
  expect(networkOf(address)).toBe(network)
})

function tokenOf(person: Person, purpose: 'confirm_email'): Promise<string> {
  return tokenByMail(server, person, purpose)
}

async function exportedTo({ call }: Person, of: Person): Promise<ExportedEvent[]> {
  const { text } = await call('GET', '/api/admin/events/export.jsonl')
  const all = text
    .split('\n')
    .filter(Boolean)
    .map((line) => JSON.parse(line) as ExportedEvent)
  return all.filter(({ account_id }) => account_id === of.id)
}
