import { getRxStorageDexie } from 'rxdb/plugins/storage-dexie'
import type { Storage } from './token-store.ts'

/** IndexedDB, for browsers. */
export function dexieStorage(): Storage {
  return getRxStorageDexie()
}
