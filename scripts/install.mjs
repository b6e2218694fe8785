import { spawnSync } from 'node:child_process'
import { existsSync, lstatSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'

export const root = fileURLToPath(new URL('..', import.meta.url))
export const production = process.env.NODE_ENV === 'production'

/** Makes a fresh clone, or one after `git pull`, runnable: needs nothing but node itself. */
export function ensureInstalled(folder = root) {
  requireNode(20, 19)
  if (isUpToDate(folder)) return
  console.error('Installing dependencies (npm ci)')
  // Left alone, npm would heed an `omit` in somebody's npmrc; in production it leaves out dev itself.
  const include = production ? '' : ' --include=dev --include=optional'
  const { status } = spawnSync(`npm ci${include}`, {
    cwd: folder,
    stdio: 'inherit',
    shell: true,
  })
  if (status !== 0) fail('npm ci did not succeed: see above.')
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
 * Whether what is installed is what the lock file names. What somebody deployed, or linked from
 * elsewhere, is theirs: it is never installed over.
 */
function isUpToDate(folder) {
  const modules = join(folder, 'node_modules')
  const isThere = existsSync(join(modules, '.package-lock.json'))
  if (existsSync(modules) && (production || lstatSync(modules).isSymbolicLink())) return true
  if (!isThere) return false // absent, or an install that was cut off
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
