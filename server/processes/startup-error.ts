import type { Config } from '../runtime/config.ts'

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

/** Why the server cannot listen, and what to do. */
export function cannotListen({ PORT, HOST }: Config, { code }: NodeJS.ErrnoException): Error {
  if (code === 'EADDRINUSE')
    return new Error(`Port ${PORT} is in use: stop the other process, or set PORT to another port.`)
  return new Error(`Cannot listen on ${HOST ?? ''}:${PORT} (${code}): check HOST and PORT.`)
}

function explain(error: unknown): string {
  const { code, message } = error as NodeJS.ErrnoException
  const remedy = DATABASE_FAULTS[code ?? '']
  if (remedy) return `Cannot connect to the database of DATABASE_URL (${code}): ${remedy}.`
  return message || String(error)
}

const DATABASE_FAULTS: Record<string, string> = {
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
