import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { accessSync, constants } from 'node:fs'
import { mkdtemp, rm } from 'node:fs/promises'
import { createServer } from 'node:net'
import { tmpdir } from 'node:os'
import path from 'node:path'

const SERVERS = ['redis-server', 'valkey-server']

const MISSING = `No Redis for the tests of REDIS_URL: install redis-server or valkey-server, for example with
apt-get install redis-server (macOS: brew install redis). No npm package contains one.`

/** Whether there is a Redis on this machine. Without one, warns; in CI throws. */
export function hasRedis(): boolean {
  if (findServer()) return true
  if (process.env.CI) throw new Error(MISSING)
  console.warn(`\n*** ${MISSING}\n`)
  return false
}

export interface RedisServer {
  url: string
  /** Without a word to its clients. */
  kill(): Promise<void>
  /** At the same address. */
  restart(): Promise<void>
  close(): Promise<void>
}

/** A Redis that keeps nothing. */
export async function startRedis(settings: Record<string, string> = {}): Promise<RedisServer> {
  const folder = await mkdtemp(path.join(tmpdir(), 'tasktide-redis-'))
  const port = await freePort()
  const [host, portSetting] = settings['tls-cert-file']
    ? (['localhost', 'tls-port'] as const)
    : (['127.0.0.1', 'port'] as const)
  const options = {
    port: '0',
    bind: '127.0.0.1',
    save: '',
    dir: folder,
    ...settings,
    [portSetting]: String(port),
  }
  let server = await run(options)
  return {
    url: `redis${portSetting === 'port' ? '' : 's'}://${host}:${port}`,
    kill,
    async restart() {
      server = await run(options)
    },
    async close() {
      await kill()
      await rm(folder, { recursive: true, force: true })
    },
  }

  async function kill() {
    if (server.exitCode !== null || server.signalCode !== null) return
    const exit = once(server, 'exit')
    server.kill('SIGKILL')
    await exit
  }
}

async function run(settings: Record<string, string>): Promise<ChildProcess> {
  const flags = Object.entries(settings).flatMap(([name, value]) => [`--${name}`, value])
  const server = spawn(findServer()!, flags)
  // A test that fails may not come to its end.
  const kill = () => server.kill('SIGKILL')
  process.once('exit', kill)
  server.once('exit', () => process.off('exit', kill))
  let output = ''
  await new Promise<void>((ready, failed) => {
    server.stdout.on('data', (data) => {
      output += data
      if (output.includes('Ready to accept connections')) ready()
    })
    server.once('exit', () => failed(new Error(`Redis does not start:\n${output}`)))
  })
  return server
}

function findServer(): string | undefined {
  const folders = (process.env.PATH ?? '').split(path.delimiter)
  return folders
    .flatMap((folder) => SERVERS.map((name) => path.join(folder, name)))
    .find((file) => {
      try {
        accessSync(file, constants.X_OK)
        return true
      } catch {
        return false
      }
    })
}

async function freePort(): Promise<number> {
  const server = createServer().listen(0, '127.0.0.1')
  await once(server, 'listening')
  const { port } = server.address() as { port: number }
  server.close()
  await once(server, 'close')
  return port
}
