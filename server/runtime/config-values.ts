/** The kinds of values that environment variables have. */
import { readFileSync } from 'node:fs'
import { isIP } from 'node:net'
import * as z from 'zod'
import { accounts } from '../../protocol/index.ts'
import { hostUrls } from './host-urls.ts'

/** A comma-separated list. */
export const list = z
  .string()
  .transform((value) => value.split(',').map((item) => item.trim()))
  .pipe(z.array(z.string().min(1)))

/** Roles, separated by commas. */
export const roles = list.pipe(
  z.array(
    z.enum(accounts.role.options, {
      error: `Use roles separated by commas: ${accounts.role.options.join(', ')}`,
    }),
  ),
)

export const origins = list.refine(
  (items) => items.every((item) => item === '*' || isOrigin(item)),
  'Use origins such as https://app.example.com or capacitor://localhost, without a trailing slash, separated by commas, or *',
)

/** Rejects short values and repeated characters. */
export const secret = z
  .string()
  .min(32, 'Use at least 32 characters; generate them with: openssl rand -base64 32')
  .refine(
    (value) => new Set(value).size >= 12,
    'Use a random value; generate it with: openssl rand -base64 32',
  )

export const databaseUrl = z
  .string()
  .refine(
    (value) => hostUrls(value).every(isDatabaseUrl),
    'Use postgres://user:password@host/database',
  )

export const redisUrl = z
  .string()
  .refine(isRedisUrl, 'Use redis://user:password@host:6379 or rediss://…')

/** A certificate, or the path of one. */
export const certificate = z.string().transform((value, context) => {
  const isHere = value.includes('-----BEGIN CERTIFICATE-----')
  try {
    const pem = isHere ? value.replaceAll('\\n', '\n') : readFileSync(value, 'utf8')
    if (pem.includes('-----BEGIN CERTIFICATE-----')) return pem
  } catch {
    // as below
  }
  context.addIssue('Use the path of a readable PEM file with certificates, or its content')
  return z.NEVER
})

/** A boolean, as written in environment variables. */
export const flag = z
  .enum(['true', 'false', '1', '0'])
  .transform((value) => value === 'true' || value === '1')

/** A value for `app.set('trust proxy')`: the number of proxies, or their addresses. */
export const trustProxy = z
  .string()
  .refine(
    (value) => /^(\d{1,2}|true|false)$/.test(value) || value.split(',').every(isNetwork),
    'Use the number of proxies or their addresses: 10.0.0.0/8, loopback',
  )
  .transform((value) => {
    if (/^\d+$/.test(value)) return Number(value)
    return value === 'true' ? 1 : value === 'false' ? 0 : value
  })

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

/** Origins of apps and extensions, such as `tauri://localhost`. For these, `URL` returns `null`. */
const APP_ORIGIN = /^[a-z][a-z0-9+.-]*:\/\/[\w.-]+(:\d+)?$/

/** Also accepts the empty host of a Unix socket: `postgres://user:password@/database?host=/cloudsql/…`. */
function isDatabaseUrl(value: string): boolean {
  const hasSocket = /[?&]host=(\/|%2f)/i.test(value)
  const withHost = hasSocket ? value.replace('@/', '@socket/') : value
  return /^postgres(ql)?:\/\//.test(value) && URL.canParse(withHost)
}

/** The part after the address is the number of a database. */
function isRedisUrl(value: string): boolean {
  if (!/^rediss?:\/\/[^/]/.test(value) || !URL.canParse(value)) return false
  const { username, password, pathname } = new URL(value)
  try {
    decodeURIComponent(username + password)
  } catch {
    return false
  }
  return /^(\/\d*)?$/.test(pathname)
}
