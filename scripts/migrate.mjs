import { existsSync } from 'node:fs'
import { ensureInstalled, fail, production } from './install.mjs'

ensureInstalled()
const { migrateFromEnvironment } = await load()
await migrateFromEnvironment()

async function load() {
  if (!production) {
    const { register } = await import('tsx/esm/api')
    register()
    return import('../server/database/migrate.ts')
  }
  const built = new URL('../dist/server/database/migrate.js', import.meta.url)
  if (!existsSync(built))
    fail('There is no dist: run `npm ci --include=dev && npm run build` first (or unset NODE_ENV).')
  return import(built.href)
}
