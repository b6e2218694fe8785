import createClient from 'openapi-fetch'
import type { paths } from '../generated/openapi-typescript.ts'
import type { Journey } from '../journey.ts'

export const journey: Journey = async (baseUrl, person) => {
  const client = createClient<paths>({ baseUrl })
  await client.POST('/api/register/', { body: person })
  const { data: tokens } = await client.POST('/api/token/', {
    body: { username: person.username, password: person.password },
  })
  client.use({
    onRequest({ request }) {
      request.headers.set('Authorization', `Bearer ${tokens!.access}`)
    },
  })
  const { data: task } = await client.POST('/api/tasks/', {
    body: { title: 'Book the ferry', priority: 'high', due_date: '2026-12-01' },
  })
  const at = { params: { path: { id: task!.id } } }
  const { data: done } = await client.PATCH('/api/tasks/{id}/', {
    ...at,
    body: { completed: true },
  })
  const { data: page } = await client.GET('/api/tasks/', {
    params: { query: { completed: true, priority__in: ['high', 'low'], ordering: '-due_date' } },
  })
  const { data: pulled } = await client.GET('/replication/tasks/0/pull', {
    params: { query: { limit: 10 } },
  })
  const { response } = await client.DELETE('/api/tasks/{id}/', at)
  const { error } = await client.GET('/api/tasks/{id}/', at)
  const { data: batch } = await client.POST('/api/batch/', {
    params: { header: { 'Idempotency-Key': task!.id } },
    body: {
      operations: [
        { method: 'PATCH', path: '/api/profile/', body: { bio: 'Sails.' } },
        { method: 'DELETE', path: `/api/tasks/${task!.id}/` },
      ],
    },
  })
  return {
    done: done!.completed && done!.completed_at !== null,
    listed: page!.results.map(({ title, priority }) => [title, priority]),
    pulled: pulled!.documents.map(({ title, _deleted }) => [title, _deleted]),
    deleted: response.status,
    problem: error!.code,
    batch: batch!.results.map(({ status, problem }) => [status, problem?.code]),
  }
}
