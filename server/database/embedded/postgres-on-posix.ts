import { type ChildProcess, spawn } from 'node:child_process'
import { createHash } from 'node:crypto'
import { closeSync, openSync } from 'node:fs'
import { chown, lstat, mkdir, rmdir } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { DatabaseUnavailable } from './database-unavailable.ts'
import { type PostgresCluster, SUPERUSER } from './postgres-cluster.ts'
import { readLock, releaseStaleLock, waitForOwner } from './postgres-lock.ts'
import { openLog, type PostgresLog, tailOf } from './postgres-log.ts'

/** Part of the name of the socket file; no TCP port is opened. */
const PORT = 5432
const START_TIMEOUT = 120_000
const STOP_TIMEOUT = 30_000
/** How long to wait for a killed predecessor and its last backends. */
const PATIENCE = 2_000

/**
 * The shell starts a watcher and then becomes Postgres. The watcher reads the pipe that this process
 * holds. When the pipe closes, for whatever reason, it requests a fast shutdown of Postgres. It is
 * orphaned at once, because Postgres does not expect children that it did not start. When Postgres ends
 * first, Node closes the pipe at the same moment, before another process can get the pid.
 */
const WATCHED = `
  exec 3<&0
  ( ( read -r _ <&3; kill -INT $$ ) </dev/null >/dev/null 2>&1 & )
  exec "$@" </dev/null 3<&-
`

export async function runOnPosix(
  cluster: PostgresCluster,
  settings: Record<string, string>,
): Promise<{ url: string; died: Promise<void>; stop(): Promise<void> }> {
  const socketDir = socketDirOf(cluster)
  const postmaster = await launchPatiently(cluster, socketDir, {
    ...settings,
    listen_addresses: '',
    unix_socket_directories: socketDir,
    unix_socket_permissions: '0700',
    port: String(PORT),
  })
  let stopped: Promise<void> | undefined
  return {
    died: new Promise((died) => {
      void postmaster.exited.then(() => {
        if (!stopped) died()
      })
    }),
    // knex requires a host before the path.
    url: `postgres://${SUPERUSER}@localhost:${PORT}/postgres?host=${encodeURIComponent(socketDir)}`,
    stop() {
      stopped ??= stopFast(postmaster, socketDir)
      return stopped
    },
  }
}

/**
 * A fixed name, so that crashes leave only one directory; in the directory for temporary files, because a
 * socket's path is limited to 103 bytes.
 */
function socketDirOf({ dir, account }: PostgresCluster): string {
  const uid = account.uid ?? process.getuid!()
  const hash = createHash('sha256').update(`${uid}:${dir}`).digest('hex').slice(0, 16)
  return join(Buffer.byteLength(tmpdir()) <= 60 ? tmpdir() : '/tmp', `tasktide-${hash}`)
}

/** Another user may have created a directory of this name, so it must be ours and private. */
async function makePrivate(socketDir: string, { account }: PostgresCluster) {
  const uid = account.uid ?? process.getuid!()
  const created = await mkdir(socketDir, { mode: 0o700 }).then(
    () => true,
    () => false,
  )
  if (created && account.uid !== undefined) await chown(socketDir, account.uid, account.gid!)
  const found = await lstat(socketDir)
  if (!found.isDirectory() || found.uid !== uid || (found.mode & 0o077) !== 0) {
    throw new DatabaseUnavailable(
      `${socketDir} belongs to another user or is accessible to others: remove it.`,
    )
  }
}

/** Postgres itself checks whether it may run. This retries briefly, and reports the reason. */
async function launchPatiently(
  cluster: PostgresCluster,
  socketDir: string,
  settings: Record<string, string>,
): Promise<Postmaster> {
  const lockFile = join(cluster.dir, 'postmaster.pid')
  const deadline = performance.now() + PATIENCE
  for (;;) {
    await waitForOwner(cluster.dir, deadline)
    await makePrivate(socketDir, cluster)
    releaseStaleLock(lockFile, cluster.dir)
    releaseStaleLock(join(socketDir, `.s.PGSQL.${PORT}.lock`), cluster.dir)
    const log = openLog(cluster.log)
    const postmaster = launch(cluster, settings, log)
    if (await isReady(postmaster, lockFile)) return postmaster
    await stopFast(postmaster, socketDir)
    const why = postmaster.failure ?? tailOf(log)
    const mayPass = /lock file ".*" already exists|is still in use/.test(why)
    if (!mayPass || performance.now() > deadline) {
      throw new DatabaseUnavailable(`Postgres did not start (full log: ${log.file}):\n${why}`)
    }
    await sleep(100)
  }
}

interface Postmaster {
  child: ChildProcess
  /** Why the process could not be started. */
  failure?: string
  exited: Promise<void>
}

function launch(
  { dir, binaries, account, env }: PostgresCluster,
  settings: Record<string, string>,
  log: PostgresLog,
): Postmaster {
  const { prefix, uid, gid } = account
  const assignments = Object.entries(settings).flatMap(([key, value]) => ['-c', `${key}=${value}`])
  const command = [...prefix, join(binaries.bin, 'postgres'), '-D', dir, ...assignments]
  const output = openSync(log.file, 'a', 0o600)
  const child = spawn('/bin/sh', ['-c', WATCHED, 'sh', ...command], {
    ...{ uid, gid, env, cwd: '/' },
    stdio: ['pipe', output, output],
    detached: true, // in its own session, which Ctrl-C does not reach
  })
  closeSync(output)
  child.unref()
  const postmaster: Postmaster = {
    child,
    exited: new Promise((resolve) => {
      child.once('exit', () => resolve())
      child.once('error', (error) => {
        postmaster.failure = error.message
        resolve()
      })
    }),
  }
  return postmaster
}

async function isReady({ child, exited }: Postmaster, lockFile: string): Promise<boolean> {
  let ended = false
  void exited.then(() => {
    ended = true
  })
  const deadline = performance.now() + START_TIMEOUT
  while (!ended && performance.now() < deadline) {
    const lock = readLock(lockFile)
    if (lock?.pid === child.pid && lock?.status === 'ready') return true
    await sleep(10)
  }
  return false
}

/** Stops Postgres through the pipe, like the end of this process would, so that this path is tested. */
async function stopFast({ child, exited }: Postmaster, socketDir: string) {
  child.ref()
  child.stdin?.destroy()
  // An immediate shutdown loses nothing either: the next start recovers.
  const impatient = setTimeout(() => child.kill('SIGQUIT'), STOP_TIMEOUT)
  await exited
  clearTimeout(impatient)
  await rmdir(socketDir).catch(() => {}) // not empty if another Postgres uses it already
}
