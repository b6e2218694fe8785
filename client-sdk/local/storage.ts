import type { RxDatabaseCreator } from 'rxdb'

/** Any of RxDB's storages. */
export type Storage = RxDatabaseCreator['storage']
