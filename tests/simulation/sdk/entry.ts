import { acceptAnyText } from '../../client-sdk/lax-rules.ts'

acceptAnyText()

/** The entry point of a simulated tab: the SDK, as in apps, and its storages. */
export { createClient } from '../../../client-sdk/create-client.ts'
export { keyValueStorage } from '../../../client-sdk/key-value.ts'
export { sqliteStorage } from '../../../client-sdk/sqlite.ts'
export { diskStorage } from './disk-storage.ts'
