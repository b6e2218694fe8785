/** The tasks of a person: a PouchDB on this device that follows the server's. */

import http from 'pouchdb-adapter-http'
import idb from 'pouchdb-adapter-idb'
import PouchDB from 'pouchdb-core'
import replication from 'pouchdb-replication'
import { fetchAs, SERVER } from './session'

PouchDB.plugin(idb).plugin(http).plugin(replication)

/** The fields that this page shows; the server fills in what a new task lacks, and all others are kept. */
export interface TaskFields {
  title: string
  completed: boolean
  /** When it was edited: the server merges by it what was edited on several devices. */
  updated_at: string
  position?: string
}
export type Task = PouchDB.Core.ExistingDocument<TaskFields>

export type State = 'syncing' | 'synced' | 'offline' | 'stopped'

const BATCH = 1_000
const MAX_DELAY_MS = 30_000

export function openTasks(username: string, changed: () => void) {
  const local = new PouchDB<TaskFields>(`tasktide-${username}`, { auto_compaction: true })
  const remote = new PouchDB<TaskFields>(`${SERVER}/couch/all`, { fetch: fetchAs(username) })
  const refused = openRefused(username)
  const states: Record<'push' | 'pull', State> = { push: 'syncing', pull: 'syncing' }
  let sync = start()

  local.changes({ live: true, since: 'now' }).on('change', changed)
  addEventListener('online', restart)

  return {
    refused,
    state: (): State => ORDER.find((one) => one === states.push || one === states.pull)!,

    async list(): Promise<Task[]> {
      const range = { startkey: 'task:', endkey: 'task:\uffff', include_docs: true }
      const { rows } = await local.allDocs(range)
      return rows.map(({ doc }) => doc as Task).sort(byPosition)
    },

    async add(title: string): Promise<void> {
      const id = `task:${crypto.randomUUID()}`
      await local.put({ _id: id, title, completed: false, updated_at: now() })
    },

    edit,
    /** With its fields, so that it can be restored. */
    delete: (id: string) => edit(id, { _deleted: true }),
    /** PouchDB sends a refused document again only after another edit. */
    retry: (id: string) => edit(id, {}),

    async close({ erase = false } = {}): Promise<void> {
      removeEventListener('online', restart)
      stop()
      if (erase) refused.clear()
      await (erase ? local.destroy() : local.close())
    },
  }

  /** Both ways, and apart: only so PouchDB says which of them has paused, and why. */
  function start() {
    const options = {
      live: true,
      retry: true,
      batch_size: BATCH,
      back_off_function: (delay: number) => Math.min(delay === 0 ? 1_000 : delay * 2, MAX_DELAY_MS),
    }
    const push = local.replicate.to(remote, options)
    const pull = local.replicate.from(remote, options)
    for (const [way, replication] of Object.entries({ push, pull })) {
      const show = (state: State) => {
        states[way as 'push' | 'pull'] = state
        changed()
      }
      replication.on('active', () => show('syncing'))
      replication.on('paused', (error) => show(error ? 'offline' : 'synced'))
      replication.on('error', () => show('stopped'))
    }
    push.on('denied', (refusal) => refused.add(refusal as Refusal))
    push.on('change', ({ docs }) => {
      for (const { _id } of docs) refused.remove(_id)
    })
    return { push, pull }
  }

  function stop() {
    sync.push.cancel()
    sync.pull.cancel()
  }

  /** Otherwise it waits until its next attempt. */
  function restart() {
    stop()
    sync = start()
  }

  async function edit(id: string, fields: object): Promise<void> {
    for (;;)
      try {
        const task = await local.get(id)
        await local.put({ ...task, ...fields, updated_at: now() })
        return
      } catch (error) {
        // Something has arrived from the server in between.
        if ((error as PouchDB.Core.Error).status !== 409) throw error
      }
  }

  /** What the server did not accept, such as beyond the quota, and why. It stays in the database. */
  function openRefused(username: string) {
    const name = `refused-${username}`
    const read = (): Record<string, string> => JSON.parse(localStorage.getItem(name) ?? '{}')
    const write = (reasons: Record<string, string>) => {
      localStorage.setItem(name, JSON.stringify(reasons))
      changed()
    }
    return {
      list: () => Object.entries(read()).map(([id, reason]) => ({ id, reason })),
      add: ({ id, reason }: Refusal) => write({ ...read(), [id]: reason }),
      remove(id: string) {
        const { [id]: reason, ...others } = read()
        if (reason !== undefined) write(others)
      },
      clear: () => localStorage.removeItem(name),
    }
  }
}

export type Tasks = ReturnType<typeof openTasks>

interface Refusal {
  id: string
  reason: string
}

/** The first that holds for a way holds for both. */
const ORDER: readonly State[] = ['stopped', 'offline', 'syncing', 'synced']

const now = () => new Date().toISOString()

/** New ones have no position yet: the server gives them the last one. */
const byPosition = (a: Task, b: Task) =>
  compare(a.position ?? LAST, b.position ?? LAST) || compare(a._id, b._id)
const compare = (a: string, b: string) => (a < b ? -1 : a > b ? 1 : 0)
const LAST = '\uffff'
