/** The requests that are measured, for whoever sends them. */

export const operationNames = ['list', 'get', 'create', 'patch'] as const
export type OperationName = (typeof operationNames)[number]

/** A user with a token and tasks; each connection of a measurement is one person's. */
export interface Person {
  username: string
  access: string
  taskIds: readonly string[]
}

export interface BenchRequest {
  method: string
  path: string
  body?: object
}

export const okStatus: Record<OperationName, number> = {
  list: 200,
  get: 200,
  create: 201,
  patch: 200,
}

/** The nth request of a person. */
export function requestOf(operation: OperationName, { taskIds }: Person, n: number): BenchRequest {
  const path = `/api/tasks/${taskIds[(n * 7919) % taskIds.length]}/`
  switch (operation) {
    case 'list':
      return {
        method: 'GET',
        path: '/api/tasks/?completed=false&ordering=due_date&page_size=20',
      }
    case 'get':
      return { method: 'GET', path }
    case 'create':
      return {
        method: 'POST',
        path: '/api/tasks/',
        body: {
          title: `Book the ferry ${n}`,
          description: 'The early one, with a cabin. Ask whether the bicycles need a ticket.',
          priority: 'high',
          due_date: '2026-12-01',
          due_time: '08:30',
        },
      }
    case 'patch':
      // Never the title it has, for then nothing would be written.
      return { method: 'PATCH', path, body: { title: `Book another ferry ${n} ${Date.now()}` } }
  }
}
