import { KeyValueLog, type KeyValueStore } from './local/key-value-log.ts'
import type { Storage } from './local/storage.ts'
import { loggedStorage } from './local/storage-logged.ts'

export type { KeyValueStore } from './local/key-value-log.ts'

/**
 * A persistent RxDB storage on a key-value store. Documents are in memory while the app runs.
 */
export function keyValueStorage(store: KeyValueStore): Storage {
  return loggedStorage('key-value', store, (place) => new KeyValueLog(store, place))
}
