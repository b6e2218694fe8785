import { setTimeout as sleep } from 'node:timers/promises'
import { Logger, run } from 'graphile-worker'
import { type ConnectionTarget, clientOptions, openPool, WATCHED } from '../database/connect.ts'
import type { Log } from '../runtime/log.ts'
import { keepQueued } from './schedule.ts'
import { holdWorkerLease } from './worker-lease.ts'

/** The work of a job. If it throws, the error is logged and the job is retried. */
export type Task = (payload: never) => Promise<void>

export interface Job {
  readonly task: Task
  /** Runs again and again, so long after the last run, on one of the workers. */
  readonly everySeconds?: number
}

interface WorkerOptions {
  target: ConnectionTarget
  jobs: Readonly<Record<string, Job>>
  concurrency: number
  log: Log
}

export interface Worker {
  /** Takes no more jobs, and waits for the running ones. */
  stop(): Promise<void>
}

const POLL_MS = 1_000
const RETRY_MS = 500
const MAX_RETRY_MS = 30_000
/**
 * Jobs are taken and completed in batches, which saves round trips. A worker returns jobs that it has
 * taken and cannot start soon.
 */
const IN_BATCHES = { completeJobBatchDelay: 20 }
const TTL_MS = 5_000
/** For listening, taking and completing. Jobs use other connections. */
const CONNECTIONS = 4
/** All of its statements are short. */
const PATIENCE_MS = 10_000

/**
 * Runs jobs, next to any number of other workers. One worker takes a job at a time. The jobs of a killed
 * worker go to another within seconds, so each task must be idempotent. After a loss of the database,
 * the worker restarts by itself.
 */
export async function startWorker(options: WorkerOptions): Promise<Worker> {
  const { log } = options
  const stopping = new AbortController()
  let runner = await startRunner(options)
  const running = keepRunning()
  return {
    async stop() {
      stopping.abort()
      await runner.stop()
      await running
    },
  }

  async function keepRunning(): Promise<void> {
    for (;;) {
      await runner.ended
      if (stopping.signal.aborted) return
      log.warn('the worker has stopped and restarts')
      await beginAgain()
    }
  }

  async function beginAgain(): Promise<void> {
    for (let wait = RETRY_MS; !stopping.signal.aborted; wait = Math.min(MAX_RETRY_MS, 2 * wait)) {
      // Jitter, so that the workers do not restart together.
      const pause = wait * (0.5 + Math.random() / 2)
      await sleep(pause, undefined, { signal: stopping.signal }).catch(() => {})
      if (stopping.signal.aborted) return
      try {
        runner = await startRunner(options)
        // `stop` was called meanwhile and has stopped only the previous runner.
        if (stopping.signal.aborted) await runner.stop()
        return
      } catch (error) {
        log.warn({ error }, 'the worker cannot start yet')
      }
    }
  }
}

/**
 * A run of graphile-worker. When it cannot record results, it shuts itself down, which can take minutes.
 * It then counts as dead, so that others take its jobs.
 */
async function startRunner({ target, jobs, concurrency, log }: WorkerOptions) {
  const pool = openPool(
    { ...clientOptions(target), ...WATCHED, patienceMs: PATIENCE_MS, max: CONNECTIONS },
    (error) => log.warn({ error }, 'a database connection of the worker was lost'),
  )
  const lease = holdWorkerLease(target, pool, log)
  const schedule = keepQueued(pool, intervalsOf(jobs), log)
  const close = async () => {
    schedule.stop()
    await lease.end()
    void pool.end() // waits for busy connections; there are no new ones
  }
  try {
    const runner = await run({
      pgPool: pool,
      concurrency,
      pollInterval: POLL_MS,
      noHandleSignals: true,
      logger: loggerTo(log),
      events: lease.events,
      preset: { worker: { ...IN_BATCHES, localQueue: { size: 5 * concurrency, ttl: TTL_MS } } },
      taskList: Object.fromEntries(
        Object.entries(jobs).map(([name, { task }]) => [name, logged(name, task, log)]),
      ),
    })
    const finished = runner.promise.catch((error) =>
      log.warn({ error }, 'the worker stopped with an error'),
    )
    const isLost = new Promise((lost) => lease.events.once('pool:gracefulShutdown', lost))
    let isAskedTo = false
    return {
      /** Resolves when it has stopped, for whatever reason. */
      ended: Promise.race([isLost.then(() => (isAskedTo ? finished : undefined)), finished]).then(
        close,
      ),
      async stop() {
        isAskedTo = true
        await runner.stop().catch(() => {}) // already stopped
        await this.ended
      },
    }
  } catch (error) {
    await close()
    throw error
  }
}

const intervalsOf = (jobs: WorkerOptions['jobs']) =>
  new Map(
    Object.entries(jobs).flatMap(([name, { everySeconds }]) =>
      everySeconds === undefined ? [] : [[name, everySeconds]],
    ),
  )

function logged(name: string, task: Task, log: Log) {
  return async (payload: unknown) => {
    const begun = performance.now()
    try {
      await task(payload as never)
      log.debug({ job: name, ms: Math.round(performance.now() - begun) }, 'job done')
    } catch (error) {
      log.warn({ job: name, error }, 'job failed')
      // graphile-worker stores the message, which must not contain user data.
      throw new Error((error as Error).name)
    }
  }
}

function loggerTo(log: Log): Logger {
  return new Logger(() => (level, message) => {
    // Irrelevant: jobs use other connections.
    if (message.includes('maxPoolSize')) return
    if (level === 'error' || level === 'warning') log.warn({ worker: message }, 'worker')
  })
}
