import type { Config } from '../runtime/config.ts'
import { unencrypted } from '../runtime/encryption.ts'
import type { Log } from '../runtime/log.ts'

/**
 * Runs the main function of a process. If it fails, prints the reason without a stack trace and exits
 * with 1.
 */
export async function exitOnError(work: () => Promise<void>): Promise<void> {
  try {
    await work()
  } catch (error) {
    process.stderr.write(`${explain(error)}\n`)
    process.exit(1)
  }
}

/** Says which lines to other machines somebody could listen to. */
export function warnUnencrypted(config: Config, log: Pick<Log, 'warn'>): void {
  const lines = unencrypted(config)
  if (lines.length > 0)
    log.warn(
      `not encrypted: ${lines.join(', ')}. Anybody on the network between can read and change everything.`,
    )
}

/** Why the server cannot listen, and what to do. */
export function cannotListen({ PORT, HOST }: Config, { code }: NodeJS.ErrnoException): Error {
  if (code === 'EADDRINUSE')
    return new Error(`Port ${PORT} is in use: stop the other process, or set PORT to another port.`)
  return new Error(`Cannot listen on ${HOST ?? ''}:${PORT} (${code}): check HOST and PORT.`)
}

/** Why a process does not start, and what to do. */
export function explain(error: unknown): string {
  const { code, message } = error as NodeJS.ErrnoException
  if (message === 'The server does not support SSL connections')
    return 'The database does not offer TLS. Turn it on there or, if nobody can listen on the line, set DATABASE_TLS=insecure.'
  const remedy = DATABASE_FAULTS[code ?? '']
  if (remedy) return `Cannot connect to the database of DATABASE_URL (${code}): ${remedy}.`
  return message || String(error)
}

const UNKNOWN_AUTHORITY =
  'its certificate is of no public authority; set DATABASE_CA to that of its own, or DATABASE_TLS=require to take any'

const DATABASE_FAULTS: Record<string, string> = {
  DEPTH_ZERO_SELF_SIGNED_CERT: UNKNOWN_AUTHORITY,
  SELF_SIGNED_CERT_IN_CHAIN: UNKNOWN_AUTHORITY,
  UNABLE_TO_GET_ISSUER_CERT_LOCALLY: UNKNOWN_AUTHORITY,
  UNABLE_TO_VERIFY_LEAF_SIGNATURE: UNKNOWN_AUTHORITY,
  ERR_TLS_CERT_ALTNAME_INVALID:
    'its certificate is for another host; use the name in it, or DATABASE_TLS=require to take any',
  CERT_HAS_EXPIRED: 'its certificate has expired; renew it',
  ECONNREFUSED: 'check the address, and that Postgres is running',
  ECONNRESET: 'check the address and DATABASE_TLS',
  ENOTFOUND: 'check the host',
  EAI_AGAIN: 'check the host',
  ETIMEDOUT: 'check the address and the firewall',
  EHOSTUNREACH: 'check the address and the firewall',
  ENETUNREACH: 'check the address and the firewall',
  '25006': 'none of its hosts accepts writes; promote one of them',
  '28P01': 'check the user and the password',
  '28000': 'check the user, and DATABASE_TLS',
  '3D000': 'create the database',
}
