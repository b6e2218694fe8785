import { randomUUID } from 'node:crypto'
import { channel } from 'node:diagnostics_channel'
import { once } from 'node:events'
import net from 'node:net'
import { io, type Socket } from 'socket.io-client'
import { afterEach, describe, expect, vi } from 'vitest'
import type { Frame, WireDocument } from '../../../protocol/index.ts'
import { test } from '../../support/fixtures.ts'
import { type Person, startServer, type TestServer } from '../../support/server.ts'

/** What the server may have waiting for a reader besides what the kernel took. */
const MAX_WAITING_BYTES = 512 * 1024
/** A frame of these is as large as frames may be, and fills the buffers of the kernel soon. */
const DOCUMENTS = 24
const LONG = 'x'.repeat(10_000)
const FRAME_BYTES = DOCUMENTS * 10_900

let server: TestServer
test.beforeAll(({ server: started }) => {
  server = started
})

const opened: { destroy(): void }[] = []
afterEach(() => {
  for (const one of opened.splice(0)) one.destroy()
})

describe('a socket that does not read', () => {
  test('has a bounded queue, learns which frames were omitted, and continues', async ({ ann }) => {
    const quick = await quickDevice(ann)
    const slow = await rawDevice(ann)
    const start = await slow.ready()
    slow.stopReading()
    await fillUntilStalled(ann, quick, slow.atServer)
    const takenByKernel = slow.atServer.bytesWritten
    for (let i = 0; i < 6; i++) await pushFrame(ann, quick)
    expect(slow.atServer.bytesWritten, 'nothing more is handed over').toBe(takenByKernel)
    const end = quick.last()!.seq

    slow.readOn()
    const frames = await slow.framesUpTo(end)
    let at = start
    for (const frame of frames) {
      expect(frame.prev).toBe(at)
      at = frame.seq
    }
    expect(frames.map(({ documents }) => documents?.tasks?.length)).toEqual([
      ...Array(frames.length - 1).fill(DOCUMENTS),
      undefined,
    ])
    const waited = slow.bytesRead() - takenByKernel
    expect(waited).toBeGreaterThan(0)
    expect(waited).toBeLessThan(MAX_WAITING_BYTES + FRAME_BYTES)

    await ann.call('POST', '/api/tasks/', { title: 'once it reads again' })
    const [next] = (await slow.framesUpTo(end + 1)).slice(-1)
    expect(next).toMatchObject({ prev: end, documents: { tasks: [{ title: /again/ }] } })
  })

  test('is disconnected at once if its user may have no more bytes in flight', async ({ ann }) => {
    const { bytes } = server.app
    const quick = await quickDevice(ann)
    const slow = await rawDevice(ann)
    await slow.ready()
    slow.stopReading()
    const { tryTake } = bytes
    // Frames are smaller than the pushes that cause them.
    const most = vi
      .spyOn(bytes, 'tryTake')
      .mockImplementation((person, count) =>
        count < FRAME_BYTES ? undefined : tryTake(person, count),
      )
    try {
      while (!slow.atServer.destroyed) await pushFrame(ann, quick)
      expect(most).toHaveBeenLastCalledWith(ann.id, expect.any(Number), expect.any(Function))
    } finally {
      most.mockRestore()
    }
  })

  test('is disconnected when it has taken nothing for a minute', async ({ ann }) => {
    vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout'] })
    try {
      const quick = await quickDevice(ann)
      const slow = await rawDevice(ann)
      await slow.ready()
      slow.stopReading()
      await fillUntilStalled(ann, quick, slow.atServer)
      vi.advanceTimersByTime(59_000)
      expect(slow.atServer.destroyed).toBe(false)
      vi.advanceTimersByTime(2_000)
      expect(slow.atServer.destroyed).toBe(true)
      await new Promise((closed) => slow.atServer.once('close', closed))
      expect(server.app.bytes.held()).toBe(0)
    } finally {
      vi.useRealTimers()
    }
  })

  test('does not affect other sockets of the user', async ({ ann }) => {
    const quick = await quickDevice(ann)
    const slow = await rawDevice(ann)
    await slow.ready()
    slow.stopReading()
    await fillUntilStalled(ann, quick, slow.atServer)
    for (let i = 0; i < 6; i++) await pushFrame(ann, quick)
    expect(quick.frames.every(({ documents }) => documents?.tasks?.length === DOCUMENTS)).toBe(true)
  })

  test('is disconnected when its token expires, whatever is buffered', async ({ serverWith }) => {
    const clocked = await serverWith()
    const ann = await clocked.person()
    const quick = await quickDevice(ann, clocked)
    const slow = await rawDevice(ann, clocked)
    await slow.ready()
    slow.stopReading()
    await fillUntilStalled(ann, quick, slow.atServer)
    const takenByKernel = slow.atServer.bytesWritten
    for (let i = 0; i < 3; i++) await pushFrame(ann, quick)
    clocked.clock.advance(16 * 60_000)
    const { body } = await clocked.call('POST', '/api/token/refresh/', { refresh: ann.refresh })
    const renewed = { authorization: `Bearer ${body.access}` }
    const cut = quick.end()
    await clocked.call('POST', '/api/tasks/', { title: 'too late' }, { headers: renewed })
    await cut
    slow.readOn()
    await slow.end()
    expect(slow.bytesRead()).toBeLessThan(takenByKernel + FRAME_BYTES)
  })
})

test('slow clients do not keep the server from stopping', async () => {
  const leaving = await startServer()
  const ann = await leaving.person()
  const slow = await rawDevice(ann, leaving)
  await slow.ready()
  slow.stopReading()
  const stream = await rawStream(ann, leaving)
  stream.stopReading()
  await leaving.stop()
}, 9_000)

describe('a stream that is not read', () => {
  test('ends when its order cannot be guaranteed: received events are in order', async ({
    ann,
  }) => {
    const quick = await quickDevice(ann)
    const stream = await rawStream(ann)
    stream.stopReading()
    await fillUntilStalled(ann, quick, stream.atServer)
    for (let i = 0; i < 3; i++) await pushFrame(ann, quick)
    const handedOver = stream.atServer.bytesWritten
    for (let i = 0; i < 6; i++) await pushFrame(ann, quick)
    expect(stream.atServer.bytesWritten, 'nothing more is handed over').toBe(handedOver)

    stream.readOn()
    const text = await stream.end()
    expect(text).not.toContain('RESYNC')
    // The last may have been cut off: without the empty line at its end it counts for nothing.
    const events = [...text.matchAll(/^data: (.*)\n\n/gm)].map(([, json]) => JSON.parse(json!))
    expect(events.length).toBeGreaterThan(0)
    const all = await everything(ann)
    const came = events.flatMap(({ documents }) => documents as WireDocument[])
    expect(came.map(({ id }) => id)).toEqual(all.slice(0, came.length).map(({ id }) => id))
    expect(came.length).toBeLessThan(all.length)
    const { checkpoint } = events.at(-1)
    const rest = await everything(ann, checkpoint)
    expect([...came, ...rest].map(({ id }) => id)).toEqual(all.map(({ id }) => id))
  })

  test('is disconnected with the event that is too much, not with the next one', async ({
    ann,
  }) => {
    const quick = await quickDevice(ann)
    const stream = await rawStream(ann)
    stream.stopReading()
    await fillUntilStalled(ann, quick, stream.atServer)
    for (let i = 0; i < 2 && !stream.atServer.destroyed; i++) {
      const waited = stream.atServer.writableLength
      await pushFrame(ann, quick)
      expect(stream.atServer.destroyed).toBe(waited + FRAME_BYTES > 260_000)
    }
    await vi.waitUntil(() => server.app.bytes.held() === 0)
  })

  test('gets no heartbeat, which would count as progress', async ({ ann }) => {
    vi.useFakeTimers({ toFake: ['setInterval', 'clearInterval'] })
    try {
      const quick = await quickDevice(ann)
      const stream = await rawStream(ann)
      stream.stopReading()
      await fillUntilStalled(ann, quick, stream.atServer)
      const handedOver = stream.atServer.bytesWritten
      vi.advanceTimersByTime(60_000)
      expect(stream.atServer.bytesWritten).toBe(handedOver)
    } finally {
      vi.useRealTimers()
    }
  })

  test('gets no writes after its end, whatever changes and however long it lasts', async () => {
    const faults: unknown[] = []
    const note = (fault: unknown) => faults.push(fault)
    process.on('uncaughtException', note)
    vi.useFakeTimers({ toFake: ['setInterval', 'clearInterval'] })
    try {
      const ann = await server.person()
      const quick = await quickDevice(ann)
      const stream = await rawStream(ann)
      stream.stopReading()
      await fillUntilStalled(ann, quick, stream.atServer)
      for (let i = 0; i < 3; i++) await pushFrame(ann, quick)
      vi.advanceTimersByTime(60_000)
      expect((await ann.call('GET', '/api/tasks/?page_size=1')).status).toBe(200)
      expect(faults).toEqual([])
    } finally {
      vi.useRealTimers()
      process.off('uncaughtException', note)
    }
  })
})

interface QuickDevice {
  frames: Frame[]
  last(): Frame | undefined
  next(): Promise<unknown>
  end(): Promise<unknown>
}

/** Hears of a frame when every subscriber of that person has been handed it. */
async function quickDevice(person: Person, at = server): Promise<QuickDevice> {
  const socket: Socket = io(at.url, {
    transports: ['websocket'],
    forceNew: true,
    reconnection: false,
    auth: { token: person.access },
  })
  opened.push({ destroy: () => socket.disconnect() })
  const frames: Frame[] = []
  socket.on('changes', (frame) => frames.push(frame))
  await once(socket as never, 'ready')
  return {
    frames,
    last: () => frames.at(-1),
    next: () => once(socket as never, 'changes'),
    end: () => once(socket as never, 'disconnect'),
  }
}

async function pushFrame(person: Person, quick: QuickDevice) {
  const rows = Array.from({ length: DOCUMENTS }, () => ({
    newDocumentState: { id: randomUUID(), title: 'long', description: LONG },
  }))
  const frame = quick.next()
  await person.call('POST', '/replication/tasks/0/push', rows)
  await frame
}

/** Until the kernel takes no more for the reader at the other end. */
async function fillUntilStalled(person: Person, quick: QuickDevice, atServer: net.Socket) {
  while (!atServer.writableNeedDrain && !atServer.destroyed) await pushFrame(person, quick)
}

async function everything(person: Person, from?: { id: string; lwt: number }) {
  const documents: WireDocument[] = []
  for (let { id, lwt } = from ?? { id: '', lwt: 0 }; ; ) {
    const { body } = await person.call(
      'GET',
      `/replication/tasks/0/pull?limit=500&lwt=${lwt}&id=${id}`,
    )
    documents.push(...body.documents)
    if (body.documents.length < 500) return documents
    ;({ id, lwt } = body.checkpoint)
  }
}

/** A connection that reads only when told to, and its other end. */
async function rawConnection(request: string, at = server) {
  const accepted = channel('net.server.socket')
  const ends: net.Socket[] = []
  const accept = (message: unknown) => ends.push((message as { socket: net.Socket }).socket)
  accepted.subscribe(accept)
  const socket = net.connect(Number(new URL(at.url).port), '127.0.0.1')
  opened.push(socket)
  socket.on('error', () => {})
  await once(socket, 'connect')
  let received: Buffer = Buffer.alloc(0)
  let bytes = 0
  let ended = false
  let wake = () => {}
  socket.on('data', (chunk) => {
    received = Buffer.concat([received, chunk])
    bytes += chunk.length
    wake()
  })
  socket.on('close', () => {
    ended = true
    wake()
  })
  socket.write(request)
  const connection = {
    socket,
    bytesRead: () => bytes,
    stopReading: () => socket.pause(),
    readOn: () => socket.resume(),
    /** Takes what `read` finds in what has come, once it finds something; undefined at the end. */
    async take<T>(
      read: (received: Buffer) => { found: T; rest: Buffer } | undefined,
    ): Promise<T | undefined> {
      for (;;) {
        const taken = read(received)
        if (taken) {
          received = taken.rest
          return taken.found
        }
        if (ended) return undefined
        await new Promise<void>((resolve) => {
          wake = resolve
        })
      }
    },
  }
  const head = await connection.take((received) => {
    const end = received.indexOf('\r\n\r\n')
    if (end < 0) return undefined
    return { found: received.subarray(0, end).toString(), rest: received.subarray(end + 4) }
  })
  accepted.unsubscribe(accept)
  const atServer = ends.find(({ remotePort }) => remotePort === socket.localPort)!
  return { ...connection, head: head!, atServer }
}

async function rawStream(person: Person, at = server) {
  const connection = await rawConnection(
    `GET /replication/tasks/0/pullStream HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer ${person.access}\r\nConnection: close\r\n\r\n`,
    at,
  )
  expect(connection.head).toContain(' 200 ')
  return {
    ...connection,
    /** All that comes until it ends, out of its chunks. */
    async end(): Promise<string> {
      const parts: Buffer[] = []
      for (;;) {
        const part = await connection.take((received) => {
          const line = received.indexOf('\r\n')
          if (line < 0) return undefined
          const size = Number.parseInt(received.subarray(0, line).toString(), 16)
          const from = line + 2
          if (received.length < from + size + 2) return undefined
          return {
            found: received.subarray(from, from + size),
            rest: received.subarray(from + size + 2),
          }
        })
        if (!part || part.length === 0) return Buffer.concat(parts).toString()
        parts.push(part)
      }
    },
  }
}

/** A client of Socket.IO that is as small as can be, over a connection whose reading is ours. */
async function rawDevice(person: Person, at = server) {
  const connection = await rawConnection(
    'GET /socket.io/?EIO=4&transport=websocket HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n',
    at,
  )
  expect(connection.head).toContain(' 101 ')
  connection.socket.write(masked(`40${JSON.stringify({ token: person.access })}`))
  const frames: Frame[] = []
  return {
    ...connection,
    async ready(): Promise<number> {
      return (await event('ready'))!.seq
    },
    async framesUpTo(seq: number): Promise<Frame[]> {
      while (frames.at(-1)?.seq !== seq) frames.push((await event('changes')) as Frame)
      return frames
    },
    /** Reads on to the server's close, or the end of the connection. */
    async end(): Promise<void> {
      for (;;) {
        const text = await connection.take(message)
        if (text !== undefined && text !== CLOSE) continue
        connection.socket.destroy()
        return
      }
    },
  }

  async function event(name: string) {
    for (;;) {
      const text = await connection.take(message)
      if (text === undefined) throw new Error(`the end came before ${name}`)
      if (!text.startsWith('42')) continue
      const [event, payload] = JSON.parse(text.slice(2))
      if (event === name) return payload
    }
  }
}

/** RFC 6455: one unfragmented message of the server. */
function message(received: Buffer): { found: string; rest: Buffer } | undefined {
  if (received.length < 2) return undefined
  const short = received[1]! & 0x7f
  const from = short === 126 ? 4 : short === 127 ? 10 : 2
  if (received.length < from) return undefined
  const length =
    short === 126
      ? received.readUInt16BE(2)
      : short === 127
        ? Number(received.readBigUInt64BE(2))
        : short
  if (received.length < from + length) return undefined
  const isClose = (received[0]! & 0x0f) === 8
  return {
    found: isClose ? CLOSE : received.subarray(from, from + length).toString(),
    rest: received.subarray(from + length),
  }
}

const CLOSE = 'the close of the websocket'

/** A client's frame, whose mask of zeros leaves the text as it is. */
function masked(text: string): Buffer {
  const data = Buffer.from(text)
  const length = Buffer.alloc(2)
  length.writeUInt16BE(data.length)
  return Buffer.concat([Buffer.from([0x81, 0xfe]), length, Buffer.alloc(4), data])
}
