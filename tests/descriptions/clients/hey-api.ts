import { client } from '../generated/hey-api/client.gen.ts'
import {
  batch,
  createTask,
  deleteTask,
  getTask,
  listTasks,
  patchTask,
  pullTasks,
  register,
  signIn,
} from '../generated/hey-api/index.ts'
import type { Journey } from '../journey.ts'

export const journey: Journey = async (baseUrl, person) => {
  client.setConfig({ baseUrl })
  await register({ body: person })
  const { data: tokens } = await signIn({
    body: { username: person.username, password: person.password },
  })
  client.setConfig({ auth: () => tokens!.access })
  const { data: task } = await createTask({
    body: { title: 'Book the ferry', priority: 'high', due_date: '2026-12-01' },
  })
  const path = { id: task!.id }
  const { data: done } = await patchTask({ path, body: { completed: true } })
  const { data: page } = await listTasks({
    query: { completed: true, priority__in: ['high', 'low'], ordering: '-due_date' },
  })
  const { data: pulled } = await pullTasks({ query: { limit: 10 } })
  const { response } = await deleteTask({ path })
  const { error } = await getTask({ path })
  const { data: answer } = await batch({
    headers: { 'Idempotency-Key': task!.id },
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
    deleted: response!.status,
    problem: error!.code,
    batch: answer!.results.map(({ status, problem }) => [status, problem?.code]),
  }
}
