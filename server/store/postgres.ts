import { setTimeout as pause } from 'node:timers/promises'
import type pg from 'pg'
import {
  type ChangeTimes,
  type Document,
  leastValue,
  type Resource,
  referencesOf,
  referencesTo,
  resources,
  type WireDocument,
} from '../../protocol/index.ts'
import { type Database, run, runOn, transactionOn } from '../database/connect.ts'
import {
  type Encoded,
  type Store,
  type Stored,
  type Transaction,
  UnknownUser,
} from '../sync/store.ts'
import { columnsOf } from './columns.ts'
import {
  aboveSql,
  changesSql,
  editStatement,
  findSql,
  frameSql,
  havingSql,
  headsSql,
  insertSql,
  MAX_FRAME_DOCUMENTS,
  pageSql,
  placeholdSql,
  readSql,
  writeSql,
} from './statements.ts'
import { createTurns } from './turns.ts'

type EncodedRow = [seq: string, json: string]
type PageRow = [documents: string | null, id: string | null, seq: string | null]
type StoredRow = [
  seq: string,
  deleted: boolean,
  json: string,
  taken?: string[],
  changed?: ChangeTimes,
]

/** One write of a transaction, whose documents took the numbers after `before`. */
interface Write {
  resource: Resource
  written: readonly Omit<Stored, 'seq'>[]
  before: number
}

/** The changes after `prev`, up to `seq`. */
interface Changes {
  prev: number
  seq: number
  documents: Record<string, WireDocument[]>
}

/** A page may be large: of one user, so many at a time. */
const PAGES_AT_ONCE = 3

/**
 * The Store in Postgres.
 *
 * @param changed is told of each user whose changes have been committed
 */
export function postgresStore(db: Database, changed: (user: string) => void = () => {}): Store {
  const readFrame = frameSql()
  const takeTurn = createTurns()
  const takePage = createTurns({ lanes: PAGES_AT_ONCE })
  /** What has been committed just now, so that whoever asks on hearing of it need not wait for a read. */
  const latest = new Map<string, Changes>()

  return {
    async find(user, resource, id) {
      const [row] = await run<EncodedRow>(db, findSql(resource), [user, id])
      return row && encoded(row)
    },

    async read(user, resource, ids) {
      return byId(await run<StoredRow>(db, readSql(resource), [user, ids]))
    },

    insert(user, resource, document) {
      const values = columnsOf(resource).map((column) => document[column])
      return announced(
        user,
        takeTurn(user, () =>
          writeOne(() => run<EncodedRow>(db, insertSql(resource), [user, ...values])),
        ),
      )
    },

    edit(user, resource, edit) {
      const { statement, values } = editStatement(resource, edit)
      if (edit.action === 'patch' && Object.keys(edit.fields).length === 0)
        return Promise.resolve(undefined)
      return announced(
        user,
        takeTurn(user, () => writeOne(() => run<EncodedRow>(db, statement, [user, ...values]))),
      )
    },

    async transaction(user, work) {
      const done = await takeTurn(user, () =>
        retried(() =>
          transactionOn(db, LOCK, user, async (connection) => {
            const writes: Write[] = []
            return { result: await work(transactionOf(connection, user, writes)), writes }
          }),
        ),
      )
      if (!done) throw new UnknownUser()
      if (done.writes.length > 0) {
        const changes = changesOf(done.writes)
        if (changes) latest.set(user, changes)
        changed(user)
        // Before anything is heard from another node, which may have written since.
        process.nextTick(() => latest.delete(user))
      }
      return done.result
    },

    async heads(users) {
      const rows = await run<[user: string, seq: string]>(db, headsSql, [users])
      return new Map(rows.map(([user, seq]) => [user, Number(seq)]))
    },

    async frame(user, seq) {
      const changes = latest.get(user)
      if (changes?.prev === seq) return { seq: changes.seq, documents: changes.documents }
      const [row] = await run<[string, ...(string | null)[]]>(db, readFrame, [user, seq])
      if (!row) return { seq }
      const [head, ...texts] = row
      const documents: Record<string, WireDocument[]> = {}
      Object.keys(resources).forEach((name, i) => {
        if (texts[i]) documents[name] = JSON.parse(texts[i])
      })
      const fits = Object.values(documents).every(({ length }) => length <= MAX_FRAME_DOCUMENTS)
      return { seq: Number(head), ...(fits && { documents }) }
    },

    async changes(user, resource, seq, limit) {
      return (await run<StoredRow>(db, changesSql(resource), [user, seq, limit])).map(stored)
    },

    async page(user, resource, seq, limit) {
      const rows = await takePage(user, () =>
        run<PageRow>(db, pageSql(resource), [user, seq, limit]),
      )
      const [documents, id, last] = rows[0]!
      return { documents: documents ?? '[]', last: id ? { id, seq: Number(last) } : undefined }
    },
  }

  async function announced(user: string, write: Promise<Encoded | undefined>) {
    const written = await write
    if (written) changed(user)
    return written
  }
}

function transactionOf(connection: pg.ClientBase, user: string, writes: Write[]): Transaction {
  async function placehold(resource: Resource, ids: readonly string[]): Promise<void> {
    if (ids.length === 0) return
    // What has to refer to something refers to an id that no document has.
    for (const { field, target } of referencesOf(resource)) {
      const own = resource.fields[field]!
      if (!own.nullable) await placehold(target, [leastValue(own) as string])
    }
    await runOn(connection, placeholdSql(resource), [user, ids])
  }

  return {
    async read(resource, ids) {
      return byId(await runOn<StoredRow>(connection, readSql(resource), [user, ids]))
    },

    async having(resource, field, value) {
      const rows = await runOn<StoredRow>(connection, havingSql(resource, field), [user, value])
      return rows.map(stored)
    },

    async above(resource, field, ids) {
      return byId(await runOn<StoredRow>(connection, aboveSql(resource, field), [user, ids]))
    },

    placehold,

    async write(resource, documents) {
      if (documents.length === 0) return
      const rows = documents.map(({ document, deleted, taken, changed }, i) => ({
        ...document,
        deleted,
        taken,
        changed,
        nth: i + 1,
      }))
      const values = [user, JSON.stringify(rows), rows.length]
      const [row] = await runOn<[string]>(connection, writeSql(resource), values)
      writes.push({ resource, written: documents, before: Number(row![0]) })
    },
  }
}

/** What the writes have changed, unless it is too much for a frame, or they may have changed more. */
function changesOf(writes: readonly Write[]): Changes | undefined {
  const ids = new Set<string>()
  const documents: Record<string, WireDocument[]> = {}
  for (const { resource, written } of writes) {
    // A deletion may have changed what refers to it.
    if (referencesTo(resource).length > 0) return undefined
    for (const { document, deleted } of written) {
      ids.add(`${resource.name} ${document.id}`)
      documents[resource.name] ??= []
      documents[resource.name]!.push({ ...document, _deleted: deleted })
    }
  }
  // Nobody else takes numbers before the commit.
  const prev = writes[0]!.before
  const count = writes.reduce((sum, { written }) => sum + written.length, 0)
  const fits = count === ids.size && count <= MAX_FRAME_DOCUMENTS
  return fits ? { prev, seq: prev + count, documents } : undefined
}

const LOCK = 'select from feeds where user_id = ? for update'

async function writeOne(write: () => Promise<EncodedRow[]>): Promise<Encoded | undefined> {
  try {
    const [row] = await retried(write)
    return row && encoded(row)
  } catch (error) {
    // What it refers to was deleted while the statement waited for its turn.
    if (codeOf(error) === FOREIGN_KEY_VIOLATION) return undefined
    throw error
  }
}

/**
 * Writers take the feed's row first, so they cannot deadlock with each other; an administrator's SQL
 * may take a document first. Postgres then ends one of the two, and the pause lets the other one by.
 */
async function retried<T>(work: () => Promise<T>): Promise<T> {
  for (let attempt = 1; ; attempt++) {
    try {
      return await work()
    } catch (error) {
      if (codeOf(error) !== DEADLOCK_DETECTED || attempt === MAX_ATTEMPTS) throw error
      await pause(attempt * PAUSE_MS)
    }
  }
}

const MAX_ATTEMPTS = 6
const PAUSE_MS = 20
const FOREIGN_KEY_VIOLATION = '23503'
const DEADLOCK_DETECTED = '40P01'
const codeOf = (error: unknown) => (error as { code?: unknown } | undefined)?.code

const encoded = ([seq, json]: EncodedRow): Encoded => ({ seq: Number(seq), json })

const stored = ([seq, deleted, json, taken, changed]: StoredRow): Stored => ({
  seq: Number(seq),
  deleted,
  document: JSON.parse(json) as Document,
  ...(taken?.length && { taken: taken.map(Number) }),
  ...(changed && Object.keys(changed).length > 0 && { changed }),
})

const byId = (rows: StoredRow[]) =>
  new Map(rows.map(stored).map((found) => [found.document.id, found]))
