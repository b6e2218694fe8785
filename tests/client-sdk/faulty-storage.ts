import type { BulkWriteRow, RxDocumentData, RxStorageInstance } from 'rxdb'
import type { Storage } from '../../client-sdk/local/storage.ts'

type Row = RxDocumentData<Record<string, unknown>>
type Instance = RxStorageInstance<Record<string, unknown>, unknown, unknown>
type Fields = Readonly<Record<string, unknown>>

/** A storage that changes what is stored, of tasks by default, without a new revision and without an event for the app. */
export interface FaultyStorage {
  storage: Storage
  /** The ids of the tasks whose rows or known states were written since `watch`. */
  written: { tasks?: string[]; known?: string[] }
  watch(): void
  /** Changes the visible row of a document. */
  corrupt(id: string, fields: Fields, collection?: string): Promise<void>
  /** Changes its known state. */
  corruptKnown(id: string, fields: Fields): Promise<void>
  /** Loses the visible row. */
  lose(id: string): Promise<void>
  /** Copies the visible row to another id. */
  copy(id: string, to: string): Promise<void>
}

/** Not an edit of the user. */
const CONTEXT = 'replication-fault'

export function faultyStorage(storage: Storage): FaultyStorage {
  const instances = new Map<string, Instance>()
  const faulty: FaultyStorage = {
    storage: { ...storage, createStorageInstance: create as Storage['createStorageInstance'] },
    written: {},
    watch() {
      faulty.written = {}
    },
    async corrupt(id, fields, collection) {
      const { instance, row } = await find(id, collection)
      await write(instance, [{ previous: row, document: { ...row, ...fields } as Row }])
    },
    async corruptKnown(id, fields) {
      for (const [name, instance] of instances) {
        if (!isKnownStates(name)) continue
        const [row] = await instance.findDocumentsById([`${id}|0`], true)
        if (!row) continue
        const docData = { ...(row.docData as Fields), ...fields }
        await write(instance, [{ previous: row, document: { ...row, docData } as Row }])
        return
      }
      throw new Error(`There is no known state of ${id}.`)
    },
    async lose(id) {
      const { instance, row } = await find(id)
      const _meta = { ...row._meta, lwt: 1 }
      await write(instance, [{ previous: row, document: { ...row, _meta, _deleted: true } as Row }])
      await instance.cleanup(0)
      if ((await instance.findDocumentsById([id], true)).length > 0) throw new Error('still there')
    },
    async copy(id, to) {
      const { instance, row } = await find(id)
      await write(instance, [{ document: { ...row, id: to } as Row }])
    },
  }
  return faulty

  async function create(parameters: Parameters<Storage['createStorageInstance']>[0]) {
    const instance = (await storage.createStorageInstance(parameters)) as unknown as Instance
    const { collectionName } = parameters
    instances.set(collectionName, instance)
    const bulkWrite = instance.bulkWrite.bind(instance)
    instance.bulkWrite = (rows, context) => {
      const ids = rows.map(({ document }) => String(document.id))
      if (collectionName === 'tasks') note('tasks', ids)
      // Of a document; the others are cursors.
      const known = ids.filter((key) => key.endsWith('|0')).map((key) => key.split('|')[0]!)
      if (isKnownStates(collectionName) && known.length > 0) note('known', known)
      return bulkWrite(rows, context)
    }
    return instance
  }

  function note(what: 'tasks' | 'known', ids: string[]) {
    faulty.written[what] = [...(faulty.written[what] ?? []), ...ids]
  }

  async function find(id: string, collection = 'tasks') {
    const instance = instances.get(collection)!
    const [row] = await instance.findDocumentsById([id], true)
    if (!row) throw new Error(`There is no ${id}.`)
    return { instance, row: row as Row }
  }

  async function write(instance: Instance, rows: BulkWriteRow<Record<string, unknown>>[]) {
    const { error } = await instance.bulkWrite(rows, CONTEXT)
    if (error.length > 0) throw new Error('The storage refused the fault.', { cause: error[0] })
  }
}

const isKnownStates = (collection: string) => collection.startsWith('rx-replication-meta')
