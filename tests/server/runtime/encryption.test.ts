import { once } from 'node:events'
import { type AddressInfo, createServer, connect as open, type Socket } from 'node:net'
import { networkInterfaces } from 'node:os'
import { createSecureContext, TLSSocket } from 'node:tls'
import { SMTPServer } from 'smtp-server'
import { describe, expect, inject, test } from 'vitest'
import { type ConnectionTarget, connect } from '../../../server/database/connect.ts'
import { createMailer } from '../../../server/mail/mailer.ts'
import { explain } from '../../../server/processes/startup-error.ts'
import { tlsOf, unencrypted } from '../../../server/runtime/encryption.ts'
import { atEnd } from '../../support/at-end.ts'
import { createCertificate } from '../../support/certificate.ts'
import { openMailbox } from '../../support/mailbox.ts'
import { startServer } from '../../support/server.ts'

const { certificate, key } = createCertificate()

describe('the line to a database', () => {
  test.each<[string, object, string | undefined]>([
    ['postgres://u:p@db.example.com/tasks', {}, 'verify'],
    ['postgres://u:p@db/tasks', {}, 'verify'],
    ['postgres://u:p@10.0.0.7:5432/tasks', {}, 'verify'],
    ['postgres://u:p@127.0.0.1.example.com/tasks', {}, 'verify'],
    ['postgres://u:localhost@db/tasks', {}, 'verify'],
    ['postgres://u:p@localhost,db/tasks', {}, 'verify'],
    ['postgres://u:p@localhost:5432/tasks', {}, 'off'],
    ['postgres://u:p@127.0.0.1/tasks', {}, 'off'],
    ['postgres://u:p@[::1]:5432/tasks', {}, 'off'],
    ['postgresql:///tasks?host=/var/run/postgresql', {}, 'off'],
    ['postgres://u:p@/tasks?host=%2Fcloudsql%2Fa:b:c', {}, 'off'],
    ['postgres://u:p@%2Fvar%2Frun%2Fpostgresql/tasks', {}, 'off'],
    ['postgres://u:p@localhost/tasks?host=db', {}, 'verify'],
    ['postgres://u:p@db/tasks?sslmode=disable', {}, undefined],
    ['postgres://u:p@db/tasks?sslmode=require', {}, undefined],
    ['postgres://u:p@db/tasks?sslmode=require', { DATABASE_CA: certificate }, 'verify'],
    ['postgres://u:p@db/tasks', { DATABASE_TLS: 'insecure' }, 'off'],
    ['postgres://u:p@db/tasks', { DATABASE_TLS: 'off' }, 'off'],
    ['postgres://u:p@localhost/tasks', { DATABASE_TLS: 'require' }, 'require'],
  ])('of %s with %j is %s', (url, config, expected) => {
    expect(tlsOf(url, config)).toBe(expected)
  })

  const failures: [string, Partial<ConnectionTarget>, boolean, RegExp][] = [
    ['an authority that nobody knows', { tls: 'verify' }, true, /set DATABASE_CA/],
    [
      'an authority that is another one',
      { tls: 'verify', ca: createCertificate().certificate },
      true,
      /set DATABASE_CA|certificate/,
    ],
    ['no encryption', { tls: 'require' }, false, /does not offer TLS.*DATABASE_TLS=insecure/],
  ]
  test.each(failures)(
    'is not used with %s, and the remedy is said',
    async (_what, target, offers, said) => {
      const failure = await ask(target, offers).catch(explain)
      expect(failure).toMatch(said)
    },
  )

  test.each<[string, Partial<ConnectionTarget>, boolean]>([
    ['that DATABASE_CA has signed', { tls: 'verify', ca: certificate }, true],
    ['of nobody, where any will do', { tls: 'require' }, true],
  ])('is encrypted with a certificate %s', async (_what, target, offers) => {
    expect(await ask(target, offers)).toBe(1)
  })

  /** Asks a Postgres over TCP, at `localhost`. */
  async function ask(target: Partial<ConnectionTarget>, offersTls: boolean): Promise<number> {
    const port = await postgresLine(offersTls)
    const url = new URL(inject('adminUrl'))
    const db = connect({
      url: `postgres://${url.username}@localhost:${port}${url.pathname}`,
      tls: undefined,
      poolSize: 1,
      ...target,
    })
    atEnd(() => db.destroy())
    const { rows } = await db.raw('select 1 as one')
    return rows[0].one
  }
})

/** The Postgres of the tests behind a port that answers requests for TLS, as Postgres does. */
async function postgresLine(offersTls: boolean): Promise<number> {
  const url = new URL(inject('adminUrl'))
  const socketFile = `${url.searchParams.get('host')}/.s.PGSQL.${url.searchParams.get('port') ?? (url.port || 5432)}`
  const sockets = new Set<Socket>()
  const server = createServer(async (socket) => {
    sockets.add(socket)
    socket.on('error', () => {})
    await once(socket, 'data') // the request for TLS
    socket.write(offersTls ? 'S' : 'N')
    if (!offersTls) return
    const secureContext = createSecureContext({ cert: certificate, key })
    const encrypted = new TLSSocket(socket, { isServer: true, secureContext })
    const postgres = open(socketFile)
    sockets.add(postgres)
    for (const one of [encrypted, postgres]) one.on('error', () => {})
    encrypted.pipe(postgres).pipe(encrypted)
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  atEnd(() => {
    for (const socket of sockets) socket.destroy()
    server.close()
  })
  return (server.address() as AddressInfo).port
}

describe('the line to a mail server', () => {
  const message = {
    id: 'x',
    to: 'ann@example.com',
    subject: 'Hi',
    text: '',
    html: '',
    language: 'en',
  }
  const mailerTo = (SMTP_URL: string, SMTP_TLS?: 'insecure' | 'require' | 'verify') => {
    const settings = { MAIL_FROM: 'tasks@example.com', SMTP_CONNECTIONS: 1, PUBLIC_URL: undefined }
    const mailer = createMailer({ SMTP_URL, SMTP_TLS, isProduction: true, ...settings })
    atEnd(() => mailer.close())
    return mailer
  }

  test('is not used without encryption, and the remedy is said', async () => {
    const mailbox = await openMailbox()
    atEnd(() => mailbox.close())
    await expect(mailerTo(mailbox.url, 'verify').send(message)).rejects.toThrow(
      /SMTP_URL offers no encryption/,
    )
    expect(mailbox.delivered).toEqual([])
    await mailerTo(mailbox.url, 'insecure').send(message)
    expect(mailbox.delivered).toHaveLength(1)
  })

  test('is encrypted with STARTTLS, and its certificate checked unless any will do', async () => {
    const encrypted: boolean[] = []
    const smtp = new SMTPServer({
      authOptional: true,
      key,
      cert: certificate,
      onData(stream, session, done) {
        encrypted.push(session.secure)
        stream.resume().on('end', () => done())
      },
    })
    smtp.on('error', () => {})
    smtp.listen(0, '127.0.0.1')
    await once(smtp.server, 'listening')
    atEnd(() => new Promise<void>((closed) => smtp.close(() => closed())))
    const url = `smtp://localhost:${(smtp.server.address() as AddressInfo).port}`
    await expect(mailerTo(url, 'verify').send(message)).rejects.toThrow()
    expect(encrypted).toEqual([])
    await mailerTo(url, 'require').send(message)
    expect(encrypted).toEqual([true])
  })
})

test.each<[string, object, string[]]>([
  ['nothing', { DATABASE_URL: 'postgres://db/tasks', SMTP_URL: 'smtp://mail' }, []],
  [
    'what the operator has said',
    {
      DATABASE_URL: 'postgres://db/tasks',
      DATABASE_TLS: 'insecure',
      SMTP_URL: 'smtp://mail:1025?ignoreTLS=true',
      REDIS_URL: 'redis://redis',
    },
    ['DATABASE_URL', 'REDIS_URL', 'SMTP_URL'],
  ],
  [
    'lines of their own',
    {
      DATABASE_URL: 'postgres://localhost/tasks',
      DATABASE_LISTEN_URL: 'postgres://db/tasks?sslmode=disable',
      DATABASE_REPLICA_URL: 'postgres://db/tasks?sslmode=require',
      PUBLIC_URL: 'http://tasks.example.com',
    },
    ['DATABASE_LISTEN_URL', 'PUBLIC_URL'],
  ],
  [
    'this machine',
    {
      DATABASE_URL: 'postgres:///tasks?host=/tmp',
      SMTP_URL: 'smtp://127.0.0.1',
      REDIS_URL: 'redis://[::1]:6379',
      PUBLIC_URL: 'http://localhost:8080',
    },
    [],
  ],
])('a start names the lines that are not encrypted: %s', (_what, config, expected) => {
  expect(unencrypted(config)).toEqual(expected)
})

const address = Object.values(networkInterfaces())
  .flat()
  .find((one) => one && !one.internal && one.family === 'IPv4')?.address

test.skipIf(!address)('outside of production, other machines do not reach the server', async () => {
  const server = await startServer({ HOST: '' })
  atEnd(() => server.stop())
  expect((await server.call('GET', '/healthz')).status).toBe(200)
  await expect(fetch(`http://${address}:${new URL(server.url).port}/healthz`)).rejects.toThrow()
})
