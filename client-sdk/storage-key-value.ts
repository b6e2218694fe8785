import { getRxStorageLocalstorage } from 'rxdb/plugins/storage-localstorage'
import type { Storage } from './token-store.ts'

/** A store of texts that answers at once, such as MMKV in React Native. */
export interface KeyValueStore {
  getString(key: string): string | undefined
  set(key: string, value: string): void
  delete(key: string): void
  getAllKeys(): string[]
}

/** A storage for RxDB that lasts wherever there is such a store. */
export function keyValueStorage(store: KeyValueStore): Storage {
  const localStorage = {
    getItem: (key: string) => store.getString(key) ?? null,
    setItem: (key: string, value: string) => store.set(key, value),
    removeItem: (key: string) => store.delete(key),
    key: (index: number) => store.getAllKeys()[index] ?? null,
    clear() {
      for (const key of store.getAllKeys()) store.delete(key)
    },
    get length() {
      return store.getAllKeys().length
    },
  }
  return getRxStorageLocalstorage({ localStorage })
}
