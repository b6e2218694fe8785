import { spawn } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import { existsSync } from 'node:fs'
import {
  chmod,
  chown,
  mkdir,
  readdir,
  realpath,
  rename,
  rm,
  stat,
  writeFile,
} from 'node:fs/promises'
import { join } from 'node:path'
import { DatabaseUnavailable } from './database-unavailable.ts'
import { chooseAccount, type PostgresAccount } from './postgres-account.ts'
import {
  type BinaryPlace,
  findPostgresBinaries,
  type PostgresBinaries,
} from './postgres-binaries.ts'

/** A directory of database files, and how to run Postgres on it. */
export interface PostgresCluster {
  dir: string
  log: string
  binaries: PostgresBinaries
  account: PostgresAccount
  /** For every Postgres program: without PGPORT, PGOPTIONS and the like, and with messages in English. */
  env: NodeJS.ProcessEnv
}

export const SUPERUSER = 'postgres'
export const PASSWORD_FILE = 'tasktide.password'

/**
 * Opens the cluster `<dataDir>/pg<major>`, and creates it if it does not exist. All files are private.
 * A cluster is complete or absent: it is created under a temporary name and then renamed.
 */
export async function openCluster(
  dataDir: string,
  places: Iterable<BinaryPlace>,
  processEnv: NodeJS.ProcessEnv,
  durable: boolean,
): Promise<PostgresCluster> {
  const parent = await privateDataDir(dataDir)
  const binaries = findPostgresBinaries(places, await majorsIn(parent), join(parent, 'lib'))
  const dir = join(parent, `pg${binaries.major}`)
  const exists = existsSync(join(dir, 'PG_VERSION'))
  const account = chooseAccount(binaries, exists ? await stat(dir) : undefined)
  const env = { ...withoutPostgresSettings(processEnv), ...binaries.linkerEnv, LC_ALL: 'C' }
  const cluster = { dir, log: `${dir}.log`, binaries, account, env }

  if (account.uid !== undefined) await chmod(parent, 0o711) // Postgres runs as another user
  await removeCutOffClusters(parent)
  if (!exists) await createCluster(cluster, durable)
  return cluster
}

async function privateDataDir(dataDir: string): Promise<string> {
  const created = await mkdir(dataDir, { recursive: true, mode: 0o700 })
  if (created) await writeFile(join(dataDir, '.gitignore'), '*\n')
  return realpath(dataDir)
}

async function majorsIn(parent: string): Promise<number[]> {
  return (await readdir(parent))
    .filter((name) => /^pg\d+$/.test(name) && existsSync(join(parent, name, 'PG_VERSION')))
    .map((name) => Number(name.slice(2)))
}

function withoutPostgresSettings(env: NodeJS.ProcessEnv): NodeJS.ProcessEnv {
  return Object.fromEntries(Object.entries(env).filter(([name]) => !name.startsWith('PG')))
}

/** The pid may belong to another process by now, but no initdb takes ten minutes. */
async function removeCutOffClusters(parent: string) {
  for (const name of await readdir(parent)) {
    const pid = Number(/^pg\d+\.init-(\d+)/.exec(name)?.[1])
    if (!pid) continue
    const path = join(parent, name)
    const age = Date.now() - (await stat(path).catch(() => ({ mtimeMs: 0 }))).mtimeMs
    if (!isAlive(pid) || pid === process.pid || age > 600_000) {
      // Retries, because an initdb that outlived its parent may still write here.
      await rm(path, { recursive: true, force: true, maxRetries: 20, retryDelay: 50 })
    }
  }
}

function isAlive(pid: number): boolean {
  try {
    return process.kill(pid, 0)
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === 'EPERM'
  }
}

async function createCluster(cluster: PostgresCluster, durable: boolean) {
  const { dir, account } = cluster
  const unfinished = `${dir}.init-${process.pid}`
  await mkdir(unfinished, { mode: 0o700 })
  try {
    if (account.uid !== undefined) await chown(unfinished, account.uid, account.gid!)
    await initdb(cluster, unfinished, durable)
    await rename(unfinished, dir).catch((error) => {
      // Another process was faster. The lock file decides which one may run on the cluster.
      if (!existsSync(join(dir, 'PG_VERSION'))) throw error
    })
  } finally {
    await rm(unfinished, { recursive: true, force: true, maxRetries: 3 })
  }
}

async function initdb(cluster: PostgresCluster, dir: string, durable: boolean) {
  const args = ['-D', dir, '-U', SUPERUSER, '--encoding=UTF8', ...localeOf(cluster.binaries.major)]
  if (!durable) args.push('--no-sync')
  if (process.platform !== 'win32') {
    await runInitdb(cluster, [...args, '--auth-local=trust', '--auth-host=reject'])
    return
  }
  const passwordFile = `${dir}.password`
  try {
    await writeFile(passwordFile, randomBytes(24).toString('base64url'), { mode: 0o600 })
    await runInitdb(cluster, [...args, '--auth=scram-sha-256', `--pwfile=${passwordFile}`])
    await rename(passwordFile, join(dir, PASSWORD_FILE))
  } finally {
    await rm(passwordFile, { force: true })
  }
}

/** Explicit, because without LANG (in containers) initdb silently chooses SQL_ASCII, where upper() handles ASCII only. */
function localeOf(major: number): string[] {
  if (major >= 17) return ['--locale=C', '--locale-provider=builtin', '--builtin-locale=C.UTF-8']
  const utf8 = process.platform === 'darwin' ? 'en_US.UTF-8' : 'C.UTF-8'
  return [`--locale=${utf8}`, '--lc-messages=C']
}

async function runInitdb({ binaries, account, env }: PostgresCluster, args: string[]) {
  const [program, ...rest] = [...account.prefix, join(binaries.bin, 'initdb'), ...args]
  const { uid, gid } = account
  // In /, because the account may lack access to the current directory.
  const options = { uid, gid, env, cwd: '/', windowsHide: true }
  const child = spawn(program!, rest, { ...options, stdio: ['ignore', 'ignore', 'pipe'] })
  let complaints = ''
  child.stderr.setEncoding('utf8').on('data', (text) => {
    complaints += text
  })
  await new Promise<void>((resolve, reject) => {
    const who = uid === undefined ? '' : ` as user ${uid}, since it refuses to run as root`
    const fail = (why: string) =>
      reject(new DatabaseUnavailable(`Postgres could not create its files${who}: ${why}`))
    child.once('error', (error) => fail(error.message))
    child.once('close', (code) => (code === 0 ? resolve() : fail(complaints.trim())))
  })
}
