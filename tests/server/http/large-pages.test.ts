import { randomUUID } from 'node:crypto'
import { once } from 'node:events'
import http from 'node:http'
import { afterAll, afterEach, beforeAll, describe, expect, test, vi } from 'vitest'
import type { PullResponse } from '../../../protocol/index.ts'
import { PULL_RESULT } from '../../../protocol/index.ts'
import { type Person, startServer, type TestServer } from '../../support/server.ts'

const MEGABYTE = 1024 * 1024
/** Ten kilobytes each: more than the kernel takes for a connection that is not read. */
const COUNT = 1_500
/** The profile of the account is the first change. */
const END = COUNT + 1
const PULL = '/replication/tasks/0/pull'

let server: TestServer
let ann: Person
let ids: string[]
beforeAll(async () => {
  server = await startServer({ MAX_BYTES_IN_FLIGHT: `${64 * MEGABYTE}` })
  ann = await server.person()
  const rows = Array.from({ length: COUNT }, () => ({
    newDocumentState: { id: randomUUID(), title: 'long', description: 'x'.repeat(10_000) },
  }))
  for (let i = 0; i < COUNT; i += 300) {
    const some = rows.slice(i, i + 300)
    expect((await ann.call('POST', '/replication/tasks/0/push', some)).status).toBe(200)
  }
  ids = rows.map(({ newDocumentState }) => newDocumentState.id)
})
afterAll(() => server.stop())

const open: http.ClientRequest[] = []
afterEach(async () => {
  vi.useRealTimers()
  for (const request of open.splice(0)) request.destroy()
  await vi.waitUntil(() => server.app.bytes.held() === 0, 5_000)
})

describe('a large page', () => {
  test('ends after about a megabyte for clients that accept so, and says that there is more', async () => {
    const pages: PullResponse[] = []
    for (let query = 'limit=2000', more = true; more; ) {
      const reply = await ann.call('GET', `${PULL}?${query}`, undefined, {
        headers: { accept: `${PULL_RESULT}, application/json` },
      })
      expect(reply.headers.get('content-type')).toBe(PULL_RESULT)
      expect(reply.text.length).toBeLessThan(1.1 * MEGABYTE)
      pages.push(reply.body)
      const { checkpoint, has_more } = reply.body as PullResponse
      more = has_more!
      query = `limit=2000&id=${checkpoint.id}&lwt=${checkpoint.lwt}`
    }
    expect(pages.length).toBeGreaterThan(2)
    expect(pages.flatMap(({ documents }) => documents.map(({ id }) => id))).toEqual(ids)
    expect(pages.at(-1)!.checkpoint.lwt).toBe(END)
  })

  test('is as long as was asked for to any other client, and occupies no more at once', async () => {
    const take = vi.spyOn(server.app.bytes, 'tryTake')
    for (const limit of [2_000, 250]) {
      const { body, headers } = await ann.call('GET', `${PULL}?limit=${limit}`)
      expect(headers.get('content-type')).toBe('application/json')
      const length = Math.min(limit, COUNT)
      expect(body.documents.map(({ id }: { id: string }) => id)).toEqual(ids.slice(0, length))
      const lwt = expect.any(Number)
      expect(body).toEqual({
        documents: body.documents,
        checkpoint: { id: expect.any(String), lwt },
      })
      expect(body.checkpoint.lwt).toBe(limit > COUNT ? END : limit + 1)
    }
    expect(Math.max(...take.mock.calls.map(([, size]) => size))).toBeLessThan(1.1 * MEGABYTE)
    take.mockRestore()
  })

  test('continues after a snapshot of a lost epoch in the same way', async () => {
    const headers = { 'tasktide-replica': JSON.stringify({ expired: [{ id: 'lost', lwt: 3 }] }) }
    const { body } = await ann.call('GET', `${PULL}?limit=2000`, undefined, { headers })
    expect(body).toMatchObject({ missing: 'lost', changed_since: COUNT })
    expect(body.documents.map(({ id }: { id: string }) => id)).toEqual(ids)
  })
})

describe('pages that nobody reads', () => {
  test('leave no room for more of their user: reads get a 429, writes are answered', async () => {
    const { bytes } = server.app
    const held = bytes.take(ann.id, bytes.limitOfPerson - 100_000)
    for (const accept of [PULL_RESULT, 'application/json']) {
      const page = ann.call('GET', `${PULL}?limit=200`, undefined, { headers: { accept } })
      if (accept === PULL_RESULT) {
        expect(await page).toMatchObject({ status: 429, body: { code: 'too_many_requests' } })
        expect(Number((await page).headers.get('retry-after'))).toBeGreaterThan(0)
      } else await expect(page, 'cut off').rejects.toThrow()
    }
    const lists = await ann.call('GET', '/api/tasks/?page_size=100')
    expect(lists).toMatchObject({ status: 429 })
    const [id] = ids
    const written = await ann.call('PATCH', `/api/tasks/${id}/`, { title: 'x' })
    expect(written).toMatchObject({ status: 200, body: { title: 'x' } })
    const bob = await server.person()
    expect((await bob.call('GET', `${PULL}?limit=2000`)).status).toBe(200)
    held.release()
    expect((await ann.call('GET', '/api/tasks/?page_size=100')).status).toBe(200)
  })

  test('are cut off', async () => {
    vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout'] })
    const request = await unread(ann)
    while (server.app.bytes.held() < MEGABYTE) await new Promise(setImmediate)
    vi.advanceTimersByTime(400_000)
    const [response] = request
    response.resume()
    await expect(once(response, 'end')).rejects.toThrow('aborted')
  })
})

/** Asks for a page and reads only the beginning. */
async function unread({ access }: Person): Promise<[http.IncomingMessage]> {
  const request = http.get(`${server.url}${PULL}?limit=2000`, {
    agent: false,
    headers: { authorization: `Bearer ${access}` },
  })
  request.on('error', () => {})
  open.push(request)
  const [response] = (await once(request, 'response')) as [http.IncomingMessage]
  response.pause()
  return [response]
}
