/**
 * Decides the result of pushed rows. Pure, without clock and database, so that every rule can be tested by
 * itself and replayed in the simulation.
 */
import {
  type ChangeTimes,
  changedAt,
  changeTimes,
  type Document,
  isBlank,
  isChangedSince,
  isUnplaced,
  merge,
  type Resource,
  sameFields,
  sameIn,
  settle,
  takenKey,
} from '../../protocol/index.ts'
import { emptied, isDeletedForGood } from './for-good.ts'
import { birthMark, isBirth } from './marks.ts'
import type { Pause } from './pause.ts'
import type { Horizon } from './store.ts'

/** The state of a document, as stored or as a client sends it. */
export interface State {
  readonly document: Document
  readonly deleted: boolean
  /** Marks of the last accepted edits, oldest first, after those of creations. */
  readonly taken?: readonly number[]
  /** The times of the last change by field. */
  readonly changed?: ChangeTimes
}

/** A valid pushed row. Omitted fields are missing in both states. */
export interface Row {
  readonly id: string
  readonly next: Readonly<Record<string, unknown>>
  readonly nextDeleted: boolean
  /** The state that the client expects on the server; undefined if it expects none. */
  readonly assumed: Readonly<Record<string, unknown>> | undefined
  readonly assumedDeleted: boolean
  /** Identifies the edit across retries; undefined if it cannot be identified. */
  readonly mark?: number | undefined
  /** What was sent instead of `next`, which was corrected: so the client must get the stored state. */
  readonly sent?: Row['next']
  /** The field that refers to a deleted document, whose deletion cascades to this one. */
  readonly takenBy?: string
}

/** Lost values for the conflict journal. */
export interface Loss {
  readonly id: string
  readonly cause: 'edit' | 'deletion'
  readonly lost: Readonly<Record<string, unknown>>
  readonly kept: Readonly<Record<string, unknown>>
  /** When the losing edit was made. */
  readonly lostAt: string
  /** The time given by the client, which is the same in a retry. */
  readonly dated: string
}

/** The deleted documents that a field may refer to, by field. */
export type Gone = ReadonlyMap<string, ReadonlySet<unknown>>

/** What a judgement needs to know besides the documents. */
export interface Surroundings {
  /** Targets that a merged document may refer to only if it is itself a tombstone. */
  readonly gone?: Gone
  /** What was purged of the resource, if anything was. */
  readonly purged?: Horizon | undefined
}

export interface Judgement {
  /** The states to store, in order; each document once. */
  readonly writes: readonly State[]
  /** The stored states that differ from what was pushed, for the client to take over. */
  readonly conflicts: readonly State[]
  /** May contain entries without values. */
  readonly losses: readonly Loss[]
}

/**
 * Judges the rows of a batch in order, each on the result of the previous one.
 *
 * @param stored the existing documents by id, deleted ones included
 * @param now UTC instant with milliseconds
 */
export function judge(
  resource: Resource,
  rows: readonly Row[],
  stored: ReadonlyMap<string, State>,
  now: string,
  surroundings: Surroundings = {},
): Judgement {
  const judging = begin(stored)
  for (const row of rows) judgeInto(judging, resource, row, now, surroundings)
  return judgementOf(judging)
}

/** The same in pieces, for many rows. */
export async function judgeInPieces(
  resource: Resource,
  rows: readonly Row[],
  stored: ReadonlyMap<string, State>,
  now: string,
  surroundings: Surroundings,
  pause: Pause,
): Promise<Judgement> {
  const judging = begin(stored)
  for (const row of rows) {
    judgeInto(judging, resource, row, now, surroundings)
    const pausing = pause()
    if (pausing) await pausing
  }
  return judgementOf(judging)
}

const begin = (stored: ReadonlyMap<string, State>) => ({
  stored,
  writes: new Map<string, State>(),
  conflicts: new Map<string, State>(),
  losses: [] as Loss[],
})

const judgementOf = ({ writes, conflicts, losses }: ReturnType<typeof begin>): Judgement => ({
  writes: [...writes.values()],
  conflicts: [...conflicts.values()],
  losses,
})

function judgeInto(
  { stored, writes, conflicts, losses }: ReturnType<typeof begin>,
  resource: Resource,
  row: Row,
  now: string,
  { gone = new Map(), purged }: Surroundings,
): void {
  const current = writes.get(row.id) ?? stored.get(row.id)
  if (!current && purged && row.assumed && !row.assumedDeleted) {
    const { state, loss } = judgePurged(resource, row, now)
    conflicts.set(row.id, state)
    losses.push({ id: row.id, ...loss })
    return
  }
  const verdict = judgeRow(resource, row, current, now, { gone, purged })
  const { lost = [] } = verdict
  const state = withMark(withChanges(resource, verdict.state, current), current, row)
  if (state !== current) {
    writes.delete(row.id)
    writes.set(row.id, state)
  }
  if (isAsSent(resource, state, row)) conflicts.delete(row.id)
  else conflicts.set(row.id, state)
  for (const loss of lost) losses.push({ id: row.id, ...loss })
}

/** The number of accepted edits that a document remembers. */
const MAX_MARKS = 32

/** The number of other creation dates that a document remembers. */
const MAX_BIRTHS = 8

/** Edits without effect are marked too: the state that they lost to may have changed before a retry. */
function withMark(state: State, current: State | undefined, row: Row): State {
  const taken = current?.taken ?? []
  const { mark } = row
  if (mark === undefined || taken.includes(mark))
    return state === current ? state : { ...state, taken }
  const edits = [...taken.filter((one) => !isBirth(one)), mark].slice(-MAX_MARKS)
  return { ...state, taken: [...birthsOf(state, current, row), ...edits] }
}

/**
 * The dates of all accepted creations except the document's own: creations dated ahead of the server's
 * clock, creations of an id in use, and earlier lives of the document.
 */
function birthsOf({ document }: State, current: State | undefined, { next, assumed }: Row) {
  if (!current && next.created_at === document.created_at) return []
  const born = [current?.document.created_at, assumed ? undefined : next.created_at]
  const others = born.filter((one) => one !== undefined && one !== document.created_at)
  const births = [...(current?.taken ?? []).filter(isBirth), ...others.map(birthMark)]
  return [...new Set(births)].slice(-MAX_BIRTHS)
}

function withChanges(resource: Resource, state: State, current: State | undefined): State {
  if (!current || state === current) return state
  return { ...state, changed: { ...changeTimes(resource, current, state), ...state.changed } }
}

/** Whether marks may have been dropped, so that an unmarked edit may have been accepted before. */
function mayBeForgotten({ taken = [] }: State): boolean {
  return taken.filter((one) => !isBirth(one)).length >= MAX_MARKS
}

/** Whether the document has accepted this edit before, whatever has changed since. */
function isTaken({ mark }: Row, { taken = [] }: State): boolean {
  return mark !== undefined && taken.includes(mark)
}

interface Verdict {
  /** The resulting state: the current object itself if nothing changes. */
  state: State
  /** The lost values. */
  lost?: readonly Omit<Loss, 'id'>[]
}

function judgeRow(
  resource: Resource,
  row: Row,
  current: State | undefined,
  now: string,
  { gone, purged }: Surroundings & { gone: Gone },
): Verdict {
  if (current && isTaken(row, current)) return { state: current }
  if (row.takenBy !== undefined) return judgeTaken(resource, row, row.takenBy, current, now)
  if (!current || isRecreation(row, current)) {
    const created = settle(resource, Object.assign({ id: row.id }, row.next), undefined, now)
    // Later than the tombstone, also than a purged one that devices still have.
    const before = current?.document.updated_at ?? (purged && new Date(purged.at).toISOString())
    const document = before
      ? settle(resource, created, { ...created, updated_at: before }, now)
      : created
    // An edit from before a deletion that was purged counts as made before a restore.
    const isOld = !current && purged && Date.parse(document.created_at) <= purged.at
    const changed = { _deleted: Date.parse(document.updated_at) }
    return { state: { document, deleted: row.nextDeleted, ...(isOld && { changed }) } }
  }
  const wanted = withPlaces(resource, completed(row.next, current), current)
  const isSame =
    current.deleted === row.nextDeleted && sameFields(resource, current.document, wanted)
  if (isSame) return { state: current }
  const base = row.assumed && completed(row.assumed, current)
  const isChanged = (field: string) =>
    base ? isChangedSince(base, field, current.changed) : current.changed?.[field] !== undefined
  const at = editedAt(row, current, base, now)
  const dated = String(row.next.updated_at ?? '')
  // Deleted and restored since, or vice versa: the later one wins.
  const isOutdated =
    isChanged('_deleted') &&
    (mayBeForgotten(current) || at <= changedAt(current.document, '_deleted', current.changed))
  if (row.nextDeleted && isBlank(resource, wanted)) {
    if (isOutdated && !current.deleted) return { state: current }
    const lost = unseen(resource, current, isChanged)
    return { state: emptied(resource, current, at, now), lost: [lost] }
  }
  const isOverCurrent =
    base &&
    current.deleted === row.assumedDeleted &&
    sameFields(resource, current.document, base) &&
    !Object.keys(current.changed ?? {}).some((name) => isWritten(resource, name) && isChanged(name))
  if (isOverCurrent) {
    const edited = isDated(row) ? wanted : { ...wanted, updated_at: now }
    const document = settle(resource, edited, current.document, now)
    return { state: { document, deleted: row.nextDeleted } }
  }
  const isRestored = current.deleted && row.assumedDeleted && !row.nextDeleted && !isOutdated
  const lostToDeletion = (fields = resource.writable): Verdict => {
    const lost = changes(resource, base, wanted, current.document, fields)
    return { state: current, lost: [{ cause: 'deletion', ...lost, lostAt: at, dated }] }
  }
  // What was deleted for good stays so. Who deletes a document without a base has seen what it had.
  if (isDeletedForGood(resource, current)) {
    const isTyped = (field: string) => !sameIn(resource, field, wanted, current.document)
    return row.nextDeleted && !base
      ? { state: current }
      : lostToDeletion(resource.writable.filter(isTyped))
  }
  if (current.deleted && !row.nextDeleted && !isRestored) return lostToDeletion()
  // Edits made before a deletion are merged like any other edit, into the trash or the journal.
  const { document, oursLost, theirsLost } = merge(
    resource,
    base,
    wanted,
    at,
    current.document,
    now,
    isChanged('_deleted') && mayBeForgotten(current)
      ? changedLater(resource, now)
      : current.changed,
    mayBeForgotten(current),
  )
  const before = current.document.updated_at
  const isDeletion = row.nextDeleted && !current.deleted && !isOutdated
  const isLive = current.deleted ? isRestored : !isDeletion
  if (isLive && refersTo(gone, document)) return lostToDeletion()
  const isUnchanged = sameFields(resource, document, current.document)
  const lostHere: Omit<Loss, 'id'> = { cause: 'edit', ...oursLost, lostAt: at, dated }
  if (isDeletion) {
    const seen = base ?? wanted
    const met = changes(resource, seen, current.document, seen)
    return {
      state: { document, deleted: true },
      lost: [lostHere, { cause: 'deletion', ...met, lostAt: before, dated: before }],
    }
  }
  // Separate entries: a replayed push repeats only our losses.
  return {
    state: isUnchanged && !isRestored ? current : { document, deleted: !isLive },
    lost: [lostHere, { cause: 'edit', ...theirsLost, lostAt: before, dated: before }],
  }
}

/** Whether clients write what a change time is of. */
const isWritten = ({ fields, stamps }: Resource, name: string) =>
  name === '_deleted' || (Object.hasOwn(fields, name) && !Object.hasOwn(stamps, name))

/** A tombstone may refer to a deleted document, so a merge with one may take over such a reference. */
function refersTo(gone: Gone, document: Document): boolean {
  return [...gone].some(([field, ids]) => ids.has(document[field]))
}

/**
 * What a deletion for good has not seen. The times of changes decide: the device may have dropped the content
 * of the base too.
 */
function unseen(
  resource: Resource,
  { document }: State,
  isChanged: (field: string) => boolean,
): Omit<Loss, 'id'> {
  const { writable, blank } = resource
  const names = writable.filter(
    (name) => name in blank && isChanged(name) && !sameIn(resource, name, document, blank),
  )
  const of = (values: Readonly<Record<string, unknown>>) =>
    Object.fromEntries(names.map((name) => [name, values[name]]))
  const at = document.updated_at
  return { cause: 'deletion', lost: of(document), kept: of(blank), lostAt: at, dated: at }
}

/**
 * Judges an edit of a document that was deleted and whose tombstone is purged: it is not created again, but
 * answered like a rejected row, with its own content as a tombstone. The edit is journaled with all of the
 * document, so that it can be restored.
 */
function judgePurged(resource: Resource, row: Row, now: string) {
  const document = settle(resource, { ...row.assumed, ...row.next, id: row.id }, undefined, now)
  const { lost } = changes(resource, { ...resource.initial } as Document, document, document)
  const dated = String(row.next.updated_at ?? '')
  const lostAt = document.updated_at
  return {
    state: { document: { ...(row.sent ?? row.next), id: row.id } as Document, deleted: true },
    loss: {
      cause: 'deletion' as const,
      lost: row.nextDeleted ? {} : lost,
      kept: {},
      lostAt,
      dated,
    },
  }
}

/**
 * Judges a document that refers to a deleted one: it is deleted too, as if it had existed at the deletion,
 * and is restored with its target. The edit is journaled.
 */
function judgeTaken(
  resource: Resource,
  row: Row,
  field: string,
  current: State | undefined,
  now: string,
): Verdict {
  const dated = String(row.next.updated_at ?? '')
  const base = row.assumed && current && completed(row.assumed, current)
  const lostAt = current ? editedAt(row, current, base, now) : now
  const wanted = current
    ? completed(row.next, current)
    : settle(resource, { ...row.next, id: row.id }, undefined, now)
  const lost = current
    ? changes(resource, base, wanted, current.document)
    : changes(resource, { ...resource.initial } as Document, wanted, wanted)
  const losses = [{ cause: 'deletion' as const, ...lost, lostAt, dated }]
  if (current?.deleted) return { state: current, lost: losses }
  const document = current
    ? settle(
        resource,
        { ...current.document, [field]: wanted[field], updated_at: lostAt },
        current.document,
        now,
      )
    : wanted
  const at = Date.parse(document.updated_at)
  const changed = { _deleted: at, [takenKey(field)]: at }
  return { state: { document, deleted: true, changed }, lost: losses }
}

/**
 * Whether a row creates a document again on its tombstone. A late retry of the original creation, whose
 * response was lost, does not: it has the same creation date.
 */
function isRecreation(row: Row, current: State): boolean {
  if (!current.deleted || row.assumed || row.nextDeleted) return false
  const born = row.next.created_at
  if (born === undefined || current.taken?.includes(birthMark(born))) return false
  return born !== current.document.created_at
}

/**
 * A device with a fast clock derives another order key from its creation date than the server. Such a key
 * is not a move.
 */
function withPlaces(resource: Resource, wanted: Document, { document }: State): Document {
  if (wanted.created_at === document.created_at) return wanted
  const derived = resource.fieldNames.filter(
    (name) => resource.fields[name]!.kind === 'order_key' && isUnplaced(wanted, name),
  )
  return { ...wanted, ...Object.fromEntries(derived.map((name) => [name, document[name]])) }
}

/** Adds omitted fields from the current state: a client does not change fields that it does not know. */
function completed(given: Readonly<Record<string, unknown>>, current: State): Document {
  // Spreading both into one literal is many times slower.
  return Object.assign({ ...current.document }, given)
}

/**
 * A forgotten edit may have lost to a deletion that was undone since. It is then in the journal already and
 * changes no field: all fields count as changed later.
 */
function changedLater({ writable }: Resource, now: string): ChangeTimes {
  return Object.fromEntries(writable.map((name) => [name, Date.parse(now) + 1]))
}

/**
 * When the edit was made. Without its own `updated_at`, or with one ahead of the clock, an edit counts as
 * made now. But if it may be a retry, it counts as made at its base and wins over nothing since.
 */
function editedAt(row: Row, current: State, base: Document | undefined, now: string): string {
  const at = row.next.updated_at as string | undefined
  if (at === undefined || !isDated(row)) return now
  if (mayBeForgotten(current) && (at > now || isKnownCreation(row, current))) {
    const earliest = base?.updated_at ?? current.document.created_at
    return earliest < now ? earliest : now
  }
  return at <= now ? at : now
}

/** Whether the client has dated its edit. Those that know only RxDB send the date of the state that they have changed. */
const isDated = ({ next, assumed }: Row) =>
  next.updated_at !== undefined && next.updated_at !== assumed?.updated_at

/** A creation that changed nothing, because the document had its content, may be dated later than edits since. */
function isKnownCreation({ next, assumed }: Row, { document, taken = [] }: State): boolean {
  const born = next.created_at
  if (assumed || born === undefined || born !== next.updated_at) return false
  return born === document.created_at || taken.includes(birthMark(born))
}

/** The values that an edit from `base` to `edited` changed, and the values that replaced them. */
function changes(
  resource: Resource,
  base: Document | undefined,
  edited: Document,
  standing: Document,
  fields = resource.writable,
) {
  const from = base ?? standing
  const names = fields.filter((name) => !sameIn(resource, name, edited, from))
  const of = (document: Document) => Object.fromEntries(names.map((name) => [name, document[name]]))
  return { lost: of(edited), kept: of(standing) }
}

/** Whether the stored state equals what the client sent. */
function isAsSent(resource: Resource, { document, deleted }: State, row: Row): boolean {
  return (
    !row.sent &&
    deleted === row.nextDeleted &&
    Object.keys(row.next).every((name) => sameIn(resource, name, row.next, document))
  )
}
