import { ensureInstalled } from './install.mjs'
import { load } from './load.mjs'

ensureInstalled()
const { runRestoredCommand } = await load('restored-command')
await runRestoredCommand(process.argv.slice(2))
