import { ensureInstalled } from './install.mjs'
import { load } from './load.mjs'
import { stopWithParent } from './parent.mjs'

ensureInstalled()
const { runWorkerFromEnvironment } = await load('worker')
stopWithParent()
await runWorkerFromEnvironment()
