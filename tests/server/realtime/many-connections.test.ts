import { randomUUID } from 'node:crypto'
import { once } from 'node:events'
import { ServerResponse } from 'node:http'
import { createRequire } from 'node:module'
import { io, type Socket } from 'socket.io-client'
import { afterEach, describe, expect, vi } from 'vitest'
import type { Frame } from '../../../protocol/index.ts'
import { test as plain } from '../../support/fixtures.ts'
import type { Person, TestServer } from '../../support/server.ts'

/** The instance that the server uses. */
const { Encoder } = createRequire(createRequire(import.meta.url).resolve('socket.io'))(
  'socket.io-parser',
)

const test = plain.extend('environment', { MAX_SOCKETS_PER_USER: '3', MAX_STREAMS_PER_USER: '3' })

let server: TestServer
test.beforeAll(({ server: started }) => {
  server = started
})

const opened: (() => void)[] = []
afterEach(() => {
  for (const close of opened.splice(0)) close()
  vi.restoreAllMocks()
})

describe('a frame', () => {
  test('is encoded once for all sockets of a user', async ({ ann }) => {
    const sockets = await Promise.all([openSocket(ann), openSocket(ann), openSocket(ann)])
    const encode = vi.spyOn(Encoder.prototype, 'encode')
    const frames = Promise.all(sockets.map(nextFrame))
    await ann.call('POST', '/api/tasks/', { title: 'for three' })
    for (const { documents } of await frames)
      expect(documents?.tasks).toMatchObject([{ title: 'for three' }])
    const events = encode.mock.calls.map(([packet]) => (packet as { data?: unknown[] }).data?.[0])
    expect(events.filter((name) => name === 'changes')).toHaveLength(1)
  })

  test('is encoded once for all event streams of a user', async ({ ann }) => {
    const streams = await Promise.all([openStream(ann), openStream(ann)])
    const write = vi.spyOn(ServerResponse.prototype, 'write')
    await ann.call('POST', '/api/tasks/', { title: 'for two' })
    for (const stream of streams) await stream.until('for two')
    const [one, other] = write.mock.calls.map(([bytes]) => bytes).filter(Buffer.isBuffer)
    expect(one).toBeDefined()
    expect(one).toBe(other)
  })

  test('of more than 256 KB comes without its documents, and ends event streams', async ({
    ann,
  }) => {
    const socket = await openSocket(ann)
    const stream = await openStream(ann)
    for (const [count, fits] of [
      [24, true],
      [27, false],
    ] as const) {
      const frame = nextFrame(socket)
      await push(ann, count)
      const { prev, seq, documents } = await frame
      expect(seq - prev).toBe(count)
      expect(documents?.tasks?.length).toBe(fits ? count : undefined)
    }
    expect(await stream.until('nothing')).toBe(false)
  })
})

describe('one socket more than a user may have', () => {
  const refused = {
    message: 'too_many_connections',
    data: { status: 429, code: 'too_many_connections', detail: expect.stringContaining('3 live') },
  }

  test('is refused, until another one ends', async ({ ann, bob }) => {
    const [first] = await Promise.all([openSocket(ann), openSocket(ann), openSocket(ann)])
    await expect(openSocket(ann)).rejects.toMatchObject(refused)
    await openSocket(bob)
    first.disconnect()
    await vi.waitFor(() => openSocket(ann), { timeout: 5_000 })
    await expect(openSocket(ann)).rejects.toMatchObject(refused)
  })

  test('takes no place if its client has left meanwhile', async ({ ann }) => {
    const { sessions } = server.app
    const authenticate = vi.spyOn(sessions, 'authenticate')
    for (let i = 0; i < 4; i++) {
      let answer = () => {}
      const asked = new Promise<void>((resolve) => {
        authenticate.mockImplementationOnce(async (token) => {
          resolve()
          await new Promise<void>((go) => {
            answer = go
          })
          return sessions.authenticate(token)
        })
      })
      const accepted = once(server.http, 'upgrade')
      const socket = connect(ann)
      const [, connection] = await accepted
      await asked
      const closed = new Promise((resolve) => connection.once('close', resolve))
      socket.disconnect()
      await closed
      answer()
    }
    await openSocket(ann)
  })
})

describe('one event stream more than a user may have', () => {
  test('is refused with 429, until another one ends', async ({ ann }) => {
    const [first] = await Promise.all([openStream(ann), openStream(ann), openStream(ann)])
    const refused = await ann.call('GET', '/replication/tasks/0/pullStream')
    expect(refused).toMatchObject({
      status: 429,
      body: { code: 'too_many_connections', error: true },
    })
    expect(refused.headers.get('retry-after')).toBe('15')
    first.close()
    await vi.waitFor(async () => opened.push((await openStream(ann)).close), { timeout: 5_000 })
  })

  test('tells clients for event streams when to connect again', async ({ ann }) => {
    await Promise.all([openStream(ann), openStream(ann), openStream(ann)])
    const response = await fetch(`${server.url}/replication/tasks/0/pullStream`, {
      headers: { authorization: `Bearer ${ann.access}`, accept: 'text/event-stream' },
    })
    expect(response.status).toBe(200)
    expect(response.headers.get('content-type')).toMatch(/^text\/event-stream/)
    const [, problem] = /^retry: 15000\nevent: refused\ndata: (.*)\n\n$/.exec(
      await response.text(),
    )!
    expect(JSON.parse(problem!)).toMatchObject({ status: 429, code: 'too_many_connections' })
  })
})

function connect(person: Person): Socket {
  const socket: Socket = io(server.url, {
    transports: ['websocket'],
    forceNew: true,
    reconnection: false,
    auth: { token: person.access },
  })
  opened.push(() => socket.disconnect())
  return socket
}

async function openSocket(person: Person): Promise<Socket> {
  const socket = connect(person)
  await new Promise<void>((resolve, reject) => {
    socket.once('ready', () => resolve())
    socket.once('connect_error', reject)
  })
  return socket
}

async function nextFrame(socket: Socket): Promise<Frame> {
  return (await once(socket as never, 'changes'))[0]
}

async function openStream(person: Person) {
  const abort = new AbortController()
  opened.push(() => abort.abort())
  const response = await fetch(`${server.url}/replication/tasks/0/pullStream`, {
    headers: { authorization: `Bearer ${person.access}` },
    signal: abort.signal,
  })
  expect(response.status).toBe(200)
  const reader = response.body!.pipeThrough(new TextDecoderStream()).getReader()
  let text = ''
  return {
    close: () => abort.abort(),
    /** Reads until something has come. @returns false at the end */
    async until(part: string): Promise<boolean> {
      while (!text.includes(part)) {
        const { value, done } = await reader.read()
        if (done) return false
        text += value
      }
      return true
    },
  }
}

async function push(person: Person, count: number) {
  const rows = Array.from({ length: count }, () => ({
    newDocumentState: { id: randomUUID(), title: 'long', description: 'x'.repeat(10_000) },
  }))
  await person.call('POST', '/replication/tasks/0/push', rows)
}
