/**
 * The SDK for React Native with RxDB, RxJS and Socket.IO built in: Metro does not remove unused code and
 * would bundle three times as much. For apps that do not import RxDB themselves.
 */
export * from './index.ts'
export { type KeyValueStore, keyValueStorage } from './key-value.ts'
export * from './react.ts'
export { type SqliteDatabase, sqliteStorage } from './sqlite.ts'
