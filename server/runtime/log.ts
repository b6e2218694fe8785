import pino, { type DestinationStream, type Logger } from 'pino'
import pretty, { type PrettyOptions } from 'pino-pretty'

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
  if (readable) return pino(options, pretty({ ...READABLE, sync: true, destination: to ?? 1 }))
  return pino(options, to ?? gatheredOutput())
}

/** What a request was, then the message; the rest follows as JSON, and only a stack takes further lines. */
const READABLE: PrettyOptions = {
  colorize: process.stdout.isTTY,
  singleLine: true,
  ignore: 'method,path,status,ms',
  messageFormat: ({ method, path, status, ms, msg }) =>
    [method, path, status, ms !== undefined && `${ms} ms`, msg].filter(Boolean).join(' '),
}

/** Buffered: unbuffered output would cost a trip to the thread pool per request. */
function gatheredOutput(): DestinationStream {
  const output = pino.destination({ dest: 1, sync: false, minLength: 4096 })
  setInterval(() => output.flush(), FLUSH_MS).unref()
  return output
}

/**
 * An error without user data. Messages of mail servers contain addresses and links, so only code and
 * location of these are logged.
 */
function describeError(error: unknown): object {
  if (!(error instanceof Error)) return { type: typeof error }
  const { code, table, constraint, routine, command, responseCode } = error as DescribedError
  const frames = error.stack?.split('\n').filter((line) => line.startsWith('    at ')) ?? []
  const fromPostgres = routine !== undefined || (typeof code === 'string' && code.length === 5)
  return {
    type: error.name,
    ...(responseCode === undefined && {
      message: fromPostgres ? withoutValues(error as DescribedError, String(code)) : error.message,
    }),
    ...(responseCode !== undefined && { command, responseCode }),
    ...(code !== undefined && { code }),
    ...(table !== undefined && { table }),
    ...(constraint !== undefined && { constraint }),
    stack: frames.join('\n'),
    ...(error.cause !== undefined && { cause: describeError(error.cause) }),
  }
}

type DescribedError = Error & Record<string, unknown>

/** SQLSTATE classes whose messages name tables, columns and settings at most. */
const NAMES_ONLY = /^(08|0A|23|25|26|28|3D|3F|40|42|53|54|55|57|58)/
/** Those that quote values: "invalid input syntax for type date: …". */
const QUOTES_VALUES = /^22/

/** What Postgres said. Knex puts the statement with its values in front of it, but not in the stack. */
function withoutValues({ stack = '', routine }: DescribedError, code: string): string | undefined {
  // The words of a trigger.
  if (routine === 'exec_stmt_raise') return undefined
  const message = /^\w*: (.*?)(\n {4}at |$)/s.exec(stack)?.[1]
  if (NAMES_ONLY.test(code)) return message
  if (!QUOTES_VALUES.test(code)) return undefined
  // A value may contain quotes too.
  return message?.replace(/".*"/s, '"…"').replaceAll(/\b0x[\da-f]+/g, '0x…')
}
