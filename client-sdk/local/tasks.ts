import {
  type MangoQuery,
  normalizeMangoQuery,
  prepareQuery,
  type RxCollection,
  type RxDocument,
  type RxDocumentData,
  type RxQuery,
} from 'rxdb'
import { type Observable, startWith, switchMap, throttleTime } from 'rxjs'
import { readAgain } from '../runtime/back-off.ts'
import { ClientError } from '../runtime/client-error.ts'
import { keysAt, type Placed, type Side } from './place.ts'
import type { Task } from './resources.ts'

export type TaskDocument = RxDocument<Task>
export type TaskQuery = RxQuery<Task, TaskDocument[]>
export type TaskCollection = RxCollection<Task, object, TaskMethods>

/** To be observed or asked once, as the queries are. Its tasks are plain: they cannot be edited. */
export interface DeletedTasks {
  readonly $: Observable<Task[]>
  exec(): Promise<Task[]>
}

/** What a person gives; the rest has its starting value. */
export type NewTask = Pick<Task, 'title'> & Partial<Omit<Task, 'created_at' | 'updated_at'>>

export interface TaskMethods {
  add(task: NewTask): Promise<TaskDocument>
  /** Marks it as done, or with `false` as still to do. */
  complete(id: string, completed?: boolean): Promise<TaskDocument>
  /**
   * To the place right after or right before another task, in the owner's own order. Where there is no
   * room (two devices offline have given neighbours one position), neighbours get new ones.
   */
  move(id: string, place: { after: string } | { before: string }): Promise<TaskDocument>
  /** Deletes it on every device; `restore` brings it back. */
  softDelete(id: string): Promise<void>
  restore(id: string): Promise<TaskDocument>
  /** To do on this day, in the owner's order. A day is that of the device unless given. */
  today(day?: string): TaskQuery
  /** To do since before this day, the oldest first. */
  overdue(day?: string): TaskQuery
  /** In this category, or in none, in the owner's order. */
  inCategory(category_id: string | null): TaskQuery
  /** What can be restored, the latest first. */
  deleted(): DeletedTasks
}

const LOOK_AGAIN_MS = 50

/** The methods of `client.tasks`. */
export const taskMethods: TaskMethods & ThisType<TaskCollection> = {
  add(task) {
    // What is absent is filled in before it is kept.
    return this.insert(task as Task)
  },

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
    const { updated_at, ...fields } = plain(deleted)
    return this.insert(fields as Task)
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
    // Of the database, not of the collection, which says nothing of a tombstone that is new here: the
    // time of the last sync, which is kept there, changes with it.
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

/** One for each collection, as RxDB has one for equal queries. */
const deletedTasks = new WeakMap<TaskCollection, DeletedTasks>()

/** Queries of a collection pass deleted documents over, so the storage itself is asked. */
async function findDeleted({ schema, storageInstance }: TaskCollection): Promise<Task[]> {
  const query = normalizeMangoQuery<Task>(schema.jsonSchema, {
    selector: { _deleted: { $eq: true } } as object,
    sort: [{ position: 'asc' }],
  })
  const { documents } = await storageInstance.query(prepareQuery(schema.jsonSchema, query))
  return documents.map(plain).sort((a, b) => (a.updated_at < b.updated_at ? 1 : -1))
}

/** So many tasks on each side of a place are enough in nearly all moves. */
const NEIGHBOURS = 4

/** The keys that put a task right after or right before an anchor. */
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

/** Those that come after the anchor in this direction, without the task that is to be moved. */
async function sideOf(
  tasks: TaskCollection,
  id: string,
  anchor: Placed,
  direction: 'asc' | 'desc',
  limit: number,
): Promise<Side> {
  const isUp = direction === 'asc'
  const { position } = anchor
  // Equal positions are in the order of ids, in every list. Among them, the anchor may come late.
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
  return new ClientError('not_found', `There is no task ${id}.`)
}

/** The calendar day of a moment, where the device is. */
function dayOf(moment: Date): string {
  const [month, day] = [moment.getMonth() + 1, moment.getDate()]
  return [moment.getFullYear(), month, day].map((part) => String(part).padStart(2, '0')).join('-')
}
