import { spawnSync } from 'node:child_process'
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { DatabaseUnavailable } from './database-unavailable.ts'
import type { PostgresBinaries } from './postgres-binaries.ts'

/** How a Postgres program is started so that it does not see itself as root, which it refuses. */
export interface PostgresAccount {
  /** stands before the program and its arguments */
  prefix: string[]
  uid?: number
  gid?: number
}

interface Owner {
  uid: number
  gid: number
}

const nobodyInside = ['unshare', '-U', '--map-user=65534', '--map-group=65534']

/**
 * Root gets a user namespace: nobody inside, still root outside, so a private home and files of
 * root's are no obstacle and nothing is chowned. Where that is forbidden (containers, often) it
 * becomes the user postgres or nobody. Files that exist decide: they go on with their owner.
 */
export function chooseAccount(
  binaries: PostgresBinaries,
  existing: Owner | undefined,
): PostgresAccount {
  if (process.getuid?.() !== 0) return { prefix: [] } // Windows programs drop privileges themselves
  if (existing && existing.uid !== 0) return { prefix: [], uid: existing.uid, gid: existing.gid }
  const namespaced = { prefix: nobodyInside }
  if (process.platform === 'linux' && canRun(binaries, namespaced)) return namespaced
  if (existing) {
    throw new DatabaseUnavailable(
      'The database files belong to root, and Postgres cannot run as root here. Give them away ' +
        '(chown -R postgres, or nobody) or run the server as another user.',
    )
  }
  for (const name of ['postgres', 'nobody']) {
    const account = { prefix: [], ...systemUser(name) }
    if (account.uid !== undefined && canRun(binaries, account)) return account
  }
  throw new DatabaseUnavailable(
    `Postgres refuses to run as root, and neither postgres nor nobody can run ${binaries.bin}: ` +
      'run the server as another user, or put it in a folder that everybody may enter.',
  )
}

function canRun({ bin, linkerEnv }: PostgresBinaries, account: PostgresAccount): boolean {
  const [program, ...args] = [...account.prefix, join(bin, 'postgres'), '--version']
  const { uid, gid } = account
  const env = { ...process.env, ...linkerEnv }
  return spawnSync(program!, args, { uid, gid, env, stdio: 'ignore' }).status === 0
}

/** Postgres looks its user up by name: a bare number would not do. */
function systemUser(name: string): Owner | undefined {
  const line = new RegExp(`^${name}:[^:]*:(\\d+):(\\d+):`, 'm').exec(
    readFileSync('/etc/passwd', 'utf8'),
  )
  return line ? { uid: Number(line[1]), gid: Number(line[2]) } : undefined
}
