import type { RxDatabaseCreator } from 'rxdb'

/** Any RxDB storage. */
export type Storage = RxDatabaseCreator['storage']
