import { once } from 'node:events'
import { type AddressInfo, createServer } from 'node:net'
import pg from 'pg'
import { expect, test } from 'vitest'
import { clientOptions, connect } from '../../../server/database/connect.ts'
import { DatabaseConnection } from '../../../server/database/connection.ts'
import { hostUrls } from '../../../server/runtime/host-urls.ts'
import { atEnd } from '../../support/at-end.ts'
import { createDatabase } from '../../support/database.ts'

const clientOf = (url: string, tls?: 'off' | 'require' | 'verify') =>
  new pg.Client(clientOptions({ url, tls }))

const ANY = { rejectUnauthorized: false }
const CHECKED = { rejectUnauthorized: true }

test.each([
  ['', undefined, false],
  ['', 'off', false],
  ['', 'require', ANY],
  ['', 'verify', CHECKED],
  ['?sslmode=require', undefined, {}], // `pg` checks the certificate then
  ['?sslmode=require', 'require', ANY],
  ['?sslmode=require', 'verify', CHECKED],
  ['?sslmode=require&channel_binding=require', 'require', ANY],
  ['?application_name=x&sslmode=require', 'require', ANY],
  ['?a=1&sslmode=require&ssl=true&b=2', 'require', ANY],
  ['?sslmode=disable', 'off', false],
] as const)(
  'a URL that ends with %j and DATABASE_TLS=%s give the encryption %j',
  (query, tls, ssl) => {
    const client = clientOf(`postgres://u:p@db.example.com/tasks${query}`, tls)
    expect((client as unknown as { ssl: unknown }).ssl).toEqual(ssl)
    expect(client).toMatchObject({ host: 'db.example.com', database: 'tasks', user: 'u' })
  },
)

test.each([
  ['postgresql:///tasks?host=/var/run/postgresql', '/var/run/postgresql'],
  [
    'postgresql://u:p@/tasks?host=/cloudsql/project:region:instance',
    '/cloudsql/project:region:instance',
  ],
  ['postgres://u:p@%2Fvar%2Frun%2Fpostgresql/tasks', '/var/run/postgresql'],
])('%s is at a Unix socket', (url, host) => {
  for (const tls of [undefined, 'off'] as const)
    expect(clientOf(url, tls)).toMatchObject({ host, database: 'tasks' })
})

test.each([
  ['postgres://u:p@a:5432/db', ['postgres://u:p@a:5432/db']],
  [
    'postgres://u:p%2Cq@a:5432,b/db?sslmode=require&x=1,2',
    [
      'postgres://u:p%2Cq@a:5432/db?sslmode=require&x=1,2',
      'postgres://u:p%2Cq@b/db?sslmode=require&x=1,2',
    ],
  ],
  ['postgresql://[::1]:5432,[::2]/db', ['postgresql://[::1]:5432/db', 'postgresql://[::2]/db']],
  ['postgresql:///db?host=/a,b', ['postgresql:///db?host=/a,b']],
])('%s has the hosts %j', (url, urls) => {
  expect(hostUrls(url)).toEqual(urls)
})

test.each([
  // Users wait for requests; mail, purging and migrations may hold a transaction for minutes.
  [true, { lock_timeout: '250ms', idle_in_transaction_session_timeout: '5s' }, '3s'],
  [false, { lock_timeout: '0', idle_in_transaction_session_timeout: '0' }, '0'],
])(
  'with servesRequests %s, a session has the limits %j, and a transaction waits %s for a lock',
  async (servesRequests, limits, patience) => {
    const database = await createDatabase()
    atEnd(database.drop)
    const options = {
      url: database.url,
      tls: 'off',
      poolSize: 1,
      statementTimeoutMs: 7_000,
    } as const
    const db = connect({ ...options, servesRequests })
    atEnd(() => db.destroy())
    const setting = async (name: string, on = db) =>
      Object.values((await on.raw(`show ${name}`)).rows[0])[0]
    for (const [name, value] of Object.entries({
      ...limits,
      statement_timeout: '7s',
      plan_cache_mode: 'force_generic_plan',
      enable_seqscan: 'off',
      jit: 'off',
    }))
      expect([name, await setting(name)]).toEqual([name, value])
    expect(await db.transaction((trx) => setting('lock_timeout', trx))).toBe(patience)
  },
)

test('a connection asks for nothing in its first message that a pooler would refuse', async () => {
  const server = createServer()
  server.listen(0, '127.0.0.1')
  atEnd(() => server.close())
  await once(server, 'listening')
  const { port } = server.address() as AddressInfo
  const url = `postgres://ann@127.0.0.1:${port}/tasks`
  const db = connect({
    url,
    tls: 'off',
    poolSize: 1,
    statementTimeoutMs: 7_000,
    servesRequests: true,
  })
  atEnd(() => db.destroy())
  const refused = expect(db.raw('select 1')).rejects.toThrow()
  const [socket] = await once(server, 'connection')
  const [data] = await once(socket, 'data')
  socket.destroy()
  await refused
  // After its length and the version of the protocol: names and values, each with a zero at its end.
  const words = data.subarray(8).toString().split('\0')
  const names = words.filter((word: string, i: number) => i % 2 === 0 && word !== '')
  // What PgBouncer knows without `ignore_startup_parameters`.
  expect(names.sort()).toEqual(['application_name', 'client_encoding', 'database', 'user'])
})

test('a connection over TCP asks within seconds whether the other end is there', async () => {
  const { url, drop } = await createDatabase()
  atEnd(drop)
  const connection = new DatabaseConnection(clientOptions({ url, tls: 'off' }))
  const asked: string[] = []
  const query = connection.query.bind(connection)
  connection.query = ((text: string) => {
    asked.push(text)
    return query(text)
  }) as never
  await connection.connect()
  await connection.end()
  // The database of the tests is at a Unix socket, where these settings always read 0.
  expect(asked.join()).toMatch(/tcp_keepalives_idle = '5'.*tcp_user_timeout = '10000'/)
})
