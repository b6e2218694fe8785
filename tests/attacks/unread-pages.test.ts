import { randomUUID } from 'node:crypto'
import { once } from 'node:events'
import net from 'node:net'
import { expect, onTestFinished, test } from 'vitest'
import { type Attacker, openArena } from './arena.ts'

const ROWS = 2_000
const PULL = '/replication/tasks/0/pull?limit=2000'

test('pages that nobody reads occupy no more than the budget, and nobody else waits', async () => {
  const arena = await openArena()
  const attackers = await arena.attackers(2)
  for (const one of attackers) await fill(one)
  const { hostname, port } = new URL(arena.url)
  await arena.whileOthersWork(async () => {
    for (const { access } of attackers)
      for (let i = 0; i < 25; i++) {
        const socket = net.connect(Number(port), hostname)
        onTestFinished(() => void socket.destroy())
        socket.on('error', () => {})
        socket.pause()
        await once(socket, 'connect')
        socket.write(`GET ${PULL} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer ${access}\r\n\r\n`)
      }
    // While they hold what they can, somebody else with as much reads all of it.
    const [other] = await arena.attackers(1)
    await fill(other!)
    const { status, body } = await other!.call('GET', PULL)
    expect([status, body.documents.length]).toEqual([200, ROWS])
  })
})

/** Twenty megabytes. */
async function fill({ call }: Attacker) {
  for (let i = 0; i < ROWS; i += 400) {
    const rows = Array.from({ length: 400 }, () => ({
      newDocumentState: { id: randomUUID(), title: 'long', description: 'x'.repeat(10_000) },
    }))
    expect((await call('POST', '/replication/tasks/0/push', rows)).status).toBe(200)
  }
}
