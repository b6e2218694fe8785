import { randomUUID } from 'node:crypto'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { PUSH_RESULT } from '../../../protocol/index.ts'
import { type Person, startServer, type TestServer } from '../../support/server.ts'

/** Texts of this size fill the account. */
const LONG = 'x'.repeat(9_000)

let server: TestServer
beforeAll(async () => {
  server = await startServer({
    QUOTA_DOCUMENTS: '5',
    QUOTA_BYTES: '100000',
    WRITES_PER_MINUTE: '0',
  })
})
afterAll(() => server.stop())

const usageOf = async (person: Person) => (await person.call('GET', '/api/account/')).body.usage

const add = (person: Person, fields = {}) =>
  person.call('POST', '/api/tasks/', { title: 'Ferry', ...fields })

const push = (person: Person, rows: object[]) =>
  person.call('POST', '/replication/tasks/0/push', rows, { headers: { accept: PUSH_RESULT } })

const row = (fields = {}) => ({
  newDocumentState: { id: randomUUID(), title: 'Ferry', _deleted: false, ...fields },
})

/** Has five tasks, as many as there may be. */
async function full(): Promise<{ person: Person; ids: string[] }> {
  const person = await server.person()
  const ids: string[] = []
  for (let i = 0; i < 5; i++) ids.push((await add(person)).body.id)
  return { person, ids }
}

describe('documents', () => {
  test('beyond the quota are refused, until there is room', async () => {
    const { person, ids } = await full()
    expect(await usageOf(person)).toMatchObject({ documents: 5, max_documents: 5 })
    for (const [path, body] of [
      ['/api/tasks/', { title: 'One more' }],
      ['/api/categories/', { name: 'One more' }],
    ] as const) {
      const refused = await person.call('POST', path, body)
      expect(refused).toMatchObject({
        status: 403,
        body: {
          code: 'quota_exceeded',
          detail: expect.stringMatching(/5 documents\. Delete some/),
        },
      })
    }
    expect((await person.call('GET', '/api/tasks/')).body.count).toBe(5)
    expect((await person.call('DELETE', `/api/tasks/${ids[0]}/`)).status).toBe(204)
    expect((await add(person)).status).toBe(201)
    expect((await person.call('POST', `/api/tasks/${ids[0]}/restore/`)).status).toBe(403)
  })

  test('that exist can be changed, deleted and created again as before', async () => {
    const { person, ids } = await full()
    const path = `/api/tasks/${ids[1]}/`
    expect((await person.call('PATCH', path, { title: 'Night ferry' })).status).toBe(200)
    expect((await person.call('PATCH', '/api/profile/', { bio: 'Sails.' })).status).toBe(200)
    expect((await add(person, { id: ids[0] })).status).toBe(200)
    const { body } = await push(person, [row({ id: ids[1], title: 'Day ferry' })])
    expect(body.rejected).toEqual([])
  })

  test('of a push are refused one by one, and a deletion before them makes room', async () => {
    const { person, ids } = await full()
    const rows = [row(), row({ id: ids[0], _deleted: true }), row(), row()]
    const { status, body } = await push(person, rows)
    expect(status).toBe(200)
    const refused = [rows[0]!, rows[2]!, rows[3]!].map(({ newDocumentState: { id } }) => id)
    expect(body.rejected.map(({ id }: { id: string }) => id)).toEqual([refused[0], refused[2]])
    expect(body.rejected[0]).toMatchObject({ code: 'quota_exceeded' })
    expect(await usageOf(person)).toMatchObject({ documents: 5 })
  })

  test('that a journal entry would create again are refused too', async () => {
    const { person } = await full()
    const rxdb = await person.call('POST', '/replication/tasks/0/push', [row()])
    expect(rxdb.status).toBe(200)
    const { results } = (await person.call('GET', '/api/conflicts/')).body
    expect(results).toMatchObject([{ cause: 'refused', lost: { title: 'Ferry' } }])
    const restored = await person.call('POST', `/api/conflicts/${results[0].id}/restore/`)
    expect(restored).toMatchObject({ status: 403, body: { code: 'quota_exceeded' } })
  })
})

describe('bytes', () => {
  test('beyond the quota are refused, those of deleted documents included', async () => {
    const person = await server.person()
    const ids: string[] = []
    for (let i = 0; i < 10; i++) {
      const { status, body } = await add(person, { description: LONG })
      expect(status).toBe(201)
      ids.push(body.id)
      expect((await person.call('DELETE', `/api/tasks/${body.id}/`)).status).toBe(204)
    }
    const { documents, bytes, max_bytes } = await usageOf(person)
    expect(documents).toBe(0)
    expect(bytes).toBeGreaterThan(90_000)
    expect(max_bytes).toBe(100_000)
    const refused = await add(person, { description: LONG })
    expect(refused).toMatchObject({
      status: 403,
      body: { code: 'quota_exceeded', detail: expect.stringMatching(/100000 bytes/) },
    })
    const { id } = (await add(person)).body
    const path = `/api/tasks/${id}/`
    expect((await person.call('PATCH', path, { description: LONG })).status).toBe(403)
    expect((await person.call('PATCH', path, { description: 'At eight' })).status).toBe(200)
    const { body } = await push(person, [
      row({ id, description: LONG }),
      row({ _deleted: true, description: LONG }),
    ])
    expect(body.rejected.map(({ code }: { code: string }) => code)).toEqual([
      'quota_exceeded',
      'quota_exceeded',
    ])
  })
})

test('a person with little is not counted at each write', async () => {
  const roomy = await startServer({ QUOTA_DOCUMENTS: '1000' })
  const person = await roomy.person()
  const counted = async () =>
    (await roomy.testDatabase.db('feeds').where({ user_id: person.id }).first()).counted_seq
  for (let i = 0; i < 20; i++) expect((await add(person)).status).toBe(201)
  expect(await counted()).toBe('1')
  // As it is for somebody who was there before there was a quota.
  await roomy.testDatabase.db('feeds').where({ user_id: person.id }).update({ counted_seq: 0 })
  for (let i = 0; i < 20; i++) expect((await add(person)).status).toBe(201)
  expect(Number(await counted())).toBeGreaterThan(20)
  expect(Number(await counted())).toBeLessThan(25)
  await roomy.stop()
})

test('who writes too much in a minute has to wait, and may read', async () => {
  const strict = await startServer({ WRITES_PER_MINUTE: '10' })
  const [person, other] = [await strict.person(), await strict.person()]
  const eight = Array.from({ length: 8 }, () => row())
  for (const [answer, status, left] of [
    [await push(person, eight), 200, 2],
    [await add(person, { title: ' ' }), 400, 2],
    // Counts as three documents.
    [await push(person, [row({ description: 'x'.repeat(5_000) })]), 200, 0],
  ] as const) {
    expect(answer.status).toBe(status)
    expect(answer.headers.get('ratelimit-policy')).toBe('"writes";q=10;w=60')
    expect(answer.headers.get('ratelimit')).toMatch(
      new RegExp(`^"writes";r=${left};t=(60|[1-5]?\\d)$`),
    )
  }
  for (const answer of [
    await add(person),
    await push(person, [row()]),
    await person.call('PATCH', '/api/profile/', { bio: 'Sails.' }),
  ]) {
    expect(answer).toMatchObject({ status: 429, body: { code: 'too_many_requests' } })
    expect(Number(answer.headers.get('retry-after'))).toBeGreaterThan(0)
    expect(answer.headers.get('ratelimit')).toMatch(/^"writes";r=0;/)
  }
  const { body, headers } = await person.call('GET', '/api/tasks/')
  expect([body.count, headers.get('ratelimit')]).toEqual([9, null])
  expect((await add(other)).status).toBe(201)
  await strict.stop()
})
