import knex, { type Knex } from 'knex'
import pg from 'pg'

export type Database = Knex

export interface ConnectionTarget {
  url: string
  /** Undefined: as the URL says. */
  tls: 'off' | 'require' | 'verify' | undefined
}

export interface ConnectionOptions extends ConnectionTarget {
  poolSize: number
  statementTimeoutMs: number
}

const GRACE_MS = 3_000

/**
 * Each statement has one plan, made without looking at its values. What to read is always of one user
 * and found by an index; made for a user of whom there are no statistics yet, a plan may read all
 * that the user has, and look the cheaper for it.
 */
const ONE_PLAN = '-c plan_cache_mode=force_generic_plan'

/** A pool of connections; nothing is connected until it is used. */
export function connect({ url, poolSize, tls, statementTimeoutMs }: ConnectionOptions): Database {
  return knex({
    client: 'pg',
    connection: {
      ...clientOptions({ url, tls }),
      options: ONE_PLAN,
      statement_timeout: statementTimeoutMs,
      // Postgres keeps its own limit; this one is for a line on which nothing comes any more.
      ...(statementTimeoutMs > 0 && { query_timeout: statementTimeoutMs + GRACE_MS }),
    },
    pool: { min: 0, max: poolSize },
    acquireConnectionTimeout: 10_000,
    // It would print errors, with the SQL, past our log; they reach us as rejections anyway.
    log: { warn() {}, error() {}, deprecate() {}, debug() {} },
  })
}

/** What every connection has in common, in the pool or beside it. */
export function clientOptions({ url, tls }: ConnectionTarget) {
  return {
    // What the URL says would stand above `ssl`.
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

/** A pool for a library that asks for one of `pg`'s own. Lost connections are told, and replaced. */
export function openPool(options: pg.PoolConfig, lost: (error: Error) => void): pg.Pool {
  const pool = new pg.Pool(options)
  pool.on('error', lost)
  pool.on('connect', (client) => client.on('error', lost))
  return pool
}

/** A statement of SQL whose plan each connection keeps under its name. */
export interface Statement {
  readonly name?: string
  readonly text: string
}

/**
 * Runs one statement outside the query builder: the rows come as arrays and the plan is kept, which
 * is what the hot paths of the store live on.
 */
export async function run<Row extends unknown[]>(
  db: Database,
  statement: Statement,
  values: readonly unknown[],
): Promise<Row[]> {
  return onConnection(db, (connection) => runOn<Row>(connection, statement, values))
}

/**
 * Runs `work` in a transaction that begins by locking: both in one round trip.
 *
 * @param lock a select for update, `?` for the key
 * @returns undefined where there is nothing to lock
 */
export function transactionOn<T>(
  db: Database,
  lock: string,
  key: string,
  work: (connection: pg.ClientBase) => Promise<T>,
): Promise<T | undefined> {
  return onConnection(db, async (connection) => {
    try {
      const begin = `begin; ${lock.replace('?', pg.escapeLiteral(key))}`
      const [, locked] = (await connection.query(begin)) as unknown as pg.QueryResult[]
      const result = locked!.rowCount === 0 ? undefined : await work(connection)
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
    // Whatever still comes on that line would answer somebody else.
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
