import { spawn } from 'node:child_process'
import { watch } from 'node:fs'
import { ensureInstalled, root } from './install.mjs'
import { stopWithParent } from './parent.mjs'

ensureInstalled()
stopWithParent()
await buildWebAppOnChange()

// Node's own watcher lets the old server end before it starts the new one.
const folders = ['server', 'protocol', 'migrations', 'dist/web']
const watched = folders.map((folder) => `--watch-path=${folder}`)
const args = [...watched, '--watch-preserve-output', '--import', 'tsx', 'server/processes/dev.ts']
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

async function buildWebAppOnChange() {
  const { buildWebApp, OUTDIR, SOURCES } = await import('../web/build.mjs')
  const build = () => buildWebApp(OUTDIR, { quick: true })
  await build()
  let timer
  const later = () => {
    clearTimeout(timer)
    // What is wrong with the sources, esbuild has said.
    timer = setTimeout(() => build().catch(() => {}), 100)
  }
  for (const folder of SOURCES) watch(folder, { recursive: true }, later)
}
