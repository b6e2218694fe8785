import { type ChildProcess, execFile, spawn } from 'node:child_process'
import { cp, mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { onTestFinished } from 'vitest'

const EXAMPLES = path.join(import.meta.dirname, '../../examples')
/** What somebody may have built in the folder of the example itself. */
const BUILT = new Set(['node_modules', 'dist', '.next', '.expo', 'package-lock.json'])

/** A copy of an example in an empty folder, with the client of this server. */
export interface Starter {
  readonly folder: string
  /** Runs one of its npm scripts. */
  run(script: string): Promise<void>
  /** Starts a script with Node; it ends with the test. */
  start(script: string, given?: readonly string[], more?: NodeJS.ProcessEnv): ChildProcess
}

/**
 * Installs a starter as its README says. It is removed after the test.
 *
 * @param client whether it uses the client that the server serves
 */
export async function installStarter(name: string, url: string, client = true): Promise<Starter> {
  const folder = await mkdtemp(path.join(tmpdir(), `tasktide-${name}-`))
  const filter = (file: string) => !BUILT.has(path.basename(file))
  await cp(path.join(EXAMPLES, name), folder, { recursive: true, filter })
  // Not the settings of the test runner, such as NODE_ENV.
  const { PATH, HOME } = process.env
  const environment = {
    PATH,
    HOME,
    CI: 'true',
    NO_COLOR: '1',
    NEXT_TELEMETRY_DISABLED: '1',
    EXPO_NO_TELEMETRY: '1',
    EXPO_OFFLINE: '1',
    VITE_TASKTIDE_URL: url,
    NEXT_PUBLIC_TASKTIDE_URL: url,
    EXPO_PUBLIC_TASKTIDE_URL: url,
    TASKTIDE_URL: url,
  }
  const npm = (...given: string[]) =>
    new Promise<void>((resolve, reject) => {
      execFile('npm', given, { cwd: folder, env: environment }, (error, stdout, stderr) => {
        if (error) reject(new Error(`${error.message}\n${stdout}\n${stderr}`))
        else resolve()
      })
    })
  const quick = ['--prefer-offline', '--no-audit', '--no-fund', '--ignore-scripts']
  await npm('install', ...quick, ...(client ? [`${url}/client.tgz`] : []))
  const processes: ChildProcess[] = []
  onTestFinished(async () => {
    for (const started of processes) started.kill('SIGKILL')
    await rm(folder, { recursive: true, force: true })
  })
  return {
    folder,
    run: (script) => npm('run', script),
    start(script, given = [], more = {}) {
      const env = { ...environment, ...more }
      const started = spawn(process.execPath, [script, ...given], { cwd: folder, env })
      processes.push(started)
      return started
    },
  }
}

/** For a process that has only to start. */
const PATIENCE_MS = 60_000

/** The first text of a process that matches. */
export function says(started: ChildProcess, pattern: RegExp): Promise<string> {
  let text = ''
  return new Promise((resolve, reject) => {
    const hear = (more: Buffer) => {
      text += more
      const found = pattern.exec(text)
      if (found) resolve(found[0])
    }
    started.stdout!.on('data', hear)
    started.stderr!.on('data', hear)
    started.once('exit', (code) => reject(new Error(`it ended with ${code}: ${text}`)))
    setTimeout(() => reject(new Error(`it says only: ${text}`)), PATIENCE_MS).unref()
  })
}

const URL_OF = /http:\/\/localhost:[1-9]\d+/

/** Serves a page at an origin of its own. @returns its URL */
export const serve = (starter: Starter, script: string, ...given: string[]): Promise<string> =>
  says(starter.start(script, given), URL_OF)

export const VITE = 'node_modules/vite/bin/vite.js'
