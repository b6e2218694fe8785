import { randomUUID } from 'node:crypto'
import type pg from 'pg'
import type { Config } from '../runtime/config.ts'
import { type ConnectionTarget, clientOptions, WATCHED } from './connect.ts'
import { DatabaseConnection } from './connection.ts'
import type { OpenDatabase } from './open.ts'

/**
 * Refuses a pooler in transaction mode where it would lose something silently: what is listened for,
 * the lease of a worker, prepared statements.
 *
 * @param needsSession whether this process listens, runs jobs or migrates
 *
 * @throws Error with instructions
 */
export async function refusePooler(
  { DATABASE_LISTEN_URL }: Pick<Config, 'DATABASE_LISTEN_URL'>,
  { target, sessionTarget }: Pick<OpenDatabase, 'target' | 'sessionTarget'>,
  { needsSession }: { needsSession: boolean },
): Promise<void> {
  const pooler = needsSession ? await poolerOf(sessionTarget) : undefined
  if (pooler && DATABASE_LISTEN_URL)
    throw new Error(
      'DATABASE_LISTEN_URL leads through a pooler in transaction mode: use the address of Postgres itself, or of a pooler in session mode.',
    )
  if (pooler)
    throw new Error(
      'DATABASE_URL leads through a pooler in transaction mode, which loses notifications: set DATABASE_LISTEN_URL to the address of Postgres itself, or use the session mode of the pooler.',
    )
  if ((DATABASE_LISTEN_URL || !needsSession) && (await poolerOf(target))?.losesStatements)
    throw new Error(
      'The pooler of DATABASE_URL loses prepared statements: use PgBouncer 1.21 or later with max_prepared_statements above 0, or its session mode.',
    )
}

const UNKNOWN_STATEMENT = '26000'

/**
 * The pooler in transaction mode on the way to the database, if there is one: two connections that
 * share a process of Postgres, or one that is given another while its first is busy.
 */
async function poolerOf(
  target: ConnectionTarget,
): Promise<{ losesStatements: boolean } | undefined> {
  const options = { ...clientOptions(target), patienceMs: WATCHED.patienceMs }
  const [one, other] = [new DatabaseConnection(options), new DatabaseConnection(options)]
  for (const connection of [one, other]) connection.on('error', () => {}) // its query fails
  try {
    await one.connect()
    await other.connect()
    const name = `tasktide_${randomUUID()}`
    const first = await processOf(one, name)
    await other.query('begin')
    const busy = await processOf(other)
    const second = await processOf(one, name).catch((error) => {
      if (error.code === UNKNOWN_STATEMENT) return undefined
      throw error
    })
    if (first !== busy && first === second) return undefined
    return { losesStatements: second === undefined }
  } finally {
    for (const connection of [one, other]) await connection.end().catch(() => {})
  }
}

/** @param name of the prepared statement, which is lost where names are */
async function processOf(connection: pg.Client, name?: string): Promise<number> {
  const statement = { name, text: 'select pg_backend_pid() as pid' }
  const { rows } = await connection.query<{ pid: number }>(statement)
  return rows[0]!.pid
}
