import { randomUUID } from 'node:crypto'
import { describe, expect } from 'vitest'
import type { Scope } from '../../../protocol/index.ts'
import { test } from '../../support/fixtures.ts'
import { callerTo, type Person, type TestServer } from '../../support/server.ts'

const basic = (username: string, password: string) =>
  `Basic ${Buffer.from(`${username}:${password}`).toString('base64')}`

const TASKS = '/couch/tasks/'

/** A task of hers, with words that nobody else knows. */
async function secretOf({ call }: Person) {
  const id = randomUUID()
  const { body } = await call('PUT', TASKS + id, { title: 'known to ann alone' })
  await call('PUT', `${TASKS}_local/${id}`, { secret: 'known to ann alone' })
  return { id, rev: body.rev as string }
}

describe('of another person', () => {
  test('nothing is found by its id, its revision or its place, and an id of theirs is free', async ({
    ann,
    bob,
  }) => {
    const hers = await secretOf(ann)
    const nobodys = { id: randomUUID(), rev: hers.rev }
    const asked: [string, (of: typeof hers) => Parameters<Person['call']>][] = [
      ['document', ({ id }) => ['GET', TASKS + id]],
      ['revision', ({ id, rev }) => ['GET', `${TASKS}${id}?rev=${rev}&revs=true`]],
      ['leaves', ({ id }) => ['GET', `${TASKS}${id}?open_revs=all`]],
      ['deletion', ({ id, rev }) => ['DELETE', `${TASKS}${id}?rev=${rev}`]],
      ['change', ({ id, rev }) => ['PUT', TASKS + id, { _rev: rev, title: 'mine' }]],
      ['checkpoint', ({ id }) => ['GET', `${TASKS}_local/${id}`]],
      ['in all', ({ id }) => ['GET', `/couch/all/task:${id}`]],
      ['row', ({ id }) => ['POST', `${TASKS}_all_docs?include_docs=true`, { keys: [id] }]],
      ['revisions', ({ id, rev }) => ['POST', `${TASKS}_bulk_get`, { docs: [{ id, rev }] }]],
      ['difference', ({ id, rev }) => ['POST', `${TASKS}_revs_diff`, { [id]: [rev] }]],
      ['changes', ({ id }) => ['POST', `${TASKS}_changes?filter=_doc_ids`, { doc_ids: [id] }]],
      ['rows', () => ['GET', `${TASKS}_all_docs?include_docs=true`]],
      ['feed', () => ['GET', `${TASKS}_changes?include_docs=true&style=all_docs`]],
    ]
    const before = await everythingOf(ann)
    for (const [what, requestOf] of asked) {
      const [found, missed] = [
        await bob.call(...requestOf(hers)),
        await bob.call(...requestOf(nobodys)),
      ]
      const text = found.text.replaceAll(hers.id, nobodys.id)
      expect([what, found.status, text]).toEqual([what, missed.status, missed.text])
      expect(found.text).not.toContain('known to ann alone')
    }
    expect((await bob.call('PUT', TASKS + hers.id, { title: 'mine' })).status).toBe(201)
    const replicated = { _id: hers.id, _rev: '9-a', title: 'mine, too', new_edits: false }
    await bob.call('POST', `${TASKS}_bulk_docs`, { docs: [replicated], new_edits: false })
    expect(await everythingOf(ann)).toEqual(before)
  })

  async function everythingOf({ call }: Person) {
    const paths = [`${TASKS}_all_docs?include_docs=true`, `${TASKS}_changes`, '/api/tasks/']
    return Promise.all(paths.map(async (path) => (await call('GET', path)).text))
  }
})

describe('a personal token', () => {
  async function tokenOf({ call, password }: Person, scopes: readonly Scope[]) {
    const wanted = { name: 'Replica', scopes, password }
    return (await call('POST', '/api/account/tokens/', wanted)).body.token as string
  }

  test('reads and writes only what its scopes are for, also in place of a password', async ({
    ann,
    server,
  }) => {
    const { id, rev } = await secretOf(ann)
    const READS: [string, string, object?][] = [
      ['GET', TASKS + id],
      ['GET', `${TASKS}_all_docs`],
      ['POST', `${TASKS}_bulk_get`, { docs: [{ id }] }],
      ['POST', `${TASKS}_revs_diff`, { [id]: [rev] }],
    ]
    const READS_PROFILE: typeof READS = [
      ['GET', '/couch/all/_changes'],
      ['GET', '/couch/profile/_all_docs?include_docs=true'],
      ['POST', '/couch/all/_bulk_get', { docs: [{ id: 'profile:me' }] }],
    ]
    const WRITES: typeof READS = [
      ['POST', `${TASKS}_bulk_docs`, { docs: [{ _id: randomUUID(), title: 'Milk' }] }],
      ['POST', TASKS, { title: 'Milk' }],
      ['PUT', TASKS + randomUUID(), { title: 'Milk' }],
      ['DELETE', `${TASKS}${id}?rev=1-a`],
    ]
    const WRITES_PROFILE: typeof READS = [
      ['POST', '/couch/profile/_bulk_docs', { docs: [{ _id: ann.id, bio: 'Sails.' }] }],
      ['PUT', '/couch/all/profile:me', { bio: 'Sails.' }],
    ]
    const needs: [readonly Scope[], typeof READS][] = [
      [['tasks:read'], READS],
      [['tasks:read', 'profile'], READS_PROFILE],
      [['tasks:write'], WRITES],
      [['tasks:write', 'profile'], WRITES_PROFILE],
    ]
    const sets: (readonly Scope[])[] = [
      ['tasks:read'],
      ['tasks:write'],
      ['profile'],
      ['tasks:read', 'profile'],
      ['tasks:read', 'tasks:write', 'profile'],
    ]
    for (const scopes of sets) {
      const token = await tokenOf(ann, scopes)
      for (const authorization of [`Bearer ${token}`, basic(ann.username, token)]) {
        const call = callerTo(server.url, { authorization })
        for (const [needed, requests] of needs)
          for (const request of requests) {
            const { status } = await call(...request)
            const isAllowed = needed.every((one) => scopes.includes(one))
            expect([scopes, request.slice(0, 2), status === 403]).toEqual([
              scopes,
              request.slice(0, 2),
              !isAllowed,
            ])
          }
      }
    }
  })
})

describe('nobody', () => {
  const REQUESTS: [string, string, string?][] = [
    ['GET', '/couch/'],
    ['GET', '/couch/_session'],
    ['GET', `${TASKS}_changes?feed=continuous`],
    ['GET', '/couch/nothing'],
    ['PUT', '/couch/nothing'],
    ['POST', `${TASKS}_bulk_docs`, `{"docs":[${'{},'.repeat(100_000)}{}]}`],
  ]

  test('is refused without a word to the database', async ({ server }) => {
    const { db } = server.testDatabase
    await db.transaction(async (transaction) => {
      // Whoever asks one of them waits.
      await transaction.raw('lock table users, sessions, feeds, tasks, couch_revisions')
      for (const [method, path, raw] of REQUESTS)
        for (const authorization of ['', 'Bearer none', 'Basic !', 'Basic bm8gY29sb24='])
          expect(await answered(server, method, path, authorization, raw)).toEqual([
            401,
            'unauthorized',
          ])
    })
  })

  async function answered(
    { call }: TestServer,
    method: string,
    path: string,
    authorization: string,
    raw?: string,
  ) {
    const headers = {
      authorization,
      accept: 'application/json',
      'content-type': 'application/json',
    }
    const { status, body } = await call(
      method,
      path,
      undefined,
      raw ? { raw, headers } : { headers },
    )
    return [status, body?.error]
  }

  test('guesses a password faster here than by signing in', async ({ serverWith }) => {
    const server = await serverWith({ AUTH_RATE_LIMIT: '100' })
    const ann = await server.person()
    const ask = (password: string) =>
      server.call('GET', '/couch/_session', undefined, {
        headers: { authorization: basic(ann.username, password) },
      })
    // A client that knows the password has a session by then.
    expect((await ask(ann.password)).status).toBe(200)
    for (let nth = 1; nth <= 5; nth++)
      expect(await ask(`a guess of mine ${nth}`)).toMatchObject({
        status: 401,
        body: { error: 'unauthorized', reason: expect.any(String) },
      })
    const refused = await ask('a guess of mine 6')
    expect(refused).toMatchObject({ status: 429, body: { error: 'too_many_requests' } })
    expect(Number(refused.headers.get('retry-after'))).toBeGreaterThan(0)
    const { username } = ann
    const signIn = { username, password: 'a guess of mine 7' }
    expect((await server.call('POST', '/api/token/', signIn)).status).toBe(429)
    expect((await ask(ann.password)).status).toBe(200)
    expect((await server.call('GET', TASKS, undefined, bearer(ann))).status).toBe(200)
    expect(server.logged.join()).not.toContain('a guess of mine')
  })

  const bearer = ({ access }: Person) => ({ headers: { authorization: `Bearer ${access}` } })
})

describe('a feed', () => {
  test.for([
    ['limit=999999999', 200],
    ['limit=999999999999999', 400],
    ['limit=1e9', 400],
    ['limit=-1', 400],
    ['since=999999999999999', 200],
    ['feed=longpoll&timeout=0&heartbeat=false&limit=0', 200],
    ['feed=longpoll&heartbeat=x', 400],
    ['filter=_view&view=a/b', 404],
    ['filter=a/b', 404],
    ['filter=_doc_ids', 400],
    ['filter=_doc_ids&doc_ids={}', 400],
    ['filter=_selector', 400],
  ] as const)('is read or refused: %s', async ([query, expected], { ann }) => {
    const headers = { accept: 'application/json' }
    const reply = await ann.call('GET', `${TASKS}_changes?${query}`, undefined, { headers })
    expect([query, reply.status]).toEqual([query, expected])
  })

  test('evaluates no expression, nor a selector that is long', async ({ ann }) => {
    const path = `${TASKS}_changes?filter=_selector`
    const selectors = [
      { title: { $regex: '^(a+)+$' } },
      { $or: [{ $not: { title: { $regex: '(x+x+)+y' } } }] },
      { title: { $in: Array.from({ length: 2_000 }, (_, nth) => `title ${nth}`) } },
    ]
    for (const selector of selectors)
      expect(await ann.call('POST', path, { selector })).toMatchObject({
        status: 400,
        body: { error: 'bad_request' },
      })
  })

  test('occupies one of the few places that a person has', async ({ serverWith }) => {
    const server = await serverWith({ MAX_STREAMS_PER_USER: '1' })
    const { access, call } = await server.person()
    const headers = { authorization: `Bearer ${access}` }
    const path = `${TASKS}_changes?feed=continuous`
    const held = await fetch(server.url + path, { headers })
    expect(held.status).toBe(200)
    const refused = await call('GET', path)
    expect(refused).toMatchObject({ status: 429, body: { error: 'too_many_connections' } })
    expect((await call('GET', `${TASKS}_changes`)).status).toBe(200)
    await held.body!.cancel()
  })
})
