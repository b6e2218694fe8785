import type { Socket } from 'node:net'
import pg from 'pg'
import type { Tracing } from '../runtime/tracing.ts'
import { tracedQuery } from './statement-spans.ts'
import { WALL_STANDS } from './wall.ts'
import { NAME_PERSON, NOBODY, namesOf, type WallState, walledQuery } from './walled-query.ts'

export interface ConnectionConfig extends pg.ClientConfig {
  /** The same database on several hosts: the first one that accepts writes is used. */
  urls?: readonly string[]
  /** Settings of its session, by name: values, or SQL for them. */
  settings?: Readonly<Record<string, string | number | { sql: string }>>
  /** How long the database may be silent while an answer is awaited. Default: for ever. */
  patienceMs?: number
  /** How often an idle connection asks whether the line is alive. Default: never. */
  beatMs?: number
  /** Whether each statement sees the documents of one person only, where the database has the wall. */
  isWalled?: boolean
}

/**
 * The database notices within about ten seconds that a machine has vanished. With the defaults of Linux
 * that takes from 15 minutes to two hours, and the transactions of the machine keep their locks.
 */
const KEEPALIVES = {
  tcp_keepalives_idle: 5,
  tcp_keepalives_interval: 2,
  tcp_keepalives_count: 3,
  tcp_user_timeout: 10_000,
}

const SET_MS = 5_000
/** A connection that has answered lately needs no proof that it is alive. */
const FRESH_MS = 1_000
const PROOF_MS = 2_000
const PROOF = 'select 1'
/** In `pg_stat_activity`, this tells such a connection from those of a pool. */
const BEAT = `select 'beat'`

/** The SQLSTATE of a write that a read-only database refuses. */
export const READ_ONLY_STATE = '25006'

/** What a database says that another host, or the same one after a while, would not say. */
const USELESS = new Set([
  READ_ONLY_STATE,
  '55P02', // a setting cannot be changed now
  '57P03', // starts or stops
])

let tracing: Pick<Tracing, 'span'> | undefined

/** Connections of this process that open from now on run their statements in spans. */
export function traceStatements(spans: Pick<Tracing, 'span'>): void {
  tracing = spans
}

/**
 * A connection with settings, and with a limit for silence. The settings follow the startup message:
 * poolers refuse most of them inside it. Where an awaited answer does not begin in time, the line is
 * taken for dead: the connection is dropped, which its queries report, and it emits `silent`.
 */
export class DatabaseConnection extends pg.Client {
  readonly #config: pg.ClientConfig
  readonly #urls: readonly string[]
  readonly #settings: string
  readonly #patience: number
  readonly #beat: number | undefined
  readonly #wall: WallState | undefined
  #answered = 0
  #isUseless = false
  #isOver = false

  constructor({
    urls = [],
    settings,
    patienceMs = 0,
    beatMs,
    isWalled = false,
    ...config
  }: ConnectionConfig) {
    super(config)
    if (isWalled) {
      this.#wall = { stands: false, named: undefined }
      this.query = walledQuery(
        (...args) => (super.query as (...args: unknown[]) => unknown).apply(this, args),
        this,
        this.#wall,
      )
    }
    if (tracing) this.query = tracedQuery(this.query.bind(this), tracing)
    this.#config = config
    this.#urls = urls
    this.#patience = patienceMs
    this.#beat = beatMs
    this.connection.on('errorMessage', ({ code }: { code?: string }) => {
      if (USELESS.has(code ?? '')) this.#isUseless = true
    })
    const over = () => {
      this.#isOver = true
    }
    this.on('error', over).on('end', over)
    this.on('drain', () => {
      this.#answered = performance.now()
      if (this.#isUseless && this.getTransactionStatus() === 'I') this.drop()
    })
    const all: NonNullable<ConnectionConfig['settings']> = { ...KEEPALIVES, ...settings }
    this.#settings = Object.entries(all)
      .map(([name, value]) =>
        typeof value === 'object'
          ? `select set_config('${name}', ${value.sql}, false)`
          : `set ${name} = ${pg.escapeLiteral(String(value))}`,
      )
      .join('; ')
  }

  override connect(): Promise<this>
  override connect(callback: (error: Error) => void): void
  override connect(callback?: (error: Error) => void): Promise<this> | undefined {
    const connected = this.#open()
    if (!callback) return connected
    // Without an error, `pg` passes none.
    connected.then(() => callback(undefined as never), callback)
    return undefined
  }

  async #open(): Promise<this> {
    if (this.#urls.length > 1) Object.assign(this, await firstWritable(this.#urls, this.#config))
    await super.connect()
    this.#stream.on('timeout', () => this.#dropIfSilent())
    try {
      await this.within(SET_MS, () => this.#set())
    } catch (error) {
      this.drop()
      throw error
    }
    if (this.#beat !== undefined) {
      const beat = setInterval(() => {
        // A statement under way has a longer time than the proof.
        if (!this.#isWaiting) void this.proveAlive(BEAT)
      }, this.#beat).unref()
      this.once('end', () => clearInterval(beat))
    }
    return this
  }

  async #set(): Promise<void> {
    await this.query(this.#settings)
    if (!this.#wall) return
    const { rows } = await this.query<{ stands: boolean }>(WALL_STANDS)
    if (!rows[0]!.stands) return
    await this.query({ ...NAME_PERSON, values: namesOf(NOBODY) })
    this.#wall.stands = true
  }

  /** Runs work with a limit of its own for silence; a longer one than that of the connection has no effect. */
  async within<T>(milliseconds: number, work: () => Promise<T>): Promise<T> {
    this.#stream.setTimeout(
      this.#patience > 0 ? Math.min(milliseconds, this.#patience) : milliseconds,
    )
    try {
      return await work()
    } finally {
      this.#stream.setTimeout(this.#patience)
    }
  }

  /** Whether the line is alive, for an idle connection. It is dropped if not. */
  async proveAlive(question = PROOF): Promise<boolean> {
    // The other end may have said just now that it ends the session.
    if (this.#isOver || this.#stream.readyState !== 'open') return false
    if (performance.now() - this.#answered < FRESH_MS) return true
    try {
      await this.within(PROOF_MS, () => this.query(question))
      return true
    } catch {
      return false
    }
  }

  /** Closes the connection without a word to the other end, which may not listen any more. */
  drop(error?: Error): void {
    this.#stream.destroy(error)
  }

  /** Whether an answer is awaited. */
  get #isWaiting(): boolean {
    return !(this as unknown as { readyForQuery: boolean }).readyForQuery
  }

  get #stream(): Socket {
    return this.connection.stream as Socket
  }

  #dropIfSilent(): void {
    const stream = this.#stream
    const heard = stream.bytesRead
    // Where this process was busy, the answer may have arrived: it is read before the next but one turn.
    setImmediate(() =>
      setImmediate(() => {
        if (!this.#isWaiting || stream.bytesRead > heard) return
        this.drop(Object.assign(new Error('the database does not answer'), { code: 'ETIMEDOUT' }))
        this.emit('silent')
      }),
    )
  }
}

/** The one that was writable last, by all of them. */
const lastWritable = new Map<string, string>()

/**
 * The first host that accepts writes, beginning with the one that did so last.
 *
 * @throws the error of the last one
 */
async function firstWritable(urls: readonly string[], config: pg.ClientConfig) {
  const key = urls.join()
  const last = lastWritable.get(key)
  let failure: unknown
  for (const url of last ? [last, ...urls.filter((one) => one !== last)] : urls) {
    const client = new pg.Client({ ...config, connectionString: url, query_timeout: PROOF_MS })
    client.on('error', () => {}) // which the query reports
    try {
      await client.connect()
      const { rows } = await client.query(READ_ONLY)
      if (rows[0].is_read_only) throw readOnly()
      lastWritable.set(key, url)
      const { host, port } = client
      return { host, port }
    } catch (error) {
      failure = error
    } finally {
      client.connection.stream.destroy()
    }
  }
  throw failure
}

/** Whether the database refuses writes, as a standby does: `is_read_only`. */
export const READ_ONLY = `select pg_is_in_recovery() or current_setting('transaction_read_only')::boolean as is_read_only`

export const readOnly = () =>
  Object.assign(new Error('the database is read-only'), { code: READ_ONLY_STATE })
