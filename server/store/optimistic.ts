/**
 * A transaction without a lock: it decides on what is stored now, and its one write applies if that still
 * holds (docs/decisions/0054-pushes-without-a-lock.md). Other writers do not wait while it decides, and it takes two round trips.
 */
import type { Resource } from '../../protocol/index.ts'
import { type Database, run, runOn, runTogether, type Statement } from '../database/connect.ts'
import type { Limits } from '../sync/limits.ts'
import type { Changes, ReadAhead, Stored, Transaction } from '../sync/store.ts'
import { feedOf } from './rows.ts'
import { FEED_COLUMNS, isTree, resourcesReferredTo, writeIfSql } from './statements.ts'
import { changesOf, type Locked, mayBeSlow, readEarly, rowList } from './transaction.ts'
import { COUNTED_COLUMNS, lastWithRoom, usageAtMost } from './usage.ts'

/** The work needs a transaction with a lock, or what it has read does not hold any more. Nothing is written. */
class NeedsLock extends Error {
  override name = 'NeedsLock'
}

interface Means {
  db: Database
  limits: Limits
  /** For what is read. */
  takeLook: <T>(user: string, work: () => Promise<T>) => Promise<T>
  /** For the write. */
  takeTurn: <T>(user: string, work: () => Promise<T>) => Promise<T>
  /** Called after the write. */
  written: (changes: Changes | undefined) => void
}

/** `$1` user. */
const feedSql: Statement = {
  name: 'tasktide_feed',
  text: `select ${FEED_COLUMNS}, ${COUNTED_COLUMNS} from feeds f where f.user_id = $1`,
}

type Seen = [epoch: string, seq: string, past: string | null, ...counted: string[]]

/** Documents that were read; those that do not exist are missing in `found`. */
interface Read {
  readonly resource: Resource
  readonly ids: ReadonlySet<string>
  readonly found: Map<string, Stored>
}

/**
 * Runs `work` without a lock.
 *
 * @param ahead what `work` may read
 * @returns undefined if that is not possible: then nothing was written
 */
export async function attempt<T>(
  { db, limits, takeLook, takeTurn, written }: Means,
  user: string,
  work: (transaction: Transaction) => Promise<T>,
  ahead: readonly ReadAhead[],
): Promise<{ result: T } | undefined> {
  const looked = await takeLook(user, () => look(db, user, ahead))
  if (!looked) return undefined
  const { locked, reads } = looked
  const begun = feedOf(locked.epoch, locked.seq, locked.past)
  let feed = begun

  const transaction: Transaction = {
    get feed() {
      return feed
    },
    limits,
    get atMost() {
      return usageAtMost(locked, feed.seq)
    },
    revisions: {
      read: needLock,
      progress: needLock,
      number: needLock,
      write: needLock,
      countDeleted: needLock,
      withoutRow: needLock,
      erase: async (_type, ids) => {
        if (ids.length > 0) await needLock()
      },
    },
    answers: { find: needLock, keep: needLock, dropAbout: needLock },
    undoing: needLock,
    usage: needLock,
    olderThanNewest: needLock,
    forgetWords: needLock,
    above: needLock,

    async read(resource, ids) {
      const known = reads.find(
        (one) => one.resource === resource && ids.every((id) => one.ids.has(id)),
      )
      if (known) return known.found
      return ids.length === 0 ? new Map() : needLock()
    },

    async placehold(_resource, ids) {
      if (ids.length > 0) await needLock()
    },

    async write(resource, documents, isLast = false) {
      if (documents.length === 0) return
      const isSlow = mayBeSlow(
        resource,
        documents.some(({ deleted }) => deleted),
      )
      if (!isLast || isSlow || isTree(resource)) return needLock()
      const most = lastWithRoom(locked, limits, documents.length) ?? null
      const values = [
        ...[user, await rowList(documents), documents.length],
        ...[begun.epoch, JSON.stringify(begun.horizons), most],
        ...[resource, ...resourcesReferredTo(resource)].flatMap((one) => readOf(reads, one)),
      ]
      const write = () => run<[before: string, epoch: string]>(db, writeIfSql(resource), values)
      const [row] = await takeTurn(user, write)
      if (!row) return needLock()
      const before = Number(row[0])
      feed = { ...begun, epoch: row[1], seq: before + documents.length }
      written(changesOf(feed, [{ resource, written: documents, before }]))
    },
  }

  try {
    return { result: await work(transaction) }
  } catch (error) {
    if (error instanceof NeedsLock) return undefined
    throw error
  }
}

async function needLock(): Promise<never> {
  throw new NeedsLock()
}

/** The feed first: documents that change between the two are newer than it, which `write` finds. */
function look(db: Database, user: string, ahead: readonly ReadAhead[]) {
  return runTogether(db, async (connection) => {
    const seeing = runOn<Seen>(connection, feedSql, [user])
    const early = readEarly(connection, user, ahead)
    const [row] = await seeing
    if (!row) return undefined
    const [epoch, seq, past, counted_seq, stored_documents, stored_bytes, counted_ms] = row
    const counted = { counted_seq, stored_documents, stored_bytes, counted_ms }
    return {
      locked: { epoch, seq, past, ...counted } as Locked,
      reads: await Promise.all(
        early.map(async (one): Promise<Read> => ({ ...one, found: await one.found })),
      ),
    }
  })
}

/** Ids and numbers, 0 for what does not exist. */
function readOf(reads: readonly Read[], resource: Resource): [string[], number[]] {
  const rows = reads
    .filter((one) => one.resource === resource)
    .flatMap(({ ids, found }) => [...ids].map((id) => [id, found.get(id)?.seq ?? 0] as const))
  return [rows.map(([id]) => id), rows.map(([, seq]) => seq)]
}
