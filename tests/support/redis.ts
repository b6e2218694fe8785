import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { findProgram, freePort, isInstalled, runProgram } from './programs.ts'

const findServer = () => findProgram('redis-server', 'valkey-server')

const MISSING = `No Redis for the tests of REDIS_URL: install redis-server or valkey-server, for example with
apt-get install redis-server (macOS: brew install redis). No npm package contains one.`

/** Whether there is a Redis on this machine. Without one, warns; in CI throws. */
export const hasRedis = (): boolean => isInstalled(findServer(), MISSING)

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
  const run = () => runProgram(findServer()!, flagsOf(options), 'Ready to accept connections')
  let server = await run()
  return {
    url: `redis${portSetting === 'port' ? '' : 's'}://${host}:${port}`,
    kill: () => server.kill(),
    async restart() {
      server = await run()
    },
    async close() {
      await server.kill()
      await rm(folder, { recursive: true, force: true })
    },
  }
}

const flagsOf = (settings: Record<string, string>) =>
  Object.entries(settings).flatMap(([name, value]) => [`--${name}`, value])
