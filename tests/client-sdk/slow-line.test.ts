import { randomBytes, randomUUID } from 'node:crypto'
import { afterAll, afterEach, beforeAll, beforeEach, expect, test } from 'vitest'
import { type Person, startServer, type TestServer } from '../support/server.ts'
import { deviceOf, until } from './device.ts'
import { createNetwork, type Network } from './network.ts'
import { createSlowLine, type SlowLine } from './slow-line.ts'

/** A second of patience on a line that takes two for everything is a minute on 64 kbit/s. */
const PATIENCE_MS = 1_000
const BYTES_PER_SECOND = 125_000
const COUNT = 200
/** Text that compression does not make much shorter. */
const longTask = () => ({ description: randomBytes(1_050).toString('base64') })

let server: TestServer
let network: Network
let line: SlowLine
beforeAll(async () => {
  server = await startServer()
})
beforeEach(async () => {
  network = await createNetwork(server.url)
  line = await createSlowLine(network.url, BYTES_PER_SECOND)
})
afterEach(async () => {
  await line.close()
  await network.close()
})
afterAll(() => server.stop())

test('a push that would time out is sent in parts', async () => {
  const ann = await server.person()
  const phone = await deviceOf(line, ann, { patience: PATIENCE_MS })
  await phone.sync.awaitInSync()
  await phone.sync.pause()
  await phone.tasks.bulkInsert(
    Array.from({ length: COUNT }, (_, i) => ({ title: `Task ${i}`, ...longTask() })) as never,
  )
  await phone.sync.resume()
  await phone.sync.awaitInSync({ timeout: 60_000 })
  expect((await ann.call('GET', '/api/tasks/?page_size=1')).body.count).toBe(COUNT)
})

test('a pull is not aborted while its response arrives', async () => {
  const ann = await server.person()
  await fill(ann)
  network.seen.length = 0
  const phone = await deviceOf(line, ann, { patience: PATIENCE_MS })
  await until(phone.tasks.count().$, (count) => count === COUNT)
  expect(pulls().filter((request) => request.includes('pull?limit='))).toHaveLength(1)
})

test('where responses only arrive as a whole, as in React Native, it is pulled in parts', async () => {
  const ann = await server.person()
  await fill(ann)
  const whole: typeof fetch = async (input, init) => {
    const response = await fetch(input, init)
    const { status, headers } = response
    const text = await response.text()
    return Object.defineProperty(new Response(text || null, { status, headers }), 'body', {
      value: undefined,
    })
  }
  network.seen.length = 0
  const phone = await deviceOf(line, ann, { patience: PATIENCE_MS, fetch: whole })
  await until(phone.tasks.count().$, (count) => count === COUNT)
  await phone.sync.awaitInSync({ timeout: 60_000 })
  expect(pulls().length).toBeGreaterThan(2)
})

const pulls = () => network.seen.filter((request) => request.startsWith('GET /replication/tasks/'))

async function fill({ call }: Person): Promise<void> {
  const rows = Array.from({ length: COUNT }, (_, i) => ({
    newDocumentState: { id: randomUUID(), title: `Task ${i}`, ...longTask() },
  }))
  await call('POST', '/replication/tasks/0/push', rows)
}
