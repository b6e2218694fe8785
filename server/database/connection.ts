import pg from 'pg'

export interface ConnectionConfig extends pg.ClientConfig {
  /** Settings of its session, by name. */
  settings?: Readonly<Record<string, string | number>>
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

/** A connection with settings. They follow the startup message: poolers refuse most settings inside it. */
export class DatabaseConnection extends pg.Client {
  readonly #settings: string

  constructor({ settings, ...config }: ConnectionConfig) {
    super(config)
    this.#settings = Object.entries({ ...KEEPALIVES, ...settings })
      .map(([name, value]) => `set ${name} = ${pg.escapeLiteral(String(value))}`)
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
    await super.connect()
    try {
      await this.query({ text: this.#settings, query_timeout: SET_MS } as pg.QueryConfig)
    } catch (error) {
      this.drop()
      throw error
    }
    return this
  }

  /** Closes the connection without a word to the other end, which may not listen any more. */
  drop(): void {
    this.connection.stream.destroy()
  }
}
