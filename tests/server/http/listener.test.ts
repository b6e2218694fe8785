import { once } from 'node:events'
import net, { type AddressInfo } from 'node:net'
import express from 'express'
import { expect, test } from 'vitest'
import { createListener } from '../../../server/http/listener.ts'

const CLIENTS = 20

async function listen() {
  const app = express()
  app.post('/', (_req, res) => void res.json({ done: true }))
  const listener = createListener(app)
  listener.server.listen(0, '127.0.0.1')
  await once(listener.server, 'listening')
  return { ...listener, port: (listener.server.address() as AddressInfo).port }
}

const REQUEST = 'POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n'

/** What comes back until the connection ends. */
async function answerTo(socket: net.Socket): Promise<string> {
  let text = ''
  for await (const chunk of socket.setEncoding('utf8')) text += chunk
  return text
}

test('a request is answered whose connection is not yet accepted when the listener drains', async () => {
  const { port, drain } = await listen()
  // The system completes these connections; this process cannot accept them before it drains.
  const answers = Array.from({ length: CLIENTS }, () => {
    const socket = net.connect(port, '127.0.0.1')
    socket.write(REQUEST)
    return answerTo(socket)
  })
  const drained = drain()
  for (const answer of await Promise.all(answers)) expect(answer).toMatch(/^HTTP\/1\.1 200 /)
  await drained
})

test('a request that comes just after the drain began is answered, if its connection was open', async () => {
  const { port, server, drain } = await listen()
  const socket = net.connect(port, '127.0.0.1')
  await once(server, 'connection')
  const drained = drain()
  await expect.poll(() => server.listening).toBe(false)
  socket.write(REQUEST)
  expect(await answerTo(socket)).toMatch(/^HTTP\/1\.1 200 /)
  await drained
})

test('connections that bring no request end with the drain, before its deadline', async () => {
  const { port, server, drain } = await listen()
  const socket = net.connect(port, '127.0.0.1')
  await once(server, 'connection')
  await Promise.all([answerTo(socket), drain()])
}, 8_000)

test('proxies are told to close their connections before the drain, so that none has a request on its way then', async () => {
  const { port, retire, drain } = await listen()
  const socket = net.connect(port, '127.0.0.1')
  socket.write(REQUEST)
  const [head] = await once(socket.setEncoding('utf8'), 'data')
  expect(head).toMatch(/^Connection: keep-alive/im)
  retire()
  socket.write(REQUEST)
  expect(await answerTo(socket)).toMatch(/^Connection: close/im)
  await drain()
})
