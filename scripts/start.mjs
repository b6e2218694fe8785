import { existsSync } from 'node:fs'
import { ensureInstalled, fail, production } from './install.mjs'
import { stopWithParent } from './parent.mjs'

ensureInstalled()
if (!production) await buildWhatIsStale()
const { runFromEnvironment } = await load()
stopWithParent()
await runFromEnvironment()

async function buildWhatIsStale() {
  const { ensureWebApp } = await import('../examples/web/build.mjs')
  await ensureWebApp()
}

async function load() {
  if (!production) {
    const { register } = await import('tsx/esm/api')
    register()
    return import('../server/main.ts')
  }
  const built = new URL('../dist/server/main.js', import.meta.url)
  if (!existsSync(built))
    fail('There is no dist: run `npm ci --include=dev && npm run build` first (or unset NODE_ENV).')
  return import(built.href)
}
