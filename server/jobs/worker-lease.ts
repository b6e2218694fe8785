import { EventEmitter } from 'node:events'
import type { WorkerEvents } from 'graphile-worker'
import type pg from 'pg'
import { type ConnectionTarget, clientOptions, WATCHED } from '../database/connect.ts'
import { DatabaseConnection } from '../database/connection.ts'
import type { Log } from '../runtime/log.ts'

/** The advisory locks of workers. Every release must use the same number. */
const LOCK_SPACE = 7_265_002
const LOOK_MS = 2_000
const RETRY_MS = 1_000
/** A working worker is never without its lock for longer than this. */
const GRACE = '3 seconds'

const RELEASE_JOBS_OF_DEAD_WORKERS = `
  select graphile_worker.force_unlock_workers(array_agg(distinct locked_by))
  from graphile_worker.jobs
  where locked_at < now() - interval '${GRACE}'
    and not exists (
      select from pg_locks
      where locktype = 'advisory' and database = (select oid from pg_database where datname = current_database())
        and classid = ${LOCK_SPACE} and objid = (hashtext(locked_by)::bigint & 4294967295)::oid)
  having count(*) > 0`

/**
 * graphile-worker releases the jobs of a killed worker only after four hours. Here each worker holds an
 * advisory lock (a lease) on a connection of its own. It ends with the process, and the other workers
 * then release its jobs.
 */
export function holdWorkerLease(target: ConnectionTarget, pool: pg.Pool, log: Log) {
  const events = new EventEmitter() as WorkerEvents
  let client: pg.Client | undefined
  let name = ''
  let ended = false
  events.on('pool:create', ({ workerPool }) => {
    name = workerPool.id
    void hold()
  })
  const timer = setInterval(releaseJobsOfDeadWorkers, LOOK_MS)

  return {
    events,
    async end() {
      ended = true
      clearInterval(timer)
      await client?.end().catch(() => {})
    },
  }

  async function hold(): Promise<void> {
    if (ended) return
    const next = new DatabaseConnection({ ...clientOptions(target), ...WATCHED })
    next.on('error', (error) => log.warn({ error }, 'the connection of the worker lease was lost'))
    try {
      await next.connect()
      await next.query('select pg_advisory_lock_shared($1, hashtext($2))', [LOCK_SPACE, name])
    } catch {
      await next.end().catch(() => {})
      setTimeout(hold, RETRY_MS).unref()
      return
    }
    client = next
    if (ended) return void (await next.end())
    next.once('end', () => void hold())
  }

  async function releaseJobsOfDeadWorkers(): Promise<void> {
    try {
      await pool.query(RELEASE_JOBS_OF_DEAD_WORKERS)
    } catch (error) {
      if (!ended) log.warn({ error }, 'the jobs of dead workers could not be released')
    }
  }
}
