import { isIP } from 'node:net'
import * as z from 'zod'

const MEGABYTE = 1024 * 1024

/** A comma-separated list. */
const list = z
  .string()
  .transform((value) => value.split(',').map((item) => item.trim()))
  .pipe(z.array(z.string().min(1)))

const origins = list.refine(
  (items) => items.every((item) => item === '*' || isOrigin(item)),
  'expected origins such as https://app.example.com, separated by commas, or *',
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

const environment = z.object({
  NODE_ENV: z.enum(['development', 'production', 'test']).default('development'),
  PORT: z.coerce.number().int().min(0).max(65_535).default(3000),
  HOST: z.string().optional(),
  PUBLIC_URL: z
    .url({ protocol: /^https?$/, error: 'expected an http or https address' })
    .transform((value) => value.replace(/\/+$/, ''))
    .optional(),
  DATABASE_URL: z
    .url({ protocol: /^postgres(ql)?$/, error: 'expected postgres://user:password@host/database' })
    .optional(),
  DATABASE_POOL_SIZE: z.coerce.number().int().min(1).max(200).default(8),
  DATABASE_TLS: z.enum(['off', 'require', 'verify']).default('off'),
  DATABASE_STATEMENT_TIMEOUT_MS: z.coerce.number().int().min(0).default(30_000),
  DATA_DIR: z.string().min(1).default('.data'),
  SECRET_KEY: secret.optional(),
  SECRET_KEY_PREVIOUS: secret.optional(),
  CORS_ORIGINS: origins.optional(),
  TRUST_PROXY: trustProxy.default(0),
  LOG_LEVEL: z.enum(['fatal', 'error', 'warn', 'info', 'debug', 'trace', 'silent']).optional(),
  AUTH_RATE_LIMIT: z.coerce.number().int().min(0).default(20),
  MAX_BODY_BYTES: z.coerce
    .number()
    .int()
    .min(1024)
    .max(64 * MEGABYTE)
    .default(MEGABYTE / 4),
  MIGRATE_ON_START: flag.optional(),
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
    LOG_LEVEL: data.LOG_LEVEL ?? 'info',
    // Tokens travel in a header, never in a cookie, so another origin can do nothing in a person's
    // name; still, in production the operator says which web apps may call.
    CORS_ORIGINS: data.CORS_ORIGINS ?? (isProduction ? [] : ['*']),
    /** A database that only this process can reach is migrated by it; a shared one by the release step. */
    migrateOnStart: data.MIGRATE_ON_START ?? (!isProduction || data.DATABASE_URL === undefined),
  }
}

/** The environment without what is empty or blank, which counts as unset. */
export function withoutBlanks(env: NodeJS.ProcessEnv): Record<string, string> {
  const entries = Object.entries(env).map(([name, value = '']) => [name, value.trim()] as const)
  return Object.fromEntries(entries.filter(([, value]) => value !== ''))
}

function faultsTogether(data: z.output<typeof environment>): string[] {
  const faults: string[] = []
  if (data.DATABASE_TLS !== 'off' && /[?&]ssl/.test(data.DATABASE_URL ?? ''))
    faults.push('DATABASE_TLS: DATABASE_URL says something of TLS (ssl…) too; say it once')
  if (data.NODE_ENV === 'production' && data.SECRET_KEY === undefined)
    faults.push('SECRET_KEY: required in production; make one with: openssl rand -base64 32')
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
  return URL.canParse(item) && new URL(item).origin === item
}
