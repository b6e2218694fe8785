import { spawnSync } from 'node:child_process'
import { createHash } from 'node:crypto'
import { existsSync, readFileSync, statSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'

export const root = fileURLToPath(new URL('..', import.meta.url))
export const production = process.env.NODE_ENV === 'production'

const lock = join(root, 'package-lock.json')
const installed = join(root, 'node_modules/.package-lock.json')
const stamp = join(root, 'node_modules/.tasktide-lock-hash')

/** Makes a fresh clone, or one after `git pull`, runnable: needs nothing but node itself. */
export function ensureInstalled() {
  requireNode(20, 19)
  if (isUpToDate()) return
  console.error('Installing dependencies, once (npm ci)')
  // Left alone, npm would heed an `omit` in somebody's npmrc; in production it leaves out dev itself.
  const include = production ? '' : ' --include=dev --include=optional'
  const { status } = spawnSync(`npm ci${include}`, { cwd: root, stdio: 'inherit', shell: true })
  if (status !== 0) fail('npm ci did not succeed: see above.')
  writeFileSync(stamp, hashOfLock())
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

function isUpToDate() {
  if (!existsSync(installed)) return false // absent, or an install that was cut off
  const installedAt = statSync(installed).mtimeMs
  if (existsSync(stamp) && statSync(stamp).mtimeMs >= installedAt) {
    return readFileSync(stamp, 'utf8') === hashOfLock()
  }
  // Installed by hand. `npm install` writes both files, in either order.
  return installedAt > statSync(lock).mtimeMs - 5_000
}

function hashOfLock() {
  return createHash('sha256').update(readFileSync(lock)).digest('hex')
}
