import knex, { type Knex } from 'knex'
import pg from 'pg'
import type { Tls } from '../runtime/encryption.ts'
import { hostUrls } from '../runtime/host-urls.ts'
import { type ConnectionConfig, DatabaseConnection } from './connection.ts'
import { LOCK_MS } from './lock-patience.ts'
import { Pool, PoolForRequests, retriedForLocks } from './pool.ts'
import { EVERYONE, type WalledConfig } from './walled-query.ts'

export type Database = Knex

export interface ConnectionTarget {
  url: string
  /** Default: the `sslmode` of the URL. */
  tls: Tls | undefined
  /** The authority of its certificate, as PEM. Default: the public ones. */
  ca?: string | undefined
}

export interface ConnectionOptions extends ConnectionTarget {
  poolSize: number
  /** Default: the one of the database. */
  statementTimeoutMs?: number
  /** How long the database may be silent. Default: somewhat longer than a statement may take. */
  patienceMs?: number
  /**
   * Whether users wait for it: then no transaction may stand idle for long, and no statement may wait
   * long for a lock. Migrations, mail and purging may do both.
   */
  servesRequests?: boolean
  /** Whether a statement sees no documents but those of the person it names. Default: no. */
  isWalled?: boolean
}

/** Postgres ends a statement by itself; whoever waits for longer than that waits for a dead line. */
const GRACE_MS = 3_000
/** A transaction of a request waits for nothing but the database. */
const IDLE_IN_TRANSACTION_MS = 5_000

/** A connection pool. It connects on first use. */
export function connect(options: ConnectionOptions): Database {
  const { poolSize, statementTimeoutMs = 0, servesRequests = false, isWalled = false } = options
  const { patienceMs = statementTimeoutMs && statementTimeoutMs + GRACE_MS } = options
  return knex({
    client: servesRequests ? PoolForRequests : Pool,
    connection: {
      ...clientOptions(options),
      settings: {
        // Every statement reads the data of one user through an index. A plan for a user without
        // statistics may look cheaper although it reads everything of the user. Citus has to know the
        // user to find the node, so most of its plans cannot be generic.
        plan_cache_mode: {
          sql: `case when exists (select from pg_extension where extname = 'citus') then 'auto' else 'force_generic_plan' end`,
        },
        // The table may have grown since its plan was made. (Before Postgres 18, a table that has to be read
        // whole then looks so expensive that the plan would be compiled.)
        enable_seqscan: 'off',
        jit: 'off',
        ...(options.statementTimeoutMs !== undefined && { statement_timeout: statementTimeoutMs }),
        ...(servesRequests && {
          lock_timeout: LOCK_MS,
          idle_in_transaction_session_timeout: IDLE_IN_TRANSACTION_MS,
        }),
      },
      patienceMs,
      isWalled,
      // What is sent together takes one round trip.
      pipeline: true,
    } as Knex.PgConnectionConfig,
    pool: { min: 0, max: poolSize, validate } as Knex.PoolConfig,
    acquireConnectionTimeout: 10_000,
    // knex would print errors with their SQL outside of our log; they also reject.
    log: { warn() {}, error() {}, deprecate() {}, debug() {} },
  })
}

const validate = (connection: DatabaseConnection) => connection.proveAlive()

/** After so much silence the other end is asked whether it is there; fifteen seconds later it is not. */
const KEEPALIVE_MS = 5_000

/** Options of every connection, in and outside of the pool. */
export function clientOptions({ url, tls, ca }: ConnectionTarget) {
  // The sslmode of the URL would override `ssl`.
  const urls = hostUrls(tls ? withoutSslmode(url) : url)
  return {
    connectionString: urls[0]!,
    urls,
    application_name: 'tasktide',
    keepAlive: true,
    keepAliveInitialDelayMillis: KEEPALIVE_MS,
    connectionTimeoutMillis: 3_000,
    ...(tls &&
      tls !== 'off' && { ssl: { rejectUnauthorized: tls === 'verify', ...(ca && { ca }) } }),
  }
}

/** For a connection that says little: it notices within seconds that its line is dead. */
export const WATCHED = { beatMs: 2_000, patienceMs: 5_000 }

function withoutSslmode(url: string): string {
  const [address, query = ''] = url.split('?', 2)
  const kept = query.split('&').filter((parameter) => !/^ssl(mode)?=/.test(parameter))
  return `${address}?${kept.join('&')}`
}

/** A `pg` pool for libraries that need one. Lost connections are reported and replaced. */
export function openPool(
  options: pg.PoolConfig & ConnectionConfig,
  lost: (error: Error) => void,
): pg.Pool {
  const pool = new pg.Pool({
    ...options,
    Client: DatabaseConnection as unknown as new () => pg.ClientBase,
  })
  pool.on('error', lost)
  pool.on('connect', (client) => client.on('error', lost))
  return pool
}

/** For a statement of knex: `.options(ofPerson(id))`, so that it sees the documents of this person. */
export const ofPerson = (id: string) => ({ rowsOf: id })

/** The same with the documents of everyone. */
export const OF_EVERYONE = { rowsOf: EVERYONE }

/** A prepared statement: each connection caches its plan by name. */
export interface Statement {
  readonly name?: string
  readonly text: string
  /** Whether it may take as long as the statement timeout allows, and not only ten seconds. */
  readonly isSlow?: boolean
  /** Whether it reads the documents of many people. All others see those of their first value. */
  readonly isForEveryone?: boolean
  /** The database ends it after so long (SQLSTATE 57014). Default: the statement timeout of the connection. */
  readonly limitMs?: number | undefined
}

/** How long the database may be silent about a statement that is not slow. */
const PATIENCE_MS = 10_000

/**
 * Runs one statement without the query builder, with rows as arrays and a cached plan, for the hot paths
 * of the store.
 */
export async function run<Row extends unknown[]>(
  db: Database,
  statement: Statement,
  values: readonly unknown[],
): Promise<Row[]> {
  return retriedForLocks(db, () =>
    onConnection(db, (connection) =>
      statement.isSlow
        ? runOn<Row>(connection, statement, values)
        : connection.within(PATIENCE_MS, () =>
            statement.limitMs === undefined
              ? runOn<Row>(connection, statement, values)
              : runLimited<Row>(connection, statement, values, statement.limitMs),
          ),
    ),
  )
}

/**
 * In a transaction, because only that sets the limit for nobody else where a pooler lends the connections of
 * the database. All three are sent at once.
 */
async function runLimited<Row extends unknown[]>(
  connection: DatabaseConnection,
  statement: Statement,
  values: readonly unknown[],
  limitMs: number,
): Promise<Row[]> {
  return atOnce(connection, `begin; ${limitSql(limitMs)}`, () =>
    runOn<Row>(connection, statement, values),
  )
}

/** @param send sends its statements before it waits for anything */
async function atOnce<T>(
  connection: DatabaseConnection,
  begin: string,
  send: () => Promise<T>,
): Promise<T> {
  const [begun, done, ended] = await Promise.allSettled([
    connection.query(begin),
    send(),
    connection.query('commit'),
  ])
  for (const part of [begun, done, ended]) if (part.status === 'rejected') throw part.reason
  return (done as PromiseFulfilledResult<T>).value
}

/** SQL: the statements of this transaction from now on have so long each. */
export const limitSql = (limitMs: number) => `set local statement_timeout = ${limitMs}`

/** A transaction that has its lock. */
export interface Begun<Row, A = undefined> {
  readonly connection: pg.ClientBase
  readonly locked: Row
  readonly ahead: A | undefined
  /** Sends the commit behind the last statement, which saves a round trip. Nothing can be sent after it. */
  commit(): Promise<unknown>
}

/**
 * Runs `work` in a transaction that begins with a lock, in one round trip, and commits it.
 *
 * @param lock a select for update, with `?` for the key; `work` receives the row
 * @param ahead sends what `work` will read first, together with the lock. It is read after the lock is taken
 * @returns undefined if there is no row to lock
 */
export function transactionOn<Row, T, A = undefined>(
  db: Database,
  lock: string,
  key: string,
  work: (begun: Begun<Row, A>) => Promise<T>,
  ahead?: (connection: pg.ClientBase) => A,
): Promise<T | undefined> {
  const begin = `begin; ${lock.replace('?', pg.escapeLiteral(key))}`
  const transact = async (connection: DatabaseConnection) => {
    try {
      const locking = connection.query(begin) as unknown as Promise<[object, { rows: Row[] }]>
      const sent = ahead?.(connection)
      const [, { rows }] = await locking
      let committing: Promise<unknown> | undefined
      const commit = () => (committing ??= connection.query('commit'))
      const [locked] = rows
      const result = locked && (await work({ connection, locked, ahead: sent, commit }))
      await commit()
      return result
    } catch (error) {
      // On a connection that was dropped this fails at once.
      await connection.query('rollback').catch(() => connection.drop())
      throw error
    }
  }
  return retriedForLocks(db, () =>
    onConnection(db, (connection) => connection.within(PATIENCE_MS, () => transact(connection))),
  )
}

/**
 * Runs several statements in a transaction of one round trip. (Without one, a pooler may give the second statement
 * to another connection.)
 *
 * @param send sends all of them before it waits for anything
 */
export function runTogether<T>(
  db: Database,
  send: (connection: pg.ClientBase) => Promise<T>,
): Promise<T> {
  return retriedForLocks(db, () =>
    onConnection(db, (connection) =>
      connection.within(PATIENCE_MS, () => atOnce(connection, 'begin', () => send(connection))),
    ),
  )
}

async function onConnection<T>(
  db: Database,
  work: (connection: DatabaseConnection) => Promise<T>,
): Promise<T> {
  const connection: DatabaseConnection = await db.client.acquireConnection()
  try {
    return await work(connection)
  } finally {
    void db.client.releaseConnection(connection)
  }
}

export async function runOn<Row extends unknown[]>(
  connection: pg.ClientBase,
  { name, text, isForEveryone }: Statement,
  values: readonly unknown[],
): Promise<Row[]> {
  const [person] = values
  const rowsOf = isForEveryone ? EVERYONE : typeof person === 'string' ? person : undefined
  const config: WalledConfig & pg.QueryArrayConfig = {
    ...(name !== undefined && { name }),
    text,
    values: values as unknown[],
    rowMode: 'array',
    rowsOf,
  }
  const result = await connection.query<Row>(config)
  return result.rows
}
