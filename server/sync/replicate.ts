/** The replication protocol, without HTTP and SQL. protocol/README.md describes it. */

import type {
  Checkpoint,
  Missing,
  PushResponse,
  PushRow,
  ReplicaState,
  Resource,
  WireDocument,
} from '../../protocol/index.ts'
import {
  begunAt,
  commonTo,
  cursorAt,
  horizonOf,
  isIntact,
  isStart,
  numberOf,
  requireCurrent,
} from './cursors.ts'
import { withoutCycles } from './cycles.ts'
import { dropRemains, isDeletedForGood } from './for-good.ts'
import { isReal, keepLosses, type Party } from './journal.ts'
import { judgeInPieces, type Loss, type State } from './judge.ts'
import { NO_PAUSE, type Pause } from './pause.ts'
import { withinQuota } from './quota.ts'
import { partsOf, placeholdFor, targetsOf, withReferences } from './references.ts'
import { keepRefusals } from './refusals.ts'
import {
  isDocumentId,
  type Reading,
  type Refusal,
  readInPieces,
  withoutIncomplete,
} from './rows.ts'
import { type ReadAhead, type Store, type Stored, type Transaction, UnknownUser } from './store.ts'

export interface Page {
  /** A JSON array of documents in wire form. */
  documents: string
  /** How many. */
  count: number
  checkpoint: Checkpoint
  /** Whether there may be more changes. A large page ends before `limit`. */
  has_more: boolean
  changed_since?: number
  missing?: Missing
}

/** Documents of a page of a snapshot after a loss, which are parsed. */
const SNAPSHOT_DOCUMENTS = 100

/**
 * The changes after a checkpoint: so many, or as many as fit into a page.
 *
 * @param replica what the client holds, if it says so
 * @param buckets only documents in these buckets of the digest, with all tombstones
 * @throws Problem `checkpoint_expired`
 */
export async function pull(
  store: Store,
  user: string,
  resource: Resource,
  from: Checkpoint,
  limit: number,
  replica?: ReplicaState,
  buckets?: readonly number[],
): Promise<Page> {
  if (replica?.expired && !buckets) return pullSnapshot(store, user, resource, from, limit, replica)
  const after = numberOf(from)
  const isLive = isStart(from) ? replica?.seen?.length === 0 : (begunAt(from)?.isLive ?? false)
  const withoutTombstones = isLive ? (begunAt(from)?.seq ?? Number.MAX_SAFE_INTEGER) : 0
  const page = buckets
    ? await store.pageOf(user, resource, buckets, after, limit)
    : await store.page(user, resource, after, limit, withoutTombstones)
  if (!page) throw new UnknownUser()
  const { documents, count, isLast, last = after, feed } = page
  requireCurrent(from, feed, resource, replica)
  const seq = isLast ? feed.seq : last
  const begun = isStart(from) ? { seq: feed.seq, isLive } : begunAt(from)
  return { documents, count, checkpoint: cursorAt({ ...feed, seq }, begun), has_more: !isLast }
}

/**
 * The same for a client that takes a snapshot because its checkpoints have expired. If the server has lost
 * changes, the client has to know the deletions too: what is missing was lost.
 */
async function pullSnapshot(
  store: Store,
  user: string,
  resource: Resource,
  from: Checkpoint,
  limit: number,
  replica: ReplicaState,
): Promise<Page> {
  const { expired = [] } = replica
  // First, so that a deletion in between is read by one of the next pages.
  const feed = (await store.heads([user])).get(user)
  if (!feed) throw new UnknownUser()
  requireCurrent(from, feed, resource, replica)
  const most = Math.min(limit, SNAPSHOT_DOCUMENTS)
  const changes = await store.changes(user, resource, numberOf(from), most)
  const begun = isStart(from) ? { seq: feed.seq, isLive: false } : begunAt(from)
  const common = isIntact(expired, feed) ? Number.MAX_SAFE_INTEGER : commonTo(expired, feed)
  const last = changes.at(-1)?.seq ?? numberOf(from)
  const isLast = changes.length < most
  const seq = isLast ? Math.max(last, feed.seq) : last
  return {
    documents: JSON.stringify(changes.map(onTheWire)),
    count: changes.length,
    checkpoint: cursorAt({ ...feed, seq }, begun),
    has_more: !isLast,
    changed_since: changes.filter(({ seq }) => seq > common).length,
    missing: isIntact(expired, feed) ? 'deleted' : 'lost',
  }
}

interface PushOptions<Answer> {
  keepsRejected?: boolean
  from?: Checkpoint | undefined
  replica?: ReplicaState | undefined
  encode?: (response: PushResponse) => Answer | Promise<Answer>
  pause?: Pause
}

/**
 * Stores a batch of rows: all valid ones in one transaction. An invalid row is answered with the stored
 * state or a tombstone, and does not block the others. Retrying a batch has no second effect.
 *
 * @param now UTC instant with milliseconds
 * @param options `keepsRejected`: the client is told of rejected rows and keeps them itself; what
 *   others typed into them is kept in the conflict journal. `from`: how far the client has read, if it
 *   says so: what it assumes to be stored is from there. `replica`: what it holds besides. `encode`: builds the
 *   answer before the commit, so that nothing is stored that cannot be answered. `pause`: a thousand rows are long work
 * @throws Problem `checkpoint_expired`
 */
export async function push<Answer = PushResponse>(
  store: Store,
  pusher: Party,
  resource: Resource,
  pushed: readonly PushRow[],
  now: string,
  {
    keepsRejected = false,
    from,
    replica,
    encode = asItIs,
    pause = NO_PAUSE,
  }: PushOptions<Answer> = {},
): Promise<Answer> {
  const reading = await readInPieces(resource, pusher.user, pushed, pause)
  const ahead = readAheadOf(resource, reading)
  const work = async (transaction: Transaction) => {
    if (from) requireCurrent(from, transaction.feed, resource, replica)
    const options = { keepsRejected, pause, isLast: true }
    return encode(await land(transaction, pusher, resource, reading, now, options))
  }
  const attempted = await store.attempt(pusher.user, work, ahead)
  return attempted ? attempted.result : store.transaction(pusher.user, work, ahead)
}

/**
 * The same within a transaction that does more than this, for a client that is not told of rejected rows.
 *
 * @returns also what became of the documents, except those that a deletion or restore of another one has changed
 */
export async function pushWithin(
  transaction: Transaction,
  pusher: Party,
  resource: Resource,
  pushed: readonly PushRow[],
  now: string,
  pause: Pause = NO_PAUSE,
): Promise<PushResponse & { after: ReadonlyMap<string, Stored> }> {
  const reading = await readInPieces(resource, pusher.user, pushed, pause)
  const after = new Map<string, Stored>()
  const written = (states: readonly State[]) => {
    const first = transaction.feed.seq - states.length + 1
    for (const [nth, state] of states.entries())
      after.set(state.document.id, { ...state, seq: first + nth })
  }
  const options = { keepsRejected: false, pause, isLast: false, written }
  const response = await land(transaction, pusher, resource, reading, now, options)
  return { ...response, after }
}

function readAheadOf(resource: Resource, { rows, refusals }: Reading): ReadAhead[] {
  return [{ resource, ids: idsOf([...rows, ...refusals]) }, ...targetsOf(resource, rows)]
}

interface LandOptions {
  keepsRejected: boolean
  pause: Pause
  /** Whether the transaction does nothing else after it. */
  isLast: boolean
  /** Called after each write. */
  written?: (states: readonly State[]) => void
}

async function land(
  transaction: Transaction,
  pusher: Party,
  resource: Resource,
  reading: Reading,
  now: string,
  { keepsRejected, pause, isLast, written }: LandOptions,
): Promise<PushResponse> {
  const ids = idsOf([...reading.rows, ...reading.refusals])
  const purged = horizonOf(resource, transaction.feed)
  const stored = await transaction.read(resource, ids)
  const complete = withoutIncomplete(resource, reading, (id) => stored.has(id))
  const { fitting, ...full } = await withinQuota(transaction, resource, complete.rows, stored)
  const refusals = [...complete.refusals, ...full.refusals]
  const answers = new Map<string, State>()
  const losses: Loss[] = []
  const parts = partsOf(resource, fitting)
  for (const [i, part] of parts.entries()) {
    const before = i === 0 ? stored : await transaction.read(resource, idsOf(part))
    const { missing, ...referring } = await withReferences(transaction, resource, part, before)
    const { rows, gone } = referring
    const judged = await judgeInPieces(resource, rows, before, now, { gone, purged }, pause)
    const { writes, conflicts, ...rest } = await withoutCycles(transaction, resource, judged, now)
    for (const { id } of part) answers.delete(id)
    for (const state of conflicts) answers.set(state.document.id, state)
    losses.push(...rest.losses.filter(isReal))
    const erased = deletedForGood(resource, writes, before)
    // An answer without documents can always be given, so it need not be ready before the commit.
    const isAll =
      isLast &&
      i === parts.length - 1 &&
      answers.size + refusals.length + losses.length + erased.length === 0
    await placeholdFor(transaction, resource, writes, missing)
    await transaction.write(resource, writes, isAll)
    written?.(writes)
    await dropRemains(transaction, resource, erased, now)
  }
  await keepLosses(transaction, resource, losses, pusher, now, pause)
  if (!keepsRejected)
    await keepRefusals(transaction, resource, refusals, stored, pusher, now, pause)
  return {
    conflicts: [
      ...[...answers.values()].map(onTheWire),
      ...refusals.map((refusal) => inPlaceOf(refusal, stored.get(refusal.id))),
    ],
    rejected: refusals.map(({ id, code, errors, unknownFields }) => ({
      id,
      code,
      errors,
      ...(unknownFields && { unknown_fields: unknownFields }),
    })),
    checkpoint: cursorAt(transaction.feed),
  }
}

const asItIs = <Answer>(response: PushResponse) => response as Answer

/** The ids of those that were not before. */
function deletedForGood(
  resource: Resource,
  writes: readonly State[],
  before: ReadonlyMap<string, State>,
): string[] {
  const wasDeletedForGood = (id: string) => {
    const state = before.get(id)
    return state !== undefined && isDeletedForGood(resource, state)
  }
  const ids = writes
    .filter((state) => isDeletedForGood(resource, state))
    .map(({ document }) => document.id)
  return ids.filter((id) => !wasDeletedForGood(id))
}

function idsOf(rows: readonly { id: string }[]): string[] {
  return [...new Set(rows.map(({ id }) => id).filter(isDocumentId))]
}

function inPlaceOf({ sent }: Refusal, stored: Stored | undefined): WireDocument {
  return stored ? onTheWire(stored) : ({ ...sent, _deleted: true } as unknown as WireDocument)
}

export function onTheWire({ document, deleted }: State): WireDocument {
  return { ...document, _deleted: deleted }
}
