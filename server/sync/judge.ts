/**
 * Deciding what becomes of pushed rows. Pure: neither clock nor database, so that every rule can be
 * tried on paper and replayed in the simulation.
 */
import {
  type ChangeTimes,
  changedAt,
  changeTimes,
  type Document,
  isChangedSince,
  isUnplaced,
  merge,
  type Resource,
  sameFields,
  sameIn,
  settle,
  takenKey,
} from '../../protocol/index.ts'

/** The state of a document, as stored or as a client sends it. */
export interface State {
  readonly document: Document
  readonly deleted: boolean
  /** Marks of the pushed edits that it has taken last, oldest first, after that of its creation. */
  readonly taken?: readonly number[]
  /** When its fields were last changed. */
  readonly changed?: ChangeTimes
}

/** A valid pushed row. Fields that a client left out are absent, in both states. */
export interface Row {
  readonly id: string
  readonly next: Readonly<Record<string, unknown>>
  readonly nextDeleted: boolean
  /** What the client wrote over; undefined where it knew of nothing. */
  readonly assumed: Readonly<Record<string, unknown>> | undefined
  readonly assumedDeleted: boolean
  /** The same for the same edit, pushed again; undefined where that cannot be told. */
  readonly mark?: number | undefined
  /** It is not quite what the client sent: its sender is to take over what is stored. */
  readonly corrected?: true
  /** The field that refers to a deleted document, whose deletion takes this one along. */
  readonly takenBy?: string
}

/** Values that gave way, to be kept in the conflict journal. */
export interface Loss {
  readonly id: string
  readonly cause: 'edit' | 'deletion'
  readonly lost: Readonly<Record<string, unknown>>
  readonly kept: Readonly<Record<string, unknown>>
  /** When the losing edit was made. */
  readonly lostAt: string
  /** The same as its maker dated it, which stays the same when the edit is sent again. */
  readonly dated: string
}

export interface Judgement {
  /** What is to be stored, in order; each document once. */
  readonly writes: readonly State[]
  /** The stored states that differ from what was pushed; their senders are to take them over. */
  readonly conflicts: readonly State[]
  /** Some with nothing in them, where nothing gave way. */
  readonly losses: readonly Loss[]
}

/**
 * Judges the rows of one batch in their order, each on what the one before has left.
 *
 * @param stored those of the documents that there are, deleted ones included, by id
 * @param now UTC instant with milliseconds
 */
export function judge(
  resource: Resource,
  rows: readonly Row[],
  stored: ReadonlyMap<string, State>,
  now: string,
): Judgement {
  const writes = new Map<string, State>()
  const conflicts = new Map<string, State>()
  const losses: Loss[] = []
  for (const row of rows) {
    const current = writes.get(row.id) ?? stored.get(row.id)
    const verdict = judgeRow(resource, row, current, now)
    const { lost = [] } = verdict
    const state = withMark(withChanges(resource, verdict.state, current), current, row)
    if (state !== current) {
      writes.delete(row.id)
      writes.set(row.id, state)
    }
    if (isAsSent(resource, state, row)) conflicts.delete(row.id)
    else conflicts.set(row.id, state)
    losses.push(...lost.map((loss) => ({ id: row.id, ...loss })))
  }
  return { writes: [...writes.values()], conflicts: [...conflicts.values()], losses }
}

/** So many pushed edits of a document are known again. */
const MAX_MARKS = 32

/** So many dates of creation that a document does not have itself. */
const MAX_BIRTHS = 8

/** An edit that changed nothing is marked too: what it lost to may be gone when it comes again. */
function withMark(state: State, current: State | undefined, row: Row): State {
  const taken = current?.taken ?? []
  const { mark } = row
  if (mark === undefined || taken.includes(mark))
    return state === current ? state : { ...state, taken }
  const edits = [...taken.filter((one) => !isBirth(one)), mark].slice(-MAX_MARKS)
  return { ...state, taken: [...birthsOf(state, current, row), ...edits] }
}

/**
 * The dates of all creations that the document has taken, but for the one that it has itself: of those
 * whose date was ahead of the server's clock, whose id was in use, and that it has been made anew after.
 */
function birthsOf({ document }: State, current: State | undefined, { next, assumed }: Row) {
  const born = [current?.document.created_at, assumed ? undefined : next.created_at]
  const others = born.filter((one) => one !== undefined && one !== document.created_at)
  const births = [...(current?.taken ?? []).filter(isBirth), ...others.map(birthMark)]
  return [...new Set(births)].slice(-MAX_BIRTHS)
}

function withChanges(resource: Resource, state: State, current: State | undefined): State {
  if (!current || state === current) return state
  return { ...state, changed: { ...changeTimes(resource, current, state), ...state.changed } }
}

/** Marks may have been dropped: an edit without one may have been taken all the same. */
function mayBeForgotten({ taken = [] }: State): boolean {
  return taken.filter((one) => !isBirth(one)).length >= MAX_MARKS
}

/** The mark of a creation: its date. Below zero, where no edit's mark is, and not dropped for those. */
const birthMark = (born: unknown) => -Date.parse(born as string)
const isBirth = (mark: number) => mark < 0

/** Whether the document has taken this edit before, whatever has become of it since. */
function isTaken({ mark }: Row, { taken = [] }: State): boolean {
  return mark !== undefined && taken.includes(mark)
}

interface Verdict {
  /** The state that the document has from then on: the current one itself where nothing changes. */
  state: State
  /** What gave way. */
  lost?: readonly Omit<Loss, 'id'>[]
}

function judgeRow(resource: Resource, row: Row, current: State | undefined, now: string): Verdict {
  if (current && isTaken(row, current)) return { state: current }
  if (row.takenBy !== undefined) return judgeTaken(resource, row, row.takenBy, current, now)
  if (!current || isRecreation(row, current)) {
    const created = settle(resource, { ...row.next, id: row.id }, undefined, now)
    const { updated_at } = current?.document ?? {}
    const document = updated_at
      ? settle(resource, created, { ...created, updated_at }, now) // later than the tombstone
      : created
    return { state: { document, deleted: row.nextDeleted } }
  }
  const wanted = withPlaces(resource, completed(row.next, current), current)
  const isSame =
    current.deleted === row.nextDeleted && sameFields(resource, current.document, wanted)
  if (isSame) return { state: current }
  const base = row.assumed && completed(row.assumed, current)
  const isChanged = (field: string) =>
    base ? isChangedSince(base, field, current.changed) : current.changed?.[field] !== undefined
  const isOverCurrent =
    base &&
    current.deleted === row.assumedDeleted &&
    sameFields(resource, current.document, base) &&
    ![...resource.writable, '_deleted'].some(isChanged)
  if (isOverCurrent) {
    const document = settle(resource, wanted, current.document, now)
    return { state: { document, deleted: row.nextDeleted } }
  }
  const at = editedAt(row, current, base, now)
  const dated = String(row.next.updated_at ?? '')
  // Deleted and restored since, or the other way about: the later one stands.
  const isOutdated =
    isChanged('_deleted') &&
    (mayBeForgotten(current) || at <= changedAt(current.document, '_deleted', current.changed))
  const isRestored = current.deleted && row.assumedDeleted && !row.nextDeleted && !isOutdated
  if (current.deleted && !row.nextDeleted && !isRestored) {
    const lost = changes(resource, base, wanted, current.document)
    return { state: current, lost: [{ cause: 'deletion', ...lost, lostAt: at, dated }] }
  }
  // What was typed before a deletion is merged like any other edit: the trash has it, or the journal.
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
  // Apart, because only what ours lost comes again when the row does.
  return {
    state:
      isUnchanged && !isRestored ? current : { document, deleted: current.deleted && !isRestored },
    lost: [lostHere, { cause: 'edit', ...theirsLost, lostAt: before, dated: before }],
  }
}

/**
 * A document under one that has been deleted: it is deleted too, as if it had been there then, and comes
 * back with what it refers to. What was written into it is in the journal.
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
 * A document made anew over a tombstone. The repetition of the creation that the tombstone ended is
 * not that (its answer was lost, and somebody else has deleted it since): it has the same birth.
 */
function isRecreation(row: Row, current: State): boolean {
  if (!current.deleted || row.assumed || row.nextDeleted) return false
  const born = row.next.created_at
  if (born === undefined || current.taken?.includes(birthMark(born))) return false
  return born !== current.document.created_at
}

/**
 * A device whose clock was ahead derives another order key from its date of creation than the server
 * has: that places the document nowhere.
 */
function withPlaces(resource: Resource, wanted: Document, { document }: State): Document {
  if (wanted.created_at === document.created_at) return wanted
  const derived = resource.fieldNames.filter(
    (name) => resource.fields[name]!.kind === 'order_key' && isUnplaced(wanted, name),
  )
  return { ...wanted, ...Object.fromEntries(derived.map((name) => [name, document[name]])) }
}

/** With what it leaves out as it is: an older or a narrower client does not touch what it does not know. */
function completed(given: Readonly<Record<string, unknown>>, current: State): Document {
  return { ...current.document, ...given, id: current.document.id }
}

/**
 * An edit that is no longer known may have met a deletion that was undone since. Then it is in the
 * journal already, and fills no field: all count as changed later.
 */
function changedLater({ writable }: Resource, now: string): ChangeTimes {
  return Object.fromEntries(writable.map((name) => [name, Date.parse(now) + 1]))
}

/**
 * When the edit was made. A client that does not keep `updated_at` edits now, and so does one whose clock
 * is ahead, unless its edit may be one that comes again: that wins over nothing made since its base.
 */
function editedAt(
  { next, assumed }: Row,
  current: State,
  base: Document | undefined,
  now: string,
): string {
  const at = next.updated_at as string | undefined
  if (at === undefined || at === assumed?.updated_at) return now
  if (at <= now) return at
  if (!mayBeForgotten(current)) return now
  const earliest = base?.updated_at ?? current.document.created_at
  return earliest < now ? earliest : now
}

/** What an edit from `base` to `edited` changed, beside what stands in its place. */
function changes(
  resource: Resource,
  base: Document | undefined,
  edited: Document,
  standing: Document,
) {
  const from = base ?? standing
  const names = resource.writable.filter((name) => !sameIn(resource, name, edited, from))
  const of = (document: Document) => Object.fromEntries(names.map((name) => [name, document[name]]))
  return { lost: of(edited), kept: of(standing) }
}

/** Whether the sender holds just what is stored, in all that it sent. */
function isAsSent(resource: Resource, { document, deleted }: State, row: Row): boolean {
  return (
    !row.corrected &&
    deleted === row.nextDeleted &&
    Object.keys(row.next).every((name) => sameIn(resource, name, row.next, document))
  )
}
