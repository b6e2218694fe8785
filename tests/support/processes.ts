import { spawn } from 'node:child_process'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { fileURLToPath } from 'node:url'
import { expect } from 'vitest'
import { bundledServer, type ServerEntry } from './bundled-server.ts'

const root = fileURLToPath(new URL('../..', import.meta.url))
const SHIFTED_CLOCK = new URL('shifted-clock.mjs', import.meta.url).href

export type Process = Awaited<ReturnType<typeof startProcess>>

/**
 * A process of the server, until it prints a text.
 *
 * @param program an entry point of the server, or a file of `scripts/`
 */
export async function startProcess(
  program: ServerEntry | `${string}.mjs`,
  environment: Record<string, string>,
  ready: string,
) {
  const { PATH = '', HOME = '' } = process.env
  const data = mkdtempSync(path.join(tmpdir(), 'tasktide-process-'))
  const script = isScript(program)
    ? path.join(root, 'scripts', program)
    : await bundledServer(program)
  const child = spawn(process.execPath, [script], {
    cwd: root,
    env: { PATH, HOME, DATA_DIR: data, ...environment },
    stdio: 'pipe',
  })
  let text = ''
  for (const stream of [child.stdout, child.stderr])
    stream.on('data', (data) => {
      text += data
    })
  const exit = new Promise<number | null>((resolve) => child.on('close', resolve))
  const started = {
    child,
    exit,
    output: () => text,
    async kill() {
      child.kill('SIGKILL')
      await exit
      rmSync(data, { recursive: true, force: true })
    },
  }
  try {
    await expect.poll(started.output, { timeout: 40_000, interval: 50 }).toContain(ready)
    return started
  } catch (error) {
    await started.kill()
    throw error
  }
}

const isScript = (program: string): program is `${string}.mjs` => program.endsWith('.mjs')

/** The environment of a process whose clock is wrong. */
export const clockAhead = (milliseconds: number) => ({
  NODE_OPTIONS: `--import=${SHIFTED_CLOCK}`,
  CLOCK_AHEAD_MS: String(milliseconds),
})
