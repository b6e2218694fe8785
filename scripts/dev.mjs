import { spawn } from 'node:child_process'
import { ensureInstalled, root } from './install.mjs'
import { stopWithParent } from './parent.mjs'

ensureInstalled()
stopWithParent()

// Node's own watcher lets the old server end before it starts the new one.
const watched = ['server', 'protocol', 'migrations'].map((folder) => `--watch-path=${folder}`)
const args = [...watched, '--watch-preserve-output', '--import', 'tsx', 'server/dev.ts']
const windows = process.platform === 'win32'
const watcher = spawn(process.execPath, args, {
  cwd: root,
  stdio: 'inherit',
  // A group of its own: on Ctrl-C the server hears of it once, from the watcher, and not twice.
  detached: !windows,
})

process.on('SIGINT', () => watcher.kill('SIGINT'))
process.on('SIGTERM', () => watcher.kill('SIGTERM'))
process.on('SIGHUP', () => watcher.kill('SIGTERM')) // from SIGHUP it would die alone
watcher.on('exit', (code) => process.exit(code ?? 0))
