import { getRxStorageDexie } from 'rxdb/plugins/storage-dexie'
import type { Storage } from './local/storage.ts'

/** A tab that sleeps does not let go of a database; the browser deletes it when it does. */
const PATIENCE_MS = 1_000

/** IndexedDB, for browsers. */
export function dexieStorage(): Storage {
  const storage = getRxStorageDexie()
  const create = storage.createStorageInstance.bind(storage)
  storage.createStorageInstance = async (parameters) => {
    const instance = await create(parameters)
    const { dexieDb } = await instance.internals
    // Dexie would close it under what is still being read. This tab has heard, too, and closes it itself.
    dexieDb.on('versionchange', () => false)
    const empty = instance.remove.bind(instance)
    // RxDB leaves an empty database behind, whose name says who was here.
    instance.remove = async () => {
      await empty()
      await Promise.race([dexieDb.delete(), wait(PATIENCE_MS)])
    }
    return instance
  }
  return storage
}

const wait = (milliseconds: number) => new Promise((resolve) => setTimeout(resolve, milliseconds))
