import { once } from 'node:events'
import { io } from 'socket.io-client'
import { afterEach, describe, expect } from 'vitest'
import { deviceOf } from '../../../server/accounts/devices.ts'
import { mailing as test } from '../../support/fixtures.ts'
import type { Mailbox } from '../../support/mailbox.ts'
import { type Caller, callerTo, type Person, type TestServer } from '../../support/server.ts'

const MINUTE = 60_000
const NEXT_PASSWORD = 'an early train to Porto'
const FIREFOX = 'Mozilla/5.0 (X11; Linux x86_64; rv:145.0) Gecko/20100101 Firefox/145.0'

let mailbox: Mailbox
let server: TestServer
/** Another node on the same database. */
let other: TestServer
test.beforeAll(({ mailbox: opened, server: first, other: second }) => {
  mailbox = opened
  server = first
  other = second
})

const closing: (() => void)[] = []
afterEach(() => {
  for (const close of closing.splice(0)) close()
})

/** Tokens count by the clock, on either node. */
function advance(milliseconds: number) {
  for (const { clock } of [server, other]) clock.advance(milliseconds)
}

interface Device {
  id: string
  access: string
  refresh: string
  call: Caller
}

/** Another device of a person's, signed in. */
async function device({ username, password }: Person, userAgent = FIREFOX): Promise<Device> {
  const { body } = await server.call(
    'POST',
    '/api/token/',
    { username, password },
    { headers: { 'user-agent': userAgent } },
  )
  const call = callerTo(server.url, { authorization: `Bearer ${body.access}` })
  const current = (await sessionsOf({ call })).find(({ current }) => current)
  return { ...body, id: current!.id, call }
}

interface Listed {
  id: string
  device: string
  last_seen_at: string
  current: boolean
}

async function sessionsOf({ call }: Pick<Person, 'call'>): Promise<Listed[]> {
  return (await call('GET', '/api/account/sessions/')).body.results
}

const renew = (refresh: string) => server.call('POST', '/api/token/refresh/', { refresh })

const isSignedIn = async ({ call }: Pick<Person, 'call'>) =>
  (await call('GET', '/api/tasks/')).status === 200

/** A socket on the other node, ready; resolves when it is cut. */
async function socketOf({ access }: { access: string }) {
  const socket = io(other.url, {
    transports: ['websocket'],
    forceNew: true,
    reconnection: false,
    auth: { token: access },
  })
  closing.push(() => socket.disconnect())
  await once(socket as never, 'ready')
  return { cut: once(socket as never, 'disconnect') }
}

/** A stream of the other node, open; resolves when it ends. */
async function streamOf({ access }: { access: string }) {
  const left = new AbortController()
  closing.push(() => left.abort())
  const response = await fetch(`${other.url}/replication/tasks/0/pullStream`, {
    headers: { authorization: `Bearer ${access}` },
    signal: left.signal,
  })
  expect(response.status).toBe(200)
  return { cut: response.text() }
}

describe('the list of sessions', () => {
  test('describes each device, the last used first, and marks the current one', async ({ ann }) => {
    advance(MINUTE)
    const laptop = await device(ann)
    advance(MINUTE)
    const script = await device(ann, 'acme-sync/2.1')
    expect(await sessionsOf(laptop)).toEqual([
      {
        id: script.id,
        device: 'acme-sync',
        user_agent: 'acme-sync/2.1',
        created_at: expect.stringMatching(/Z$/),
        last_seen_at: expect.stringMatching(/Z$/),
        current: false,
      },
      expect.objectContaining({ id: laptop.id, device: 'Firefox on Linux', current: true }),
      expect.objectContaining({ device: 'node', current: false }),
    ])
  })

  test('has no ended or expired ones, and none of other users', async ({ ann, bob }) => {
    const phone = await device(ann)
    await server.call('POST', '/api/logout/', { refresh: phone.refresh })
    expect(await sessionsOf(ann)).toHaveLength(1)
    advance(31 * 24 * 60 * MINUTE)
    const again = await device(ann)
    expect((await sessionsOf(again)).map(({ id }) => id)).toEqual([again.id])
    expect(JSON.stringify(await sessionsOf(await device(bob)))).not.toContain(again.id)
  })

  test('has the time of the last request to the minute, from access tokens alone', async ({
    ann,
  }) => {
    const seen = async () => Date.parse((await sessionsOf(ann))[0]!.last_seen_at)
    // The first use of a token is noted at once, perhaps after its answer.
    const ofAnn = server.testDatabase.db('sessions').where({ user_id: ann.id })
    await ann.call('GET', '/api/tasks/')
    await expect.poll(() => ofAnn.clone().pluck('seen_generation')).toEqual([1])
    const first = await seen()
    advance(MINUTE / 2)
    await ann.call('GET', '/api/tasks/')
    expect(await seen()).toBe(first)
    advance(MINUTE)
    await expect.poll(seen, { timeout: 5_000 }).toBeGreaterThan(first + MINUTE)
  })

  test.each<[string, string]>([
    [FIREFOX, 'Firefox on Linux'],
    [
      'Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/142.0.0.0 Safari/537.36',
      'Chrome on Windows',
    ],
    [
      'Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/142.0.0.0 Safari/537.36 Edg/142.0.0.0',
      'Microsoft Edge on Windows',
    ],
    [
      'Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/18.6 Safari/605.1.15',
      'Safari on macOS',
    ],
    [
      'Mozilla/5.0 (iPhone; CPU iPhone OS 18_6 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/18.6 Mobile/15E148 Safari/604.1',
      'Safari on iPhone',
    ],
    [
      'Mozilla/5.0 (iPhone; CPU iPhone OS 18_6 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) CriOS/142.0 Mobile/15E148 Safari/604.1',
      'Chrome on iPhone',
    ],
    [
      'Mozilla/5.0 (Linux; Android 15; SM-S921B) AppleWebKit/537.36 (KHTML, like Gecko) SamsungBrowser/28.0 Chrome/130.0.0.0 Mobile Safari/537.36',
      'Samsung Internet for Android on Android',
    ],
    [
      'Mozilla/5.0 (X11; CrOS x86_64 16000.0.0) Chrome/142.0.0.0 Safari/537.36',
      'Chrome on Chrome OS',
    ],
    ['Tasktide SDK/1.2 (iPad)', 'Tasktide SDK on iPad'],
    ['curl/8.5.0', 'curl'],
    ['node', 'node'],
    ['Mozilla/5.0 (X11; Linux x86_64) HeadlessChrome/143.0.0.0 Safari/537.36', 'Chrome on Linux'],
    ['Mozilla/5.0 (X11; Linux x86_64) Konqueror/6', 'Mozilla on Linux'],
    ['acme-sync/2.1 (+https://acme.example)', 'acme-sync'],
    ['', 'Unknown device'],
    ['(;;)', 'Unknown device'],
    ['x'.repeat(300), 'x'.repeat(40)],
    ['<b>bold</b>', '<b>bold<'],
  ])('calls %j %j', (userAgent, name) => {
    expect(deviceOf(userAgent)).toBe(name)
  })
})

describe('ending a session', () => {
  test('signs out that device, closes its connections on another node, and leaves the others', async ({
    ann,
  }) => {
    const [phone, tablet] = [await device(ann), await device(ann)]
    const [socket, stream] = [await socketOf(phone), await streamOf(phone)]
    const reply = await ann.call('DELETE', `/api/account/sessions/${phone.id}/`)
    expect({ status: reply.status, text: reply.text }).toEqual({ status: 204, text: '' })
    await Promise.all([socket.cut, stream.cut])
    expect(await isSignedIn(phone)).toBe(false)
    expect(await renew(phone.refresh)).toMatchObject({ body: { code: 'token_not_valid' } })
    expect(await isSignedIn(tablet)).toBe(true)
    expect((await sessionsOf(ann)).map(({ id }) => id)).not.toContain(phone.id)
    expect((await ann.call('DELETE', `/api/account/sessions/${phone.id}/`)).status).toBe(404)
  })

  test('of another user finds nothing, and ends nothing', async ({ ann, bob }) => {
    const phone = await device(ann)
    const path = `/api/account/sessions/${phone.id}/`
    expect(await bob.call('DELETE', path)).toMatchObject({ body: { code: 'not_found' } })
    expect(await isSignedIn(phone)).toBe(true)
  })

  test('may end the current one', async () => {
    const phone = await device(await server.person())
    expect((await phone.call('DELETE', `/api/account/sessions/${phone.id}/`)).status).toBe(204)
    expect(await isSignedIn(phone)).toBe(false)
  })
})

describe('ending all sessions', () => {
  test('keeps the current one', async ({ ann, bob }) => {
    const [phone, tablet] = [await device(ann), await device(ann)]
    const sockets = [await socketOf(phone), await socketOf(tablet)]
    expect((await ann.call('DELETE', '/api/account/sessions/')).status).toBe(204)
    await Promise.all(sockets.map(({ cut }) => cut))
    expect(await sessionsOf(ann)).toMatchObject([{ current: true }])
    for (const each of [phone, tablet]) expect(await isSignedIn(each)).toBe(false)
    expect(await isSignedIn(bob)).toBe(true)
  })

  test.for([
    ['?current=true', false],
    ['?current=1', false],
    ['?current=false', true],
  ] as const)('with %s ends or keeps the current one', async ([query, stays], { ann }) => {
    const phone = await device(ann)
    expect((await ann.call('DELETE', `/api/account/sessions/${query}`)).status).toBe(204)
    expect([await isSignedIn(ann), await isSignedIn(phone)]).toEqual([stays, false])
  })

  test('refuses other values of the parameter', async ({ ann }) => {
    const reply = await ann.call('DELETE', '/api/account/sessions/?current=maybe')
    expect(reply).toMatchObject({ status: 400, body: { errors: { current: expect.anything() } } })
    expect(await isSignedIn(ann)).toBe(true)
  })
})

/** What ends the sessions of the other devices, and what these are told then. */
const ENDS: [string, string, (ann: Person) => Promise<unknown>][] = [
  [
    'a changed password',
    'token_not_valid',
    (ann) =>
      ann.call('POST', '/api/account/change-password/', {
        current_password: ann.password,
        new_password: NEXT_PASSWORD,
      }),
  ],
  ['a password that was forgotten', 'token_not_valid', reset],
  [
    'the end of all sessions',
    'token_not_valid',
    (ann) => ann.call('DELETE', '/api/account/sessions/'),
  ],
  [
    'the end of the account',
    'account_deleted',
    (ann) => ann.call('POST', '/api/account/delete/', { password: ann.password }),
  ],
  [
    'an administrator',
    'token_not_valid',
    ({ id }) => server.testDatabase.db('users').where({ id }).update({ is_active: false }),
  ],
]

async function reset({ username }: Person) {
  const email = `${username}@example.com`
  await server.call('POST', '/api/account/forgot-password/', { email })
  for (;;) {
    const { mail } = await mailbox.next(email)
    const token = /#reset_password=([\w-]+)/.exec(mail.text!)?.[1]
    const body = { token, password: NEXT_PASSWORD }
    if (token) return server.call('POST', '/api/account/reset-password/', body)
  }
}

describe('a device whose session was ended by', () => {
  test.for(ENDS)(
    '%s is cut off on every node, and its tokens buy nothing',
    async ([_, code, end], { ann }) => {
      const phone = await device(ann)
      const [socket, stream] = [await socketOf(phone), await streamOf(phone)]
      await end(ann)
      await Promise.all([socket.cut, stream.cut])
      for (const node of [server, other]) {
        const headers = { authorization: `Bearer ${phone.access}` }
        const read = async () =>
          (await node.call('GET', '/api/tasks/', undefined, { headers })).body
        await expect.poll(read, { timeout: 5_000 }).toMatchObject({ status: 401, code })
        const { refresh } = phone
        expect(await node.call('POST', '/api/token/refresh/', { refresh })).toMatchObject({
          status: 401,
          body: { code },
        })
      }
      const socketAgain = io(other.url, {
        transports: ['websocket'],
        forceNew: true,
        reconnection: false,
        auth: { token: phone.access },
      })
      closing.push(() => socketAgain.disconnect())
      const [error] = await once(socketAgain as never, 'connect_error')
      expect((error as { data: { code: string } }).data.code).toBe(code)
    },
  )
})

describe('a device that is erased', () => {
  const erase = ({ call }: Pick<Person, 'call'>, { id }: Pick<Device, 'id'>) =>
    call('DELETE', `/api/account/sessions/${id}/?erase=true`)
  const told = { status: 401, body: { code: 'token_not_valid', erase: true } }

  test('is told so by every answer to its tokens, also when they have expired', async ({ ann }) => {
    const lost = await device(ann)
    expect((await lost.call('GET', '/api/tasks/')).status).toBe(200)
    expect((await erase(ann, lost)).status).toBe(204)
    const answers = () =>
      Promise.all([
        lost.call('GET', '/api/tasks/'),
        renew(lost.refresh),
        server.call('POST', '/api/token/verify/', { token: lost.refresh }),
        server.call('POST', '/api/logout/', { refresh: lost.refresh }),
      ])
    for (const answer of await answers()) expect(answer).toMatchObject(told)
    advance(300 * 24 * 60 * MINUTE)
    // The next sign-in deletes expired sessions, and not this one.
    await device(ann)
    for (const answer of await answers()) expect(answer).toMatchObject(told)
  })

  test('can be one that is signed out already', async ({ ann }) => {
    const lost = await device(ann)
    await ann.call('DELETE', `/api/account/sessions/${lost.id}/`)
    const { body } = await renew(lost.refresh)
    expect(body).toMatchObject({ code: 'token_not_valid' })
    expect(body).not.toHaveProperty('erase')
    expect((await erase(ann, lost)).status).toBe(204)
    expect(await renew(lost.refresh)).toMatchObject(told)
  })

  test('is one of its owner, and no other device', async ({ ann, bob }) => {
    const lost = await device(ann)
    expect((await erase(bob, lost)).status).toBe(404)
    expect(await isSignedIn(lost)).toBe(true)
    await erase(ann, lost)
    expect(await isSignedIn(ann)).toBe(true)
  })
})
