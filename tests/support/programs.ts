import { type ChildProcess, type SpawnOptions, spawn } from 'node:child_process'
import { once } from 'node:events'
import { accessSync, constants } from 'node:fs'
import { createServer } from 'node:net'
import path from 'node:path'

/** Debian installs servers where the PATH of a user does not lead. */
const MORE_FOLDERS = ['/usr/local/sbin', '/usr/sbin']

/** The file of the first of these programs that is installed. */
export function findProgram(...names: string[]): string | undefined {
  const folders = [...(process.env.PATH ?? '').split(path.delimiter), ...MORE_FOLDERS]
  return folders
    .flatMap((folder) => names.map((name) => path.join(folder, name)))
    .find((file) => {
      try {
        accessSync(file, constants.X_OK)
        return true
      } catch {
        return false
      }
    })
}

/** Whether a test can run that needs a program. If not, warns how to install it; in CI throws. */
export function isInstalled(program: string | undefined, remedy: string): boolean {
  if (program) return true
  if (process.env.CI) throw new Error(remedy)
  console.warn(`\n*** ${remedy}\n`)
  return false
}

export interface Program {
  /** Without a word to its clients. */
  kill(): Promise<void>
}

/** Runs a program until it prints a text, and then until it is killed. */
export async function runProgram(
  file: string,
  args: readonly string[],
  ready: string,
  options: SpawnOptions = {},
): Promise<Program> {
  const child: ChildProcess = spawn(file, args, { ...options, stdio: 'pipe' })
  // A test that fails may not come to its end.
  const killNow = () => child.kill('SIGKILL')
  process.once('exit', killNow)
  child.once('exit', () => process.off('exit', killNow))
  let output = ''
  await new Promise<void>((started, failed) => {
    for (const stream of [child.stdout!, child.stderr!])
      stream.on('data', (data) => {
        output += data
        if (output.includes(ready)) started()
      })
    child.once('exit', () => failed(new Error(`${file} does not start:\n${output}`)))
  })
  return {
    async kill() {
      if (child.exitCode !== null || child.signalCode !== null) return
      const exit = once(child, 'exit')
      killNow()
      await exit
    },
  }
}

export async function freePort(): Promise<number> {
  const server = createServer().listen(0, '127.0.0.1')
  await once(server, 'listening')
  const { port } = server.address() as { port: number }
  server.close()
  await once(server, 'close')
  return port
}
