import { readFileSync } from 'node:fs'
import { mkdtemp, readdir, rm, writeFile } from 'node:fs/promises'
import { createServer, type IncomingHttpHeaders, request } from 'node:http'
import { type AddressInfo, connect } from 'node:net'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { brotliDecompressSync, gunzipSync } from 'node:zlib'
import express from 'express'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { webApp } from '../../../server/http/about/web-app.ts'
import { answerProblems, notFound } from '../../../server/http/problems.ts'
import { createLog } from '../../../server/runtime/log.ts'
import { callerTo, startServer, type TestServer } from '../../support/server.ts'

const TARBALL = new URL('../../../client-sdk/build/tarball.mjs', import.meta.url).href
const BUILD = new URL('../../../web/build.mjs', import.meta.url).href

interface Build {
  ensureWebApp(): Promise<void>
  buildWebApp(outdir: string): Promise<void>
}

let server: TestServer
let build: Build
/** The page's own files, by what they were called before they had a hash. */
let files: Map<string, string>
beforeAll(async () => {
  build = await import(BUILD)
  await build.ensureWebApp()
  const tarball: { ensureTarball(): Promise<void> } = await import(TARBALL)
  await tarball.ensureTarball()
  server = await startServer()
  const { text } = await server.call('GET', '/')
  files = new Map([...text.matchAll(/(?:src|href)="(\/[^"]+)"/g)].map(([, url]) => named(url!)))
})
afterAll(() => server.stop())

const named = (url: string): [string, string] => [url.replace(/-[0-9A-Z]{8}\./, '.'), url]

/** In KiB, as browsers download it. */
const BUDGET = { script: 134, style: 5 }

describe('the page', () => {
  test('exists, and so does every file that it references', async () => {
    const page = await server.call('GET', '/')
    expect(page.status).toBe(200)
    expect(page.headers.get('content-type')).toBe('text/html; charset=utf-8')
    expect(page.text).toContain('<title>Tasktide</title>')
    expect([...files.keys()]).toEqual(
      expect.arrayContaining(['/app.js', '/app.css', '/icon.svg', '/manifest.webmanifest']),
    )
    for (const url of files.values()) expect((await server.call('GET', url)).status).toBe(200)
  })

  test('stays within its size budget', async () => {
    const folder = new URL('../../../dist/web/', import.meta.url)
    const kib = (file: string) => readFileSync(new URL(`.${file}.br`, folder)).length / 1024
    expect(kib(files.get('/app.js')!)).toBeLessThan(BUDGET.script)
    expect(kib(files.get('/app.css')!)).toBeLessThan(BUDGET.style)
  })

  test('has no inline script or style, and connects to no other host', async () => {
    const { text, headers } = await server.call('GET', '/')
    expect(text).not.toMatch(/<style|<script(?![^>]* src=)|style=|\son\w+=/)
    const { host } = new URL(server.url)
    expect(headers.get('content-security-policy')!.split(';').sort()).toEqual([
      "base-uri 'none'",
      `connect-src 'self' ws://${host} wss://${host}`,
      "default-src 'none'",
      "form-action 'self'",
      "frame-ancestors 'none'",
      "img-src 'self' data:",
      "manifest-src 'self'",
      "script-src 'self'",
      "style-src 'self'",
      "worker-src 'self'",
    ])
  })

  test('names the public host for its websockets if one is configured', async () => {
    const own = await startServer({ PUBLIC_URL: 'http://tasks.example.com' })
    const { headers } = await own.call('GET', '/')
    await own.stop()
    const policy = headers.get('content-security-policy')
    expect(policy).toContain("connect-src 'self' ws://tasks.example.com wss://tasks.example.com;")
  })

  test.each(['Host: a;script-src *', 'X: y'])(
    'has the same policy for HTTP/1.0, with any Host header or none: %s',
    async (header) => {
      const { hostname, port } = new URL(server.url)
      const socket = connect(Number(port), hostname)
      socket.write(`GET / HTTP/1.0\r\n${header}\r\n\r\n`)
      const answer = (await socket.setEncoding('utf8').toArray()).join('')
      expect(answer).toMatch(/^HTTP\/1.1 200 /)
      expect(answer).toMatch(/;script-src 'self';.*;connect-src 'self' 'self';/)
    },
  )

  test('takes all icons of its manifest from the same build', async () => {
    const { body, headers } = await server.call('GET', '/manifest.webmanifest')
    expect(headers.get('content-type')).toMatch(/^application\/manifest\+json/)
    expect(body.icons.length).toBeGreaterThan(2)
    for (const { src, type } of body.icons) {
      const icon = await server.call('GET', src)
      expect([icon.status, icon.headers.get('content-type')]).toEqual([200, type])
    }
  })

  test('has a service worker that caches all of its files, and nothing of the API', async () => {
    const { text, headers } = await server.call('GET', '/sw.js')
    expect(headers.get('content-type')).toBe('text/javascript; charset=utf-8')
    for (const url of files.values()) expect(text).toContain(`"${url}"`)
    expect(text).not.toMatch(/["'`]\/(api|replication|socket\.io)/)
  })
})

describe('a file', () => {
  test.each(['/', '/sw.js', '/manifest.webmanifest'])(
    'with a stable name is revalidated each time, and sent if it has changed: %s',
    async (url) => {
      const { headers } = await raw('GET', url)
      expect(headers['cache-control']).toBe('no-cache')
      const etag = headers.etag!
      const known = await raw('GET', url, { 'if-none-match': etag })
      expect([known.status, known.body.length]).toEqual([304, 0])
      expect((await raw('GET', url, { 'if-none-match': '"another"' })).status).toBe(200)
    },
  )

  test('with a hash in its name is cached forever', async () => {
    for (const name of ['/app.js', '/app.css', '/icon.svg']) {
      const { headers } = await server.call('GET', files.get(name)!)
      expect(headers.get('cache-control')).toBe('public, max-age=31536000, immutable')
    }
  })

  test('has no compressed form with its own URL', async () => {
    for (const ending of ['.br', '.gz'])
      expect((await server.call('GET', files.get('/app.js') + ending)).status).toBe(404)
  })

  test.each([
    ['gzip, deflate, br', 'br'],
    ['gzip', 'gzip'],
    ['br;q=0, gzip', 'gzip'],
    ['gzip;q=0', undefined],
    ['identity', undefined],
    [undefined, undefined],
  ])('is sent in an encoding that the browser accepts: %s → %s', async (accepted, encoding) => {
    for (const url of ['/', files.get('/app.js')!, files.get('/app.css')!]) {
      const plain = await raw('GET', url)
      const sent = await raw(
        'GET',
        url,
        accepted === undefined ? {} : { 'accept-encoding': accepted },
      )
      expect([url, sent.headers['content-encoding']]).toEqual([url, encoding])
      expect(sent.headers.vary).toMatch(/Accept-Encoding/)
      expect(sent.headers['content-type']).toBe(plain.headers['content-type'])
      expect(sent.headers['content-length']).toBe(String(sent.body.length))
      expect(decoded(sent.body, encoding).equals(plain.body)).toBe(true)
      if (encoding) expect(sent.body.length).toBeLessThan(plain.body.length)
      // A cache may hold both forms.
      if (encoding) expect(sent.headers.etag).not.toBe(plain.headers.etag)
    }
  })

  test('answers HEAD with its headers only', async () => {
    for (const url of ['/', files.get('/app.js')!]) {
      const get = await raw('GET', url, { 'accept-encoding': 'br' })
      const head = await raw('HEAD', url, { 'accept-encoding': 'br' })
      expect(head.body.length).toBe(0)
      for (const name of ['etag', 'content-length', 'content-type', 'content-encoding'])
        expect(head.headers[name]).toBe(get.headers[name])
    }
  })

  test('supports no other method', async () => {
    for (const method of ['POST', 'PUT', 'PATCH', 'DELETE'])
      expect(await server.call(method, '/')).toMatchObject({
        status: 405,
        body: { code: 'method_not_allowed' },
      })
  })

  test.each([
    '/index.html',
    '/app.js',
    '/app.js.br',
    '/tasks',
    '/today',
    '/package.json',
    '/../package.json',
    '/%2e%2e/package.json',
    '/..%2f..%2fpackage.json',
    '/./sw.js/../../../package.json',
    '/server/main.js',
    '/SW.JS',
    '//sw.js',
  ])('outside of the web app is not found: %s', async (url) => {
    const { status, headers, body } = await raw('GET', url)
    expect(status).toBe(404)
    expect(headers['content-type']).toBe('application/problem+json')
    expect(JSON.parse(body.toString())).toMatchObject({ code: 'not_found' })
  })

  test('of another release is missing, and no cache stores that', async () => {
    const { status, headers } = await raw('GET', '/app-0123ABCD.js')
    expect([status, headers['cache-control']]).toEqual([404, 'no-store'])
  })

  test('and its compressed forms are built to the same bytes each time', async () => {
    const folders = [await temporary(), await temporary()]
    // What an earlier build left is gone, and nothing else is.
    await writeFile(path.join(folders[1]!, 'app-0123ABCD.js'), '')
    for (const folder of folders) await build.buildWebApp(folder)
    const [first, second] = await Promise.all(folders.map(bytesByName))
    expect(second).toEqual(first)
    for (const folder of folders) await rm(folder, { recursive: true })
  })
})

test('the client is there as a package, which only a new build changes', async () => {
  const { status, headers } = await server.call('GET', '/client.tgz')
  expect([status, headers.get('content-encoding')]).toEqual([200, null])
  expect(headers.get('cache-control')).toBe('no-cache')
  expect(headers.get('etag')).toMatch(/^"[\w-]{16}"$/)
})

test('a server without a build says how to create one, and serves the API', async () => {
  const empty = await temporary()
  const log = createLog('silent', { readable: false, to: { write() {} } })
  const app = express().use(webApp(undefined, empty, empty), notFound, answerProblems(log))
  const own = createServer(app).listen(0)
  const call = callerTo(`http://localhost:${(own.address() as AddressInfo).port}`)
  const { status, body } = await call('GET', '/')
  expect(status).toBe(404)
  expect(body.code).toBe('not_found')
  expect(body.detail).toContain('npm run build')
  expect((await call('GET', '/client.tgz')).body.detail).toContain('The client is not built')
  expect((await call('GET', '/sw.js')).status).toBe(404)
  own.close()
  await rm(empty, { recursive: true })
})

const bytesByName = async (folder: string) =>
  Object.fromEntries(
    (await readdir(folder)).map((name) => [name, readFileSync(path.join(folder, name), 'base64')]),
  )

const temporary = () => mkdtemp(path.join(tmpdir(), 'tasktide-web-app-'))

/** With no header and no encoding but what is asked for; `fetch` adds its own. */
function raw(method: string, url: string, headers: Record<string, string> = {}) {
  const { hostname, port } = new URL(server.url)
  return new Promise<{ status: number; headers: IncomingHttpHeaders; body: Buffer }>(
    (resolve, reject) => {
      const sent = request({ method, hostname, port, path: url, headers }, async (answer) => {
        const chunks: Buffer[] = []
        for await (const chunk of answer) chunks.push(chunk)
        resolve({
          status: answer.statusCode!,
          headers: answer.headers,
          body: Buffer.concat(chunks),
        })
      })
      sent.on('error', reject).end()
    },
  )
}

function decoded(body: Buffer, encoding: string | undefined): Buffer {
  if (encoding === 'br') return brotliDecompressSync(body)
  return encoding === 'gzip' ? gunzipSync(body) : body
}
