import type { RxDatabase } from 'rxdb'
import { filter, timer } from 'rxjs'
import type { Collections } from '../local/collections.ts'
import { until } from '../runtime/until.ts'
import type { Connection } from '../session/connection.ts'
import type { Replica } from './replica.ts'

const DAY_MS = 24 * 3_600_000
/** The first one after a start waits for other work. */
const LEAST_WAIT_MS = 30_000
const TRY_AGAIN_MS = 3_600_000
/** The local document with the time of the last self-check. */
const DOCUMENT = 'self_check'

interface SelfChecksOptions {
  database: RxDatabase<Collections>
  replicas: readonly Replica[]
  connection: Connection
  now: () => number
}

/** Compares all documents with the server's about once a day, and whenever the app asks for it. */
export class SelfChecks {
  private readonly options: SelfChecksOptions
  private readonly abort = new AbortController()

  constructor(options: SelfChecksOptions) {
    this.options = options
  }

  /** Begins to check by itself. A check that fails is repeated later. */
  start(): void {
    this.repeat().catch(() => {}) // stopped
  }

  stop(): void {
    this.abort.abort()
  }

  /**
   * Checks now, as soon as sync is not paused.
   *
   * @returns the number of repaired documents
   * @throws ClientError
   */
  async run(): Promise<number> {
    const { database, replicas, connection, now } = this.options
    let repaired = 0
    for (const replica of replicas) {
      await until(connection.isOpen$.pipe(filter(Boolean)), this.abort.signal)
      repaired += await replica.check()
    }
    await database.upsertLocal(DOCUMENT, { at: now() })
    return repaired
  }

  private async repeat(): Promise<void> {
    for (let wait = await this.wait(); ; ) {
      await until(timer(wait * (1 + Math.random() / 4)), this.abort.signal)
      wait = await this.run().then(
        () => DAY_MS,
        () => TRY_AGAIN_MS,
      )
    }
  }

  /** The time to the next one, by a clock that may have been set back. */
  private async wait(): Promise<number> {
    const { database, now } = this.options
    const last = await database.getLocal<{ at: number }>(DOCUMENT).catch(() => null)
    const left = (last?.get('at') ?? 0) + DAY_MS - now()
    return Math.min(Math.max(left, LEAST_WAIT_MS), DAY_MS)
  }
}
