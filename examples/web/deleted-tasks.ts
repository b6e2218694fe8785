import { normalizeMangoQuery, prepareQuery } from 'rxdb'
import { auditTime, from, type Observable, startWith, switchMap } from 'rxjs'
import type { Task, TaskCollection } from '../../client-sdk/index.ts'

/**
 * What is in the trash, the latest first. Queries of a collection pass deleted documents over, so the
 * storage itself is asked, again whenever something changes.
 */
export function deletedTasks(tasks: TaskCollection): Observable<Task[]> {
  return tasks.$.pipe(
    startWith(null),
    auditTime(50),
    switchMap(() => from(find(tasks))),
  )
}

async function find({ schema, storageInstance }: TaskCollection): Promise<Task[]> {
  const query = normalizeMangoQuery<Task>(schema.jsonSchema, {
    selector: { _deleted: { $eq: true } } as object,
    sort: [{ position: 'asc' }],
  })
  const { documents } = await storageInstance.query(prepareQuery(schema.jsonSchema, query))
  return (documents as Task[]).sort((a, b) => (a.updated_at < b.updated_at ? 1 : -1))
}
