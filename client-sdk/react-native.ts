/**
 * All of the SDK that an app in React Native needs, with RxDB, RxJS and Socket.IO built in: Metro
 * leaves nothing out, and would bundle three times as much. For apps that do not import RxDB themselves.
 */
export * from './index.ts'
export * from './react.ts'
export { type KeyValueStore, keyValueStorage } from './storage-key-value.ts'
export { type SqliteDatabase, sqliteStorage } from './storage-sqlite.ts'
