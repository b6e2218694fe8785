import { ensureInstalled } from './install.mjs'
import { load } from './load.mjs'

ensureInstalled()
const { migrateFromEnvironment } = await load('migrate')
await migrateFromEnvironment()
