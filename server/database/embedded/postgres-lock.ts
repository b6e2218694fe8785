import { spawnSync } from 'node:child_process'
import { readFileSync, readlinkSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { DatabaseUnavailable } from './database-unavailable.ts'

/** A pid that no process has: above the limit of every system. */
const PID_OF_NOBODY = 2 ** 31 - 2

/** The content of postmaster.pid. The socket's lock file begins in the same way. */
interface PostgresLock {
  pid: number
  status: 'starting' | 'ready' | 'stopping' | 'unknown'
}

export function readLock(file: string): PostgresLock | undefined {
  try {
    const lines = readFileSync(file, 'utf8').split('\n')
    const pid = Number(lines[0])
    const status = lines[7]?.trim() as PostgresLock['status']
    return pid > 0 ? { pid, status: status || 'unknown' } : undefined
  } catch {
    return undefined
  }
}

/**
 * Waits while another Postgres runs on the data directory `dir`, in case it is stopping: half a minute if
 * its lock file says so, otherwise until the deadline.
 */
export async function waitForOwner(dir: string, deadline: number) {
  for (;;) {
    const owner = readLock(join(dir, 'postmaster.pid'))
    if (!owner || !isPostgresOf(dir, owner.pid)) return
    if (performance.now() > deadline + (owner.status === 'stopping' ? 30_000 : 0)) {
      throw new DatabaseUnavailable(
        `The database in ${dir} is in use: Postgres runs on it as process ${owner.pid}. Stop the ` +
          'server that started it, or give this one another DATA_DIR or a DATABASE_URL.',
      )
    }
    await sleep(50)
  }
}

/**
 * Postgres ignores the lock of a dead pid, but not of a zombie or of a pid that another process has by
 * now (common in containers, where pids start over). Only the pid is replaced: the rest of the file names
 * the shared memory that Postgres checks for backends which outlived their postmaster. Starting next to
 * those would destroy data.
 */
export function releaseStaleLock(file: string, dir: string) {
  const lock = readLock(file)
  if (!lock || isPostgresOf(dir, lock.pid)) return
  const text = readFileSync(file, 'utf8')
  const released = text.replace(new RegExp(`^${lock.pid}\n`), `${PID_OF_NOBODY}\n`)
  if (released !== text) writeFileSync(file, released)
}

function isPostgresOf(dir: string, pid: number): boolean {
  if (process.platform === 'win32') return programOf('tasklist', pid)
  if (process.platform !== 'linux') return programOf('ps', pid)
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, 'utf8') // 4711 (postgres) S 1 ...
    const [, name, state] = /\((.*)\) (\S)/s.exec(stat) ?? []
    if (name !== 'postgres' || state === 'Z') return false
  } catch {
    return false
  }
  try {
    return readlinkSync(`/proc/${pid}/cwd`) === dir
  } catch {
    return true // another user's process, whose directory is not readable: assume the worst
  }
}

function programOf(tool: 'ps' | 'tasklist', pid: number): boolean {
  if (tool === 'ps') {
    const { stdout } = spawnSync('ps', ['-o', 'stat=,comm=', '-p', String(pid)], {
      encoding: 'utf8',
    })
    return /postgres/.test(stdout) && !stdout.trim().startsWith('Z')
  }
  const { stdout } = spawnSync('tasklist', ['/FI', `PID eq ${pid}`, '/NH', '/FO', 'CSV'], {
    encoding: 'utf8',
    windowsHide: true,
  })
  return /postgres\.exe/i.test(stdout)
}
