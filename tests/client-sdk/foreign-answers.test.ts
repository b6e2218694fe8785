import { randomUUID } from 'node:crypto'
import { firstValueFrom } from 'rxjs'
import { describe, expect } from 'vitest'
import { createApi } from '../../client-sdk/runtime/api.ts'
import { Clock } from '../../client-sdk/runtime/clock.ts'
import { Push } from '../../client-sdk/sync/push.ts'
import type { TestServer } from '../support/server.ts'
import { device, deviceOf, shut, tasksOf, until } from './device.ts'
import { test } from './fixtures.ts'
import { type Fate, type Intrusion, type Network, problem } from './network.ts'

let server: TestServer
let network: Network
test.beforeAll(({ server: started }) => {
  server = started
})
test.beforeEach(({ network: created }) => {
  network = created
})

const PAGE = '<html>Not here</html>'
const YEARS_AGO = 'Thu, 01 Jan 2015 00:00:00 GMT'
const json = (status: number, body: object, type = 'application/json'): Intrusion => ({
  status,
  type,
  body: JSON.stringify(body),
})
const html = (status: number, headers: Record<string, string> = {}): Intrusion => ({
  status,
  headers,
  body: PAGE,
})

describe('a firewall that blocks one text', () => {
  test.for<[string, Intrusion]>([
    ['400 and a page', html(400)],
    ['403 and a page', html(403)],
    ['406 and a page', html(406)],
    ['413 and a page', html(413)],
    ['200 and a page', html(200)],
    ['a redirect', html(302, { location: '/blocked' })],
    ['a problem of its own', json(400, { type: 'about:blank', status: 400, code: 'invalid' })],
    [
      'a problem of its own kind',
      json(
        400,
        { type: 'https://gateway.example/invalid', status: 400, code: 'invalid' },
        'application/problem+json',
      ),
    ],
    ['what it has made of the request', problem('malformed')],
  ])('with %s sets aside that row alone', async ([_what, answer], { ann }) => {
    const push = pushThroughNetwork()
    network.onRequest = (_path, _method, body) => (body.includes('casino') ? answer : 'pass')
    const rows = rowsOf(20, { 7: 'A casino', 12: 'Two casinos' })
    const pushed = await push.send(ann.access, rows)
    expect(pushed).toMatchObject({ conflicts: [], rejected: [], rest: [] })
    expect(pushed.answered).toHaveLength(18)
    expect(pushed.setAside.map(({ code }) => code)).toEqual([
      'refused_on_the_way',
      'refused_on_the_way',
    ])
    expect(pushed.setAside.map(({ id }) => id).sort()).toEqual(
      [rows[7]!, rows[12]!].map(({ newDocumentState }) => newDocumentState.id).sort(),
    )
    expect((await ann.call('GET', '/api/tasks/')).body.count).toBe(18)
  })

  test('sets aside a row that is alone, for a while and in this state', async ({ ann }) => {
    const push = pushThroughNetwork()
    network.onRequest = (_path, _method, body) => (body.includes('casino') ? html(403) : 'pass')
    const [row] = rowsOf(1, { 0: 'A casino' })
    expect((await push.send(ann.access, [row!])).setAside).toHaveLength(1)
    expect(push.isAside(row!)).toBe(true)
    const edited = { newDocumentState: { ...row!.newDocumentState, title: 'A theatre' } }
    expect(push.isAside(edited)).toBe(false)
    push.forgetAside()
    expect(push.isAside(row!)).toBe(false)
  })
})

describe('no row is at fault', () => {
  test.for<[string, Intrusion]>([
    ['a portal that redirects', html(302, { location: 'https://portal.example/' })],
    ['a portal that says yes', html(200)],
    ['a portal that forbids', html(403)],
    ['a gateway that limits', html(429)],
    ['a proxy that has lost its way', html(404)],
    ['a proxy whose server is down', html(502)],
    ['a server that fails', problem('internal')],
  ])('when %s answers everything', async ([_what, answer], { ann }) => {
    network.onRequest = () => answer
    await expect(pushThroughNetwork().send(ann.access, rowsOf(20))).rejects.toMatchObject({
      status: answer.status,
    })
    expect(network.seen.length).toBeLessThanOrEqual(2)
  })

  test('when a proxy asks to retry later, which is respected up to a limit', async ({ ann }) => {
    network.onRequest = () => html(429, { 'retry-after': '99999999' })
    const sent = pushThroughNetwork().send(ann.access, rowsOf(1))
    await expect(sent).rejects.toMatchObject({ retryAfter: 600_000 })
  })

  test('when only an empty push gets through', async ({ ann }) => {
    network.onRequest = (_path, _method, body) => (body === '[]' ? 'pass' : html(403))
    const sent = pushThroughNetwork().send(ann.access, rowsOf(200))
    await expect(sent).rejects.toMatchObject({ code: 'foreign_answer', status: 403 })
    expect(network.seen.length).toBeLessThan(40)
  })

  test('when a portal takes over after a row was blocked', async ({ ann }) => {
    let isPortal = false
    network.onRequest = (_path, _method, body): Fate => {
      const isAlone = body.includes('casino') && !body.includes('Task')
      const fate = isPortal || body.includes('casino') ? html(403) : 'pass'
      isPortal ||= isAlone
      return fate
    }
    const rows = rowsOf(20, { 19: 'A casino' })
    const pushed = await pushThroughNetwork().send(ann.access, rows)
    expect(pushed.setAside).toEqual([])
    expect(pushed.answered).toHaveLength(19)
    expect(pushed.rest).toEqual([rows[19]])
  })
})

describe('a server that fails on one row', () => {
  const failOn = (text: string, answer: Intrusion) => {
    network.onRequest = (_path, _method, body) => (body.includes(text) ? answer : 'pass')
  }

  test.for<[string, Intrusion]>([
    ['fails', problem('internal')],
    ['is found dead by a proxy', html(502)],
  ])(
    'and %s: after the second time that row alone is set aside',
    async ([_what, answer], { ann }) => {
      failOn('casino', answer)
      const push = pushThroughNetwork()
      const rows = rowsOf(20, { 7: 'A casino', 12: 'Two casinos' })
      await expect(push.send(ann.access, rows)).rejects.toMatchObject({ status: answer.status })
      const pushed = await push.send(ann.access, rows)
      expect(pushed).toMatchObject({ conflicts: [], rejected: [], rest: [] })
      expect(pushed.answered).toHaveLength(18)
      expect(pushed.setAside).toMatchObject([{ code: 'server_error' }, { code: 'server_error' }])
      expect(push.isAside(rows[7]!)).toBe(true)
    },
  )

  test.for<[string, Intrusion]>([
    ['fails', problem('internal')],
    ['is not available', problem('unavailable')],
  ])('but not one that %s whatever it is asked', async ([_what, answer], { ann }) => {
    const push = pushThroughNetwork()
    network.onRequest = () => answer
    for (let i = 0; i < 4; i++)
      await expect(push.send(ann.access, rowsOf(20))).rejects.toMatchObject({
        status: answer.status,
      })
    expect(network.seen.length).toBeLessThanOrEqual(8)
  })

  test('nor one that fails on all rows', async ({ ann }) => {
    const push = pushThroughNetwork()
    failOn('id', problem('internal'))
    for (let i = 0; i < 3; i++)
      await expect(push.send(ann.access, rowsOf(200))).rejects.toMatchObject({ status: 500 })
    expect(network.seen.length).toBeLessThan(80)
  })

  test('the user is told, the edit stays, and is sent when the server is repaired', async ({
    ann,
  }) => {
    const phone = await deviceOf(network, ann)
    failOn('casino', problem('internal'))
    const poisoned = await phone.tasks.add({ title: 'A casino' })
    await phone.tasks.add({ title: 'Bread' })
    const [row] = await until(phone.sync.rejected$, ({ length }) => length === 1)
    expect(row).toMatchObject({ id: poisoned.id, code: 'server_error' })
    const { error } = await until(phone.sync.state$, ({ status }) => status === 'error')
    expect(error).toEqual({
      code: 'server_error',
      message: 'The server failed to process a change.',
    })
    expect(await tasksOf(phone)).toMatchObject([{ title: 'A casino' }, { title: 'Bread' }])
    expect((await ann.call('GET', '/api/tasks/')).body.count).toBe(1)
    network.onRequest = () => 'pass'
    phone.sync.wake()
    await until(phone.sync.status$, (status) => status === 'synced')
    expect(await firstValueFrom(phone.sync.rejected$)).toEqual([])
    expect((await ann.call('GET', '/api/tasks/')).body.count).toBe(2)
  })
})

describe('the server itself', () => {
  test('rejects rows, which are found by halving', async ({ ann }) => {
    network.onRequest = (_path, _method, body) =>
      body.includes('casino') ? problem('invalid') : 'pass'
    const rows = rowsOf(20, { 3: 'A casino' })
    const pushed = await pushThroughNetwork().send(ann.access, rows)
    const { id } = rows[3]!.newDocumentState
    expect(pushed.rejected).toMatchObject([{ id, code: 'invalid' }])
    expect(pushed.conflicts).toMatchObject([{ id, _deleted: true }])
    expect(pushed.answered).toHaveLength(20)
    expect(pushed.setAside).toEqual([])
  })
})

describe('a connection that is cut', () => {
  test('three times in a row while a row is sent, and never otherwise, sets the row aside', async ({
    ann,
  }) => {
    const push = pushThroughNetwork()
    network.onRequest = (_path, _method, body) => (body.includes('casino') ? 'lose' : 'pass')
    const rows = rowsOf(20, { 7: 'A casino' })
    for (let i = 0; i < 2; i++)
      await expect(push.send(ann.access, rows)).rejects.toMatchObject({ code: 'unreachable' })
    const pushed = await push.send(ann.access, rows)
    expect(pushed.answered).toHaveLength(19)
    const { id } = rows[7]!.newDocumentState
    expect(pushed.setAside).toMatchObject([{ id, code: 'refused_on_the_way' }])
  })

  test('with every request sets nothing aside', async ({ ann }) => {
    const push = pushThroughNetwork()
    network.onRequest = () => 'lose'
    for (let i = 0; i < 6; i++)
      await expect(push.send(ann.access, rowsOf(20))).rejects.toMatchObject({ code: 'unreachable' })
    expect(network.seen).toHaveLength(12)
  })
})

describe('an edit that a firewall blocks', () => {
  async function refusedEdit() {
    const ann = await server.person()
    const phone = await deviceOf(network, ann)
    await phone.sync.awaitInSync()
    network.onRequest = (_path, _method, body) => (body.includes('casino') ? html(406) : 'pass')
    await phone.sync.pause()
    for (const title of ['Ferry', 'A casino', 'Train']) await phone.tasks.add({ title })
    await phone.sync.resume()
    const [row] = await until(phone.sync.rejected$, (rows) => rows.length === 1)
    const count = async () => (await ann.call('GET', '/api/tasks/')).body.count
    await expect.poll(count).toBe(2)
    return { phone, row: row!, count }
  }

  test('is shown and stays where it is, while the others are sent', async () => {
    const { phone, row } = await refusedEdit()
    expect(row).toMatchObject({ code: 'refused_on_the_way', document: { title: 'A casino' } })
    expect(await phone.tasks.count().exec()).toBe(3)
    const { pending, error } = await until(phone.sync.state$, ({ status }) => status === 'error')
    expect(pending).toBe(1)
    expect(error).toEqual({
      code: 'refused_on_the_way',
      message: 'A proxy or firewall between this device and the server blocked a change.',
    })
    await phone.tasks.add({ title: 'Bus' })
    await until(phone.sync.pending$, (pending) => pending === 1)
  })

  test.each(['retried', 'tried on another network'])('is sent when it is %s', async (how) => {
    const { phone, row, count } = await refusedEdit()
    network.onRequest = () => 'pass'
    if (how === 'retried') await row.retry()
    else phone.sync.wake()
    await phone.sync.awaitInSync()
    expect(await count()).toBe(3)
    await until(phone.sync.rejected$, (rows) => rows.length === 0)
  })

  test('is rolled back when it is discarded', async () => {
    const { phone, row, count } = await refusedEdit()
    await row.discard()
    expect(await phone.tasks.count().exec()).toBe(2)
    network.onRequest = () => 'pass'
    phone.sync.wake()
    await phone.sync.awaitInSync()
    expect(await count()).toBe(2)
    await until(phone.sync.rejected$, (rows) => rows.length === 0)
  })
})

describe('input after an edit was set aside', () => {
  async function editedSince() {
    const ann = await server.person()
    const phone = await deviceOf(network, ann)
    const task = await phone.tasks.add({ title: 'Ferry' })
    await phone.sync.awaitInSync()
    network.onRequest = (_path, _method, body) => (body.includes('casino') ? html(406) : 'pass')
    await task.incrementalPatch({ title: 'A casino', description: 'Bring the cards' })
    await phone.tasks.add({ title: 'Train' })
    const [row] = await until(phone.sync.rejected$, (rows) => rows.length === 1)
    await task.incrementalPatch({ description: 'And the dice' })
    return { phone, row: row!, task }
  }

  test('stays when that is discarded', async () => {
    const { row, task } = await editedSince()
    await row.discard()
    expect(task.getLatest()).toMatchObject({ title: 'Ferry', description: 'And the dice' })
  })

  test('stays when that is retried with a correction', async () => {
    const { row, task } = await editedSince()
    await row.retry({ title: 'A museum' })
    expect(task.getLatest()).toMatchObject({ title: 'A museum', description: 'And the dice' })
  })

  test('keeps a new document when that is discarded', async ({ ann }) => {
    const phone = await deviceOf(network, ann)
    network.onRequest = (_path, _method, body) => (body.includes('casino') ? html(406) : 'pass')
    const task = await phone.tasks.add({ title: 'A casino' })
    await phone.tasks.add({ title: 'Train' })
    const [row] = await until(phone.sync.rejected$, (rows) => rows.length === 1)
    await task.incrementalPatch({ title: 'A museum' })
    await row!.discard()
    expect(task.getLatest()).toMatchObject({ title: 'A museum', _deleted: false })
  })
})

describe('a captive portal', () => {
  const date = { date: YEARS_AGO }
  const dated = (answer: Intrusion): Intrusion => ({ ...answer, headers: date })
  const problemJson = 'application/problem+json'

  test.for<[string, Intrusion]>([
    ['says yes with a page', html(200, date)],
    ['says yes with nothing', { status: 204, headers: date }],
    ['says yes in JSON', dated(json(200, { ok: true, results: [], conflicts: [] }))],
    ['redirects', html(302, { ...date, location: 'https://portal.example/' })],
    ['refuses with a page', html(400, date)],
    ['asks to sign in with it', dated(json(401, { code: 'token_not_valid' }))],
    ['speaks of deleted accounts', dated(json(401, { code: 'account_deleted' }))],
    [
      'speaks of deleted accounts in a problem',
      dated(json(401, { code: 'account_deleted', type: 'about:blank', status: 401 }, problemJson)),
    ],
    ['asks for an update', dated(json(426, { code: 'outdated_client' }, problemJson))],
  ])('that %s changes nothing on the device', async ([_what, answer], { ann }) => {
    const phone = await deviceOf(network, ann)
    const old = await phone.tasks.add({ title: 'Ferry' })
    await phone.sync.awaitInSync()
    network.onRequest = () => answer
    phone.sync.wake()
    await until(phone.sync.status$, (status) => status === 'error')
    await old.incrementalPatch({ description: 'Early' })
    await phone.tasks.add({ title: 'Train' })
    phone.sync.wake()
    await until(phone.sync.pending$, (pending) => pending === 2)
    await expect(phone.account.get()).rejects.toMatchObject({ code: 'foreign_answer' })
    await expect(phone.account.export('json')).rejects.toMatchObject({ code: 'foreign_answer' })
    await expect(phone.account.endOtherSessions()).rejects.toMatchObject({ code: 'foreign_answer' })
    expect(await firstValueFrom(phone.session.user$)).toMatchObject({ id: ann.id })
    expect(await firstValueFrom(phone.sync.rejected$)).toEqual([])
    expect(await firstValueFrom(phone.sync.status$)).toBe('error')

    network.onRequest = () => 'pass'
    phone.sync.wake()
    await phone.sync.awaitInSync()
    const { results } = (await ann.call('GET', '/api/tasks/?ordering=created_at')).body
    expect(results.map(({ title }: { title: string }) => title)).toEqual(['Ferry', 'Train'])
    expect(results).toEqual(expect.arrayContaining(await tasksOf(phone)))
    for (const { created_at, updated_at } of results)
      expect(Math.min(Date.parse(created_at), Date.parse(updated_at))).toBeGreaterThan(
        Date.now() - 60_000,
      )
  })

  test.for<[string, Intrusion, string]>([
    ['a page', html(200), 'A web page came instead of the answer of the server (HTTP 200)'],
    ['nothing', { status: 204 }, 'A web page came'],
    ['tokens that are none', json(200, { access: 'yes', refresh: 'yes' }), 'A proxy or firewall'],
  ])(
    'that answers with success and %s signs nobody in or out',
    async ([_what, answer, said], { ann }) => {
      const name = `portal-${ann.id}`
      const phone = await deviceOf(network, ann, { name })
      await phone.sync.awaitInSync()
      network.onRequest = () => answer
      await phone.session.signOut()
      await expect(phone.session.signIn(ann)).rejects.toMatchObject({
        code: 'foreign_answer',
        message: expect.stringContaining(said),
      })
      expect(await firstValueFrom(phone.session.user$)).toBeNull()
      await shut(phone)

      const loggedOut = new Promise<void>((resolve) => {
        network.onAnswer = (path) => {
          if (path === '/api/logout/') resolve()
        }
      })
      network.onRequest = () => 'pass'
      await device(network, { name })
      await loggedOut
      const live = { user_id: ann.id, revoked_at: null }
      expect(await server.testDatabase.db('sessions').where(live)).toHaveLength(1)
    },
  )

  test('does not end a session that it is asked to renew', async ({ ann }) => {
    const phone = await deviceOf(network, ann, { now: () => server.clock.now().getTime() })
    await phone.sync.awaitInSync()
    network.onRequest = () => json(401, { code: 'token_not_valid' })
    server.clock.advance(20 * 60_000)
    phone.sync.wake()
    await until(phone.sync.status$, (status) => status === 'error')
    network.onRequest = () => 'pass'
    phone.sync.wake()
    await phone.sync.awaitInSync()
    await until(phone.sync.status$, (status) => status === 'synced')
  })
})

/** What the SDK sends edits with, through the network. */
function pushThroughNetwork(): Push {
  const clock = new Clock(Date.now)
  const api = createApi({
    url: network.url,
    fetch,
    clock,
    onAccountDeleted: () => {},
    onErased: () => {},
  })
  const { signal } = new AbortController()
  return new Push({
    api,
    path: '/replication/tasks/0',
    signal,
    resource: { fieldNames: [], initial: {} },
  })
}

/** So many new tasks, some of them with a title of their own. */
function rowsOf(count: number, titles: Record<number, string> = {}) {
  return Array.from({ length: count }, (_, i) => ({
    newDocumentState: { id: randomUUID(), title: titles[i] ?? `Task ${i}`, _deleted: false },
  }))
}
