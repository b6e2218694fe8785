import knex, { type Knex } from 'knex'
import type pg from 'pg'

export type Database = Knex

export interface ConnectionOptions {
  url: string
  poolSize: number
  tls: 'off' | 'require' | 'verify'
  statementTimeoutMs: number
}

/** A pool of connections; nothing is connected until it is used. */
export function connect({ url, poolSize, tls, statementTimeoutMs }: ConnectionOptions): Database {
  return knex({
    client: 'pg',
    connection: {
      connectionString: url,
      application_name: 'tasktide',
      statement_timeout: statementTimeoutMs,
      // Answers arrive in one packet more often than not; waiting to fill one costs up to 40 ms.
      keepAlive: true,
      connectionTimeoutMillis: 5_000,
      ...(tls !== 'off' && { ssl: { rejectUnauthorized: tls === 'verify' } }),
    },
    pool: { min: 0, max: poolSize },
    acquireConnectionTimeout: 10_000,
  })
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
  { name, text }: Statement,
  values: readonly unknown[],
): Promise<Row[]> {
  const connection: pg.Client = await db.client.acquireConnection()
  try {
    return await runOn<Row>(connection, { name, text }, values)
  } finally {
    void db.client.releaseConnection(connection)
  }
}

export async function runOn<Row extends unknown[]>(
  connection: pg.ClientBase,
  { name, text }: Statement,
  values: readonly unknown[],
): Promise<Row[]> {
  const result = await connection.query<Row>({
    ...(name !== undefined && { name }),
    text,
    values: values as unknown[],
    rowMode: 'array',
  })
  return result.rows
}
