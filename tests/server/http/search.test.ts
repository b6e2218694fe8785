import { randomUUID } from 'node:crypto'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { resources, settle } from '../../../protocol/index.ts'
import { TAIL } from '../../../server/store/search-index.ts'
import { startServer, type TestServer } from '../../support/server.ts'

const { tasks } = resources
let server: TestServer
beforeAll(async () => {
  server = await startServer({ RUN_WORKER: 'true' })
})
afterAll(() => server.stop())

test('a search that has to read much is indexed, and what is deleted for good leaves no word', async () => {
  const ann = await server.person()
  const documents = Array.from({ length: TAIL }, (_, i) => ({
    deleted: false,
    document: settle(
      tasks,
      { id: randomUUID(), title: `Férry ${i + 1}` },
      undefined,
      '2026-11-22T08:30:00.000Z',
    ),
  }))
  await server.app.store.transaction(ann.id, (transaction) => transaction.write(tasks, documents))
  const search = async (text: string) =>
    (await ann.call('GET', `/api/tasks/?${new URLSearchParams({ search: text })}`)).body
  const words = () =>
    server.testDatabase.db('search_words').where({ user_id: ann.id }).pluck('word')

  expect((await search('ferry 49')).count).toBe(15)
  await expect.poll(words, { timeout: 20_000 }).toContain('ferry')
  const { count, results } = await search('ferry 499')
  expect(count).toBe(1)

  const [{ id }] = results
  await ann.call('DELETE', `/api/tasks/${id}/?for_good=true`)
  expect(await words()).toEqual([])
  expect((await search('ferry 49')).count).toBe(14)

  // A device that deletes for good pushes an empty tombstone.
  await expect.poll(words, { timeout: 20_000 }).toContain('ferry')
  const [other] = (await search('ferry 498')).results
  const { blank } = tasks
  const pushed = { ...other, ...blank, position: 'a0', _deleted: true }
  const { status } = await ann.call('POST', '/replication/tasks/0/push', [
    { newDocumentState: pushed, assumedMasterState: { ...other, _deleted: false } },
  ])
  expect(status).toBe(200)
  expect(await words()).toEqual([])
})
