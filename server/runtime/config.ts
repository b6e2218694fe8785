import * as z from 'zod'
import { accounts, remedyFor } from '../../protocol/index.ts'
import { MIN_BYTES } from './bytes-in-flight.ts'
import {
  certificate,
  databaseUrl,
  flag,
  list,
  origins,
  redisUrl,
  roles,
  secret,
  trustProxy,
} from './config-values.ts'
import { hostOf, isLocalHost, sslmodeOf } from './encryption.ts'
import { hostUrls } from './host-urls.ts'

const MEGABYTE = 1024 * 1024

/** All variables. Each `description` is printed in docs/operations.md and .env.example. */
export const environment = z.object({
  NODE_ENV: z
    .enum(['development', 'production', 'test'])
    .default('development')
    .describe('`development`, `test` or `production`, which requires `SECRET_KEY` and logs JSON.'),
  PORT: z.coerce.number().int().min(0).max(65_535).default(3000).describe('The port to listen on.'),
  HOST: z
    .string()
    .optional()
    .describe(
      'The address to listen on, such as `0.0.0.0`. Default: all addresses in production, otherwise `127.0.0.1`, which other machines cannot reach.',
    ),
  COUCH_TEST_MODE: flag
    .default(false)
    .describe(
      'Whether to serve `/couch-test/`, for test suites of CouchDB clients: anybody creates and deletes databases there. Refused in production.',
    ),
  PUBLIC_URL: z
    .url({ protocol: /^https?$/, error: 'Use an http or https address' })
    .transform((value) => value.replace(/\/+$/, ''))
    .refine(
      (value) => !/^https?:\/\/[^/?#@]*[/?#@]/i.test(value),
      'Use a URL without a path and a password, such as https://tasks.example.com',
    )
    .optional()
    .describe(
      'The public URL, without a path, used for links; required with `SMTP_URL`. If it is https and `TRUST_PROXY` is set, pages over plain HTTP are redirected to it, and API calls are refused.',
    ),
  TRUST_PROXY: trustProxy
    .default(0)
    .describe(
      'The number of proxies in front of the server, or their addresses: `10.0.0.0/8, loopback`.',
    ),
  DATABASE_URL: databaseUrl
    .optional()
    .describe(
      '`postgres://user:password@host/database`, or with `?host=/the/folder` for a Unix socket. Several hosts (`one:5432,two:5432`): the first that accepts writes is used. Unset: an embedded Postgres with its data in `DATA_DIR`.',
    ),
  DATABASE_LISTEN_URL: databaseUrl
    .optional()
    .describe(
      'The same database without a pooler in transaction mode, for the connections that need a session: listening, jobs, migrations. Default: `DATABASE_URL`.',
    ),
  DATABASE_OWNER_URL: databaseUrl
    .optional()
    .describe(
      'The same database as the role that owns its tables, for migrations, `npm run restored` and `npm run distribute`. Then the role of `DATABASE_URL` needs no more than `tasktide_everyone`. Default: `DATABASE_LISTEN_URL`.',
    ),
  DATABASE_REPLICA_URL: databaseUrl
    .refine((value) => hostUrls(value).length === 1, 'Use one host')
    .optional()
    .describe(
      'A streaming replica of the database, on one host: pulls are read from it where it is not behind. `DATABASE_TLS` applies to it too.',
    ),
  REDIS_URL: redisUrl
    .optional()
    .describe(
      '`redis://user:password@host:6379`, or `rediss://…` for TLS: Redis 6 or later carries the hints between nodes. The same on every web node. Default: Postgres carries them.',
    ),
  REDIS_TLS: z
    .enum(['insecure'])
    .optional()
    .describe(
      '`insecure` allows `redis://`, which is not encrypted, on another machine than this one.',
    ),
  DATABASE_POOL_SIZE: z.coerce
    .number()
    .int()
    .min(1)
    .max(200)
    .default(8)
    .describe('Database connections for requests, 1 to 200. Every process uses a few more.'),
  DATABASE_TLS: z
    .enum(['insecure', 'off', 'require', 'verify'])
    .optional()
    .describe(
      '`verify` (encrypted, certificate checked), `require` (encrypted, any certificate) or `insecure` (not encrypted; `off` is the same). Default: the `sslmode` of the URL, where `sslmode=require` also checks the certificate; without an `sslmode`, `verify`, or `insecure` on this machine and over a Unix socket.',
    ),
  DATABASE_CA: certificate
    .optional()
    .describe(
      'The authority that has signed the certificate of the database, if it is not a public one: PEM, or the path of a file. The certificate is then checked.',
    ),
  DATABASE_STATEMENT_TIMEOUT_MS: z.coerce
    .number()
    .int()
    .min(0)
    .max(86_400_000)
    .default(30_000)
    .describe(
      'The time limit of a statement, up to a day; 0 is no limit. It does not apply to migrations.',
    ),
  MIGRATE_ON_START: flag
    .optional()
    .describe(
      'Whether the server runs migrations at start. Default: only in development and with the embedded database.',
    ),
  DATA_DIR: z
    .string()
    .min(1)
    .default('.data')
    .describe('The folder of the embedded database and of the development key.'),
  SECRET_KEY: secret
    .optional()
    .describe(
      'The key for tokens, mail links and the secrets of authenticator apps, the same on every node and worker: `openssl rand -base64 32`. Required in production.',
    ),
  SECRET_KEY_PREVIOUS: secret
    .optional()
    .describe(
      'The previous key. Keep it for 30 days, until all tokens signed with it have expired. Within a day, a worker encrypts the secrets of authenticator apps with the new one.',
    ),
  CORS_ORIGINS: origins
    .optional()
    .describe(
      'Allowed origins of web apps besides `PUBLIC_URL`, for requests and sockets, separated by commas, or `*`. Default: `*` in development, none in production.',
    ),
  HSTS_SUBDOMAINS: flag
    .default(false)
    .describe(
      'Whether browsers use HTTPS for all subdomains of `PUBLIC_URL` too (`includeSubDomains`). Only if none of them needs plain HTTP.',
    ),
  SECURITY_CONTACT: z
    .string()
    .regex(
      /^(https:\/\/[^\s]+|(mailto:)?[^\s@:]+@[^\s@:]+|tel:[+\d-]+)$/,
      'Use a mail address, or an address such as https://example.com/security',
    )
    .transform((value) => (/^[a-z]+:/.test(value) ? value : `mailto:${value}`))
    .optional()
    .describe(
      'Where to report vulnerabilities: a mail address or an https address, for `/.well-known/security.txt`. Unset: 404.',
    ),
  FACTOR_ROLES: roles
    .default([])
    .describe(
      'The roles that require a second factor, separated by commas: `admin,support`. Without one, these people can sign in only to set one up. Default: none.',
    ),
  AUTH_RATE_LIMIT: z.coerce
    .number()
    .int()
    .min(0)
    .optional()
    .describe(
      'Requests per minute and IP address (IPv6: /64; four times as many at /56 and sixteen times at /48) to each endpoint that checks a password or sends mail, and per user to all account endpoints together, and to each comparison of documents. Endpoints that refresh, verify or revoke a token count failed requests only. 0 is no limit. Default: 20 in production, otherwise 1000.',
    ),
  REGISTRATION: z
    .enum(['open', 'invite', 'closed'])
    .default('open')
    .describe(
      'Who can register: everybody (`open`), people with an invitation of an admin (`invite`) or nobody (`closed`). `npm run user -- create` works always.',
    ),
  REGISTRATION_DOMAINS: list
    .transform((domains) => domains.map((domain) => domain.toLowerCase()))
    .refine(
      (domains) => domains.every((domain) => /^\.?([a-z0-9-]+\.)+[a-z0-9-]+$/.test(domain)),
      'Use domains such as example.com or .example.com, separated by commas',
    )
    .optional()
    .describe(
      'The mail domains of people who register without an invitation: `example.com`, or `.example.com` for its subdomains, separated by commas. Default: all. It does not prove that somebody has such an address; their confirmation does.',
    ),
  UNCONFIRMED_DAYS: z.coerce
    .number()
    .int()
    .min(0)
    .max(3_650)
    .default(14)
    .describe(
      'The days after which an account is deleted whose address was never confirmed, up to 3650; 0 is never. It gets a mail a week before, or at half of the time; without that mail nothing is deleted. Only with `SMTP_URL`, the same on every node and worker, and only accounts that people registered without an invitation.',
    ),
  MAX_BODY_BYTES: z.coerce
    .number()
    .int()
    .min(1024)
    .max(8 * MEGABYTE)
    .default(MEGABYTE / 4)
    .describe('The maximum size of a request body. A push may always be larger.'),
  MAX_BYTES_IN_FLIGHT: z.coerce
    .number()
    .int()
    .min(MIN_BYTES)
    .optional()
    .describe(
      'The bytes of request bodies, answers and frames that a web node holds for everybody together; a person may hold a quarter of it, but always 16 MB. Beyond it, requests get a 429. Default: an eighth of the heap limit of Node.',
    ),
  MAX_SOCKETS_PER_USER: z.coerce
    .number()
    .int()
    .min(1)
    .max(10_000)
    .default(20)
    .describe(
      'Open sockets of each user on each node. A device needs one; further ones pull every 15 seconds.',
    ),
  MAX_STREAMS_PER_USER: z.coerce
    .number()
    .int()
    .min(1)
    .max(10_000)
    .default(20)
    .describe(
      'Open event streams (`pullStream`) of each user on each node. A device with RxDB’s own client needs one for each resource; further ones pull every 15 seconds.',
    ),
  SMTP_URL: z
    .url({
      protocol: /^smtps?$/,
      hostname: /./,
      error: 'Use smtp://user:password@host:587 or smtps://…',
    })
    .optional()
    .describe(
      'The SMTP server: `smtp://user:password@host:587` or `smtps://…`. Unset: development prints mail, production sends none.',
    ),
  SMTP_TLS: z
    .enum(['insecure', 'require', 'verify'])
    .optional()
    .describe(
      'With `smtp://`: `verify` (STARTTLS, certificate checked), `require` (STARTTLS, any certificate) or `insecure` (STARTTLS only if the server offers it). Default: `verify`, or `insecure` on this machine and with `?ignoreTLS=true` in the URL.',
    ),
  MAIL_FROM: z
    .string()
    .refine((value) => accounts.email.safeParse(value).success, 'Use an address: tasks@example.com')
    .optional()
    .describe('The sender address of mail; required with `SMTP_URL`.'),
  SMTP_CONNECTIONS: z.coerce
    .number()
    .int()
    .min(1)
    .max(50)
    .default(5)
    .describe(
      'Concurrent connections to the SMTP server, 1 to 50. It also limits concurrent mails.',
    ),
  RUN_WORKER: flag
    .optional()
    .describe(
      'Whether the web process also runs jobs. Default: only in development and with the embedded database.',
    ),
  WORKER_CONCURRENCY: z.coerce
    .number()
    .int()
    .min(1)
    .max(100)
    .default(5)
    .describe('Concurrent jobs of a worker, mail excluded, 1 to 100.'),
  TOMBSTONE_DAYS: z.coerce
    .number()
    .int()
    .min(1)
    .max(36_500)
    .default(90)
    .describe(
      'The days after which tombstones of deleted documents are purged, 1 to 36500. They cannot be restored then, and a device that was offline for longer downloads everything again.',
    ),
  QUOTA_DOCUMENTS: z.coerce
    .number()
    .int()
    .min(0)
    .default(100_000)
    .describe(
      'The documents that a person may have, deleted ones not counted. What exceeds it is refused with `quota_exceeded`; the SDK keeps it on the device. 0 is no limit.',
    ),
  QUOTA_BYTES: z.coerce
    .number()
    .int()
    .min(0)
    .default(256 * MEGABYTE)
    .describe(
      'The bytes that may be stored for a person, deleted documents and the conflict journal included. 0 is no limit.',
    ),
  WRITES_PER_MINUTE: z.coerce
    .number()
    .int()
    .min(0)
    .default(20_000)
    .describe(
      'The documents that a person may write per minute on each web node; a larger one counts once for each 2 kB. Beyond it, requests get a 429. 0 is no limit.',
    ),
  JOURNAL_ENTRIES: z.coerce
    .number()
    .int()
    .min(1)
    .max(1_000)
    .default(20)
    .describe(
      'Entries of the conflict journal about one document, 1 to 1000: a new one beyond that deletes the oldest.',
    ),
  JOURNAL_DAYS: z.coerce
    .number()
    .int()
    .min(1)
    .max(36_500)
    .default(90)
    .describe('The days after which entries of the conflict journal are deleted, 1 to 36500.'),
  SESSION_DAYS: z.coerce
    .number()
    .int()
    .min(1)
    .max(3_650)
    .default(365)
    .describe(
      'The days after which a device has to sign in again, even one that is used every day, 1 to 3650. A device that is not used for 30 days has to sign in again anyway.',
    ),
  EVENT_DAYS: z.coerce
    .number()
    .int()
    .min(1)
    .max(3_650)
    .default(180)
    .describe(
      'The days that security events of an account (sign-ins, refusals, changes) are kept, 1 to 3650.',
    ),
  DRAIN_SECONDS: z.coerce
    .number()
    .int()
    .min(0)
    .max(300)
    .optional()
    .describe(
      'How long a web node serves on after SIGTERM, while `/readyz` answers 503: longer than load balancers take to notice. Default: 4 in production, 0 in development.',
    ),
  METRICS_TOKEN: secret
    .regex(/^[\w.~+/=-]+$/, 'Use a bearer token; generate it with: openssl rand -base64 32')
    .optional()
    .describe(
      'The bearer token for `/metrics`. Support and admins may also use their own access token. Unset: in development, no token is needed.',
    ),
  OTEL_EXPORTER_OTLP_ENDPOINT: z
    .url({ protocol: /^https?$/, error: 'Use an http or https address' })
    .optional()
    .describe(
      'A collector for OpenTelemetry traces of requests (OTLP over HTTP, without `/v1/traces`). Unset: no traces. Other standard variables work too, such as `OTEL_EXPORTER_OTLP_HEADERS`, `OTEL_SERVICE_NAME` and `OTEL_TRACES_SAMPLER`.',
    ),
  LOG_LEVEL: z
    .enum(['fatal', 'error', 'warn', 'info', 'debug', 'trace', 'silent'])
    .default('info')
    .describe('`fatal`, `error`, `warn`, `info`, `debug`, `trace` or `silent`.'),
})

export type Config = ReturnType<typeof readConfig>

/**
 * Reads the environment, once per process. An empty variable counts as unset.
 *
 * @throws Error that lists all invalid variables, without their values
 */
export function readConfig(env: NodeJS.ProcessEnv = process.env) {
  const result = environment.safeParse(withoutBlanks(env), { error: remedyFor })
  const faults = result.success
    ? faultsTogether(result.data)
    : result.error.issues.map((issue) => `${issue.path.join('.')}: ${issue.message}`)
  if (faults.length > 0 || !result.success)
    throw new Error(
      `Invalid configuration. Correct these environment variables:\n${faults.map((fault) => `  ${fault}`).join('\n')}`,
    )
  const { data } = result
  const isProduction = data.NODE_ENV === 'production'
  return {
    ...data,
    HOST: data.HOST ?? (isProduction ? undefined : '127.0.0.1'),
    isProduction,
    /** Without a proxy that says so, nobody knows whether a request came over HTTPS. */
    needsHttps: (data.PUBLIC_URL?.startsWith('https:') ?? false) && data.TRUST_PROXY !== 0,
    // Tokens are in a header, never in a cookie, so another origin cannot act for a user. Production
    // still requires an explicit list.
    CORS_ORIGINS: data.CORS_ORIGINS ?? (isProduction ? [] : ['*']),
    AUTH_RATE_LIMIT: data.AUTH_RATE_LIMIT ?? (isProduction ? 20 : 1_000),
    DRAIN_SECONDS: data.DRAIN_SECONDS ?? (isProduction ? 4 : 0),
    /** The process migrates its own embedded database; the release step migrates a shared one. */
    migrateOnStart: data.MIGRATE_ON_START ?? (!isProduction || data.DATABASE_URL === undefined),
    runWorker:
      data.RUN_WORKER ?? (data.NODE_ENV === 'development' || data.DATABASE_URL === undefined),
  }
}

/** The environment without empty or blank variables, which count as unset. */
export function withoutBlanks(env: NodeJS.ProcessEnv): Record<string, string> {
  const entries = Object.entries(env).map(([name, value = '']) => [name, value.trim()] as const)
  return Object.fromEntries(entries.filter(([, value]) => value !== ''))
}

const OTHER_DATABASE_URLS = [
  'DATABASE_LISTEN_URL',
  'DATABASE_OWNER_URL',
  'DATABASE_REPLICA_URL',
] as const

/** Values of sslmode that contradict DATABASE_TLS: an error, because both were set on purpose. */
const CONTRADICTIONS = {
  insecure: /^(?!disable$|prefer$|allow$|false$|0$)/,
  off: /^(?!disable$|prefer$|allow$|false$|0$)/,
  require: /^(disable|verify-)/,
  verify: /^disable$/,
}

function faultsTogether(data: z.output<typeof environment>): string[] {
  const faults: string[] = []
  for (const name of ['DATABASE_URL', ...OTHER_DATABASE_URLS] as const) {
    const sslmode = sslmodeOf(data[name] ?? '')
    if (data.DATABASE_TLS && sslmode && CONTRADICTIONS[data.DATABASE_TLS].test(sslmode))
      faults.push(`DATABASE_TLS: contradicts the sslmode in ${name}; remove one of them`)
  }
  for (const name of OTHER_DATABASE_URLS)
    if (data[name] && !data.DATABASE_URL) faults.push(`${name}: set DATABASE_URL too, or remove it`)
  if (data.NODE_ENV === 'production' && data.SECRET_KEY === undefined)
    faults.push('SECRET_KEY: required in production; generate one with: openssl rand -base64 32')
  if (data.NODE_ENV === 'production' && data.COUCH_TEST_MODE)
    faults.push('COUCH_TEST_MODE: serves everybody without authentication; remove it in production')
  if (data.DATABASE_CA && data.DATABASE_TLS && data.DATABASE_TLS !== 'verify')
    faults.push('DATABASE_CA: is used with DATABASE_TLS=verify only; remove one of them')
  if (
    data.REDIS_URL?.startsWith('redis:') &&
    !isLocalHost(hostOf(data.REDIS_URL)) &&
    !data.REDIS_TLS
  )
    faults.push(
      'REDIS_URL: redis:// is not encrypted; use rediss://, or on a private line set REDIS_TLS=insecure',
    )
  // It was in compose.yaml once.
  if (data.NODE_ENV === 'production' && data.SECRET_KEY?.startsWith('everybody-knows-this'))
    faults.push('SECRET_KEY: everybody knows this key; generate one with: openssl rand -base64 32')
  if (data.SMTP_URL !== undefined) {
    if (data.MAIL_FROM === undefined) faults.push('MAIL_FROM: required with SMTP_URL')
    if (data.PUBLIC_URL === undefined)
      faults.push('PUBLIC_URL: required with SMTP_URL, for the links in mail')
  }
  return faults
}
