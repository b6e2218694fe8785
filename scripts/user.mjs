import { ensureInstalled } from './install.mjs'
import { load } from './load.mjs'

ensureInstalled()
const { runUserCommand } = await load('user-command')
await runUserCommand(process.argv.slice(2))
