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
} from '../generated/orval.ts'
import {
  batchBody,
  batchResponse,
  createTaskBody,
  createTaskResponse,
  listTasksResponse,
  patchTaskResponse,
  pullTasksResponse,
  registerBody,
  signInResponse,
} from '../generated/orval-zod.ts'
import type { Journey } from '../journey.ts'

/** The server's address is in the generated code. Its zod schemas check each body and answer. */
export const journey: Journey = async (_baseUrl, person) => {
  await register(registerBody.parse(person))
  const { username, password } = person
  const { access } = signInResponse.parse((await signIn({ username, password })).data)
  const options = { headers: { Authorization: `Bearer ${access}` } }
  const body = { title: 'Book the ferry', priority: 'high', due_date: '2026-12-01' }
  const { data } = await createTask(createTaskBody.parse(body), options)
  const { id } = createTaskResponse.parse(data)
  const done = patchTaskResponse.parse((await patchTask(id, { completed: true }, options)).data)
  const query = { completed: true, priority__in: ['high', 'low'], ordering: '-due_date' } as const
  const { results } = listTasksResponse.parse(
    (await listTasks({ ...query, priority__in: [...query.priority__in] }, options)).data,
  )
  const { documents } = pullTasksResponse.parse((await pullTasks({ limit: 10 }, options)).data)
  const { status } = await deleteTask(id, {}, options)
  const gone = await getTask(id, options)
  const operations = [
    { method: 'PATCH', path: '/api/profile/', body: { bio: 'Sails.' } },
    { method: 'DELETE', path: `/api/tasks/${id}/` },
  ] as const
  const answer = batchResponse.parse((await batch(batchBody.parse({ operations }), options)).data)
  return {
    done: done.completed && done.completed_at !== null,
    listed: results.map(({ title, priority }) => [title, priority]),
    pulled: documents.map(({ title, _deleted }) => [title, _deleted]),
    deleted: status,
    problem: gone.status === 404 ? gone.data.code : undefined,
    batch: answer.results.map(({ status, problem }) => [status, problem?.code]),
  }
}
