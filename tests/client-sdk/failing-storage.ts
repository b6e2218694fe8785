import type { BulkWriteRow, RxStorageInstance } from 'rxdb'
import { getRxStorageMemory } from 'rxdb/plugins/storage-memory'
import type { Storage } from '../../client-sdk/local/storage.ts'

/** When a write fails: before any of it is stored, after half of it, or after all of it. */
export type Moment = 'before' | 'half' | 'after'

export interface Write {
  /** As RxDB names it: `tasks`, `rx-replication-meta-…`, `plugin-local-documents-…`. */
  collection: string
  context: string
  rows: readonly BulkWriteRow<Record<string, unknown>>[]
}

export interface FailingStorage {
  storage: Storage
  /** Asked for each write; what it returns is thrown at that moment. */
  onWrite: (write: Write) => { moment: Moment; error?: Error } | undefined
  /** Milliseconds by which the clock of the device is off, as its storage sees it. */
  clockOffset: number
  failures: number
  /** How many of the next reads by id fail. */
  failingReads: number
  /** Whether a collection cannot be opened or read by id. */
  isBroken: (collection: string, access: 'open' | 'read') => boolean | Promise<boolean>
  /** What is open. */
  readonly open: Set<object>
}

/** A storage whose writes can be made to fail. */
export function failingStorage(storage: Storage = getRxStorageMemory()): FailingStorage {
  const failing: FailingStorage = {
    storage: { ...storage, createStorageInstance: create as Storage['createStorageInstance'] },
    onWrite: () => undefined,
    clockOffset: 0,
    failures: 0,
    failingReads: 0,
    isBroken: () => false,
    open: new Set(),
  }
  return failing

  async function create(parameters: Parameters<Storage['createStorageInstance']>[0]) {
    const { collectionName: collection } = parameters
    if (await failing.isBroken(collection, 'open')) throw new Error('The disk does not answer.')
    const instance = (await storage.createStorageInstance(parameters)) as RxStorageInstance<
      Record<string, unknown>,
      unknown,
      unknown
    >
    failing.open.add(instance)
    const close = instance.close.bind(instance)
    instance.close = () => {
      failing.open.delete(instance)
      return close()
    }
    const bulkWrite = instance.bulkWrite.bind(instance)
    instance.bulkWrite = async (rows, context) => {
      for (const { document } of rows) document._meta.lwt += failing.clockOffset
      const fault = failing.onWrite({ collection, context, rows: rows as Write['rows'] })
      if (!fault) return bulkWrite(rows, context)
      failing.failures++
      const stored = { before: 0, half: Math.ceil(rows.length / 2), after: rows.length }
      if (fault.moment !== 'before') await bulkWrite(rows.slice(0, stored[fault.moment]), context)
      throw fault.error ?? new Error('The disk does not answer.')
    }
    const find = instance.findDocumentsById.bind(instance)
    instance.findDocumentsById = async (...args) => {
      const isBroken = await failing.isBroken(collection, 'read')
      if (failing.failingReads === 0 && !isBroken) return find(...args)
      if (failing.failingReads > 0) failing.failingReads--
      throw new Error('The disk does not answer.')
    }
    return instance
  }
}
