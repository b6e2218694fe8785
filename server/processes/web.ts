import { readFileSync } from 'node:fs'
import type { Server as HttpServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { setTimeout as sleep } from 'node:timers/promises'
import { secretsOf } from '../accounts/secrets.ts'
import { followClock } from '../database/clock.ts'
import { traceStatements } from '../database/connection.ts'
import { migrate, requireCurrentSchema } from '../database/migrate.ts'
import { type OpenDatabase, openDatabase } from '../database/open.ts'
import { poolState } from '../database/pool.ts'
import { refusePooler } from '../database/poolers.ts'
import { warnWithoutWall } from '../database/wall.ts'
import { watchClock } from '../health/gauges.ts'
import { createReadiness } from '../health/readiness.ts'
import { createListener } from '../http/listener.ts'
import { openHints } from '../realtime/hints.ts'
import { type Config, readConfig } from '../runtime/config.ts'
import { createLog, type Log } from '../runtime/log.ts'
import { withinTime } from '../runtime/time-limit.ts'
import { startTracing } from '../runtime/tracing.ts'
import { type App, type AppDependencies, createApp } from './app.ts'
import { hintsBus } from './hints-bus.ts'
import { startRealtime } from './live.ts'
import { cannotListen, exitOnError, warnUnencrypted } from './startup-error.ts'
import { stopOnSignal } from './stop-on-signal.ts'
import { startJobs } from './worker.ts'

export interface Server {
  /** The URL of the server. */
  url: string
  app: App
  http: HttpServer
  database: OpenDatabase
  /** Serves on for DRAIN_SECONDS, stops accepting, finishes what runs, closes the database. */
  stop(): Promise<void>
}

/** Builds and starts a web node. */
export async function start(
  config: Config,
  log: Log,
  replaced: Partial<Pick<AppDependencies, 'now' | 'passwords'>> = {},
): Promise<Server> {
  const endpoint = config.OTEL_EXPORTER_OTLP_ENDPOINT
  const tracing = await startTracing({ endpoint, version: version(), log })
  if (endpoint) traceStatements(tracing)
  const database = await openDatabase(config, log)
  try {
    const needsSession = !config.REDIS_URL || config.runWorker || config.migrateOnStart
    await refusePooler(config, database, { needsSession })
    await prepareSchema(config, database, log)
    await warnWithoutWall(database.db, log)
    warnUnencrypted(config, log)
    const secrets = secretsOf(config)
    const readiness = createReadiness(database.target, poolState(database.db), () =>
      clock.aheadMs(),
    )
    const clock = await followClock(readiness.ask, log)
    const now = replaced.now ?? clock.now
    const hints = await openHints(hintsBus(config, database, log), now, tracing)
    const app = createApp({
      hints,
      readiness,
      config,
      secrets,
      db: database.db,
      replica: database.replica,
      log,
      tracing,
      version: version(),
      now,
      ...(replaced.passwords && { passwords: replaced.passwords }),
    })
    const { server: http, retire, drain } = createListener(app.express, app.door)
    watchClock(app.metrics, clock)
    const realtime = startRealtime(http, { config, app, hints, log, now })
    await new Promise<void>((listening, failed) => {
      http
        .once('error', (error) => failed(cannotListen(config, error)))
        .listen(config.PORT, config.HOST, () => listening())
    })
    const { port } = http.address() as AddressInfo
    const worker = config.runWorker
      ? await startJobs({ config, secrets, target: database.sessionTarget, log, now })
      : undefined
    return {
      url: `http://localhost:${port}`,
      app,
      http,
      database,
      async stop() {
        readiness.drain()
        retire()
        // Load balancers send requests until they have seen that it is not ready.
        await sleep(config.DRAIN_SECONDS * 1000)
        await realtime.close()
        await drain()
        await worker?.stop()
        // A silent database must not hold up the exit for them.
        await withinTime(2_000, app.positions.stop()).catch(() => {})
        await hints.close()
        clock.stop()
        await readiness.close()
        await database.close()
        await tracing.stop()
      },
    }
  } catch (error) {
    await database.close()
    throw error
  }
}

/** Starts with the configuration of the environment, and runs until a signal. */
export async function runFromEnvironment(
  afterStart?: (server: Server) => Promise<void>,
): Promise<void> {
  await exitOnError(async () => {
    const config = readConfig()
    const log = createLog(config.LOG_LEVEL, { readable: !config.isProduction })
    const server = await start(config, log)
    stopOnSignal(log, server.stop, config.DRAIN_SECONDS)
    void server.database.lost?.then(() => {
      log.fatal('the embedded Postgres has exited, so this server stops: start it again')
      process.exit(1)
    })
    await afterStart?.(server)
    log.info(`Tasktide ${version()} listens on ${server.url} (API: ${server.url}/api/docs/)`)
  })
}

async function prepareSchema(config: Config, database: OpenDatabase, log: Log): Promise<void> {
  if (config.migrateOnStart) {
    const names = await database.withoutTimeLimit(migrate)
    if (names.length > 0) log.info({ migrations: names }, 'migrated')
    return
  }
  await requireCurrentSchema(database.db)
}

/** package.json is two folders up from here, and three from the built file. */
function version(): string {
  for (const up of ['../../package.json', '../../../package.json']) {
    try {
      return (JSON.parse(readFileSync(new URL(up, import.meta.url), 'utf8')) as { version: string })
        .version
    } catch {
      // not here
    }
  }
  return 'unknown'
}
