import type { Collection } from './collection.ts'
import type { ResourceName } from './documents.ts'
import { type TaskMethods, taskMethods } from './tasks.ts'

/** Methods of single collections. */
interface Methods {
  tasks: TaskMethods
}

export const methods: Methods = { tasks: taskMethods }

/** The collections by resource. */
export type Collections = {
  [N in ResourceName]: Collection<N, N extends keyof Methods ? Methods[N] : unknown>
}
