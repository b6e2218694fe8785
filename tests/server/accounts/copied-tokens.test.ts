import { createHash, createHmac, hkdfSync } from 'node:crypto'
import { describe, expect } from 'vitest'
import { test } from '../../support/fixtures.ts'
import { callerTo, type Person, type Reply, SECRET, type TestServer } from '../../support/server.ts'

/** Who has a copy of a refresh token, and who has lost an answer: docs/decisions/0040-copied-tokens.md. */

const SECOND = 1_000
const MINUTE = 60 * SECOND
const DAY = 24 * 60 * MINUTE

let server: TestServer
test.beforeAll(({ server: started }) => {
  server = started
})

interface Tokens {
  access: string
  refresh: string
}

const renew = ({ refresh }: Pick<Tokens, 'refresh'>) =>
  server.call('POST', '/api/token/refresh/', { refresh })

async function renewed(token: Pick<Tokens, 'refresh'>): Promise<Tokens> {
  const { status, body, text } = await renew(token)
  expect(status, text).toBe(200)
  return body
}

/** Uses an access token, until the server has noted it. */
async function use(person: Person, { access }: Tokens): Promise<void> {
  const call = callerTo(server.url, { authorization: `Bearer ${access}` })
  expect((await call('GET', '/api/tasks/')).status).toBe(200)
  const { gen } = claimsOf(access)
  await expect
    .poll(async () => {
      const rows = await server.testDatabase.db('sessions').where({ user_id: person.id })
      return Math.max(...rows.map(({ seen_generation }) => seen_generation))
    })
    .toBeGreaterThanOrEqual(gen as number)
}

const claimsOf = (token: string) =>
  JSON.parse(Buffer.from(token.split('.')[1]!, 'base64url').toString()) as Record<string, unknown>

const isSignedIn = async ({ access }: Pick<Tokens, 'access'>) =>
  (await callerTo(server.url, { authorization: `Bearer ${access}` })('GET', '/api/tasks/'))
    .status === 200

/** The notices of reused tokens: a mail and an event each. */
async function notices({ id }: Person): Promise<{ mails: number; events: number }> {
  const { db } = server.testDatabase
  const mails = await db('mails').where({ user_id: id, letter: 'token_reused' })
  const events = await db('account_events').where({ user_id: id, kind: 'token_reused' })
  return { mails: mails.length, events: events.length }
}

async function expectEnded(ann: Person, reply: Reply, ...all: Tokens[]): Promise<void> {
  expect(reply).toMatchObject({ status: 401, body: { code: 'token_not_valid' } })
  for (const tokens of all) {
    expect(await isSignedIn(tokens)).toBe(false)
    expect((await renew(tokens)).status).toBe(401)
  }
  expect(await notices(ann)).toEqual({ mails: 1, events: 1 })
}

describe('a copy of a refresh token', () => {
  test('that is used a minute after its owner ends the session and tells the owner, once', async ({
    ann,
  }) => {
    const next = await renewed(ann)
    await use(ann, next)
    server.clock.advance(MINUTE + SECOND)
    await expectEnded(ann, await renew(ann), ann, next)
  })

  test('that is used before its owner ends the session when the owner comes', async ({ ann }) => {
    const thief = await renewed(ann)
    await use(ann, thief)
    server.clock.advance(10 * MINUTE)
    await expectEnded(ann, await renew(ann), ann, thief)
  })

  test('that is only renewed, and never used, gives way to its owner and is of no use then', async ({
    ann,
  }) => {
    const thief = await renewed(ann)
    server.clock.advance(10 * MINUTE)
    const owner = await renewed(ann)
    expect(owner.refresh).not.toBe(thief.refresh)
    expect(claimsOf(owner.refresh).gen).not.toBe(claimsOf(thief.refresh).gen)
    await use(ann, owner)
    expect(await notices(ann)).toEqual({ mails: 0, events: 0 })
    await expectEnded(ann, await renew(thief), thief, owner)
  })

  test('does not live beside its owner for 50 rounds', async ({ ann }) => {
    let owner: Tokens = ann
    let copy: Tokens = ann
    let rounds = 0
    for (; rounds < 50; rounds++) {
      const reply = await renew(owner)
      if (reply.status !== 200) break
      owner = reply.body
      await use(ann, owner)
      server.clock.advance(7 * MINUTE)
      const stolen = await renew(copy)
      if (stolen.status !== 200) break
      copy = stolen.body
      server.clock.advance(7 * MINUTE)
    }
    expect(rounds).toBe(0)
    expect(await notices(ann)).toEqual({ mails: 1, events: 1 })
  })

  test('cannot be probed: to verify an old token counts as use', async ({ ann }) => {
    const next = await renewed(ann)
    await use(ann, next)
    server.clock.advance(MINUTE + SECOND)
    const probe = await server.call('POST', '/api/token/verify/', { token: ann.refresh })
    await expectEnded(ann, probe, next)
  })
})

describe('an honest client stays signed in', () => {
  test('with two tabs, one of which renews within a minute of the other', async ({ ann }) => {
    const one = await renewed(ann)
    await use(ann, one)
    server.clock.advance(MINUTE - SECOND)
    const two = await renewed(ann)
    expect(claimsOf(two.refresh).gen).toBe(claimsOf(one.refresh).gen)
    for (const tokens of [one, two]) expect(await isSignedIn(tokens)).toBe(true)
  })

  test('when a response was lost, and the retry comes a week later', async ({ ann }) => {
    await renewed(ann)
    server.clock.advance(7 * DAY)
    const again = await renewed(ann)
    expect(await isSignedIn(again)).toBe(true)
    expect(await isSignedIn(await renewed(again))).toBe(true)
  })

  test('when every response is lost for days, on two nodes', async ({ ann, other }) => {
    other.clock.advance(server.clock.now().getTime() - other.clock.now().getTime())
    for (let i = 0; i < 6; i++) {
      const reply = await (i % 2 ? other : server).call('POST', '/api/token/refresh/', {
        refresh: ann.refresh,
      })
      expect(reply.status).toBe(200)
      for (const { clock } of [server, other]) clock.advance(i * 4 * 60 * MINUTE)
    }
    const arrived = await renewed(ann)
    await use(ann, arrived)
    expect(await isSignedIn(await renewed(arrived))).toBe(true)
  })

  test('when many retries of a lost response arrive together', async ({ ann }) => {
    await renewed(ann)
    server.clock.advance(DAY)
    const storm = await Promise.all(Array.from({ length: 20 }, () => renewed(ann)))
    expect(new Set(storm.map(({ refresh }) => claimsOf(refresh).gen)).size).toBe(1)
    for (const one of storm) expect(await isSignedIn(one)).toBe(true)
  })

  test('when the database has lost its last renewals', async ({ ann }) => {
    const second = await renewed(ann)
    const third = await renewed(second)
    const lost = { generation: 1, renewed_from: null, renewed_to: null, renewed_at: null }
    await server.testDatabase.db('sessions').where({ user_id: ann.id }).update(lost)
    const after = await renewed(third)
    expect(claimsOf(after.refresh).gen).toBeGreaterThan(claimsOf(third.refresh).gen as number)
    expect(await isSignedIn(after)).toBe(true)
    expect(await isSignedIn(await renewed(after))).toBe(true)
  })

  test('when a node of the release before has renewed, whose response was lost', async ({
    ann,
  }) => {
    const second = await renewed(ann)
    await use(ann, second)
    const theirs = { generation: server.testDatabase.db.raw('generation + 1') }
    await server.testDatabase.db('sessions').where({ user_id: ann.id }).update(theirs)
    server.clock.advance(10 * MINUTE)
    expect(await isSignedIn(await renewed(second))).toBe(true)
  })
})

describe('a session', () => {
  test('ends after SESSION_DAYS, even if it is renewed every day', async ({ serverWith }) => {
    const own = await serverWith({ SESSION_DAYS: '40' })
    const ann = await own.person()
    const lifeAfter = async (days: number, refresh: string) => {
      own.clock.advance(days * DAY)
      const { status, body } = await own.call('POST', '/api/token/refresh/', { refresh })
      if (status !== 200) return { status }
      const { iat, exp } = claimsOf(body.refresh) as { iat: number; exp: number }
      return { refresh: body.refresh, days: Math.round((exp - iat) / (DAY / SECOND)) }
    }
    const first = await lifeAfter(9, ann.refresh)
    expect(first.days).toBe(30)
    const second = await lifeAfter(11, first.refresh)
    expect(second.days).toBe(20)
    expect(await lifeAfter(20, second.refresh)).toEqual({ status: 401 })
  })

  test('accepts tokens of its own user only, also from the cache', async ({ ann, bob }) => {
    expect(await isSignedIn(ann)).toBe(true)
    const { sid } = claimsOf(ann.access)
    const forged = signed({ ...claimsOf(bob.access), sid })
    expect(await isSignedIn({ access: forged })).toBe(false)
    expect(await isSignedIn({ access: signed(claimsOf(bob.access)) })).toBe(true)
    expect(await isSignedIn(ann)).toBe(true)
  })
})

/** An access token with these claims and the key of the server. */
function signed(claims: object): string {
  const key = Buffer.from(hkdfSync('sha256', SECRET, '', 'tasktide tokens', 32))
  const kid = createHash('sha256').update(key).digest('base64url').slice(0, 8)
  const encode = (value: object) => Buffer.from(JSON.stringify(value)).toString('base64url')
  const input = `${encode({ alg: 'HS256', typ: 'at+jwt', kid })}.${encode(claims)}`
  return `${input}.${createHmac('sha256', key).update(input).digest('base64url')}`
}
