import { type SqliteDatabase, SqliteLog } from './local/sqlite-log.ts'
import type { Storage } from './local/storage.ts'
import { loggedStorage } from './local/storage-logged.ts'

export type { SqliteDatabase } from './local/sqlite-log.ts'

/**
 * A persistent RxDB storage on SQLite. Documents are in memory while the app runs. Use a separate database
 * file: a transaction that the app leaves open on the same connection would include the documents.
 */
export function sqliteStorage(database: SqliteDatabase): Storage {
  return loggedStorage('sqlite', database, (place) => new SqliteLog(database, place))
}
