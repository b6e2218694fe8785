import { once } from 'node:events'
import net from 'node:net'
import { setImmediate as nextTurn } from 'node:timers/promises'
import { afterAll, afterEach, beforeAll, describe, expect, test, vi } from 'vitest'
import { type Person, startServer, type TestServer } from '../../support/server.ts'

const MEGABYTE = 1024 * 1024
/** As much as the server reads on after an early refusal. */
const MAX_READ_ON = 32 * MEGABYTE

let server: TestServer
let ann: Person
beforeAll(async () => {
  server = await startServer({ TRUST_PROXY: '1' })
  ann = await server.person()
})
afterAll(() => server.stop())

const sockets: net.Socket[] = []
afterEach(() => {
  vi.useRealTimers()
  for (const socket of sockets.splice(0)) socket.destroy()
})

test('HEAD never blocks the connection for the next request, not even of a stream', async () => {
  const join = vi.spyOn(server.app.followers, 'join')
  const paths = server.app.operations.filter(({ method }) => method === 'get').map((o) => o.path)
  expect(paths).toEqual(expect.arrayContaining([expect.stringMatching(/pullStream$/)]))
  const socket = connect()
  const answers = collect(socket)
  const ask = async (line: string) => {
    const before = answers().length
    socket.write(`${line} HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer ${ann.access}\r\n\r\n`)
    await vi.waitUntil(() => answers().includes('\r\n\r\n', before), 5_000)
    return answers().slice(before)
  }
  for (const path of paths) {
    expect(await ask(`HEAD ${path.replace('{id}', ann.id)}`), path).toMatch(/\r\n\r\n$/)
    expect(await ask('GET /healthz'), path).toMatch(/^HTTP\/1\.1 200 /)
  }
  expect(join, 'a follower that nobody ends').not.toHaveBeenCalled()
})

describe('an early refusal reaches a client that sends its whole body first', () => {
  const json = 'Content-Type: application/json\r\n'
  const signedIn = () => `${json}Authorization: Bearer ${ann.access}\r\n`
  test.each<[number, string, string, () => string]>([
    [413, 'too large', 'POST /api/tasks/', signedIn],
    [
      413,
      'too large, on a connection to be closed',
      'POST /api/tasks/',
      () => `${signedIn()}Connection: close\r\n`,
    ],
    [401, 'without a token', 'POST /api/tasks/', () => json],
    [401, 'without a token, closing', 'POST /api/tasks/', () => `${json}Connection: close\r\n`],
    [404, 'nowhere', 'POST /nothing', () => `${json}Connection: close\r\n`],
    [405, 'wrong method', 'PUT /api/register/', () => `${json}Connection: close\r\n`],
    [415, 'no JSON', 'POST /api/token/', () => 'Content-Type: text/plain\r\nConnection: close\r\n'],
  ])('%i %s', async (status, _what, target, headers) => {
    for (const framing of [lengthOf, chunked]) {
      const { answer, fault } = await sendThenRead(target, headers(), framing(12 * MEGABYTE))
      expect([framing.name, fault, answer.slice(0, 12)]).toEqual([
        framing.name,
        undefined,
        `HTTP/1.1 ${status}`,
      ])
    }
  })

  test('400 headers that are too large', async () => {
    const headers = `X-Long: ${'x'.repeat(12 * MEGABYTE)}\r\n`
    const { answer, fault } = await sendThenRead('GET /healthz', headers, { head: '', body: [] })
    expect([fault, answer.slice(0, 12)]).toEqual([undefined, 'HTTP/1.1 431'])
  })

  test('and a connection that is kept serves the next request', async () => {
    const socket = connect()
    const { head, body } = lengthOf(MEGABYTE)
    socket.write(`POST /api/tasks/ HTTP/1.1\r\nHost: a\r\n${json}${head}\r\n`)
    const answers = collect(socket)
    await vi.waitUntil(() => answers().includes('HTTP/1.1 401'))
    for (const chunk of body) socket.write(chunk)
    socket.write('GET /healthz HTTP/1.1\r\nHost: a\r\n\r\n')
    await vi.waitUntil(() => answers().includes('HTTP/1.1 200'))
  })
})

describe('the rest of a request is read after an early refusal', () => {
  const refused = `POST /nothing HTTP/1.1\r\nHost: a\r\nContent-Length: ${1e12}\r\n`
  test.each([
    ['on a connection that is kept', `${refused}\r\n`],
    ['on one to be closed', `${refused}Connection: close\r\n\r\n`],
    ['that is no HTTP', 'POST / HTTP/9.9\r\n\r\n'],
  ])('up to a number of bytes: %s', async (_, head) => {
    const socket = connect({ allowHalfOpen: true })
    socket.write(head)
    const answers = collect(socket)
    await vi.waitUntil(() => /^HTTP\/1.1 40[04]/.test(answers()))
    const chunk = Buffer.alloc(MEGABYTE)
    let sent = 0
    while (!socket.destroyed && sent < 20 * MAX_READ_ON) {
      sent += MEGABYTE
      if (socket.write(chunk)) await nextTurn()
      else await Promise.race([once(socket, 'drain'), once(socket, 'close')]).catch(() => {})
    }
    expect(socket.destroyed).toBe(true)
    expect(sent).toBeGreaterThan(MAX_READ_ON)
  })

  test.each([
    ['on a connection that is kept', `${refused}\r\n`],
    ['on one to be closed', `${refused}Connection: close\r\n\r\n`],
    ['that is no HTTP', 'POST / HTTP/9.9\r\n\r\n'],
  ])('up to a time: %s', async (_, head) => {
    vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout'] })
    const socket = connect({ allowHalfOpen: true })
    socket.write(head)
    await once(socket, 'data')
    const closed = new Promise<void>((resolve) => socket.once('close', () => resolve()))
    const writing = setInterval(() => socket.write('x'), 1)
    for (let i = 0; i < 100; i++) await nextTurn()
    expect(socket.destroyed).toBe(false)
    vi.advanceTimersByTime(31_000)
    await closed
    clearInterval(writing)
  })
})

interface Framed {
  head: string
  body: Buffer[]
}

function lengthOf(bytes: number): Framed {
  return { head: `Content-Length: ${bytes}\r\n`, body: [Buffer.alloc(bytes, 'x')] }
}

function chunked(bytes: number): Framed {
  const size = 64 * 1024
  const one = Buffer.from(`${size.toString(16)}\r\n${'x'.repeat(size)}\r\n`)
  const body = [...Array(bytes / size).fill(one), Buffer.from('0\r\n\r\n')]
  return { head: 'Transfer-Encoding: chunked\r\n', body }
}

/** As blocking clients do: nothing is read before everything is sent. */
async function sendThenRead(target: string, headers: string, { head, body }: Framed) {
  const socket = connect({ allowHalfOpen: true })
  let fault: string | undefined
  socket.on('error', (error: NodeJS.ErrnoException) => {
    fault = error.code
  })
  const bytes = [Buffer.from(`${target} HTTP/1.1\r\nHost: a\r\n${headers}${head}\r\n`), ...body]
  await new Promise<unknown>((sent) => socket.end(Buffer.concat(bytes), sent as () => void))
  let answer = ''
  if (fault === undefined)
    try {
      for await (const chunk of socket) answer += chunk
    } catch {
      // told as the fault
    }
  return { answer, fault }
}

function connect(options: Partial<net.NetConnectOpts> = {}): net.Socket {
  const port = Number(new URL(server.url).port)
  const socket = net.connect({ ...options, port, host: '127.0.0.1' })
  socket.on('error', () => {})
  sockets.push(socket)
  return socket
}

function collect(socket: net.Socket): () => string {
  let text = ''
  socket.on('data', (data) => {
    text += data
  })
  return () => text
}
