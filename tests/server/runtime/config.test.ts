import { mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { parseEnv } from 'node:util'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { configurationDocs } from '../../../scripts/configuration-docs.ts'
import { keptSecret } from '../../../server/accounts/secrets.ts'
import { readConfig } from '../../../server/runtime/config.ts'
import { createCertificate } from '../../support/certificate.ts'

const SECRET = 'Vb3kQ9xZt7Lw2Rf5Yh8Jn4Mc6Pd1Sg0A'
const UNSET = [
  'DATABASE_TLS',
  'DATABASE_URL',
  'DATABASE_REPLICA_URL',
  'REDIS_URL',
  'PUBLIC_URL',
  'SECRET_KEY',
  'SECRET_KEY_PREVIOUS',
  'SMTP_URL',
  'MAIL_FROM',
  'METRICS_TOKEN',
  'MAX_BYTES_IN_FLIGHT',
]
const PEM = createCertificate().certificate.trim()
const PRODUCTION = { NODE_ENV: 'production', SECRET_KEY: SECRET }

describe('the environment', () => {
  test('may be empty, for development', () => {
    const config = readConfig({})
    expect(config).toMatchObject({
      NODE_ENV: 'development',
      isProduction: false,
      PORT: 3000,
      DATABASE_POOL_SIZE: 8,
      DATA_DIR: '.data',
      CORS_ORIGINS: ['*'],
      TRUST_PROXY: 0,
      LOG_LEVEL: 'info',
      // An app's own tests register many people.
      AUTH_RATE_LIMIT: 1_000,
      MAX_BODY_BYTES: 262_144,
      SMTP_CONNECTIONS: 5,
      WORKER_CONCURRENCY: 5,
      migrateOnStart: true,
      runWorker: true,
    })
    for (const name of UNSET) expect(config).not.toHaveProperty(name)
  })

  test('needs a key in production, and by default allows no other origin', () => {
    expect(readConfig(PRODUCTION)).toMatchObject({
      isProduction: true,
      SECRET_KEY: SECRET,
      CORS_ORIGINS: [],
      AUTH_RATE_LIMIT: 20,
    })
  })

  test.each(['', ' '])('treats empty and blank values as unset: %j', (value) => {
    const names = Object.keys(UNUSABLE)
    const empty = Object.fromEntries(names.map((name) => [name, value]))
    expect(readConfig(empty)).toEqual(readConfig({}))
  })

  test.each([
    ['PORT', '8080', { PORT: 8080 }],
    ['PUBLIC_URL', 'https://tasks.example.com/', { PUBLIC_URL: 'https://tasks.example.com' }],
    [
      'CORS_ORIGINS',
      'https://a.example, https://b.example:8443',
      {
        CORS_ORIGINS: ['https://a.example', 'https://b.example:8443'],
      },
    ],
    ...[
      'capacitor://localhost',
      'ionic://localhost',
      'tauri://localhost',
      'app://tasktide',
      'app://.',
      'chrome-extension://abcdefghijklmnopabcdefghijklmnop',
      'safari-web-extension://5A8F2F1E-0C4B-4E0C-9A53-2D0F9B1C7E11',
    ].map((origin): [string, string, object] => [
      'CORS_ORIGINS',
      `https://a.example,${origin}`,
      { CORS_ORIGINS: ['https://a.example', origin] },
    ]),
    ...[
      'postgresql:///tasks?host=/var/run/postgresql',
      'postgresql://tasks:x@/tasks?host=/cloudsql/project:region:instance',
      'postgres://tasks:x@%2Fvar%2Frun%2Fpostgresql/tasks',
      'postgres://tasks:x@one.example.com:5432,two.example.com:5433/tasks?sslmode=require',
      'postgres://u:p%23s%2Fs%40%3F@db.example.com:5432/tasks?sslmode=require',
    ].map((url): [string, string, object] => ['DATABASE_URL', url, { DATABASE_URL: url }]),
    ...[
      'rediss://redis:6379',
      'redis://:p%40ss@127.0.0.1',
      'rediss://default:x@cache.example.com:6380/0',
      'redis://[::1]:6379/',
    ].map((url): [string, string, object] => ['REDIS_URL', url, { REDIS_URL: url }]),
    ['TRUST_PROXY', '2', { TRUST_PROXY: 2 }],
    ['TRUST_PROXY', 'true', { TRUST_PROXY: 1 }],
    ['TRUST_PROXY', 'false', { TRUST_PROXY: 0 }],
    ['TRUST_PROXY', '10.0.0.0/8, loopback', { TRUST_PROXY: '10.0.0.0/8, loopback' }],
    ['AUTH_RATE_LIMIT', '0', { AUTH_RATE_LIMIT: 0 }],
    ['MIGRATE_ON_START', '0', { migrateOnStart: false }],
    ['DATABASE_TLS', 'verify', { DATABASE_TLS: 'verify' }],
    ['DATABASE_TLS', 'insecure', { DATABASE_TLS: 'insecure' }],
    ['DATABASE_CA', PEM, { DATABASE_CA: PEM }],
    ['DATABASE_CA', PEM.replaceAll('\n', '\\n'), { DATABASE_CA: PEM }],
    ['SMTP_TLS', 'require', { SMTP_TLS: 'require' }],
    ['HOST', '0.0.0.0', { HOST: '0.0.0.0' }],
    ['MAIL_FROM', 'tasks@example.com', { MAIL_FROM: 'tasks@example.com' }],
    ['MAIL_FROM', 'info@xn--e1afmkfd.xn--p1ai', { MAIL_FROM: 'info@xn--e1afmkfd.xn--p1ai' }],
    ['RUN_WORKER', 'false', { runWorker: false }],
    ['METRICS_TOKEN', SECRET, { METRICS_TOKEN: SECRET }],
  ])('is read: %s=%s', (name, value, expected) => {
    expect(readConfig({ [name]: value })).toMatchObject(expected)
  })

  test.each([
    ['development, embedded', {}, true],
    ['development, another database', { DATABASE_URL: 'postgres://db/tasks' }, true],
    ['production, embedded', PRODUCTION, true],
    ['production, another database', { ...PRODUCTION, DATABASE_URL: 'postgres://db/tasks' }, false],
    [
      'production that asks for it',
      {
        ...PRODUCTION,
        DATABASE_URL: 'postgres://db/tasks',
        MIGRATE_ON_START: 'true',
      },
      true,
    ],
  ])('says who migrates: %s', (_, env, expected) => {
    expect(readConfig(env).migrateOnStart).toBe(expected)
  })

  test.each([
    ['development, embedded', {}, true],
    ['development, another database', { DATABASE_URL: 'postgres://db/tasks' }, true],
    ['production, embedded', PRODUCTION, true],
    ['production, another database', { ...PRODUCTION, DATABASE_URL: 'postgres://db/tasks' }, false],
    ['tests', { NODE_ENV: 'test', DATABASE_URL: 'postgres://db/tasks' }, false],
    ['production, embedded, with a worker elsewhere', { ...PRODUCTION, RUN_WORKER: '0' }, false],
  ])('says who runs the jobs: %s', (_, env, expected) => {
    expect(readConfig(env).runWorker).toBe(expected)
  })

  test('may set the mail server, the sender and the URL of links', () => {
    expect(
      readConfig({ ...MAIL, SMTP_URL: 'smtps://ann:pass%40word@mail.example:465' }),
    ).toMatchObject({
      SMTP_URL: 'smtps://ann:pass%40word@mail.example:465',
    })
  })

  test('is completely described in the generated documents', () => {
    const docs = configurationDocs()
    expect(docs.map(({ file }) => file)).toEqual(['docs/operations.md', '.env.example'])
    for (const { is, shouldBe } of docs) {
      expect(is).toBe(shouldBe) // else: npm run docs:config
      for (const name of Object.keys(UNUSABLE)) expect(is).toContain(name)
    }
  })

  test('is valid as in .env.example', () => {
    const example = readFileSync(new URL('../../../.env.example', import.meta.url), 'utf8')
    expect(readConfig(parseEnv(example) as Record<string, string>)).toEqual(readConfig({}))
  })
})

const MAIL = {
  SMTP_URL: 'smtp://mail.example:587',
  MAIL_FROM: 'tasks@example.com',
  PUBLIC_URL: 'https://tasks.example.com',
}

/** By variable, values that no server can start with. */
const UNUSABLE: Record<string, string[]> = {
  NODE_ENV: ['prodution'],
  PORT: ['eighty', '-1', '65536', '80.5'],
  PUBLIC_URL: [
    'tasks.example.com',
    'ftp://tasks.example.com',
    'javascript:alert(1)',
    'https://example.com/tasks',
    'https://example.com/tasks/',
    'https://example.com/?app=tasks',
    'https://ann:hunter22@example.com',
  ],
  DATABASE_URL: [
    'mysql://root:hunter22@db/tasks',
    'hunter22',
    'postgres://tasks:x@/tasks',
    'postgres://tasks:x@one,/tasks',
  ],
  DATABASE_REPLICA_URL: ['mysql://root:hunter22@db/tasks', 'postgres://one,two/tasks'],
  REDIS_URL: [
    'redis:6379',
    'https://redis',
    'redis:///0',
    'redis://redis/tasks',
    'redis://:hunter22%@redis',
    'redis://:hunter22#x@redis',
  ],
  DATABASE_POOL_SIZE: ['0', '201', 'many'],
  DATABASE_TLS: ['yes'],
  DATABASE_CA: ['/no/such/file', import.meta.filename],
  SMTP_TLS: ['off'],
  REDIS_TLS: ['require'],
  DATABASE_STATEMENT_TIMEOUT_MS: ['-1', 'soon'],
  SECRET_KEY: ['hunter22', 'a'.repeat(64), 'changeme-changeme-changeme-changeme'],
  SECRET_KEY_PREVIOUS: ['hunter22', '0123456'.repeat(9)],
  CORS_ORIGINS: [
    'web.example.net',
    'https://web.example.net/',
    'https://web.example.net/app',
    'tauri://localhost/',
    'javascript:alert(1)',
    'file:///',
    'app://a b',
    'https://a.example,,*',
    'null',
  ],
  TRUST_PROXY: ['nginx', '10.0.0.0/64', '-1'],
  LOG_LEVEL: ['loud'],
  AUTH_RATE_LIMIT: ['-1', 'few', '2.5'],
  QUOTA_DOCUMENTS: ['-1', 'few'],
  QUOTA_BYTES: ['-1', '1GB'],
  WRITES_PER_MINUTE: ['-1', 'few'],
  MAX_BODY_BYTES: ['1023', '8388609', '1MB'],
  MAX_BYTES_IN_FLIGHT: ['16777215', '1GB'],
  MIGRATE_ON_START: ['yes'],
  SMTP_URL: ['mail.example:587', 'https://mail.example', 'smtp:mail.example', 'smtp:///nowhere'],
  MAIL_FROM: [
    'nobody',
    'tasks@example.com, eve@example.com',
    'tasks@example.com\r\nBcc: eve@example.com',
    'Tasks <tasks@example.com>',
  ],
  SMTP_CONNECTIONS: ['0', '51', 'few'],
  RUN_WORKER: ['yes'],
  WORKER_CONCURRENCY: ['0', '101', '2.5'],
  METRICS_TOKEN: ['hunter22', 'a'.repeat(64), `${SECRET} ${SECRET}`],
}

describe('an error in the environment', () => {
  const each = Object.entries(UNUSABLE).flatMap(([name, values]) =>
    values.map((value) => [name, value] as const),
  )
  test.each(each)('is named, and the value is not repeated: %s=%j', (name, value) => {
    const [first, ...faults] = faultsOf({ [name]: value }).split('\n')
    expect(first).toBe('Invalid configuration. Correct these environment variables:')
    expect(faults.length).toBeGreaterThan(0)
    for (const fault of faults) expect(fault).toMatch(new RegExp(`^  ${name}(\\.\\d+)?: \\S`))
    if (value.length > 2) expect(faults.join('\n')).not.toContain(value)
  })

  test('is reported together with all others', () => {
    const wrong = Object.fromEntries(
      Object.entries(UNUSABLE).map(([name, [value]]) => [name, value] as const),
    )
    const message = faultsOf(wrong)
    for (const name of Object.keys(wrong)) expect(message).toContain(`\n  ${name}`)
    expect(message).not.toContain('hunter22')
  })

  test.each(['DATABASE_LISTEN_URL', 'DATABASE_OWNER_URL', 'DATABASE_REPLICA_URL'])(
    'is %s alone',
    (name) => {
      expect(faultsOf({ [name]: 'postgres://db/tasks' })).toContain(`${name}: set DATABASE_URL too`)
    },
  )

  test.each([
    ['no key', {}],
    ['an empty key', { SECRET_KEY: '' }],
    ['a short key', { SECRET_KEY: 'Vb3kQ9xZt7Lw2Rf5Yh8Jn4Mc6Pd1Sg0' }],
    ['a key that repeats itself', { SECRET_KEY: 'abcdefghijk'.repeat(10) }],
  ])('is, in production, %s', (_, env) => {
    expect(faultsOf({ NODE_ENV: 'production', ...env })).toMatch(/\n {2}SECRET_KEY: .*openssl rand/)
  })

  test('is, in production, the key that compose.yaml once had', () => {
    const SECRET_KEY = 'everybody-knows-this-one-use-your-own-0123456789'
    expect(faultsOf({ ...PRODUCTION, SECRET_KEY })).toContain('SECRET_KEY: everybody knows')
  })

  test('is Redis on another machine without encryption, unless that is said', () => {
    const REDIS_URL = 'redis://cache.example.com'
    expect(faultsOf({ REDIS_URL })).toContain('REDIS_URL: redis:// is not encrypted; use rediss://')
    expect(readConfig({ REDIS_URL, REDIS_TLS: 'insecure' })).toMatchObject({ REDIS_URL })
  })

  test('is DATABASE_CA where no certificate is checked', () => {
    const env = { DATABASE_CA: PEM, DATABASE_TLS: 'require' }
    expect(faultsOf(env)).toContain('DATABASE_CA: is used with DATABASE_TLS=verify only')
  })

  test.each([
    ['insecure', 'require', true],
    ['off', 'require', true],
    ['off', 'disable', false],
    ['require', 'require', false],
    ['require', 'no-verify', false],
    ['require', 'verify-full', true],
    ['require', 'disable', true],
    ['verify', 'require', false],
    ['verify', 'verify-full', false],
    ['verify', 'disable', true],
  ])('is DATABASE_TLS=%s beside sslmode=%s: %j', (DATABASE_TLS, sslmode, wrong) => {
    const env = { DATABASE_TLS, DATABASE_URL: `postgres://db/tasks?x=1&sslmode=${sslmode}` }
    if (wrong)
      expect(faultsOf(env)).toMatch(/\n {2}DATABASE_TLS: contradicts the sslmode in DATABASE_URL/)
    else expect(readConfig(env)).toMatchObject(env)
  })

  test.each(['MAIL_FROM', 'PUBLIC_URL'])('is, where mail is to be sent, no %s', (name) => {
    expect(faultsOf({ ...MAIL, [name]: '' })).toMatch(
      new RegExp(`\n {2}${name}: required with SMTP_URL`),
    )
  })
})

describe('the development key', () => {
  let dataDir: string
  beforeEach(() => {
    dataDir = mkdtempSync(path.join(tmpdir(), 'tasktide-secret-'))
  })
  afterEach(() => rmSync(dataDir, { recursive: true, force: true }))

  test('is created once and stored, readable only by its owner', () => {
    const made = keptSecret(path.join(dataDir, 'new'))
    const file = path.join(dataDir, 'new', 'secret_key')
    expect(Buffer.from(made, 'base64url')).toHaveLength(32)
    expect(keptSecret(path.join(dataDir, 'new'))).toBe(made)
    expect(readFileSync(file, 'utf8')).toBe(made)
    if (process.platform === 'win32') return
    expect(statSync(file).mode & 0o777).toBe(0o600)
    expect(statSync(path.dirname(file)).mode & 0o777).toBe(0o700)
  })

  test('differs between directories', () => {
    expect(keptSecret(path.join(dataDir, 'one'))).not.toBe(keptSecret(path.join(dataDir, 'two')))
  })

  test('is never empty after a crash', () => {
    writeFileSync(path.join(dataDir, 'secret_key'), '')
    let secret: string | undefined
    try {
      secret = keptSecret(dataDir)
    } catch {
      return
    }
    expect(secret.length).toBeGreaterThanOrEqual(32)
  })
})

function faultsOf(env: Record<string, string | undefined>): string {
  try {
    readConfig(env)
  } catch (error) {
    return (error as Error).message
  }
  throw new Error('the environment was taken')
}
