import { randomUUID } from 'node:crypto'
import { once } from 'node:events'
import http from 'node:http'
import { brotliCompressSync, deflateSync, gzipSync } from 'node:zlib'
import { afterAll, afterEach, beforeAll, describe, expect, test, vi } from 'vitest'
import { type Person, startServer, type TestServer } from '../../support/server.ts'

const MEGABYTE = 1024 * 1024
const PUSH = '/replication/tasks/0/push'

let server: TestServer
let ann: Person
beforeAll(async () => {
  server = await startServer({ MAX_BYTES_IN_FLIGHT: `${64 * MEGABYTE}` })
  ann = await server.person()
})
afterAll(() => server.stop())

const open: http.ClientRequest[] = []
afterEach(async () => {
  for (const request of open.splice(0)) request.destroy()
  await vi.waitUntil(() => server.app.bytes.held() === 0, 5_000)
})

const row = (description = '', more: object = {}) => ({
  newDocumentState: { id: randomUUID(), title: 'Milk', description, ...more },
})

describe('a compressed body', () => {
  test.each([
    ['gzip', gzipSync],
    ['deflate', deflateSync],
    ['br', brotliCompressSync],
  ])('is accepted in %s up to 256 KB, however small it was', async (encoding, compress) => {
    const rows = Array.from({ length: 25 }, () => row('x'.repeat(10_000)))
    const reply = await push(ann, compress(JSON.stringify(rows)), encoding)
    expect(reply).toMatchObject({ status: 200, body: [] })
  })

  test('is refused beyond that if it is more than ten times as large as it was sent', async () => {
    const rows = Array.from({ length: 100 }, () => row('x'.repeat(10_000)))
    const packed = gzipSync(JSON.stringify(rows))
    expect(packed.length).toBeLessThan(20_000)
    expect(await push(ann, packed)).toMatchObject({ status: 413, body: { code: 'too_large' } })
    const less = Array.from({ length: 1_000 }, () =>
      row(Array.from({ length: 8 }, () => randomUUID()).join()),
    )
    expect(await push(ann, gzipSync(JSON.stringify(less)))).toMatchObject({ status: 200 })
  })
})

test.each([
  ['objects in a list', `[${'{},'.repeat(100_000)}0]`],
  ['unknown names', `{${Array.from({ length: 105_000 }, (_, i) => `"n${i}":0`)}}`],
])('more than 100,000 values are refused: %s', async (_, value) => {
  const body = JSON.stringify([row(), row('', { mood: 0 })]).replace('"mood":0', `"mood":${value}`)
  expect(await push(ann, body)).toMatchObject({ status: 413, body: { code: 'too_large' } })
})

describe('pushes', () => {
  test('wait with their bodies unread, but for two of a person', async () => {
    const bob = await server.person()
    const other = await signedInAgain(bob)
    const feed = await server.testDatabase.db.transaction()
    await feed.raw('select from feeds where user_id = ? for update', [bob.id])
    const body = JSON.stringify([
      row('x'.repeat(9_000)),
      ...Array(100).fill(row('y'.repeat(9_000))),
    ])
    const pushes = Array.from({ length: 12 }, (_, i) => push(i % 2 ? bob : other, body))
    await vi.waitUntil(() => server.app.bytes.held() > 3.5 * MEGABYTE, 5_000)
    const smaller = await push(await server.person(), JSON.stringify([row()]))
    expect(smaller.status).toBe(200)
    // Two of each of the two devices; and of the four, the bodies of two are parsed.
    expect(server.app.bytes.held()).toBeLessThan(4 * MEGABYTE)
    await feed.rollback()
    for (const { status } of await Promise.all(pushes)) expect(status).toBe(200)
  })

  test('that stall keep back no others of their device, and not at all those of another', async () => {
    const other = await signedInAgain(ann)
    for (let i = 0; i < 2; i++) await begin(ann, '[{"newDocumentState":', 1_000)
    const body = JSON.stringify([row()])
    expect((await push(other, body)).status).toBe(200)
    expect((await push(ann, body)).status).toBe(200)
  })

  test('of a person hold at most their share, and the rest gets a 429', async () => {
    const devices = await Promise.all(Array.from({ length: 4 }, () => signedInAgain(ann)))
    const part = `[{"newDocumentState":{"id":"${'x'.repeat(4.9 * MEGABYTE)}`
    await Promise.all(devices.slice(0, 3).map((one) => begin(one, part, 5 * MEGABYTE)))
    await vi.waitUntil(() => server.app.bytes.held() > 14 * MEGABYTE, 10_000)
    const last = await begin(devices[3]!, part, 5 * MEGABYTE)
    const [response] = (await once(last, 'response')) as [http.IncomingMessage]
    expect(response.statusCode).toBe(429)
    expect(Number(response.headers['retry-after'])).toBeGreaterThan(0)
    const bob = await server.person()
    expect((await push(bob, JSON.stringify([row()]))).status).toBe(200)
  })
})

function push(person: Pick<Person, 'call'>, raw: string | Buffer, encoding?: string) {
  const compressed = typeof raw === 'string' ? undefined : (encoding ?? 'gzip')
  return person.call('POST', PUSH, undefined, {
    raw: typeof raw === 'string' ? raw : new Uint8Array(raw),
    headers: {
      'content-type': 'application/json',
      ...(compressed && { 'content-encoding': compressed }),
    },
  })
}

/** Sends the beginning of a push and nothing more. */
async function begin({ access }: Pick<Person, 'access'>, part: string, length: number) {
  const request = http.request(server.url + PUSH, {
    method: 'POST',
    agent: false,
    headers: {
      authorization: `Bearer ${access}`,
      'content-type': 'application/json',
      'content-length': length,
    },
  })
  request.on('error', () => {})
  open.push(request)
  request.write(part)
  await once(request, 'socket')
  return request
}

async function signedInAgain({ username, password }: Person) {
  const { body } = await server.call('POST', '/api/token/', { username, password })
  const headers = { authorization: `Bearer ${body.access}` }
  const call: Person['call'] = (method, path, sent, options = {}) =>
    server.call(method, path, sent, { ...options, headers: { ...headers, ...options.headers } })
  return { access: body.access as string, call }
}
