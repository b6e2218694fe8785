import { randomBytes, randomUUID } from 'node:crypto'
import { once } from 'node:events'
import http from 'node:http'
import { PassThrough } from 'node:stream'
import { brotliDecompressSync, gunzipSync } from 'node:zlib'
import { describe, expect, test as plain, vi } from 'vitest'
import { MAX_PULL_LIMIT, PULL_RESULT, resources } from '../../../protocol/index.ts'
import { createCompression, encodingFor } from '../../../server/http/compression.ts'
import type { Answer } from '../../../server/http/operation.ts'
import { NOTHING_HELD } from '../../../server/runtime/bytes-in-flight.ts'
import { test } from '../../support/fixtures.ts'
import { hasNginx, startNginx } from '../../support/nginx.ts'
import type { Person } from '../../support/server.ts'

describe('the encoding of an answer', () => {
  plain.each([
    [undefined, undefined],
    ['', undefined],
    ['identity', undefined],
    ['gzip', 'gzip'],
    ['GZip', 'gzip'],
    ['br', 'br'],
    ['gzip, deflate, br, zstd', 'br'],
    ['gzip;q=1.0, br;q=0.5', 'gzip'],
    ['br ; q=0.5,gzip; q=0.5', 'br'],
    ['br;q=0, gzip', 'gzip'],
    ['br;q=0.000', undefined],
    ['gzip;q=0, br;q=0', undefined],
    ['*', 'gzip'],
    ['br;q=0, *;q=0.1', 'gzip'],
    ['gzip;q=0, *', undefined],
    ['*;q=0', undefined],
    ['*;q=0, br', 'br'],
    ['identity;q=0', undefined],
    ['identity;q=0, gzip;q=0.1', 'gzip'],
    ['identity, gzip;q=0.5', undefined],
    ['identity;q=0.5, gzip;q=0.5', 'gzip'],
    ['deflate, zstd, x-br', undefined],
    ['constructor, __proto__', undefined],
    ['gzip;q=2', undefined],
    ['gzip;q=-1', undefined],
    ['gzip;q=x, br;level=3', undefined],
    [',;,gzip;;', undefined],
    [', ,gzip', 'gzip'],
  ] as const)('for Accept-Encoding %j is %s', (accepted, expected) => {
    expect(encodingFor(accepted)).toBe(expected)
  })
})

const LIST = '/api/tasks/?page_size=100'
const PULL = `/replication/tasks/0/pull?limit=${MAX_PULL_LIMIT}`
const EXPORT = '/api/account/export/'
const decompressed = { br: brotliDecompressSync, gzip: gunzipSync }

describe('large answers with the documents of a person', () => {
  test.for([
    ['a list', LIST, {}],
    ['a page', PULL, { accept: PULL_RESULT }],
    ['a page for RxDB', PULL, {}],
    ['a page for RxDB in parts', `${PULL}&of=parts`, {}],
    ['the JSON export', EXPORT, {}],
    ['the CSV export', `${EXPORT}tasks.csv`, {}],
    ['the iCalendar export', `${EXPORT}tasks.ics`, {}],
  ] as const)(
    'are compressed, and the same: %s',
    async ([what, target, headers], { ann, server }) => {
      await fill(ann, what.endsWith('in parts') ? 150 : 40)
      const path = target.replace('&of=parts', '')
      const plain = await raw(ann, server.url, path, headers)
      expect(plain.headers['content-encoding']).toBeUndefined()
      expect(plain.headers.vary).toContain('Accept-Encoding')
      for (const encoding of ['br', 'gzip'] as const) {
        const accepting = { ...headers, 'accept-encoding': encoding }
        const { headers: given, body } = await raw(ann, server.url, path, accepting)
        expect(given).toMatchObject({ 'content-encoding': encoding, 'cache-control': 'no-store' })
        expect(given.vary).toContain('Accept-Encoding')
        // A strong one would be of one encoding.
        expect(given.etag ?? 'W/').toMatch(/^W\//)
        expect(decompressed[encoding](body).equals(plain.body)).toBe(true)
        expect(body.length).toBeLessThan(plain.body.length / 2)
        const length = given['content-length']
        if (length !== undefined) expect(Number(length)).toBe(body.length)
        const head = await raw(ann, server.url, path, accepting, 'HEAD')
        const same = ['content-encoding', 'content-length', 'content-type', 'vary', 'cache-control']
        for (const name of same) expect([name, head.headers[name]]).toEqual([name, given[name]])
        expect(head.body).toHaveLength(0)
      }
      await vi.waitUntil(() => server.app.bytes.held() === 0)
    },
  )

  test('say what they vary with, beside the origin', async ({ serverWith }) => {
    const server = await serverWith({ CORS_ORIGINS: 'https://app.example' })
    const ann = await server.person()
    const { headers } = await ann.call('GET', LIST, undefined, {
      headers: { origin: 'https://app.example' },
    })
    expect(headers.get('vary')).toBe('Origin, Accept-Encoding')
  })
})

describe('nothing else is compressed', () => {
  test('of all operations, only these may be', ({ server }) => {
    const names = Object.keys(resources)
    const compressed = server.app.operations.filter((one) => one.compressed)
    expect(compressed.map(({ id }) => id).toSorted()).toEqual(
      [
        ...names.map((name) => `pull_${name}`),
        ...Object.values(resources).flatMap(({ name, singleton }) =>
          singleton ? [] : [`list_${name}`],
        ),
        'export_account',
        'export_tasks_csv',
        'export_tasks_icalendar',
        'list_changes',
        'couch_all_docs',
        'couch_bulk_get',
        'couch_changes',
        'couch_changes_of',
        'couch_get_document',
        'couch_revs_diff',
        'couch_some_docs',
      ].toSorted(),
    )
    for (const { id, access, writes } of compressed)
      expect([id, access, writes]).toEqual([id, 'bearer', undefined])
  })

  test('however large it is', async ({ ann, server }) => {
    const description = 'x'.repeat(10_000)
    const { id } = (await ann.call('POST', '/api/tasks/', { title: 'Milk', description })).body
    const updated_at = '2020-01-01T00:00:00.000Z'
    const late = [{ newDocumentState: { id, title: 'Bread', updated_at, _deleted: false } }]
    const { username, password } = ann
    const signIn = () => ann.call('POST', '/api/token/', { username, password })
    for (let i = 0; i < 15; i++) await signIn()
    const answers: [string, string, unknown?][] = [
      ['GET', `/api/tasks/${id}/`],
      ['PATCH', `/api/tasks/${id}/`, { title: 'Butter' }],
      ['POST', '/replication/tasks/0/push', late],
      ['GET', '/api/account/sessions/'],
      ['GET', '/api/schema/'],
      ['GET', '/api/docs/swagger-ui-bundle.js'],
    ]
    for (const [method, path, body] of answers) {
      const accepting = { 'accept-encoding': 'br, gzip', 'content-type': 'application/json' }
      const text = body === undefined ? undefined : JSON.stringify(body)
      const answer = await raw(ann, server.url, path, accepting, method, text)
      expect([path, answer.headers['content-encoding']]).toEqual([path, undefined])
      expect([path, answer.body.length > 2_048]).toEqual([path, true])
    }
  })

  // The nginx around the site compresses everything.
  test.skipIf(!hasNginx())('nor by nginx with our site', async ({ server, onTestFinished }) => {
    const port = Number(new URL(server.url).port)
    const nginx = await startNginx([port, port])
    onTestFinished(() => nginx.close())
    const ann = await server.person()
    await fill(ann, 5)
    const accepting = { 'accept-encoding': 'gzip' }
    const list = await raw(ann, nginx.url, LIST, accepting)
    expect(list.headers['content-encoding']).toBe('gzip')
    expect(JSON.parse(String(gunzipSync(list.body))).count).toBe(5)
    const sessions = await raw(ann, nginx.url, '/api/account/sessions/', accepting)
    expect(sessions.headers['content-encoding']).toBeUndefined()
    expect(JSON.parse(String(sessions.body)).results).toHaveLength(1)
  })

  test('nor an event stream', async ({ ann, server }) => {
    const request = ask(ann, server.url, '/replication/tasks/0/pullStream', {
      'accept-encoding': 'gzip',
    }).end()
    const [{ headers }] = (await once(request, 'response')) as [http.IncomingMessage]
    request.destroy()
    expect(headers['content-encoding']).toBeUndefined()
    expect(headers['cache-control']).toBe('no-store, no-transform')
  })
})

describe('compression', () => {
  const large = (): Answer => ({ status: 200, body: randomBytes(500_000).toString('hex') })
  const callOf = (user: string, response = new PassThrough()) =>
    ({ user, request: { headers: { 'accept-encoding': 'gzip' }, res: response } }) as never
  const isCompressed = ({ headers }: Answer) => headers?.['Content-Encoding'] === 'gzip'
  const holding = (tryAdd: (bytes: number) => boolean) => ({ ...NOTHING_HELD, tryAdd })

  plain(
    'leaves answers as they are while two people’s, or one of the same, are in work',
    async () => {
      const compress = createCompression({ tryTake: () => NOTHING_HELD })
      const people = ['ann', 'ann', 'bob', 'cleo']
      const under = people.map((user) => compress(large(), callOf(user), NOTHING_HELD))
      expect((await Promise.all(under)).map(isCompressed)).toEqual([true, false, true, false])
      expect(isCompressed(await compress(large(), callOf('cleo'), NOTHING_HELD))).toBe(true)
    },
  )

  plain(
    'counts the answer and the compressor, and leaves it as it is where they do not fit',
    async () => {
      const compress = createCompression({ tryTake: () => undefined })
      const asked: number[] = []
      const fits = (bytes: number) => asked.push(bytes) > 1
      const answers = [1, 2].map(() => large())
      const given: Answer[] = []
      for (const one of answers) given.push(await compress(one, callOf('ann'), holding(fits)))
      expect(given.map(isCompressed)).toEqual([false, true])
      expect(given[0]).toMatchObject({ headers: { Vary: 'Accept-Encoding' } })
      expect(Math.min(...asked)).toBeGreaterThan(1_000_000)
    },
  )

  plain('of streams ends with their connections: eight people, one each', async () => {
    const taken: number[] = []
    const release = vi.fn()
    const tryTake = (_: string, bytes: number) => {
      taken.push(bytes)
      return { ...NOTHING_HELD, release }
    }
    const compress = createCompression({ tryTake })
    const streamed: Answer = { status: 200, stream() {} }
    const responses = Array.from({ length: 10 }, () => new PassThrough())
    const people = ['a', 'a', 'b', 'c', 'd', 'e', 'f', 'g', 'h', 'i']
    const given: Answer[] = []
    for (const [i, user] of people.entries())
      given.push(await compress(streamed, callOf(user, responses[i]), NOTHING_HELD))
    expect(given.map(isCompressed)).toEqual(people.map((_, i) => i !== 1 && i !== 9))
    expect(taken.every((bytes) => bytes > 250_000)).toBe(true)
    responses[0]!.destroy()
    await once(responses[0]!, 'close')
    expect(release).toHaveBeenCalledOnce()
    expect(isCompressed(await compress(streamed, callOf('i'), NOTHING_HELD))).toBe(true)
  })

  test('gives everything back when a client leaves in the middle', async ({ ann, server }) => {
    await fill(ann, 150)
    for (const path of [EXPORT, PULL]) {
      const request = ask(ann, server.url, path, { 'accept-encoding': 'gzip' }).end()
      const [response] = (await once(request, 'response')) as [http.IncomingMessage]
      await once(response, 'readable')
      request.destroy()
      await vi.waitUntil(() => server.app.bytes.held() === 0)
    }
    const { headers } = await raw(ann, server.url, EXPORT, { 'accept-encoding': 'gzip' })
    expect(headers['content-encoding'], 'there is a place again').toBe('gzip')
  })
})

/** Documents of ten kilobytes that compress to a third or so. */
async function fill({ call }: Person, count: number): Promise<void> {
  const rows = Array.from({ length: count }, (_, i) => ({
    newDocumentState: {
      id: randomUUID(),
      title: `Task ${i}`,
      description: randomBytes(2_000).toString('hex') + 'buy milk and bread '.repeat(300),
    },
  }))
  expect((await call('POST', '/replication/tasks/0/push', rows)).status).toBe(200)
}

function ask(
  { access }: Person,
  url: string,
  path: string,
  headers: object,
  method = 'GET',
): http.ClientRequest {
  const authorization = `Bearer ${access}`
  const request = http.request(url + path, {
    method,
    agent: false,
    headers: { authorization, ...headers },
  })
  return request.on('error', () => {})
}

/** An answer as it comes over the line. */
async function raw(
  person: Person,
  url: string,
  path: string,
  headers: object,
  method?: string,
  body?: string,
): Promise<{ headers: http.IncomingHttpHeaders; body: Buffer }> {
  const request = ask(person, url, path, headers, method).end(body)
  const [response] = (await once(request, 'response')) as [http.IncomingMessage]
  const chunks: Buffer[] = []
  for await (const chunk of response) chunks.push(chunk)
  return { headers: response.headers, body: Buffer.concat(chunks) }
}
