/** What a simulated tab runs: the SDK as apps get it, and its storages. */
export { createClient } from '../../../client-sdk/client.ts'
export { keyValueStorage } from '../../../client-sdk/key-value.ts'
export { sqliteStorage } from '../../../client-sdk/sqlite.ts'
export { diskStorage } from './disk-storage.ts'
