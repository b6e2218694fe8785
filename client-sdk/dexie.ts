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
    quiet ??= silenceAdvertisement(() => instance.bulkWrite([], 'quiet'))
    await quiet
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

/** Once on each page, at the first write. */
let quiet: Promise<void> | undefined

/** RxDB warns about the storages that it sells with the first write. All other warnings pass. */
async function silenceAdvertisement(write: () => Promise<unknown>): Promise<void> {
  const { warn } = console
  console.warn = (...given: unknown[]) => {
    if (!String(given[0]).includes('RxDB Open Core RxStorage')) warn.apply(console, given)
  }
  await write().catch(() => {}) // a storage that fails says so at its next write
  console.warn = warn
}

const wait = (milliseconds: number) => new Promise((resolve) => setTimeout(resolve, milliseconds))
