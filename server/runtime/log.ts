import pino, { type DestinationStream, type Logger } from 'pino'
import pretty from 'pino-pretty'

export type Log = Logger

const FLUSH_MS = 500

/**
 * One line per event, JSON in production and readable elsewhere. Each call chooses the logged fields: no
 * headers, bodies or query strings, so no token, password or task text can appear.
 */
export function createLog(
  level: string,
  { readable, to }: { readable: boolean; to?: DestinationStream },
): Log {
  const options = {
    level,
    base: null,
    timestamp: pino.stdTimeFunctions.isoTime,
    serializers: { error: describeError },
  }
  if (readable) return pino(options, pretty({ colorize: process.stdout.isTTY, sync: true }))
  return pino(options, to ?? gatheredOutput())
}

/** Buffered: unbuffered output would cost a trip to the thread pool per request. */
function gatheredOutput(): DestinationStream {
  const output = pino.destination({ dest: 1, sync: false, minLength: 4096 })
  setInterval(() => output.flush(), FLUSH_MS).unref()
  return output
}

/**
 * An error without user data. Messages of Postgres contain values ("invalid input syntax for type date:
 * …") and those of mail servers addresses and links, so only code and location of these are logged.
 */
function describeError(error: unknown): object {
  if (!(error instanceof Error)) return { type: typeof error }
  const { code, table, constraint, routine, command, responseCode } = error as Error &
    Record<string, unknown>
  const frames = error.stack?.split('\n').filter((line) => line.startsWith('    at ')) ?? []
  const fromPostgres = routine !== undefined || (typeof code === 'string' && code.length === 5)
  return {
    type: error.name,
    ...(!fromPostgres && responseCode === undefined && { message: error.message }),
    ...(responseCode !== undefined && { command, responseCode }),
    ...(code !== undefined && { code }),
    ...(table !== undefined && { table }),
    ...(constraint !== undefined && { constraint }),
    stack: frames.join('\n'),
    ...(error.cause !== undefined && { cause: describeError(error.cause) }),
  }
}
