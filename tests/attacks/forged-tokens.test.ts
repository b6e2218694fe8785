import { randomUUID } from 'node:crypto'
import net from 'node:net'
import { expect, onTestFinished, test } from 'vitest'
import { openArena } from './arena.ts'

const CONNECTIONS = 50
const REQUESTS_EACH = 200

test('thousands of forged tokens are refused, and nobody else waits', async () => {
  const arena = await openArena()
  const [attacker] = await arena.attackers(1)
  const [header, , signature] = attacker!.access.split('.')
  const forged = () => {
    const claims = Buffer.from(JSON.stringify({ sub: randomUUID(), exp: 2 ** 33 }))
    return [header, claims.toString('base64url'), signature].join('.')
  }
  const request = () =>
    `GET /api/tasks/ HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer ${forged()}\r\n\r\n`
  const requests = Array.from({ length: CONNECTIONS }, () =>
    Array.from({ length: REQUESTS_EACH }, request),
  )
  // A node that has just started compiles what it has not done often, which takes it as long as all of the attack.
  await Promise.all(requests.slice(0, 25).map((each) => statusesOf(arena.url, each)))
  const statuses: string[] = []
  await arena.whileOthersWork(async () => {
    const all = await Promise.all(requests.map((each) => statusesOf(arena.url, each)))
    statuses.push(...all.flat())
  })
  expect(statuses).toEqual(Array(CONNECTIONS * REQUESTS_EACH).fill('401'))
})

/** Sends one request after the other on one connection. Spares the cores that the node needs: fetch takes as much as it. */
function statusesOf(url: string, requests: readonly string[]): Promise<string[]> {
  const { hostname, port } = new URL(url)
  const socket = net.connect(Number(port), hostname)
  onTestFinished(() => void socket.destroy())
  const statuses: string[] = []
  return new Promise((resolve, reject) => {
    socket.once('error', reject)
    socket.write(requests[0]!)
    socket.on('data', (data) => {
      const [, status] = /^HTTP\/1\.1 (\d{3})/.exec(data.toString('latin1')) ?? []
      if (status === undefined) return
      statuses.push(status)
      if (statuses.length === requests.length) resolve(statuses)
      else socket.write(requests[statuses.length]!)
    })
  })
}
