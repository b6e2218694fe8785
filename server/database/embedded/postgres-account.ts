import { spawnSync } from 'node:child_process'
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { DatabaseUnavailable } from './database-unavailable.ts'
import type { PostgresBinaries } from './postgres-binaries.ts'

/** How to start Postgres programs as a user other than root, as which they refuse to run. */
export interface PostgresAccount {
  /** Precedes the program and its arguments. */
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
 * As root, runs Postgres in a user namespace: nobody inside, root outside, so it can access root's
 * private files and no chown is needed. Where namespaces are forbidden (often in containers), the user
 * postgres or nobody is used. Existing files keep their owner.
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
      'The database files belong to root, and Postgres cannot run as root here. Change their owner ' +
        '(chown -R postgres, or nobody) or run the server as another user.',
    )
  }
  for (const name of ['postgres', 'nobody']) {
    const account = { prefix: [], ...systemUser(name) }
    if (account.uid !== undefined && canRun(binaries, account)) return account
  }
  throw new DatabaseUnavailable(
    `Postgres refuses to run as root, and neither postgres nor nobody can run ${binaries.bin}: ` +
      'run the server as another user, or move it to a directory that every user may enter.',
  )
}

function canRun({ bin, linkerEnv }: PostgresBinaries, account: PostgresAccount): boolean {
  const [program, ...args] = [...account.prefix, join(bin, 'postgres'), '--version']
  const { uid, gid } = account
  const env = { ...process.env, ...linkerEnv }
  return spawnSync(program!, args, { uid, gid, env, stdio: 'ignore' }).status === 0
}

/** Postgres looks up the name of its user, so a numeric id without a name does not work. */
function systemUser(name: string): Owner | undefined {
  const line = new RegExp(`^${name}:[^:]*:(\\d+):(\\d+):`, 'm').exec(
    readFileSync('/etc/passwd', 'utf8'),
  )
  return line ? { uid: Number(line[1]), gid: Number(line[2]) } : undefined
}
