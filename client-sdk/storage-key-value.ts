import { KeyValueLog } from './key-value-log.ts'
import { loggedStorage } from './storage-logged.ts'
import type { Storage } from './token-store.ts'

/** A store of texts that answers at once, such as MMKV in React Native. */
export type KeyValueStore = {
  getString(key: string): string | undefined
  set(key: string, value: string): void
  getAllKeys(): string[]
} & ({ remove(key: string): unknown } | { delete(key: string): unknown })

/**
 * A storage for RxDB that lasts wherever there is such a store. The documents are in memory while the
 * app runs.
 */
export function keyValueStorage(store: KeyValueStore): Storage {
  return loggedStorage('key-value', (place) => new KeyValueLog(store, place))
}
