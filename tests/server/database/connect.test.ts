import pg from 'pg'
import { expect, test } from 'vitest'
import { clientOptions } from '../../../server/database/connect.ts'

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
