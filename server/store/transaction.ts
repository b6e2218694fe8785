/** A transaction of the store: everything happens between a lock of the feed's row and the commit. */
import type pg from 'pg'
import {
  leastValue,
  type Resource,
  referencesOf,
  referencesTo,
  type WireDocument,
} from '../../protocol/index.ts'
import { type Begun, limitSql, runOn } from '../database/connect.ts'
import { pause } from '../runtime/pauses.ts'
import type { Limits } from '../sync/limits.ts'
import type { Usage } from '../sync/quota.ts'
import type { Changes, Head, ReadAhead, Stored, Transaction } from '../sync/store.ts'
import { jsonList } from './json-list.ts'
import { keptAnswersOn } from './kept-answers.ts'
import { revisionsOn } from './revisions.ts'
import { byId, feedOf, type StoredRow, stored } from './rows.ts'
import { forgetSql } from './search-index.ts'
import {
  aboveSql,
  FEED_COLUMNS,
  MAX_FRAME_DOCUMENTS,
  olderThanNewestSql,
  placeholdSql,
  readSql,
  writeSql,
} from './statements.ts'
import { COUNTED_COLUMNS, type Counted, countUsage, usageAtMost } from './usage.ts'

export const LOCK = `select ${FEED_COLUMNS} as past, ${COUNTED_COLUMNS} from feeds f where f.user_id = ? for update`

/** So many documents are counted again after each write that may not fit: that takes a millisecond or two. */
const QUICKLY_COUNTED = 5_000

export interface Locked extends Counted {
  epoch: string
  seq: string
  past: string | null
}

/** One write of a transaction; its documents have the numbers after `before`. */
export interface Write {
  resource: Resource
  written: readonly Omit<Stored, 'seq'>[]
  before: number
}

/**
 * Whether a write may change other rows, however many: reminders go by the profile, and a document takes what
 * refers to it along when it is deleted or restored.
 */
export const mayBeSlow = (resource: Resource, deletesOrRestores: boolean) =>
  resource.singleton || (deletesOrRestores && referencesTo(resource).length > 0)

/**
 * @param limitMs for each statement from the first write on that may be slow
 * @param numbered called when numbers were taken for documents that are no rows
 */
export function transactionOf(
  user: string,
  { connection, locked, ahead = [], commit }: Begun<Locked, readonly ReadEarly[]>,
  limits: Limits,
  writes: Write[],
  limitMs: number | undefined,
  numbered: () => void = () => {},
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
  let counted: Counted = locked
  /** What was counted here, if anything, and how far the feed was. */
  let known: { seq: number; usage?: Usage } = { seq: begun.seq }
  /** What was read early and not changed since. */
  let standing = ahead
  return {
    get feed() {
      return feed
    },
    limits,

    revisions: revisionsOn({ connection, commit }, user, (epoch, seq) => {
      feed = { ...begun, epoch, seq }
      numbered()
    }),

    answers: keptAnswersOn(connection, user),

    get atMost() {
      return usageAtMost(counted, feed.seq)
    },

    async usage() {
      const isCurrent = feed.seq === known.seq
      const isQuick = Number(counted.stored_documents) < QUICKLY_COUNTED
      if (known.usage && (isCurrent || !isQuick)) return known.usage
      if (!isCurrent && isQuick) counted = { ...counted, counted_ms: null }
      const { isNew, ...usage } = await countUsage(connection, user, counted)
      if (isNew) {
        const stored = {
          stored_documents: String(usage.documents),
          stored_bytes: String(usage.bytes),
        }
        counted = { ...stored, counted_seq: String(feed.seq), counted_ms: null }
        known = { seq: feed.seq, usage }
      }
      return usage
    },

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
      const older: Stored[] = []
      for (const row of await runOn<StoredRow>(connection, sql, [user, values, ...most])) {
        await pause()
        older.push(stored(row))
      }
      return older
    },

    async forgetWords(resource) {
      await runOn(connection, forgetSql(), [user, resource.name])
    },

    async above(resource, field, ids) {
      return byId(await runOn<StoredRow>(connection, aboveSql(resource, field), [user, ids]))
    },

    placehold,

    async write(resource, documents, isLast = false) {
      if (documents.length === 0) return
      standing = []
      const values = [user, await rowList(documents), documents.length]
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

    async undoing(part) {
      const [feedBefore, writesBefore] = [feed, writes.length]
      // It is sent together with the first statement of the part.
      const saving = connection.query('savepoint part')
      saving.catch(() => {}) // then everything after it fails too
      try {
        return await part()
      } catch (error) {
        await connection.query('rollback to savepoint part')
        feed = feedBefore
        writes.length = writesBefore
        standing = []
        throw error
      }
    },
  }
}

/** Documents that are read together with the lock. */
export interface ReadEarly {
  readonly resource: Resource
  readonly ids: ReadonlySet<string>
  readonly found: Promise<Map<string, Stored>>
}

export function readEarly(
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

/** The rows of `writeSql`. */
export const rowList = (documents: readonly Omit<Stored, 'seq'>[]) => jsonList(documents, rowText)

/** Its parts are put together as text, which is quicker than as objects. */
function rowText({ document, deleted, taken, changed }: Omit<Stored, 'seq'>, i: number): string {
  const marks = taken ? `,"taken":[${taken}]` : ''
  const times = changed ? `,"changed":${JSON.stringify(changed)}` : ''
  return `${JSON.stringify(document).slice(0, -1)},"deleted":${deleted},"nth":${i + 1}${marks}${times}}`
}

/** What the writes have changed, unless it is too much for a frame, or they may have changed more. */
export function changesOf({ epoch, seq }: Head, writes: readonly Write[]): Changes | undefined {
  const count = writes.reduce((sum, { written }) => sum + written.length, 0)
  // A deletion may have changed documents that refer to this one.
  if (
    count > MAX_FRAME_DOCUMENTS ||
    writes.some(({ resource }) => referencesTo(resource).length > 0)
  )
    return undefined
  const ids = new Set<string>()
  for (const { resource, written } of writes)
    for (const { document } of written) ids.add(`${resource.name} ${document.id}`)
  if (ids.size < count) return undefined
  // The lock keeps others from taking numbers before the commit.
  return { prev: writes[0]!.before, head: { epoch, seq }, documents: () => onTheWire(writes) }
}

function onTheWire(writes: readonly Write[]): Record<string, WireDocument[]> {
  const documents: Record<string, WireDocument[]> = {}
  for (const { resource, written } of writes) {
    documents[resource.name] ??= []
    for (const { document, deleted } of written)
      documents[resource.name]!.push({ ...document, _deleted: deleted })
  }
  return documents
}
