import { ensureInstalled } from './install.mjs'
import { load } from './load.mjs'

ensureInstalled()
const { runDistributeCommand } = await load('distribute-command')
await runDistributeCommand(process.argv.slice(2))
