import { setTimeout as pause } from 'node:timers/promises'
import { type Resource, referencesTo, resources, type WireDocument } from '../../protocol/index.ts'
import { type Database, run, transactionOn } from '../database/connect.ts'
import { queueOf, slowWorkOf } from '../database/pool.ts'
import type { Replica } from '../database/replica.ts'
import { LIMITS, type Limits } from '../sync/limits.ts'
import {
  type Changes,
  type Edit,
  type Encoded,
  type Head,
  type ReadAhead,
  type Store,
  type Transaction,
  UnknownUser,
} from '../sync/store.ts'
import { columnsOf } from './columns.ts'
import { attempt } from './optimistic.ts'
import {
  byId,
  type EncodedRow,
  encoded,
  type FeedRow,
  feedOf,
  type HeadRow,
  headOf,
  type PageRow,
  paged,
  type StoredRow,
  stored,
} from './rows.ts'
import {
  changesSql,
  editStatement,
  findSql,
  frameSql,
  headsSql,
  insertSql,
  MAX_FRAME_DOCUMENTS,
  pageOfSql,
  pageSql,
  readSql,
} from './statements.ts'
import {
  changesOf,
  LOCK,
  type Locked,
  mayBeSlow,
  type ReadEarly,
  readEarly,
  transactionOf,
  type Write,
} from './transaction.ts'
import { createTurns } from './turns.ts'

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
  /** A person reads for one push at a time, so all of theirs hold two connections: this one, and that of the writer. */
  const takeLook = createTurns({ pool })
  /** A page may have a megabyte, which is copied several times: so many pages of one person occupy this thread. */
  const takePage = createTurns({ pool })
  const slowWork = slowWorkOf(db)

  return {
    async find(user, resource, id) {
      const [row] = await run<EncodedRow>(db, findSql(resource), [user, id])
      return row && encoded(row)
    },

    async read(user, resource, ids) {
      return byId(await run<StoredRow>(db, readSql(resource), [user, ids]))
    },

    insert(user, resource, document, { hasRoom = false, taken = [] } = {}) {
      const values = [
        ...columnsOf(resource).map((column) => document[column]),
        ...(hasRoom ? UNLIMITED : roomOf(limitsOf(user))),
        taken,
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

    attempt<T>(
      user: string,
      work: (transaction: Transaction) => Promise<T>,
      ahead: readonly ReadAhead[],
    ) {
      const written = (changes?: Changes) => changed(user, changes)
      const means = { db, limits: limitsOf(user), takeLook, takeTurn, written }
      return retried(() => attempt(means, user, work, ahead))
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
                let hasOthers = false
                const numbered = () => {
                  hasOthers = true
                }
                const limits = limitsOf(user)
                const transaction = transactionOf(user, begun, limits, writes, limitMs, numbered)
                const result = await work(transaction)
                return { result, head: transaction.feed, writes, hasOthers }
              },
              (connection) => readEarly(connection, user, ahead),
            ),
          ),
        ),
      )
      if (!done) throw new UnknownUser()
      if (done.hasOthers) changed(user)
      else if (done.writes.length > 0) changed(user, changesOf(done.head, done.writes))
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

/** The changes of a statement that wrote one document. */
function changeOf(resource: Resource, [seq, json, epoch]: EncodedRow, deleted: boolean): Changes {
  const head = headOf(epoch!, seq)
  const documents = () => ({ [resource.name]: [{ ...JSON.parse(json), _deleted: deleted }] })
  return { prev: head.seq - 1, head, documents }
}

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

interface Done<T> {
  result: T
  head: Head
  writes: Write[]
  /** Whether numbers were taken for documents that are no rows. */
  hasOthers: boolean
}
