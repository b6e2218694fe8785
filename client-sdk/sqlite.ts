import { type SqliteDatabase, SqliteLog } from './local/sqlite-log.ts'
import type { Storage } from './local/storage.ts'
import { loggedStorage } from './local/storage-logged.ts'

export type { SqliteDatabase } from './local/sqlite-log.ts'

/**
 * A storage for RxDB that lasts in SQLite. The documents are in memory while the app runs. A database
 * file of its own is best: what the app leaves uncommitted on the same connection would take the
 * documents with it.
 */
export function sqliteStorage(database: SqliteDatabase): Storage {
  return loggedStorage('sqlite', (place) => new SqliteLog(database, place))
}
