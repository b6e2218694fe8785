import { spawnSync } from 'node:child_process'
import { existsSync, lstatSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'

export const root = fileURLToPath(new URL('..', import.meta.url))
export const production = process.env.NODE_ENV === 'production'

/** Installs dependencies in a fresh clone or after `git pull`. Needs only Node. */
export function ensureInstalled(folder = root) {
  requireNode(20, 19)
  if (isUpToDate(folder)) return
  console.error('Installing dependencies (npm ci). This takes about half a minute.')
  // Overrides an `omit` in the user's npmrc. In production npm omits dev dependencies itself.
  const include = production ? '' : ' --include=dev --include=optional'
  const { status } = spawnSync(`npm ci${include}`, {
    cwd: folder,
    stdio: 'inherit',
    shell: true,
  })
  if (status !== 0) fail('npm ci failed: see above.')
}

export function fail(message) {
  console.error(message)
  process.exit(1)
}

function requireNode(major, minor) {
  const [haveMajor, haveMinor] = process.versions.node.split('.').map(Number)
  if (haveMajor > major || (haveMajor === major && haveMinor >= minor)) return
  fail(`Tasktide needs Node ${major}.${minor} or newer; this is ${process.version}.`)
}

/**
 * Whether the installed packages match the lock file. Never reinstalls in production, or over a
 * symlinked node_modules.
 */
function isUpToDate(folder) {
  const modules = join(folder, 'node_modules')
  const isThere = existsSync(join(modules, '.package-lock.json'))
  if (existsSync(modules) && (production || lstatSync(modules).isSymbolicLink())) return true
  if (!isThere) return false // missing, or an interrupted install
  const wanted = packagesIn(join(folder, 'package-lock.json'))
  const installed = packagesIn(join(modules, '.package-lock.json'))
  return Object.entries(wanted).every(
    ([name, { version, optional }]) =>
      name === '' || (installed[name] ? installed[name].version === version : optional),
  )
}

function packagesIn(file) {
  return JSON.parse(readFileSync(file, 'utf8')).packages
}
