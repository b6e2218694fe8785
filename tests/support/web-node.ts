import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { fileURLToPath } from 'node:url'
import { bundledServer } from './bundled-server.ts'
import { SECRET } from './server.ts'

/** A web node in a process of its own. */
export interface WebNode {
  url: string
  /** What it has logged. */
  log(): string
  signal(signal: NodeJS.Signals): void
  /** Its exit code, once it has ended. */
  exit: Promise<number | null>
  /** Kills it. */
  close(): Promise<void>
}

const ROOT = fileURLToPath(new URL('../..', import.meta.url))
const START_MS = 60_000

export async function startNode(environment: Record<string, string>): Promise<WebNode> {
  const { PATH = '', HOME = '' } = process.env
  const child = spawn(process.execPath, [await bundledServer('web')], {
    cwd: ROOT,
    env: {
      PATH,
      HOME,
      NODE_ENV: 'production',
      SECRET_KEY: SECRET,
      PORT: '0',
      HOST: '127.0.0.1',
      AUTH_RATE_LIMIT: '0',
      LOG_LEVEL: 'info',
      ...environment,
    },
  })
  let output = ''
  const ended = once(child, 'close')
  const url = await new Promise<string>((resolve, reject) => {
    const late = setTimeout(() => reject(new Error(`does not start:\n${output}`)), START_MS)
    for (const stream of [child.stdout, child.stderr])
      stream.on('data', (data) => {
        output += data
        const port = /listens on http:\/\/localhost:(\d+)/.exec(output)?.[1]
        if (port) resolve(`http://127.0.0.1:${port}`)
      })
    void ended.then(() => reject(new Error(`ended instead of starting:\n${output}`)))
    void ended.then(() => clearTimeout(late))
  })
  return {
    url,
    log: () => output,
    signal: (signal) => void child.kill(signal),
    exit: ended.then(([code]) => code),
    async close() {
      child.kill('SIGKILL')
      await ended
    },
  }
}
