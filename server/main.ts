import { readFileSync } from 'node:fs'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { keptSecret } from './accounts/tokens.ts'
import { type App, type AppDependencies, createApp } from './app.ts'
import { type Config, readConfig } from './config.ts'
import { migrate, pendingMigrations } from './database/migrate.ts'
import { type OpenDatabase, openDatabase } from './database/open.ts'
import { answerUnreadable } from './http/unreadable.ts'
import { createLog, type Log } from './log.ts'

/** Longer than the idle time of the usual load balancers, which else send into a closing socket. */
const KEEP_ALIVE_MS = 65_000
const DRAIN_MS = 10_000

export interface Server {
  /** Where it listens. */
  url: string
  app: App
  database: OpenDatabase
  /** Stops accepting, finishes what runs, closes the database. */
  stop(): Promise<void>
}

/** Puts the parts together and starts them. */
export async function start(
  config: Config,
  log: Log,
  replaced: Pick<AppDependencies, 'now' | 'passwords'> = {},
): Promise<Server> {
  const database = await openDatabase(config, log)
  try {
    await prepareSchema(config, database, log)
    const secret = config.SECRET_KEY ?? keptSecret(config.DATA_DIR)
    const app = createApp({
      config,
      secret,
      db: database.db,
      log,
      version: version(),
      ...replaced,
    })
    const http = createServer({ keepAliveTimeout: KEEP_ALIVE_MS }, app.express)
    http.on('clientError', answerUnreadable)
    await new Promise<void>((listening, failed) => {
      http.once('error', failed).listen(config.PORT, config.HOST, () => listening())
    })
    const { port } = http.address() as AddressInfo
    return {
      url: `http://localhost:${port}`,
      app,
      database,
      async stop() {
        const closed = new Promise((resolve) => http.close(resolve))
        http.closeIdleConnections()
        const deadline = setTimeout(() => http.closeAllConnections(), DRAIN_MS)
        await closed
        clearTimeout(deadline)
        await database.close()
      },
    }
  } catch (error) {
    await database.close()
    throw error
  }
}

/** Starts as the environment says, until a signal. A fault at the start is told in words, not as a trace. */
export async function runFromEnvironment(
  afterStart?: (server: Server) => Promise<void>,
): Promise<void> {
  try {
    const config = readConfig()
    const log = createLog(config.LOG_LEVEL, { readable: !config.isProduction })
    const server = await start(config, log)
    stopOnSignal(server, log)
    await afterStart?.(server)
    log.info(`Tasktide ${version()} listens at ${server.url} (try it at ${server.url}/api/docs/)`)
  } catch (error) {
    process.stderr.write(`${explain(error)}\n`)
    process.exit(1)
  }
}

async function prepareSchema(config: Config, { db }: OpenDatabase, log: Log): Promise<void> {
  if (config.migrateOnStart) {
    const names = await migrate(db)
    if (names.length > 0) log.info({ migrations: names }, 'migrated')
    return
  }
  const pending = await pendingMigrations(db)
  if (pending.length > 0)
    throw new Error('The database is behind this release: run `npm run migrate` first.')
}

function stopOnSignal(server: Server, log: Log): void {
  let stopping = false
  for (const signal of ['SIGINT', 'SIGTERM'] as const)
    process.on(signal, () => {
      if (stopping) return
      stopping = true
      log.info({ signal }, 'stopping')
      server.stop().then(
        () => process.exit(0),
        (error) => {
          log.error({ error }, 'did not stop well')
          process.exit(1)
        },
      )
    })
}

function explain(error: unknown): string {
  const { code, port, message } = error as NodeJS.ErrnoException & { port?: number }
  if (code === 'EADDRINUSE')
    return `Port ${port} is taken: stop what uses it, or set PORT to another.`
  if (code === 'ECONNREFUSED' || code === 'ENOTFOUND')
    return `The database of DATABASE_URL cannot be reached (${code}).`
  return message ?? String(error)
}

/** package.json stands one folder up from here, and two from the built file. */
function version(): string {
  for (const up of ['../package.json', '../../package.json']) {
    try {
      return (JSON.parse(readFileSync(new URL(up, import.meta.url), 'utf8')) as { version: string })
        .version
    } catch {
      // not here
    }
  }
  return 'unknown'
}
