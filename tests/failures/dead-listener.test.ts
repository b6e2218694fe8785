import { setTimeout as sleep } from 'node:timers/promises'
import { io } from 'socket.io-client'
import { expect, test } from 'vitest'
import { atEnd } from '../support/at-end.ts'
import { startNode } from '../support/web-node.ts'
import { type Actor, lineTo, setStage } from './stage.ts'

/** Enough for a median. */
const WRITES = 12
/** Each waits for a sweep. */
const SWEPT_WRITES = 4

test('a node whose line for hints is dead hands on changes within seconds, counts them, and recovers', async () => {
  const { database, places, people } = await setStage({ nodes: 1 })
  const other = places[0]!
  const line = await lineTo(database.url)
  const deaf = await startNode({
    DATABASE_URL: database.url,
    DATABASE_LISTEN_URL: line.url,
    METRICS_TOKEN: 'Vb3kQ9xZt7Lw2Rf5Yh8Jn4Mc6Pd1Sg0A',
  })
  atEnd(deaf.close)
  const [ann] = await people(1)
  const socket = io(deaf.url, { transports: ['websocket'], auth: { token: ann!.access } })
  atEnd(() => socket.disconnect())
  await new Promise((ready) => socket.once('ready', ready))
  const delays = (writes = WRITES) => delaysOf(ann!, other, socket, writes)
  expect(median(await delays())).toBeLessThan(500)

  line.blackHole()
  // The bar is eight seconds; the sweep comes every three.
  expect(Math.max(...(await delays(SWEPT_WRITES)))).toBeLessThan(8_000)
  const headers = { authorization: 'Bearer Vb3kQ9xZt7Lw2Rf5Yh8Jn4Mc6Pd1Sg0A' }
  const metrics = await (await fetch(`${deaf.url}/metrics`, { headers })).text()
  expect(metrics).toMatch(/^tasktide_hints_lost_total [1-9]/m)
  expect(deaf.log()).toContain('the connection for hints was lost')
  expect((await fetch(`${deaf.url}/readyz`)).status).toBe(200)

  line.pass()
  await sleep(20_000)
  expect(median(await delays())).toBeLessThan(500)
})

async function delaysOf(
  person: Actor,
  place: { url: string },
  socket: { once(event: string, listener: () => void): unknown },
  writes: number,
): Promise<number[]> {
  const found: number[] = []
  for (let i = 0; i < writes; i++) {
    const frame = new Promise<void>((arrived) => socket.once('changes', arrived))
    const began = performance.now()
    await person.at(place)('POST', '/api/tasks/', { title: 'Milk' })
    await frame
    found.push(performance.now() - began)
  }
  return found
}

const median = (values: number[]) => values.sort((a, b) => a - b)[Math.floor(values.length / 2)]
