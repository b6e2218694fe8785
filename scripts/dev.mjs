import { spawn } from 'node:child_process'
import { once } from 'node:events'
import path from 'node:path'
import { ensureInstalled, root } from './install.mjs'
import { stopWithParent } from './parent.mjs'

ensureInstalled()
stopWithParent()

/** What the server runs; what it imports is watched. */
const SERVER = path.join(root, 'server/processes/dev.ts')

const unbuilt = new Set(['web app', 'server'])
let server
let isStale = false
let isRestarting = false
let isEnding = false
for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP']) process.on(signal, end)

const { ensureTarball } = await import('../client-sdk/build/tarball.mjs')
await ensureTarball()
const { watchWebApp } = await import('../web/build.mjs')
// The server reads the files of the web app when it starts.
const watches = [
  await watchWebApp(() => restart('web app')),
  await watchServer(() => restart('server')),
]

/** One server at a time: two would race for the database. It starts once all is built. */
async function restart(built) {
  unbuilt.delete(built)
  if (unbuilt.size > 0) return
  isStale = true
  if (isRestarting || isEnding) return
  isRestarting = true
  while (isStale && !isEnding) {
    await stopServer()
    isStale = false
    if (!isEnding) startServer()
  }
  isRestarting = false
}

function startServer() {
  // With the channel it learns when this process has died.
  const stdio = ['inherit', 'inherit', 'inherit', 'ipc']
  const started = spawn(process.execPath, ['--import', 'tsx', SERVER], { cwd: root, stdio })
  server = started
  started.once('exit', (code) => {
    if (server !== started) return
    server = undefined
    if (code !== 0) console.error('The server has ended; it starts again after the next change.')
  })
}

async function stopServer() {
  if (!server) return
  const ended = once(server, 'exit')
  server.kill('SIGTERM')
  await ended
}

async function end() {
  if (isEnding) return
  isEnding = true
  await stopServer()
  await Promise.allSettled(watches.map((watch) => watch.dispose()))
  process.exit(0)
}

/** esbuild notices changes of whatever the server imports, also of files that are replaced. */
async function watchServer(changed) {
  const { context } = await import('esbuild')
  const watch = await context({
    entryPoints: [SERVER],
    bundle: true,
    write: false,
    packages: 'external',
    platform: 'node',
    format: 'esm',
    plugins: [
      {
        name: 'changed',
        setup(build) {
          build.onEnd(({ errors }) => {
            if (errors.length === 0) changed()
          })
        },
      },
    ],
  })
  await watch.watch()
  return watch
}
