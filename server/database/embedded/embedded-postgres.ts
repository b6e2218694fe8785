import { type BinaryPlace, binaryPlaces } from './postgres-binaries.ts'
import { openCluster } from './postgres-cluster.ts'
import { runOnPosix } from './postgres-on-posix.ts'
import { runOnWindows } from './postgres-on-windows.ts'

export { DatabaseUnavailable } from './database-unavailable.ts'

export interface EmbeddedPostgres {
  /** For `pg`, knex and psql. On POSIX, `?host=` names the directory of a Unix socket. */
  url: string
  /** '18.4' */
  version: string
  source: 'npm' | 'system'
  /** Resolves when Postgres ends by itself. Missing on Windows, where this is not detected. */
  died?: Promise<void>
  /** Fast shutdown: open transactions are rolled back. May be called again. */
  stop(): Promise<void>
}

export interface EmbeddedPostgresOptions {
  /** Contains the cluster, `pg<major>`, and the log of Postgres. */
  dataDir: string
  /** `-c` settings, such as `fsync: 'off'` in tests. */
  settings?: Record<string, string>
  env?: NodeJS.ProcessEnv
  /** Directories to search for initdb and postgres. */
  places?: Iterable<BinaryPlace>
}

/** Keeps user data out of the log of Postgres. */
const QUIET = { log_error_verbosity: 'terse', log_min_error_statement: 'panic' }

/**
 * Starts an embedded Postgres. If that fails, rejects with DatabaseUnavailable and a remedy.
 *
 * - Only this system user can connect: through a private socket, or with a password on 127.0.0.1.
 * - It stops when this process ends, kill -9 included, and not before: Ctrl-C does not reach it.
 * - Two instances never run on the same files: the second one fails within about two seconds.
 * - Committed data survives a crash of either process.
 */
export async function startEmbeddedPostgres({
  dataDir,
  settings = {},
  env = process.env,
  places = binaryPlaces(env),
}: EmbeddedPostgresOptions): Promise<EmbeddedPostgres> {
  const cluster = await openCluster(dataDir, places, env, settings.fsync !== 'off')
  const run = process.platform === 'win32' ? runOnWindows : runOnPosix
  const { version, source } = cluster.binaries
  return { version, source, ...(await run(cluster, { ...QUIET, ...settings })) }
}
