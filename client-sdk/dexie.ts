import { getRxStorageDexie } from 'rxdb/plugins/storage-dexie'
import type { Storage } from './local/storage.ts'

/** A frozen tab does not close its database; the browser deletes it when the tab does. */
const PATIENCE_MS = 1_000

/** IndexedDB, for browsers. */
export function dexieStorage(): Storage {
  const storage = getRxStorageDexie()
  const create = storage.createStorageInstance.bind(storage)
  storage.createStorageInstance = async (parameters) => {
    const instance = await create(parameters)
    const { dexieDb } = await instance.internals
    // Dexie would close it during reads. This tab was notified as well and closes it by itself.
    dexieDb.on('versionchange', () => false)
    const empty = instance.remove.bind(instance)
    // RxDB leaves an empty database, whose name contains the user's id.
    instance.remove = async () => {
      await empty()
      await Promise.race([dexieDb.delete(), wait(PATIENCE_MS)])
    }
    return instance
  }
  return storage
}

const wait = (milliseconds: number) => new Promise((resolve) => setTimeout(resolve, milliseconds))
