import { setTimeout as sleep } from 'node:timers/promises'
import { Logger, parseCronItems, run } from 'graphile-worker'
import { type ConnectionTarget, clientOptions, openPool } from '../database/connect.ts'
import type { Log } from '../runtime/log.ts'
import { keepSignOfLife } from './sign-of-life.ts'

/** What a job does. What it throws is logged, and the job tried again later. */
export type Task = (payload: never) => Promise<void>

export interface Job {
  readonly task: Task
  /** When to do it unasked, as in a crontab. */
  readonly schedule?: string
}

interface WorkerOptions {
  target: ConnectionTarget
  jobs: Readonly<Record<string, Job>>
  concurrency: number
  log: Log
}

export interface Worker {
  /** Takes no more jobs, and lets those that run come to their end. */
  stop(): Promise<void>
}

const POLL_MS = 1_000
const RETRY_MS = 500
const MAX_RETRY_MS = 30_000
/**
 * Jobs are taken and completed several at a time: fewer trips to the database for each. What a worker
 * has taken and cannot begin soon, because its others are slow, it gives back.
 */
const IN_BATCHES = { completeJobBatchDelay: 20 }
const TTL_MS = 5_000
/** Beside the connections that jobs take for themselves: listening, taking, completing. */
const CONNECTIONS = 4

/**
 * Runs jobs, beside any number of other workers. A job is taken by one of them at a time; those of a
 * worker that was killed go to the next within seconds, so each task has to bear being run twice.
 * When the database goes away, it begins again once that is back.
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
      log.warn('the worker has ended, and begins again')
      await beginAgain()
    }
  }

  async function beginAgain(): Promise<void> {
    for (let wait = RETRY_MS; !stopping.signal.aborted; wait = Math.min(MAX_RETRY_MS, 2 * wait)) {
      // Spread, so that the workers do not come back together.
      const pause = wait * (0.5 + Math.random() / 2)
      await sleep(pause, undefined, { signal: stopping.signal }).catch(() => {})
      if (stopping.signal.aborted) return
      try {
        runner = await startRunner(options)
        // Asked to stop meanwhile, which reached the one before.
        if (stopping.signal.aborted) await runner.stop()
        return
      } catch (error) {
        log.warn({ error }, 'the worker cannot begin yet')
      }
    }
  }
}

/**
 * A run of graphile-worker. It shuts itself down when it cannot record what it has done, and may wait
 * for minutes with that: it is left alone then, and counts as dead, so that others take what it holds.
 */
async function startRunner({ target, jobs, concurrency, log }: WorkerOptions) {
  const pool = openPool({ ...clientOptions(target), max: CONNECTIONS }, (error) =>
    log.warn({ error }, 'a connection of the worker was lost'),
  )
  const life = keepSignOfLife(target, pool, log)
  const close = async () => {
    await life.end()
    void pool.end() // waits for what is lent out; nothing more is
  }
  try {
    const runner = await run({
      pgPool: pool,
      concurrency,
      pollInterval: POLL_MS,
      noHandleSignals: true,
      logger: loggerTo(log),
      events: life.events,
      preset: { worker: { ...IN_BATCHES, localQueue: { size: 5 * concurrency, ttl: TTL_MS } } },
      taskList: Object.fromEntries(
        Object.entries(jobs).map(([name, { task }]) => [name, logged(name, task, log)]),
      ),
      parsedCronItems: parseCronItems(
        Object.entries(jobs).flatMap(([name, { schedule }]) =>
          // One at a time: whoever comes late finds nothing left to do.
          schedule ? [{ task: name, match: schedule, options: { jobKey: name } }] : [],
        ),
      ),
    })
    const finished = runner.promise.catch((error) =>
      log.warn({ error }, 'the worker did not end well'),
    )
    const isLost = new Promise((lost) => life.events.once('pool:gracefulShutdown', lost))
    let isAskedTo = false
    return {
      /** Resolves when it runs no more, for whatever reason. */
      ended: Promise.race([isLost.then(() => (isAskedTo ? finished : undefined)), finished]).then(
        close,
      ),
      async stop() {
        isAskedTo = true
        await runner.stop().catch(() => {}) // it had stopped already
        await this.ended
      },
    }
  } catch (error) {
    await close()
    throw error
  }
}

function logged(name: string, task: Task, log: Log) {
  return async (payload: unknown) => {
    const begun = performance.now()
    try {
      await task(payload as never)
      log.debug({ job: name, ms: Math.round(performance.now() - begun) }, 'job done')
    } catch (error) {
      log.warn({ job: name, error }, 'job failed')
      // What it says is kept in the database, where no text of a person's belongs.
      throw new Error((error as Error).name)
    }
  }
}

function loggerTo(log: Log): Logger {
  return new Logger(() => (level, message) => {
    // Jobs have connections of their own, which it cannot know.
    if (message.includes('maxPoolSize')) return
    if (level === 'error' || level === 'warning') log.warn({ worker: message }, 'worker')
  })
}
