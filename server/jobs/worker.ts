import { Logger, parseCronItems, run } from 'graphile-worker'
import { type ConnectionTarget, clientOptions, openPool } from '../database/connect.ts'
import type { Log } from '../log.ts'
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
/**
 * Jobs are taken and completed several at a time, which doubles how many mails go out. What a worker
 * has taken and cannot begin soon, because its others are slow, it gives back.
 */
const IN_BATCHES = { completeJobBatchDelay: 20 }
const TTL_MS = 5_000
/** Beside the connections that jobs take for themselves: listening, taking, completing. */
const CONNECTIONS = 4

/**
 * Runs jobs, beside any number of other workers. A job is taken by one of them at a time; those of a
 * worker that was killed go to the next within seconds, so each task has to bear being run twice.
 */
export async function startWorker(options: WorkerOptions): Promise<Worker> {
  const { target, jobs, concurrency, log } = options
  const pool = openPool({ ...clientOptions(target), max: CONNECTIONS }, (error) =>
    log.warn({ error }, 'a connection of the worker was lost'),
  )
  const life = keepSignOfLife(target, pool, log)
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
    runner.promise.catch((error) => log.error({ error }, 'the worker has ended'))
    return {
      async stop() {
        await runner.stop().catch((error) => log.warn({ error }, 'the worker did not stop well'))
        await life.end()
        await pool.end()
      },
    }
  } catch (error) {
    await life.end()
    await pool.end()
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
    if (level === 'error' || level === 'warning') log.warn({ worker: message }, 'worker')
  })
}
