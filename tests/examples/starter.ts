import { execFile } from 'node:child_process'
import { cp, mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import path from 'node:path'

const EXAMPLES = path.join(import.meta.dirname, '../../examples')
/** What somebody may have built in the folder of the example itself. */
const BUILT = new Set(['node_modules', 'dist', '.next', '.expo', 'package-lock.json'])

/** A copy of an example in an empty folder, with the client of this server. */
export interface Starter {
  readonly folder: string
  readonly environment: NodeJS.ProcessEnv
  /** Runs one of its npm scripts. */
  run(script: string): Promise<void>
  remove(): Promise<void>
}

/** Installs a starter as its README says. */
export async function installStarter(name: string, url: string): Promise<Starter> {
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
  await npm('install', ...quick, `${url}/client.tgz`)
  return {
    folder,
    environment,
    run: (script) => npm('run', script),
    remove: () => rm(folder, { recursive: true, force: true }),
  }
}
