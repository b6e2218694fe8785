import knex, { type Knex } from 'knex'
import pg from 'pg'

export type Database = Knex

export interface ConnectionTarget {
  url: string
  /** Default: the `sslmode` of the URL. */
  tls: 'off' | 'require' | 'verify' | undefined
}

export interface ConnectionOptions extends ConnectionTarget {
  poolSize: number
  statementTimeoutMs: number
}

const GRACE_MS = 3_000

/**
 * Forces generic plans. Every statement reads the data of one user through an index. A plan for a user
 * without statistics may look cheaper although it reads everything of the user.
 */
const ONE_PLAN = '-c plan_cache_mode=force_generic_plan'

/** A connection pool. It connects on first use. */
export function connect({ url, poolSize, tls, statementTimeoutMs }: ConnectionOptions): Database {
  return knex({
    client: 'pg',
    connection: {
      ...clientOptions({ url, tls }),
      options: ONE_PLAN,
      statement_timeout: statementTimeoutMs,
      // Postgres has its own limit; this one is for a dead connection.
      ...(statementTimeoutMs > 0 && { query_timeout: statementTimeoutMs + GRACE_MS }),
    },
    pool: { min: 0, max: poolSize },
    acquireConnectionTimeout: 10_000,
    // knex would print errors with their SQL outside of our log; they also reject.
    log: { warn() {}, error() {}, deprecate() {}, debug() {} },
  })
}

/** Options of every connection, in and outside of the pool. */
export function clientOptions({ url, tls }: ConnectionTarget) {
  return {
    // The sslmode of the URL would override `ssl`.
    connectionString: tls ? withoutSslmode(url) : url,
    application_name: 'tasktide',
    keepAlive: true,
    connectionTimeoutMillis: 5_000,
    ...(tls && tls !== 'off' && { ssl: { rejectUnauthorized: tls === 'verify' } }),
  }
}

function withoutSslmode(url: string): string {
  const [address, query = ''] = url.split('?', 2)
  const kept = query.split('&').filter((parameter) => !/^ssl(mode)?=/.test(parameter))
  return `${address}?${kept.join('&')}`
}

/** A `pg` pool for libraries that need one. Lost connections are reported and replaced. */
export function openPool(options: pg.PoolConfig, lost: (error: Error) => void): pg.Pool {
  const pool = new pg.Pool(options)
  pool.on('error', lost)
  pool.on('connect', (client) => client.on('error', lost))
  return pool
}

/** A prepared statement: each connection caches its plan by name. */
export interface Statement {
  readonly name?: string
  readonly text: string
}

/**
 * Runs one statement without the query builder, with rows as arrays and a cached plan, for the hot paths
 * of the store.
 */
export async function run<Row extends unknown[]>(
  db: Database,
  statement: Statement,
  values: readonly unknown[],
): Promise<Row[]> {
  return onConnection(db, (connection) => runOn<Row>(connection, statement, values))
}

/**
 * Runs `work` in a transaction that begins with a lock, in one round trip.
 *
 * @param lock a select for update, with `?` for the key; `work` receives the row
 * @returns undefined if there is no row to lock
 */
export function transactionOn<Row, T>(
  db: Database,
  lock: string,
  key: string,
  work: (connection: pg.ClientBase, locked: Row) => Promise<T>,
): Promise<T | undefined> {
  return onConnection(db, async (connection) => {
    try {
      const begin = `begin; ${lock.replace('?', pg.escapeLiteral(key))}`
      const [, { rows }] = (await connection.query(begin)) as unknown as [object, { rows: Row[] }]
      const result = rows.length === 0 ? undefined : await work(connection, rows[0]!)
      await connection.query('commit')
      return result
    } catch (error) {
      await connection.query('rollback').catch((failed) => dispose(connection, failed))
      throw error
    }
  })
}

async function onConnection<T>(
  db: Database,
  work: (connection: pg.ClientBase) => Promise<T>,
): Promise<T> {
  const connection: pg.Client = await db.client.acquireConnection()
  try {
    return await work(connection)
  } catch (error) {
    // A late response on this connection would go to another query.
    if ((error as Error).message === 'Query read timeout') dispose(connection, error)
    throw error
  } finally {
    void db.client.releaseConnection(connection)
  }
}

const dispose = (connection: pg.ClientBase, error: unknown) =>
  Object.assign(connection, { __knex__disposed: error })

export async function runOn<Row extends unknown[]>(
  connection: pg.ClientBase,
  { name, text }: Statement,
  values: readonly unknown[],
): Promise<Row[]> {
  const result = await connection.query<Row>({
    name,
    text,
    values: values as unknown[],
    rowMode: 'array',
  } as pg.QueryArrayConfig)
  return result.rows
}
