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
import {
  type Begun,
  type Database,
  limitSql,
  run,
  runOn,
  transactionOn,
} from '../database/connect.ts'
import { queueOf, slowWorkOf } from '../database/pool.ts'
import type { Replica } from '../database/replica.ts'
import { LIMITS, type Limits } from '../sync/limits.ts'
import {
  type Changes,
  type Edit,
  type Encoded,
  type Feed,
  type Head,
  type Page,
  type ReadAhead,
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
  FEED_COLUMNS,
  findSql,
  frameSql,
  headsSql,
  insertSql,
  MAX_FRAME_DOCUMENTS,
  olderThanNewestSql,
  pageOfSql,
  pageSql,
  placeholdSql,
  readSql,
  writeSql,
} from './statements.ts'
import { createTurns } from './turns.ts'
import { COUNTED_COLUMNS, type Counted, countUsage, usageAtMost } from './usage.ts'

/** `past`: the former epochs and horizons, if there are any. */
type FeedRow = [epoch: string, seq: string, past: string | null]
type HeadRow = [user: string, ...FeedRow]
type EncodedRow = [seq: string, json: string, epoch?: string]
type PageRow = [
  ...FeedRow,
  documents: string | null,
  count: number,
  last: string | null,
  isLast: boolean,
]
type StoredRow = [
  seq: string,
  deleted: boolean,
  json: string,
  taken?: string[],
  changed?: ChangeTimes,
]

/** One write of a transaction; its documents have the numbers after `before`. */
interface Write {
  resource: Resource
  written: readonly Omit<Stored, 'seq'>[]
  before: number
}

/** Concurrent pages per user, because a page may be large. */
const PAGES_AT_ONCE = 3

/** Where a page was read. */
export type PageSource = 'primary' | 'replica'

interface Options {
  limitsOf?: (user: string) => Limits
  replica?: Pick<Replica, 'ask'> | undefined
  /** Called for each page. */
  readPage?: (from: PageSource) => void
}

/**
 * The Store in Postgres.
 *
 * @param changed called after each commit, with the changes unless they do not fit into a frame or other
 *   documents may have changed too
 */
export function postgresStore(
  db: Database,
  changed: (user: string, changes?: Changes) => void = () => {},
  { limitsOf = () => LIMITS, replica, readPage = () => {} }: Options = {},
): Store {
  const readFrame = frameSql()
  const pool = queueOf(db)
  const takeTurn = createTurns({ pool })
  const takePage = createTurns({ lanes: PAGES_AT_ONCE, pool })
  const slowWork = slowWorkOf(db)

  return {
    async find(user, resource, id) {
      const [row] = await run<EncodedRow>(db, findSql(resource), [user, id])
      return row && encoded(row)
    },

    async read(user, resource, ids) {
      return byId(await run<StoredRow>(db, readSql(resource), [user, ids]))
    },

    insert(user, resource, document, hasRoom = false) {
      const values = [
        ...columnsOf(resource).map((column) => document[column]),
        ...(hasRoom ? UNLIMITED : roomOf(limitsOf(user))),
      ]
      return takeTurn(user, () =>
        writeOne(
          () => run<EncodedRow>(db, insertSql(resource), [user, ...values]),
          (row) => changed(user, changeOf(resource, row, false)),
        ),
      )
    },

    edit(user, resource, edit) {
      const { statement, values } = editStatement(resource, edit, roomForEdit(user, resource, edit))
      if (edit.action === 'patch' && Object.keys(edit.fields).length === 0)
        return Promise.resolve(undefined)
      // A deletion or restore may change documents that refer to this one.
      const isAlone = edit.action === 'patch' || referencesTo(resource).length === 0
      const write = (limitMs?: number) =>
        run<EncodedRow>(db, { ...statement, limitMs }, [user, ...values])
      return takeTurn(user, () =>
        writeOne(
          () =>
            mayBeSlow(resource, edit.action !== 'patch')
              ? slowWork.run(user, 'write', write)
              : write(),
          (row) =>
            changed(user, isAlone ? changeOf(resource, row, edit.action === 'delete') : undefined),
        ),
      )
    },

    async transaction<T>(
      user: string,
      work: (transaction: Transaction) => Promise<T>,
      ahead: readonly ReadAhead[] = [],
    ) {
      const done = await takeTurn(user, () =>
        retried(() =>
          slowWork.run(user, 'write', (limitMs) =>
            transactionOn<Locked, Done<T>, ReadEarly[]>(
              db,
              LOCK,
              user,
              async (begun) => {
                const writes: Write[] = []
                const transaction = transactionOf(user, begun, limitsOf(user), writes, limitMs)
                return { result: await work(transaction), head: transaction.feed, writes }
              },
              (connection) => readEarly(connection, user, ahead),
            ),
          ),
        ),
      )
      if (!done) throw new UnknownUser()
      if (done.writes.length > 0) changed(user, changesOf(done.head, done.writes))
      return done.result
    },

    async heads(users) {
      const rows = await run<HeadRow>(db, headsSql, [users])
      return new Map(rows.map(([user, ...feed]) => [user, feedOf(...feed)]))
    },

    async frame(user, seq) {
      const [row] = await run<[...FeedRow, ...(string | null)[]]>(db, readFrame, [user, seq])
      if (!row) return undefined
      const [epoch, at, past, ...texts] = row
      const feed = feedOf(epoch, at, past)
      const documents: Record<string, WireDocument[]> = {}
      Object.keys(resources).forEach((name, i) => {
        if (texts[i]) documents[name] = JSON.parse(texts[i])
      })
      const fits = Object.values(documents).every(({ length }) => length <= MAX_FRAME_DOCUMENTS)
      // Only a document that was removed without a tombstone moves a horizon beyond what was sent.
      const isWhole = Object.values(feed.horizons).every((horizon) => horizon.seq <= seq)
      return { head: headOf(epoch, at), ...(fits && isWhole && { documents }) }
    },

    async changes(user, resource, seq, limit) {
      return (await run<StoredRow>(db, changesSql(resource), [user, seq, limit])).map(stored)
    },

    async page(user, resource, seq, limit, withoutTombstones = 0) {
      const values = [user, seq, limit, withoutTombstones]
      const rows = await takePage(user, () =>
        slowWork.run(user, 'page', async (limitMs) => {
          const statement = { ...pageSql(resource), limitMs }
          const read = (from: Database) => run<PageRow>(from, statement, values)
          const copy = await fromReplica(user, read)
          readPage(copy ? 'replica' : 'primary')
          return copy ?? read(db)
        }),
      )
      return paged(rows)
    },

    async pageOf(user, resource, buckets, seq, limit) {
      const values = [user, seq, limit, buckets]
      const rows = await takePage(user, () =>
        slowWork.run(user, 'page', (limitMs) =>
          run<PageRow>(db, { ...pageOfSql(resource), limitMs }, values),
        ),
      )
      return paged(rows)
    },
  }

  /** An edit adds no document, except a restore. */
  function roomForEdit(user: string, { singleton }: Resource, { action, hasRoom }: Edit): Room {
    if (hasRoom || singleton || action === 'delete') return UNLIMITED
    const [documents, bytes] = roomOf(limitsOf(user))
    return action === 'restore' ? [documents, bytes] : [null, bytes]
  }

  /**
   * A page of the replica, if the feed there is the one of the primary: then every write that was answered
   * before, by whichever node, is in it, and no cursor is ahead of it or beyond a horizon. Both come from one
   * statement. Equal epochs and numbers also tell a copy from one that has taken another course: since a
   * promotion, the first change of each user begins a new epoch.
   */
  async function fromReplica(user: string, read: (from: Database) => Promise<PageRow[]>) {
    const copy = await replica?.ask(read)
    if (!copy?.[0]) return undefined
    const [, ...feed] = (await run<HeadRow>(db, headsSql, [[user]]))[0] ?? []
    return feed.length > 0 && feed.every((value, i) => value === copy[0]![i]) ? copy : undefined
  }
}

interface Locked extends Counted {
  epoch: string
  seq: string
  past: string | null
}

interface Done<T> {
  result: T
  head: Head
  writes: Write[]
}

/**
 * Whether a write may change other rows, however many: reminders go by the profile, and a document takes what
 * refers to it along when it is deleted or restored.
 */
const mayBeSlow = (resource: Resource, deletesOrRestores: boolean) =>
  resource.singleton || (deletesOrRestores && referencesTo(resource).length > 0)

/** @param limitMs for each statement from the first write on that may be slow */
function transactionOf(
  user: string,
  { connection, locked, ahead = [], commit }: Begun<Locked, readonly ReadEarly[]>,
  limits: Limits,
  writes: Write[],
  limitMs: number | undefined,
): Transaction {
  const begun = feedOf(locked.epoch, locked.seq, locked.past)

  async function placehold(resource: Resource, ids: readonly string[]): Promise<void> {
    if (ids.length === 0) return
    standing = []
    // A required reference of a placeholder points to an id that no document has.
    for (const { field, target } of referencesOf(resource)) {
      const own = resource.fields[field]!
      if (!own.nullable) await placehold(target, [leastValue(own) as string])
    }
    await runOn(connection, placeholdSql(resource), [user, ids])
  }

  let feed = begun
  /** What was read early and not changed since. */
  let standing = ahead
  return {
    get feed() {
      return feed
    },
    limits,

    get atMost() {
      return usageAtMost(locked, feed.seq)
    },

    usage: () => countUsage(connection, user, locked),

    async read(resource, ids) {
      if (ids.length === 0) return new Map()
      const known = standing.find(
        (one) => one.resource === resource && ids.every((id) => one.ids.has(id)),
      )
      return known?.found ?? readOn(connection, user, resource, ids)
    },

    async olderThanNewest(resource, field, values, count, characters) {
      const sql = olderThanNewestSql(resource, field, characters !== undefined)
      const most = characters === undefined ? [count] : [count, characters]
      return (await runOn<StoredRow>(connection, sql, [user, values, ...most])).map(stored)
    },

    async above(resource, field, ids) {
      return byId(await runOn<StoredRow>(connection, aboveSql(resource, field), [user, ids]))
    },

    placehold,

    async write(resource, documents, isLast = false) {
      if (documents.length === 0) return
      standing = []
      const values = [user, `[${documents.map(rowText)}]`, documents.length]
      const isCascading = referencesTo(resource).some(({ onDelete }) => onDelete === 'cascade')
      const deletesOrRestores = isCascading || documents.some(({ deleted }) => deleted)
      const isLimited = limitMs !== undefined && mayBeSlow(resource, deletesOrRestores)
      // It is sent together with the write, and applies up to the commit, which checks references.
      const limited = isLimited ? connection.query(limitSql(limitMs)) : undefined
      const writing = runOn<[string, string]>(connection, writeSql(resource), values)
      const [[row]] = await Promise.all([writing, limited, isLast && commit()])
      const [before, epoch] = [Number(row![0]), row![1]]
      feed = { ...begun, epoch, seq: before + documents.length }
      writes.push({ resource, written: documents, before })
    },
  }
}

/** Documents that are read together with the lock. */
interface ReadEarly {
  readonly resource: Resource
  readonly ids: ReadonlySet<string>
  readonly found: Promise<Map<string, Stored>>
}

function readEarly(
  connection: pg.ClientBase,
  user: string,
  ahead: readonly ReadAhead[],
): ReadEarly[] {
  return ahead
    .filter(({ ids }) => ids.length > 0)
    .map(({ resource, ids }) => {
      const found = readOn(connection, user, resource, ids)
      found.catch(() => {}) // whoever takes it fails, if the lock has not failed before
      return { resource, ids: new Set(ids), found }
    })
}

async function readOn(
  connection: pg.ClientBase,
  user: string,
  resource: Resource,
  ids: readonly string[],
): Promise<Map<string, Stored>> {
  return byId(await runOn<StoredRow>(connection, readSql(resource), [user, ids]))
}

/** The text of a row of `writeSql`. Its parts are put together as text, which is quicker than as objects. */
function rowText({ document, deleted, taken, changed }: Omit<Stored, 'seq'>, i: number): string {
  const marks = taken ? `,"taken":[${taken}]` : ''
  const times = changed ? `,"changed":${JSON.stringify(changed)}` : ''
  return `${JSON.stringify(document).slice(0, -1)},"deleted":${deleted},"nth":${i + 1}${marks}${times}}`
}

/** What the writes have changed, unless it is too much for a frame, or they may have changed more. */
function changesOf({ epoch, seq }: Head, writes: readonly Write[]): Changes | undefined {
  const ids = new Set<string>()
  const documents: Record<string, WireDocument[]> = {}
  for (const { resource, written } of writes) {
    // A deletion may have changed documents that refer to this one.
    if (referencesTo(resource).length > 0) return undefined
    for (const { document, deleted } of written) {
      ids.add(`${resource.name} ${document.id}`)
      documents[resource.name] ??= []
      documents[resource.name]!.push({ ...document, _deleted: deleted })
    }
  }
  // The lock keeps others from taking numbers before the commit.
  const prev = writes[0]!.before
  const count = writes.reduce((sum, { written }) => sum + written.length, 0)
  const fits = count === ids.size && count <= MAX_FRAME_DOCUMENTS
  return fits ? { prev, head: { epoch, seq }, documents: () => documents } : undefined
}

/** The changes of a statement that wrote one document. */
function changeOf(resource: Resource, [seq, json, epoch]: EncodedRow, deleted: boolean): Changes {
  const head = headOf(epoch!, seq)
  const documents = () => ({ [resource.name]: [{ ...JSON.parse(json), _deleted: deleted }] })
  return { prev: head.seq - 1, head, documents }
}

export const LOCK = `select ${FEED_COLUMNS} as past, ${COUNTED_COLUMNS} from feeds f where f.user_id = ? for update`

/** The room of a person, for statements; null is any number. */
type Room = readonly [documents: number | null, bytes: number | null]

const UNLIMITED: Room = [null, null]

const roomOf = ({ documents, bytes }: Limits): Room => [limitOf(documents), limitOf(bytes)]
const limitOf = (limit: number) => (limit === Number.POSITIVE_INFINITY ? null : limit)

async function writeOne(
  write: () => Promise<EncodedRow[]>,
  written: (row: EncodedRow) => void,
): Promise<Encoded | undefined> {
  try {
    const [row] = await retried(write)
    if (row) written(row)
    return row && encoded(row)
  } catch (error) {
    // The target of a reference was deleted while the statement waited for the lock.
    if (codeOf(error) === FOREIGN_KEY_VIOLATION) return undefined
    throw error
  }
}

/**
 * Writers lock the feed's row first, so they cannot deadlock with each other. An administrator's SQL may
 * lock a document first. Postgres then cancels one of the two, and the pause lets the other one finish.
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

const headOf = (epoch: string, seq: string): Head => ({ epoch, seq: Number(seq) })

function feedOf(...[epoch, seq, past]: FeedRow): Feed {
  const [branches, horizons] = past === null ? [{}, {}] : JSON.parse(past)
  return { ...headOf(epoch, seq), branches, horizons }
}

function paged([row]: PageRow[]): Page | undefined {
  if (!row) return undefined
  const [epoch, at, past, documents, count, last, isLast] = row
  return {
    documents: documents ?? '[]',
    count,
    last: last === null ? undefined : Number(last),
    isLast,
    feed: feedOf(epoch, at, past),
  }
}

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
