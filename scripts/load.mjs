import { existsSync } from 'node:fs'
import { fail, production } from './install.mjs'

/** Loads an entry point of the server: the source in development, the build in production. */
export async function load(file) {
  if (!production) {
    const { register } = await import('tsx/esm/api')
    register()
    return import(`../server/processes/${file}.ts`)
  }
  const built = new URL(`../dist/server/processes/${file}.js`, import.meta.url)
  if (!existsSync(built))
    fail(
      'The server is not built: run `npm ci --include=dev && npm run build` first (or unset NODE_ENV).',
    )
  return import(built.href)
}
