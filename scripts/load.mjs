import { existsSync } from 'node:fs'
import { fail, production } from './install.mjs'

/** A process of the server: its source in development, what was built of it in production. */
export async function load(file) {
  if (!production) {
    const { register } = await import('tsx/esm/api')
    register()
    return import(`../server/processes/${file}.ts`)
  }
  const built = new URL(`../dist/server/processes/${file}.js`, import.meta.url)
  if (!existsSync(built))
    fail('There is no dist: run `npm ci --include=dev && npm run build` first (or unset NODE_ENV).')
  return import(built.href)
}
