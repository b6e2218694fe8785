import { isIP } from 'node:net'
import * as z from 'zod'
import { accounts } from '../../protocol/index.ts'

const MEGABYTE = 1024 * 1024

/** A comma-separated list. */
const list = z
  .string()
  .transform((value) => value.split(',').map((item) => item.trim()))
  .pipe(z.array(z.string().min(1)))

const origins = list.refine(
  (items) => items.every((item) => item === '*' || isOrigin(item)),
  'expected origins such as https://app.example.com or capacitor://localhost, without a slash at the end, separated by commas, or *',
)

/** Long, and not one that somebody typed by holding a key down. */
const secret = z
  .string()
  .min(32, 'expected at least 32 characters; make one with: openssl rand -base64 32')
  .refine((value) => new Set(value).size >= 12, 'expected a random text; openssl rand -base64 32')

/** Booleans as people write them in environments. */
const flag = z
  .enum(['true', 'false', '1', '0'])
  .transform((value) => value === 'true' || value === '1')

/** What `app.set('trust proxy')` takes: how many proxies stand in front, or their addresses. */
const trustProxy = z
  .string()
  .refine(
    (value) => /^(\d{1,2}|true|false)$/.test(value) || value.split(',').every(isNetwork),
    'expected a number of proxies, or their addresses: 10.0.0.0/8, loopback',
  )
  .transform((value) => {
    if (/^\d+$/.test(value)) return Number(value)
    return value === 'true' ? 1 : value === 'false' ? 0 : value
  })

/** Every variable: its `description` is its line in docs/operations.md and .env.example. */
export const environment = z.object({
  NODE_ENV: z
    .enum(['development', 'production', 'test'])
    .default('development')
    .describe(
      '`production` needs `SECRET_KEY` and logs JSON; `development` is easy-going; `test`.',
    ),
  PORT: z.coerce.number().int().min(0).max(65_535).default(3000).describe('Where it listens.'),
  HOST: z.string().optional().describe('The address to listen at. Default: all of them.'),
  PUBLIC_URL: z
    .url({ protocol: /^https?$/, error: 'expected an http or https address' })
    .transform((value) => value.replace(/\/+$/, ''))
    .refine(
      (value) => !/^https?:\/\/[^/?#@]*[/?#@]/i.test(value),
      'expected a host of its own, such as https://tasks.example.com: no path, and no password',
    )
    .optional()
    .describe(
      'The address that clients use, without a path, for links; required with `SMTP_URL`. With https and `TRUST_PROXY`, plain HTTP is redirected there.',
    ),
  TRUST_PROXY: trustProxy
    .default(0)
    .describe('How many proxies stand in front, or their addresses: `10.0.0.0/8, loopback`.'),
  DATABASE_URL: z
    .string()
    .refine(isDatabaseUrl, 'expected postgres://user:password@host/database')
    .optional()
    .describe(
      '`postgres://user:password@host/database`, or with `?host=/the/folder` of a Unix socket. Unset: an embedded Postgres that keeps its data in `DATA_DIR`.',
    ),
  DATABASE_POOL_SIZE: z.coerce
    .number()
    .int()
    .min(1)
    .max(200)
    .default(8)
    .describe('Connections for requests, 1 to 200; every process has a few beside them.'),
  DATABASE_TLS: z
    .enum(['off', 'require', 'verify'])
    .optional()
    .describe(
      '`off`, `require` (encrypted, any certificate) or `verify` (encrypted, certificate checked). Default: as `DATABASE_URL` says, where `sslmode=require` checks the certificate too; without a word there, `off`. A host with a certificate of its own making needs `require`.',
    ),
  DATABASE_STATEMENT_TIMEOUT_MS: z.coerce
    .number()
    .int()
    .min(0)
    .default(30_000)
    .describe('How long a statement may take; 0 is no limit. Migrations have none.'),
  MIGRATE_ON_START: flag
    .optional()
    .describe(
      'Whether the server migrates when it starts. Default: only in development and with the embedded database.',
    ),
  DATA_DIR: z
    .string()
    .min(1)
    .default('.data')
    .describe('The folder of the embedded database, and of the key of development.'),
  SECRET_KEY: secret
    .optional()
    .describe(
      'What tokens are signed with and links in mail are made with, the same on every node and worker: `openssl rand -base64 32`. Required in production.',
    ),
  SECRET_KEY_PREVIOUS: secret
    .optional()
    .describe('The former key, for as long as tokens signed with it are to be taken (30 days).'),
  CORS_ORIGINS: origins
    .optional()
    .describe(
      'Origins of web apps that may call, separated by commas, or `*`. Default: `*` in development, none in production.',
    ),
  AUTH_RATE_LIMIT: z.coerce
    .number()
    .int()
    .min(0)
    .default(20)
    .describe(
      'Attempts per minute and address at each endpoint that takes a password or sends mail, and per account at those of accounts together; where a token is renewed, verified or logged out, only those that are refused. 0 is no limit.',
    ),
  MAX_BODY_BYTES: z.coerce
    .number()
    .int()
    .min(1024)
    .max(64 * MEGABYTE)
    .default(MEGABYTE / 4)
    .describe('How large the body of a request may be; a push may always have more.'),
  SMTP_URL: z
    .url({
      protocol: /^smtps?$/,
      hostname: /./,
      error: 'expected smtp://user:password@host:587 or smtps://…',
    })
    .optional()
    .describe(
      'The server that mail goes through: `smtp://user:password@host:587` or `smtps://…`. Unset: development prints mail, production sends none.',
    ),
  MAIL_FROM: z
    .string()
    .refine(
      (value) => accounts.email.safeParse(value).success,
      'expected an address: tasks@example.com',
    )
    .optional()
    .describe('The address that mail comes from; required with `SMTP_URL`.'),
  SMTP_CONNECTIONS: z.coerce
    .number()
    .int()
    .min(1)
    .max(50)
    .default(5)
    .describe('Connections to the mail server at once, and mails that are sent at once, 1 to 50.'),
  RUN_WORKER: flag
    .optional()
    .describe(
      'Whether the web process runs the jobs too. Default: only in development and with the embedded database.',
    ),
  WORKER_CONCURRENCY: z.coerce
    .number()
    .int()
    .min(1)
    .max(100)
    .default(5)
    .describe('Jobs that a worker runs at once beside mails, 1 to 100.'),
  METRICS_TOKEN: secret
    .regex(/^[\w.~+/=-]+$/, 'expected what may stand after Bearer; openssl rand -base64 32')
    .optional()
    .describe(
      'Who sends `Authorization: Bearer` with it may read `/metrics`, as may support and admins with their own. Unset: in development everybody may.',
    ),
  LOG_LEVEL: z
    .enum(['fatal', 'error', 'warn', 'info', 'debug', 'trace', 'silent'])
    .default('info')
    .describe('`fatal`, `error`, `warn`, `info`, `debug`, `trace` or `silent`.'),
})

export type Config = ReturnType<typeof readConfig>

/**
 * Reads the environment once, at the edge of the process. An empty variable counts as unset.
 *
 * @throws Error that names everything wrong with it, all at once, and never a value
 */
export function readConfig(env: NodeJS.ProcessEnv = process.env) {
  const result = environment.safeParse(withoutBlanks(env))
  const faults = result.success
    ? faultsTogether(result.data)
    : result.error.issues.map((issue) => `${issue.path.join('.')}: ${issue.message}`)
  if (faults.length > 0 || !result.success)
    throw new Error(
      `The environment is not usable.\n${faults.map((fault) => `  ${fault}`).join('\n')}`,
    )
  const { data } = result
  const isProduction = data.NODE_ENV === 'production'
  return {
    ...data,
    isProduction,
    // Tokens travel in a header, never in a cookie, so another origin can do nothing in a person's
    // name; still, in production the operator says which web apps may call.
    CORS_ORIGINS: data.CORS_ORIGINS ?? (isProduction ? [] : ['*']),
    /** A database that only this process can reach is migrated by it; a shared one by the release step. */
    migrateOnStart: data.MIGRATE_ON_START ?? (!isProduction || data.DATABASE_URL === undefined),
    runWorker:
      data.RUN_WORKER ?? (data.NODE_ENV === 'development' || data.DATABASE_URL === undefined),
  }
}

/** The environment without what is empty or blank, which counts as unset. */
export function withoutBlanks(env: NodeJS.ProcessEnv): Record<string, string> {
  const entries = Object.entries(env).map(([name, value = '']) => [name, value.trim()] as const)
  return Object.fromEntries(entries.filter(([, value]) => value !== ''))
}

/** What DATABASE_TLS does not overrule, because somebody meant it. */
const CONTRADICTIONS = {
  off: /^(?!disable$|prefer$|allow$)/,
  require: /^(disable|verify-)/,
  verify: /^disable$/,
}

function faultsTogether(data: z.output<typeof environment>): string[] {
  const faults: string[] = []
  const sslmode = /[?&]sslmode=([^&]*)/.exec(data.DATABASE_URL ?? '')?.[1]
  if (data.DATABASE_TLS && sslmode && CONTRADICTIONS[data.DATABASE_TLS].test(sslmode))
    faults.push(
      'DATABASE_TLS: the sslmode in DATABASE_URL says the contrary; leave one of them out',
    )
  if (data.NODE_ENV === 'production' && data.SECRET_KEY === undefined)
    faults.push('SECRET_KEY: required in production; make one with: openssl rand -base64 32')
  const isPublic = !/^https?:\/\/(localhost|127\.0\.0\.1)\b/.test(data.PUBLIC_URL ?? '')
  if (data.SECRET_KEY?.startsWith('everybody-knows-this') && data.PUBLIC_URL && isPublic)
    faults.push('SECRET_KEY: it stands in compose.yaml for everybody to read; make your own')
  if (data.SMTP_URL !== undefined) {
    if (data.MAIL_FROM === undefined) faults.push('MAIL_FROM: required with SMTP_URL')
    if (data.PUBLIC_URL === undefined)
      faults.push('PUBLIC_URL: required with SMTP_URL, for the links in mail')
  }
  return faults
}

function isNetwork(item: string): boolean {
  const [address = '', prefix, ...rest] = item.trim().split('/')
  if (['loopback', 'linklocal', 'uniquelocal'].includes(item.trim())) return true
  const bits = { 4: 32, 6: 128 }[isIP(address)]
  if (bits === undefined || rest.length > 0) return false
  return prefix === undefined || (/^\d{1,3}$/.test(prefix) && Number(prefix) <= bits)
}

function isOrigin(item: string): boolean {
  if (!URL.canParse(item)) return false
  const { protocol, origin } = new URL(item)
  return /^(https?|wss?|ftp|file):$/.test(protocol) ? origin === item : APP_ORIGIN.test(item)
}

/** What apps and extensions have for an origin, for which `URL` knows none: `tauri://localhost`. */
const APP_ORIGIN = /^[a-z][a-z0-9+.-]*:\/\/[\w.-]+(:\d+)?$/

/** Takes the empty host of a Unix socket too: `postgres://user:password@/database?host=/cloudsql/…`. */
function isDatabaseUrl(value: string): boolean {
  const hasSocket = /[?&]host=(\/|%2f)/i.test(value)
  const withHost = hasSocket ? value.replace('@/', '@socket/') : value
  return /^postgres(ql)?:\/\//.test(value) && URL.canParse(withHost)
}
