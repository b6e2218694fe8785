import { randomUUID } from 'node:crypto'
import { expect } from 'vitest'
import type { Person } from '../support/server.ts'
import { deviceOf, tasksOf } from './device.ts'
import { test } from './fixtures.ts'
import { createSlowLine } from './slow-line.ts'

const COUNT = 5_000
const AT_ONCE = 1_000
/** No limit, as far as this is concerned. */
const BYTES_PER_SECOND = 100_000_000

test('a first sync transfers less than a third of its bytes, in few pages', async ({
  ann,
  network,
}) => {
  await fill(ann)
  const compressed = await firstSync(network.url, ann)
  const pages = network.seen.filter((one) => one.startsWith('GET /replication/tasks/0/pull?'))
  // Each ends after 2,000 documents or a megabyte.
  expect(pages.length).toBeLessThan(5)
  const plain = await firstSync(network.url, ann, { 'accept-encoding': 'identity' })
  expect(compressed.tasks).toHaveLength(COUNT)
  expect(compressed.tasks).toEqual(plain.tasks)
  expect(compressed.bytes).toBeLessThan(plain.bytes / 3)
}, 60_000)

async function firstSync(server: string, ann: Person, more: Record<string, string> = {}) {
  const line = await createSlowLine(server, BYTES_PER_SECOND)
  const asking: typeof fetch = (url, init) =>
    fetch(url, { ...init, headers: { ...(init?.headers as object), ...more } })
  const phone = await deviceOf(line, ann, { fetch: asking })
  await phone.sync.awaitInSync({ timeout: 30_000 })
  const tasks = await tasksOf(phone)
  await phone.sync.pause()
  const bytes = line.received()
  await line.close()
  return { tasks, bytes }
}

async function fill({ call }: Person): Promise<void> {
  const words = ['buy', 'bread', 'ferry', 'Lisbon', 'call', 'report', 'heating', 'dentist', 'book']
  const title = (i: number) =>
    Array.from({ length: 4 }, (_, n) => words[(i * (n + 3)) % words.length]).join(' ')
  for (let i = 0; i < COUNT; i += AT_ONCE) {
    const rows = Array.from({ length: AT_ONCE }, (_, n) => ({
      newDocumentState: { id: randomUUID(), title: `${title(i + n)} ${i + n}` },
    }))
    expect((await call('POST', '/replication/tasks/0/push', rows)).status).toBe(200)
  }
}
