import type { Collection } from './collection.ts'
import type { ResourceName } from './documents.ts'
import { type TaskMethods, taskMethods } from './tasks.ts'

/** What some collections can do beside what all can. */
interface Methods {
  tasks: TaskMethods
}

export const methods: Methods = { tasks: taskMethods }

/** By the name of the resource. */
export type Collections = {
  [N in ResourceName]: Collection<N, N extends keyof Methods ? Methods[N] : unknown>
}
