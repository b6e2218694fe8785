import { hostUrls } from './host-urls.ts'

/** How a line to the database is encrypted: `require` takes any certificate. */
export type Tls = 'off' | 'require' | 'verify'

/** On these lines nobody can listen but the machine itself. */
export function isLocalHost(host: string): boolean {
  return /^(\[::1\]|::1|localhost|127(\.\d+){3}|\/.*|%2f.*|)$/i.test(host)
}

interface DatabaseTls {
  DATABASE_TLS?: 'insecure' | 'off' | 'require' | 'verify' | undefined
  DATABASE_CA?: string | undefined
}

/** How the line to a database is encrypted; undefined if the `sslmode` of its URL decides. */
export function tlsOf(url: string, { DATABASE_TLS, DATABASE_CA }: DatabaseTls): Tls | undefined {
  if (DATABASE_TLS) return DATABASE_TLS === 'insecure' ? 'off' : DATABASE_TLS
  const mode = sslmodeOf(url)
  if (mode !== undefined) return DATABASE_CA && !isWithoutTls(mode) ? 'verify' : undefined
  return hostUrls(url).every(isLocalDatabase) ? 'off' : 'verify'
}

/** The last one counts, as for `pg`. */
export function sslmodeOf(url: string): string | undefined {
  return [...url.matchAll(/[?&]ssl(?:mode)?=([^&]*)/g)].at(-1)?.[1]
}

const isWithoutTls = (mode: string) => /^(disable|false|0)$/.test(mode)

function isLocalDatabase(url: string): boolean {
  const socket = /[?&]host=([^&]*)/.exec(url)?.[1]
  return isLocalHost(socket ?? hostOf(url))
}

/** Of a database, Redis or a mail server. */
export function hostOf(url: string): string {
  const [, host = ''] = /^\w+:\/\/(?:[^/?]*@)?(\[[^\]]*\]|[^/?:]*)/.exec(url) ?? []
  return host
}

/** Whether mail may be sent without encryption, unless SMTP_TLS says otherwise: as its URL says, or on this machine. */
export const mayBePlain = (smtpUrl: string) =>
  isLocalHost(hostOf(smtpUrl)) || /[?&]ignoreTLS=true\b/.test(smtpUrl)

interface Lines extends DatabaseTls {
  DATABASE_URL?: string | undefined
  DATABASE_LISTEN_URL?: string | undefined
  DATABASE_OWNER_URL?: string | undefined
  DATABASE_REPLICA_URL?: string | undefined
  REDIS_URL?: string | undefined
  SMTP_URL?: string | undefined
  SMTP_TLS?: string | undefined
  PUBLIC_URL?: string | undefined
  OTEL_EXPORTER_OTLP_ENDPOINT?: string | undefined
}

/** The variables whose lines lead to other machines and are not encrypted. */
export function unencrypted(config: Lines): string[] {
  const databases = [
    'DATABASE_URL',
    'DATABASE_LISTEN_URL',
    'DATABASE_OWNER_URL',
    'DATABASE_REPLICA_URL',
  ] as const
  const others = ['REDIS_URL', 'PUBLIC_URL', 'OTEL_EXPORTER_OTLP_ENDPOINT'] as const
  return [
    ...databases.filter((name) => {
      const url = config[name]
      if (url === undefined || hostUrls(url).every(isLocalDatabase)) return false
      return (tlsOf(url, config) ?? (isWithoutTls(sslmodeOf(url)!) ? 'off' : 'verify')) === 'off'
    }),
    ...others.filter((name) => isPlain(config[name], /^(redis|http):/)),
    ...(isPlain(config.SMTP_URL, /^smtp:/) &&
    (config.SMTP_TLS ?? (mayBePlain(config.SMTP_URL!) ? 'insecure' : 'verify')) === 'insecure'
      ? ['SMTP_URL']
      : []),
  ]
}

const isPlain = (url: string | undefined, scheme: RegExp) =>
  url !== undefined && scheme.test(url) && !isLocalHost(hostOf(url))
