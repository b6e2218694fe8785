import { existsSync } from 'node:fs'
import { ensureInstalled, fail, production } from './install.mjs'

ensureInstalled()
const { runFromEnvironment } = await load()
if (process.env.npm_lifecycle_event) stopWithParent()
await runFromEnvironment()

/** npm passes SIGTERM on to a shell, which dies of it alone and would leave the server behind. */
function stopWithParent() {
  const parent = process.ppid
  const watch = setInterval(() => {
    if (process.ppid === parent) return
    clearInterval(watch)
    process.kill(process.pid, 'SIGTERM')
  }, 200)
  watch.unref()
}

async function load() {
  if (!production) {
    const { register } = await import('tsx/esm/api')
    register()
    return import('../server/main.ts')
  }
  const built = new URL('../dist/server/main.js', import.meta.url)
  if (!existsSync(built)) fail('There is no dist: run `npm run build` first (or unset NODE_ENV).')
  return import(built.href)
}
