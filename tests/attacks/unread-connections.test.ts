import { randomUUID } from 'node:crypto'
import net from 'node:net'
import { expect, onTestFinished, test } from 'vitest'
import { type Attacker, openArena } from './arena.ts'

const SOCKETS = 60
const STREAMS = 300

test('sockets and event streams that do not read take no node, however many are tried', async () => {
  const arena = await openArena()
  const [attacker] = await arena.attackers(1)
  const statuses = new Map<string, number>()
  await arena.whileOthersWork(async () => {
    for (let i = 0; i < SOCKETS; i++) await openSocket(arena.url, attacker!)
    for (let i = 0; i < STREAMS; i++)
      count(statuses, (await openStream(arena.url, attacker!)).status)
    for (let i = 0; i < 40; i++) await push(attacker!)
  })
  expect(statuses).toEqual(
    new Map([
      ['200', 20],
      ['429', STREAMS - 20],
    ]),
  )
})

test('a flood of packets and of handshakes is cut off', async () => {
  const arena = await openArena()
  const [attacker] = await arena.attackers(1)
  await arena.whileOthersWork(async () => {
    const pong = frame('3')
    for (let i = 0; i < 20; i++) {
      const socket = await openSocket(arena.url, attacker!)
      // It may be reset while it still sends.
      const closed = new Promise((resolve) =>
        socket
          .resume()
          .on('error', () => {})
          .once('close', resolve),
      )
      socket.write(Buffer.concat(Array(5_000).fill(pong)))
      await closed
    }
    for (let round = 0; round < 20; round++)
      await Promise.all(Array.from({ length: 100 }, () => handshake(arena.url)))
  })
})

test('event streams that are opened and closed without end keep nobody waiting', async () => {
  const arena = await openArena()
  const [attacker] = await arena.attackers(1)
  const statuses = new Map<string, number>()
  await arena.whileOthersWork(async () => {
    for (let round = 0; round < 60; round++) {
      const opened = await Promise.all(
        Array.from({ length: 30 }, () => openStream(arena.url, attacker!)),
      )
      for (const { status, socket } of opened) {
        count(statuses, status)
        socket.destroy()
      }
    }
  })
  expect([...statuses.keys()].sort()).toEqual(['200', '429'])
})

function count(counts: Map<string, number>, what: string) {
  counts.set(what, (counts.get(what) ?? 0) + 1)
}

/** A frame about as large as frames may be. */
async function push({ call }: Attacker) {
  const rows = Array.from({ length: 20 }, () => ({
    newDocumentState: { id: randomUUID(), title: 'long', description: 'x'.repeat(10_000) },
  }))
  await call('POST', '/replication/tasks/0/push', rows)
}

async function openSocket(url: string, { access }: Attacker): Promise<net.Socket> {
  const socket = await handshake(url)
  socket.write(frame(`40${JSON.stringify({ token: access })}`))
  return socket
}

const handshake = (url: string) =>
  request(
    url,
    'GET /socket.io/?EIO=4&transport=websocket HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n',
  ).then(({ socket }) => socket)

async function openStream(url: string, { access }: Attacker) {
  const { head, socket } = await request(
    url,
    `GET /replication/tasks/0/pullStream HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer ${access}\r\n\r\n`,
  )
  return { status: head.slice(9, 12), socket }
}

/** Sends a request and reads no more than the head of its answer. */
async function request(url: string, text: string) {
  const socket = net.connect(Number(new URL(url).port), '127.0.0.1')
  onTestFinished(() => void socket.destroy())
  socket.on('error', () => {})
  socket.write(text)
  const head = await new Promise<string>((resolve) => {
    socket.once('data', (data) => resolve(data.toString('latin1')))
    socket.once('close', () => resolve(''))
  })
  socket.pause()
  return { socket, head }
}

/** A text of a client (RFC 6455), whose mask of zeros leaves it as it is. */
function frame(text: string): Buffer {
  const data = Buffer.from(text)
  const length = Buffer.alloc(2)
  length.writeUInt16BE(data.length)
  return Buffer.concat([Buffer.from([0x81, 0xfe]), length, Buffer.alloc(4), data])
}
