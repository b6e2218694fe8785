import { once } from 'node:events'
import net from 'node:net'
import { io } from 'socket.io-client'
import { afterEach, describe, expect, vi } from 'vitest'
import { test as plain } from '../../support/fixtures.ts'
import type { Person, TestServer } from '../../support/server.ts'

const PUBLIC_URL = 'https://tasks.example.com'
const APP = 'capacitor://localhost'

let server: TestServer
const test = plain.extend('environment', { PUBLIC_URL, CORS_ORIGINS: APP, TRUST_PROXY: '1' })
test.beforeAll(({ server: started }) => {
  server = started
})

const opened: { destroy(): void }[] = []
afterEach(() => {
  for (const one of opened.splice(0)) one.destroy()
})

const https = 'X-Forwarded-Proto: https\r\n'

describe('a handshake', () => {
  test.each([
    ['of the web app', `${https}Origin: ${PUBLIC_URL}\r\n`, 101],
    ['of a listed origin', `${https}Origin: ${APP}\r\n`, 101],
    ['of a native app', https, 101],
    ['of another origin', `${https}Origin: https://elsewhere.example.net\r\n`, 400],
    ['of a subdomain', `${https}Origin: https://bad.tasks.example.com\r\n`, 400],
    ['of the same host in plain HTTP', `${https}Origin: http://tasks.example.com\r\n`, 400],
    ['of the host that it names itself', `${https}Origin: https://a\r\n`, 400],
    ['of a file', `${https}Origin: null\r\n`, 400],
    ['over plain HTTP', '', 400],
    ['with two hosts', `${https}Host: b\r\n`, 400],
  ])('%s', async (_, headers, status) => {
    expect(await (await handshake(server, headers)).status).toBe(status)
  })

  test('of the host itself, where no public address is set', async ({ serverWith }) => {
    const own = await serverWith({ NODE_ENV: 'production' })
    expect(await (await handshake(own, 'Origin: http://a\r\n')).status).toBe(101)
    expect(await (await handshake(own, 'Origin: http://b\r\n')).status).toBe(400)
  })

  test('is refused while too many of its network wait, and those of others are not', async ({
    serverWith,
  }) => {
    const own = await serverWith({ TRUST_PROXY: '1' })
    const from = (address: string) => handshake(own, `X-Forwarded-For: ${address}\r\n`)
    const waiting = await Promise.all(Array.from({ length: 249 }, () => from('192.0.2.1')))
    expect(new Set(await Promise.all(waiting.map(({ status }) => status)))).toEqual(new Set([101]))
    // Once somebody has signed in, it waits no longer.
    await signedIn(own, await own.person(), '192.0.2.1')
    expect(await (await from('192.0.2.1')).status).toBe(101)
    expect(await (await from('192.0.2.1')).status).toBe(400)
    expect(await (await from('192.0.2.2')).status).toBe(101)
    waiting[0]!.destroy()
    await vi.waitFor(async () => expect(await (await from('192.0.2.1')).status).toBe(101))
  })
})

describe('a flood', () => {
  test.each([
    ['of packets', frame(1, '3'), 101],
    ['of pings of the protocol below', frame(9, 'x'.repeat(100)), 640],
  ])('%s ends the connection, and nobody else’s', async (_, packet, count) => {
    const [flooding, other] = [await handshake(server, https), await handshake(server, https)]
    for (const one of [flooding, other]) expect(await one.status).toBe(101)
    const closed = once(flooding, 'close')
    flooding.write(Buffer.concat(Array(count).fill(packet)))
    await closed
    expect(other.destroyed).toBe(false)
  })

  test('is not what clients send', async ({ serverWith }) => {
    const own = await serverWith()
    const ann = await own.person()
    const socket = await signedIn(own, ann, '192.0.2.9')
    for (let i = 0; i < 50; i++)
      expect(await socket.timeout(10_000).emitWithAck('renew', ann.access)).toMatchObject({
        ok: true,
      })
  })
})

async function signedIn(at: TestServer, { access }: Person, address: string) {
  const socket = io(at.url, {
    transports: ['websocket'],
    forceNew: true,
    reconnection: false,
    auth: { token: access },
    extraHeaders: { 'X-Forwarded-Proto': 'https', 'X-Forwarded-For': address },
  })
  opened.push({ destroy: () => socket.disconnect() })
  await new Promise<void>((resolve, reject) => {
    socket.once('connect', () => resolve())
    socket.once('connect_error', reject)
  })
  return socket
}

/** A connection that has sent a handshake, and the status of the answer. */
async function handshake(at: TestServer, headers: string) {
  const socket = net.connect(Number(new URL(at.url).port), '127.0.0.1')
  opened.push(socket)
  socket.on('error', () => {})
  await once(socket, 'connect')
  const status = once(socket, 'data').then(([head]) =>
    Number(/^HTTP\/1.1 (\d{3}) /.exec(head)?.[1]),
  )
  socket.write(
    `GET /socket.io/?EIO=4&transport=websocket HTTP/1.1\r\nHost: a\r\n${headers}Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n`,
  )
  return Object.assign(socket, { status })
}

/** A frame of a client (RFC 6455), whose mask of zeros leaves the text as it is. */
function frame(opcode: number, text: string): Buffer {
  return Buffer.concat([
    Buffer.from([0x80 | opcode, 0x80 | text.length, 0, 0, 0, 0]),
    Buffer.from(text),
  ])
}
