import type { Log } from '../runtime/log.ts'
import { withinTime } from '../runtime/time-limit.ts'
import { type ConnectionOptions, connect, type Database } from './connect.ts'
import { isTimeout } from './slow-work.ts'

/** A copy of the database that answers reads. It may lag behind the primary, be slow or be down. */
export interface Replica {
  /** What it answers; undefined if it fails, is slow, or has been so a moment ago: then ask the primary. */
  ask<T>(question: (db: Database) => Promise<T>): Promise<T | undefined>
  /** The position in the write-ahead log up to which it has replayed. */
  position(): Promise<number>
  close(): Promise<void>
}

/** Somebody waits for the answer, and the primary would have given it in milliseconds. */
const ANSWER_MS = 1_000
/** After a failure, one question in this time finds out whether it answers again. */
const REST_MS = 5_000

export function openReplica(options: ConnectionOptions, log: Log): Replica {
  const db = connect(options)
  let isTrusted = true
  let nextTry = 0

  return {
    async ask(question) {
      if (!isTrusted && performance.now() < nextTry) return undefined
      nextTry = performance.now() + REST_MS
      try {
        const answer = await withinTime(ANSWER_MS, question(db))
        if (!isTrusted) log.info('the replica answers again')
        isTrusted = true
        return answer
      } catch (error) {
        // The question was too long, and not the replica too slow.
        if (isTimeout(error)) return undefined
        if (isTrusted) log.warn({ error }, 'the replica does not answer; the primary is asked')
        isTrusted = false
        return undefined
      }
    },
    position: () => walPosition(db),
    close: () => db.destroy(),
  }
}

/** How much of the write-ahead log the database has written, or a replica replayed, in bytes. */
export async function walPosition(db: Database): Promise<number> {
  const { rows } = await db.raw(
    `select pg_wal_lsn_diff(case when pg_is_in_recovery() then pg_last_wal_replay_lsn()
       else pg_current_wal_lsn() end, '0/0') as position`,
  )
  return Number(rows[0].position)
}
