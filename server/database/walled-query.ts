import pg from 'pg'
import { APP, EVERYONES } from './wall.ts'

/** For a statement that reads the documents of more than one person. */
export const EVERYONE = Symbol('everyone')

/** Whose documents a statement may see: a person's, or everyone's. Default: nobody's. */
export type RowsOf = string | typeof EVERYONE

export interface WalledConfig extends pg.QueryConfig {
  rowsOf?: RowsOf | undefined
}

/** What a connection knows about the wall. */
export interface WallState {
  stands: boolean
  /** What the open transaction has named last, if anything. */
  named: RowsOf | undefined
}

export const NOBODY = ''

/** Prepared when the connection opens, so that it takes no round trip later. Both end with the transaction. */
export const NAME_PERSON = {
  name: 'tasktide_person',
  text: `select set_config('role', $1, true), set_config('tasktide.person', $2, true)`,
}

export const namesOf = (rowsOf: RowsOf): [role: string, person: string] =>
  rowsOf === EVERYONE ? [EVERYONES, NOBODY] : [APP, rowsOf]

/** What is not in the extended protocol, and reads no rows. */
const CONTROL = /^\s*(begin|start|commit|rollback|savepoint|release|set|reset|listen|unlisten)\b/i

// biome-ignore lint/suspicious/noExplicitAny: the overloads of pg
type QueryFunction = (...args: any[]) => any

/**
 * A `query` that names, before each statement, whose documents it may see: in the same round trip, and in the
 * same transaction, so it also holds through a pooler.
 */
export function walledQuery(
  query: QueryFunction,
  connection: pg.Client,
  state: WallState,
): QueryFunction {
  return (...args) => {
    const text: unknown = args[0]?.text ?? args[0]
    if (!state.stands || typeof text !== 'string') return query(...args)
    if (CONTROL.test(text)) {
      // Another transaction, or another state of this one.
      state.named = undefined
      return query(...args)
    }
    const [config, values] = args
    const callback = args.at(-1)
    const walled = new WalledQuery(config, values, connection, state)
    if (typeof callback === 'function') return query(walled, callback)
    return new Promise((resolve, reject) => {
      query(walled, (error: unknown, result: unknown) => (error ? reject(error) : resolve(result)))
    })
  }
}

/** The inner methods of `pg.Query` and of its connection. */
interface Inner {
  requiresPreparation(): boolean
  prepare(connection: Wire): void
  handleDataRow(message: unknown): void
  handleCommandComplete(message: unknown, connection: Wire): void
}
interface Wire {
  bind(message: object): void
  execute(message: object): void
}
const Query = pg.Query as unknown as new (config: unknown, values?: unknown) => Inner

class WalledQuery extends Query {
  readonly rowsOf: RowsOf | undefined
  private readonly client: pg.Client
  private readonly state: WallState
  /** Whether the answer that comes next is that of naming the person. */
  private isNaming = false

  constructor(config: WalledConfig | string, values: unknown, client: pg.Client, state: WallState) {
    super(config, typeof values === 'function' ? undefined : values)
    this.rowsOf = typeof config === 'object' ? config.rowsOf : undefined
    this.client = client
    this.state = state
  }

  /** Asked when it is sent, and not before: then the state of the transaction is known. */
  override requiresPreparation(): boolean {
    return this.toName() !== undefined || super.requiresPreparation()
  }

  override prepare(connection: Wire): void {
    const name = this.toName()
    if (name !== undefined) {
      connection.bind({ statement: NAME_PERSON.name, values: namesOf(name) })
      connection.execute({})
      this.isNaming = true
      this.state.named = name
    }
    super.prepare(connection)
  }

  override handleDataRow(message: unknown): void {
    if (!this.isNaming) super.handleDataRow(message)
  }

  override handleCommandComplete(message: unknown, connection: Wire): void {
    if (this.isNaming) this.isNaming = false
    else super.handleCommandComplete(message, connection)
  }

  /** Undefined if the transaction has named it. What a transaction has named holds on, unless it is everyone. */
  private toName(): RowsOf | undefined {
    const status = this.client.getTransactionStatus()
    if (status === 'E') return undefined
    const named = status === 'T' ? this.state.named : undefined
    const wanted = this.rowsOf ?? (named === undefined || named === EVERYONE ? NOBODY : named)
    return wanted === named ? undefined : wanted
  }
}
