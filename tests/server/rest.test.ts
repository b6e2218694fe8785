import { afterAll, beforeAll, expect, test } from 'vitest'
import { startServer, type TestServer } from '../support/server.ts'

let server: TestServer
beforeAll(async () => {
  server = await startServer()
})
afterAll(() => server.stop())

test('create, change one field, read, delete, restore', async () => {
  const ann = await server.person()
  const made = await ann.call('POST', '/api/tasks/', { title: 'Milk', description: 'two' })
  expect(made).toMatchObject({ status: 201, body: { title: 'Milk', description: 'two' } })
  const path = `/api/tasks/${made.body.id}/`
  expect((await ann.call('PATCH', path, { priority: 'high' })).body).toEqual({
    ...made.body,
    priority: 'high',
    updated_at: expect.any(String),
  })
  expect((await ann.call('DELETE', path)).status).toBe(204)
  expect((await ann.call('GET', path)).status).toBe(404)
  expect((await ann.call('POST', `${path}restore/`)).status).toBe(200)
  expect((await ann.call('GET', path)).body.priority).toBe('high')
})
