import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { readFile } from 'node:fs/promises'
import { type AddressInfo, createServer } from 'node:net'
import { join } from 'node:path'
import { DatabaseUnavailable } from './database-unavailable.ts'
import { PASSWORD_FILE, type PostgresCluster, SUPERUSER } from './postgres-cluster.ts'
import { waitForOwner } from './postgres-lock.ts'
import { openLog, tailOf } from './postgres-log.ts'

/**
 * Windows has no signals and no shell that can watch a pipe, so a second Node process does: it reads the
 * pipe that this process holds, and runs a fast shutdown with pg_ctl when the pipe closes.
 */
const WATCHER = `
  process.stdin.resume().on('end', () => {
    require('node:child_process').spawnSync(process.argv[1], process.argv.slice(2), {
      stdio: 'ignore',
      windowsHide: true,
    })
  })
`

export async function runOnWindows(
  cluster: PostgresCluster,
  settings: Record<string, string>,
): Promise<{ url: string; stop(): Promise<void> }> {
  const { dir, binaries, env } = cluster
  const pgCtl = join(binaries.bin, 'pg_ctl')
  const hidden = { env, cwd: dir, detached: true, windowsHide: true }
  await waitForOwner(dir, performance.now() + 2_000)

  // Before Postgres, so that it is always watched.
  const stopArgs = ['stop', '-D', dir, '-m', 'fast', '-w']
  const watcher = spawn(process.execPath, ['-e', WATCHER, pgCtl, ...stopArgs], {
    ...hidden,
    stdio: ['pipe', 'ignore', 'ignore'],
  })
  const watcherExited = once(watcher, 'exit')
  watcher.unref()
  async function stop() {
    watcher.ref()
    watcher.stdin!.end()
    await watcherExited
  }

  const port = await freePort()
  const log = openLog(cluster.log)
  const options = Object.entries({ ...settings, listen_addresses: '127.0.0.1', port })
    .map(([key, value]) => `-c "${key}=${value}"`)
    .join(' ')
  // pg_ctl also drops administrator rights, with which Postgres refuses to run.
  const startArgs = ['start', '-D', dir, '-l', log.file, '-o', options, '-w', '-t', '120']
  const [code] = await once(spawn(pgCtl, startArgs, { ...hidden, stdio: 'ignore' }), 'exit')
  if (code !== 0) {
    watcher.kill() // without stopping Postgres: if one runs here, another process started it
    throw new DatabaseUnavailable(`Postgres did not start (full log: ${log.file}):\n${tailOf(log)}`)
  }
  const password = await readFile(join(dir, PASSWORD_FILE), 'utf8')
  return { url: `postgres://${SUPERUSER}:${password}@127.0.0.1:${port}/postgres`, stop }
}

async function freePort(): Promise<number> {
  const server = createServer().listen(0, '127.0.0.1')
  await once(server, 'listening')
  const { port } = server.address() as AddressInfo
  server.close()
  return port
}
