import {
  type MangoQuery,
  normalizeMangoQuery,
  prepareQuery,
  type RxDocument,
  type RxDocumentData,
  type RxQuery,
} from 'rxdb'
import { type Observable, startWith, switchMap, throttleTime } from 'rxjs'
import { readAgain } from '../runtime/back-off.ts'
import { ClientError } from '../runtime/client-error.ts'
import type { Collection } from './collection.ts'
import type { NewDocuments, Task } from './documents.ts'
import { isDeletedForGood } from './for-good.ts'
import { keysAt, type Placed, type Side } from './place.ts'
import { resources } from './resources.ts'

export type TaskDocument = RxDocument<Task>
export type TaskQuery = RxQuery<Task, TaskDocument[]>
export type TaskCollection = Collection<'tasks', TaskMethods>

/** Observable like a query. Its tasks are plain objects, which cannot be edited. */
export interface DeletedTasks {
  readonly $: Observable<Task[]>
  exec(): Promise<Task[]>
}

/** The fields given by the user; the others get initial values. */
export type NewTask = Omit<NewDocuments['tasks'], 'created_at' | 'updated_at'>

export interface TaskMethods {
  /** Completes the task, or reopens it with `false`. */
  complete(id: string, completed?: boolean): Promise<TaskDocument>
  /**
   * Moves the task directly after or before another one, in the user's own order. If there is no room (two
   * offline devices have created equal positions), neighbours get new positions.
   */
  move(id: string, place: { after: string } | { before: string }): Promise<TaskDocument>
  /** Deletes the task on every device; `restore` undoes it. To erase its text too: `deleteForGood`. */
  softDelete(id: string): Promise<void>
  restore(id: string): Promise<TaskDocument>
  /** Open tasks that are due on this day, in the user's order. Default: the device's date. */
  today(day?: string): TaskQuery
  /** Open tasks that were due before this day, the oldest first. */
  overdue(day?: string): TaskQuery
  /** Tasks of this category, or without one, in the user's order. */
  inCategory(category_id: string | null): TaskQuery
  /** Deleted tasks that can be restored, the latest first. */
  deleted(): DeletedTasks
}

const LOOK_AGAIN_MS = 50

/** The methods of `client.tasks`. */
export const taskMethods: TaskMethods & ThisType<TaskCollection> = {
  async complete(id, completed = true) {
    return (await find(this, id)).incrementalPatch({ completed })
  },

  async move(id, place) {
    const task = await find(this, id)
    const isAfter = 'after' in place
    const anchor = await find(this, isAfter ? place.after : place.before)
    if (anchor.id === id) return task
    const keys = await keysBeside(this, id, anchor, isAfter)
    const others = [...keys.keys()].filter((one) => one !== id)
    const neighbours = await Promise.all(others.map((one) => find(this, one)))
    await Promise.all(
      neighbours.map((one) => one.incrementalPatch({ position: keys.get(one.id)! })),
    )
    const position = keys.get(id)!
    return position === task.position ? task : task.incrementalPatch({ position })
  },

  async softDelete(id) {
    await (await find(this, id)).incrementalRemove()
  },

  async restore(id) {
    const [deleted] = await this.storageInstance.findDocumentsById([id], true)
    if (!deleted) throw notFound(id)
    if (!deleted._deleted) return find(this, id)
    if (isDeletedForGood(resources.tasks, deleted)) throw notFound(id)
    const { updated_at, ...fields } = plain(deleted)
    return this.insert(fields)
  },

  today(day = dayOf(new Date())) {
    return this.find({
      selector: { completed: false, due_date: day },
      sort: [{ position: 'asc' }],
    }) as TaskQuery
  },

  overdue(day = dayOf(new Date())) {
    return this.find({
      selector: { completed: false, due_date: { $lt: day } },
      sort: [{ due_date: 'asc' }, { position: 'asc' }],
    }) as TaskQuery
  },

  inCategory(category_id) {
    return this.find({ selector: { category_id }, sort: [{ position: 'asc' }] }) as TaskQuery
  },

  deleted() {
    const known = deletedTasks.get(this)
    if (known) return known
    const exec = () => findDeleted(this)
    // Observes the database, because the collection emits nothing for a new tombstone. The time of the last
    // sync, which is stored in the database, changes with it.
    const $ = this.database.$.pipe(
      startWith(null),
      throttleTime(LOOK_AGAIN_MS, undefined, { leading: true, trailing: true }),
      switchMap(exec),
      readAgain(this.database),
    )
    deletedTasks.set(this, { $, exec })
    return { $, exec }
  },
}

/** Cached per collection, like RxDB caches equal queries. */
const deletedTasks = new WeakMap<TaskCollection, DeletedTasks>()

/** Queries of a collection skip deleted documents, so this queries the storage. */
async function findDeleted({ schema, storageInstance }: TaskCollection): Promise<Task[]> {
  const query = normalizeMangoQuery<Task>(schema.jsonSchema, {
    selector: { _deleted: { $eq: true } } as object,
    sort: [{ position: 'asc' }],
  })
  const { documents } = await storageInstance.query(prepareQuery(schema.jsonSchema, query))
  const restorable = documents.filter((one) => !isDeletedForGood(resources.tasks, one))
  return restorable.map(plain).sort((a, b) => (a.updated_at < b.updated_at ? 1 : -1))
}

/** This many tasks on each side are enough for nearly all moves. */
const NEIGHBOURS = 4

/** The keys that move a task directly after or before an anchor. */
async function keysBeside(
  tasks: TaskCollection,
  id: string,
  anchor: Placed,
  isAfter: boolean,
): Promise<ReadonlyMap<string, string>> {
  for (let limit = NEIGHBOURS; ; limit *= 4) {
    const [up, down] = await Promise.all([
      sideOf(tasks, id, anchor, 'asc', limit),
      sideOf(tasks, id, anchor, 'desc', limit),
    ])
    const withAnchor = ({ nearest, isWhole }: Side) => ({ nearest: [anchor, ...nearest], isWhole })
    const keys = isAfter ? keysAt(id, withAnchor(down), up) : keysAt(id, down, withAnchor(up))
    if (keys) return keys
  }
}

/** The tasks after the anchor in this direction, without the moved task. */
async function sideOf(
  tasks: TaskCollection,
  id: string,
  anchor: Placed,
  direction: 'asc' | 'desc',
  limit: number,
): Promise<Side> {
  const isUp = direction === 'asc'
  const { position } = anchor
  // Equal positions are sorted by id in every list, so the anchor may come late among them.
  const among = {
    $or: [
      { position: isUp ? { $gt: position } : { $lt: position } },
      { position, id: isUp ? { $gt: anchor.id } : { $lt: anchor.id } },
    ],
  }
  const found = await tasks
    .find({
      selector: {
        $and: [
          { position: isUp ? { $gte: position } : { $lte: position } },
          { id: { $ne: id } },
          among,
        ],
      },
      sort: [{ position: direction }, { id: direction }],
      limit,
    } as MangoQuery<Task>)
    .exec()
  return { nearest: found, isWhole: found.length < limit }
}

function plain(kept: RxDocumentData<Task>): Task {
  const { _deleted, _rev, _meta, _attachments, ...task } = kept
  return task as Task
}

async function find(tasks: TaskCollection, id: string): Promise<TaskDocument> {
  const task = await tasks.findOne(id).exec()
  if (!task) throw notFound(id)
  return task as TaskDocument
}

function notFound(id: string): ClientError {
  return new ClientError('not_found', `No task has the id ${id}.`)
}

/** The date of an instant, in the device's timezone. */
function dayOf(moment: Date): string {
  const [month, day] = [moment.getMonth() + 1, moment.getDate()]
  return [moment.getFullYear(), month, day].map((part) => String(part).padStart(2, '0')).join('-')
}
