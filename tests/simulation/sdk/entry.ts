/** What a simulated tab runs: the SDK as apps get it, and the storage of the simulated device. */
export { createClient } from '../../../client-sdk/client.ts'
export { diskStorage } from './disk-storage.ts'
