import type { Config } from '../runtime/config.ts'

/**
 * Runs what a process is there for. When it cannot even start, the reason is told in words, without
 * a trace, and the process ends with 1.
 */
export async function orExplain(work: () => Promise<void>): Promise<void> {
  try {
    await work()
  } catch (error) {
    process.stderr.write(`${explain(error)}\n`)
    process.exit(1)
  }
}

/** Why it cannot listen, and what to do. */
export function cannotListen({ PORT, HOST }: Config, { code }: NodeJS.ErrnoException): Error {
  if (code === 'EADDRINUSE')
    return new Error(`Port ${PORT} is taken: stop what uses it, or set PORT to another.`)
  return new Error(`Cannot listen at ${HOST ?? ''}:${PORT} (${code}): check HOST and PORT.`)
}

function explain(error: unknown): string {
  const { code, message } = error as NodeJS.ErrnoException
  const remedy = DATABASE_FAULTS[code ?? '']
  if (remedy) return `The database of DATABASE_URL cannot be used (${code}): ${remedy}.`
  return message || String(error)
}

const DATABASE_FAULTS: Record<string, string> = {
  ECONNREFUSED: 'check the address, and that it runs',
  ECONNRESET: 'check the address, and DATABASE_TLS',
  ENOTFOUND: 'check the host',
  EAI_AGAIN: 'check the host',
  ETIMEDOUT: 'check the address, and what is in the way',
  EHOSTUNREACH: 'check the address, and what is in the way',
  ENETUNREACH: 'check the address, and what is in the way',
  '28P01': 'check the user and the password',
  '28000': 'check the user, and DATABASE_TLS',
  '3D000': 'create the database',
}
