import { type BinaryPlace, binaryPlaces } from './postgres-binaries.ts'
import { openCluster } from './postgres-cluster.ts'
import { runOnPosix } from './postgres-on-posix.ts'
import { runOnWindows } from './postgres-on-windows.ts'

export { DatabaseUnavailable } from './database-unavailable.ts'

export interface EmbeddedPostgres {
  /** understood by `pg`, knex and psql; on POSIX it leads to a Unix socket, through `?host=` */
  url: string
  /** '18.4' */
  version: string
  source: 'npm' | 'system'
  /** Resolves when Postgres has ended without being asked to; on Windows nobody notices. */
  died?: Promise<void>
  /** Fast shutdown: open transactions are rolled back. May be called again. */
  stop(): Promise<void>
}

export interface EmbeddedPostgresOptions {
  /** Holds the cluster as `pg<major>`, and the log of Postgres beside it. */
  dataDir: string
  /** `-c` settings that go before ours, such as `fsync: 'off'` in tests */
  settings?: Record<string, string>
  env?: NodeJS.ProcessEnv
  /** Where to look for initdb and postgres. */
  places?: Iterable<BinaryPlace>
}

/** Its log is to say what went wrong, not what people wrote. */
const QUIET = { log_error_verbosity: 'terse', log_min_error_statement: 'panic' }

/**
 * Runs a real Postgres of our own; rejects with DatabaseUnavailable and a remedy when it cannot.
 *
 * - Nobody but this user reaches it: a private socket, or a port of 127.0.0.1 with a password.
 * - It ends when this process ends, in whatever way, kill -9 included; and not before, on Ctrl-C.
 * - Two never run on the same files: the second is refused within some two seconds.
 * - What was committed survives the sudden death of either process.
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
