import {
  type BulkWriteRow,
  deepEqual,
  getChangedDocumentsSince,
  getHeightOfRevision,
  type RxCollection,
  type RxDocumentData,
  writeDocToDocState,
} from 'rxdb'
import { isBlank } from '../../protocol/for-good.ts'
import type { Checkpoint, Missing, ReplicaState, WireDocument } from '../../protocol/replication.ts'
import { isDeletedForGood } from '../local/for-good.ts'
import type { Definition } from '../local/resources.ts'
import { KnownStates } from './known-states.ts'
import type { PushedRow } from './rejections.ts'

const COMPARE_LIMIT = 500
/** The context of writes that are not edits of the user. */
const CONTEXT = 'replication-tasktide'
/** The key in `_meta` for the height of the revision that came from the server. */
const FROM_SERVER = 'from_server'
/** In a document's `_meta`: the cursor of the page or frame that this state came with. */
const PULLED = 'pulled'
const NEVER = new Date(0).toISOString()

type Kept = RxDocumentData<WireDocument>

/**
 * The two states of each document of a collection: the one that the user sees, and the known state of the
 * server. A document is unsent if they differ and the visible one has another `updated_at`.
 *
 * A method that writes may fail anywhere and can then be called again: it starts from the stored data. Only
 * one of these methods may run at a time.
 */
export class DocumentStates {
  /** The position in the feed up to which everything is stored. The stored cursor may be an earlier one. */
  cursor: Checkpoint | undefined
  private readonly collection: RxCollection
  private readonly known: KnownStates
  /** While a snapshot is being taken. */
  private snapshot: Snapshot | undefined
  private readonly resource: Definition

  static async open(collection: RxCollection, resource: Definition): Promise<DocumentStates> {
    return new DocumentStates(collection, await KnownStates.open(collection), resource)
  }

  private constructor(collection: RxCollection, known: KnownStates, resource: Definition) {
    this.collection = collection
    this.known = known
    this.resource = resource
    this.cursor = known.marks.down
  }

  /** Nothing of it is ever unsent, so one state is enough. */
  private get isReadOnly(): boolean {
    return this.resource.readOnly
  }

  /** Whether a snapshot is incomplete, so that known states may not be those of the server. */
  get isExpired(): boolean {
    return this.snapshot !== undefined
  }

  /** What the server has to know to tell whether it still has what is here. */
  get replica(): ReplicaState {
    if (this.snapshot) return { expired: this.snapshot.expired }
    const { pulled, pushed } = this.known.marks
    return { seen: distinct([pulled, pushed]) }
  }

  /**
   * The cursor has expired. What is kept from now on is a snapshot, until it is complete. The storage has
   * the marks until then: whoever begins again from them is told the same.
   */
  expire(): void {
    const { down, pulled, pushed } = this.known.marks
    const expired = this.snapshot?.expired ?? distinct([this.cursor ?? down, pulled, pushed])
    this.snapshot = { ids: new Set(), expired }
    this.cursor = undefined
  }

  /** Whether a write is an edit of the user, in any tab. */
  static isEdit({ context }: { context: string }): boolean {
    return !context.startsWith('replication-')
  }

  /** The rows to push for these documents. */
  async unsent(ids: readonly string[]): Promise<PushedRow[]> {
    const known = await this.known.of(ids)
    const documents = await this.find(ids)
    const differing = documents.filter((one) => !isKnown(one, known.get(one.id)))
    return differing.map((document) => {
      // An insert has no base: its author did not know a document of the server.
      const assumedMasterState = isInsert(document) ? undefined : known.get(document.id)
      const newDocumentState = stateOf(document)
      return { newDocumentState, ...(assumedMasterState && { assumedMasterState }) }
    })
  }

  /** The ids of all documents, deleted ones included. */
  async *pagesOfIds(): AsyncGenerator<string[]> {
    const { storageInstance } = this.collection
    for (let checkpoint: unknown; ; ) {
      const page = await getChangedDocumentsSince(storageInstance, COMPARE_LIMIT, checkpoint)
      if (page.documents.length === 0) return
      checkpoint = page.checkpoint
      yield page.documents.map((document) => (document as Kept).id)
    }
  }

  /** Completes writes that were interrupted between the two states of a document. */
  async repair(ids: readonly string[]): Promise<void> {
    const fromServer = (await this.find(ids)).filter(isFromServer)
    const known = await this.known.of(fromServer.map(({ id }) => id))
    const cutOff = fromServer.filter((one) => !deepEqual(stateOf(one), known.get(one.id)))
    const pulled = cutOff.map(({ _meta }) => _meta[PULLED] as Checkpoint | undefined).find(Boolean)
    await this.known.write(cutOff.map(stateOf), { pulled })
  }

  /**
   * Keeps what the server has, but for what is unsent here; then moves the cursor. In a snapshot, a state
   * that is older than the known one is a former state: it is the known one from then on, and what is here
   * is unsent. If the server's document has changed since it lost what this device knows, neither state
   * is based on the other: what is here is unsent, without a base.
   *
   * @param changedSince how many documents, at the end, have changed since then
   */
  async keep(
    documents: readonly WireDocument[],
    cursor: Checkpoint,
    changedSince = 0,
  ): Promise<void> {
    const ids = documents.map(({ id }) => id)
    const current = new Map((await this.find(ids)).map((one) => [one.id, one]))
    const known = this.isReadOnly ? undefined : await this.known.of(ids)
    const added: WireDocument[] = []
    const changed: Change[] = []
    const former: Change[] = []
    const diverged: Kept[] = []
    const confirmed: WireDocument[] = []
    for (const [i, document] of documents.entries()) {
      const isDiverged = this.snapshot && i >= documents.length - changedSince
      const here = current.get(document.id)
      const knownState = known?.get(document.id)
      if (!here) added.push(document)
      else if (deepEqual(stateOf(here), document)) {
        if (known && !deepEqual(knownState, document)) confirmed.push(document)
      } else if (!known) {
        if (this.snapshot || !isOlder(document, here)) changed.push({ document, here })
      } else if (isDiverged) {
        if (!deepEqual(knownState, document)) diverged.push(here)
      } else if (isKnown(here, knownState)) {
        if (!isOlder(document, here)) changed.push({ document, here })
        else if (this.snapshot) former.push({ document, here })
      } else if (this.snapshot && knownState && isOlder(document, knownState))
        former.push({ document, here })
    }
    // The known state comes first of a document that is new here, and last of any other: wherever
    // this is cut off, nothing that came from the server passes as an edit of this device.
    // Until a snapshot is complete, the marks are what has expired.
    const pulled = this.snapshot ? undefined : cursor
    const isMarked = added.length > 0 || this.isReadOnly
    await this.known.write(known ? added : [], {
      down: this.cursor,
      ...(isMarked && documents.length > 0 && { pulled }),
    })
    const edited = await this.store([
      ...added.map((document) => rowOver(document)),
      ...changed.map(({ document, here }) => rowOver(document, here, pulled)),
    ])
    if (known) {
      await this.known.forget(added.map(({ id }) => id).filter((id) => edited.has(id)))
      const kept = changed.filter(({ document }) => !edited.has(document.id))
      await this.unmark([...former.map(({ here }) => here), ...diverged])
      await this.known.forget(diverged.map(({ id }) => id))
      const states = [...[...kept, ...former].map(({ document }) => document), ...confirmed]
      if (states.length > 0) await this.known.write(states, { down: pulled })
    }
    if (!this.snapshot) this.cursor = cursor
    for (const id of ids) this.snapshot?.ids.add(id)
  }

  /**
   * Called when everything up to the cursor is stored. The server lacks documents that a snapshot did not
   * bring.
   *
   * @param missing what has become of those
   */
  async complete(cursor: Checkpoint, missing: Missing = 'lost'): Promise<void> {
    if (this.snapshot) {
      if (missing === 'deleted') await this.deleteBut(this.snapshot.ids)
      else if (!this.isReadOnly) await this.forgetBut(this.snapshot.ids)
      await this.known.write([], { pulled: cursor, pushed: cursor, down: cursor })
      this.snapshot = undefined
      this.cursor = cursor
    }
    await this.keepCursor()
  }

  /** The two states of each of these documents. */
  async pairs(ids: readonly string[]): Promise<Pair[]> {
    const current = new Map((await this.find(ids)).map((one) => [one.id, one]))
    const known = this.isReadOnly ? current : await this.known.of(ids)
    return ids.map((id) => {
      const here = current.get(id)
      const isEdited = here !== undefined && !this.isReadOnly && !isKnown(here, known.get(id))
      return { id, here: here && stateOf(here), known: known.get(id), isEdited }
    })
  }

  /** Replaces faulty states by those of the server: the known one, and the visible one unless it is an edit. */
  async mend(documents: readonly WireDocument[]): Promise<void> {
    const ids = documents.map(({ id }) => id)
    const current = new Map((await this.find(ids)).map((one) => [one.id, one]))
    const known = this.isReadOnly ? new Map() : await this.known.of(ids)
    const added = documents.filter(({ id }) => !current.has(id))
    const changed = documents.flatMap((document): Change[] => {
      const here = current.get(document.id)
      if (!here || !(this.isReadOnly || isKnown(here, known.get(here.id)))) return []
      return deepEqual(stateOf(here), document) ? [] : [{ document, here }]
    })
    // In the order of `keep`.
    await this.known.write(this.isReadOnly ? [] : added)
    await this.store([
      ...added.map((document) => rowOver(document)),
      ...changed.map(({ document, here }) => rowOver(document, here, this.cursor)),
    ])
    if (!this.isReadOnly) await this.known.write(documents.filter(({ id }) => current.has(id)))
  }

  /** Makes documents that are not edited count as edited now, over their known states. */
  async makeUnsent(ids: readonly string[], now: number): Promise<void> {
    const documents = await this.find(ids)
    await this.store(
      documents.map((previous) => {
        const at = Math.max(now, (Date.parse(previous.updated_at) || 0) + 1)
        return { previous, document: { ...previous, updated_at: new Date(at).toISOString() } }
      }),
    )
  }

  /**
   * Records the answer to a push.
   *
   * @param conflicts what it has instead of what was pushed
   * @param checkpoint how far the feed has to be that contains the push
   * @returns the ids of those that are recorded: others were edited meanwhile, and go up again over the
   *   same known state, where both edits are merged
   */
  async record(
    answered: readonly PushedRow[],
    conflicts: readonly WireDocument[],
    checkpoint?: Checkpoint,
  ): Promise<ReadonlySet<string>> {
    const pushed = answered.map(({ newDocumentState }) => newDocumentState as WireDocument)
    const sent = new Map(pushed.map((state) => [state.id, state]))
    const answers = new Map(
      conflicts.map((document) => [document.id, undated(document, sent.get(document.id))]),
    )
    const found = await this.find(pushed.map(({ id }) => id))
    const current = new Map(found.map((one) => [one.id, one]))
    const states: WireDocument[] = []
    const changed: Change[] = []
    for (const state of pushed) {
      const document = answers.get(state.id)
      const here = current.get(state.id)
      if (!document) states.push(state)
      else if (here && deepEqual(stateOf(here), document)) states.push(document)
      else if (here && deepEqual(stateOf(here), state)) changed.push({ document, here })
    }
    const seen = this.snapshot ? undefined : checkpoint
    const edited = await this.store(
      changed.map(({ document, here }) => rowOver(document, here, seen)),
    )
    for (const { document } of changed) if (!edited.has(document.id)) states.push(document)
    await this.known.write(states, { down: this.cursor, pushed: seen })
    return new Set(states.map(({ id }) => id))
  }

  /**
   * Erases the content of the known states of documents that were deleted for good here and are not sent yet.
   * Their dates stay: by them the server finds what this device has not seen.
   *
   * @returns the ids of these documents
   */
  async eraseKnown(ids: readonly string[]): Promise<string[]> {
    const { resource } = this
    const forGood = (await this.find(ids)).filter((one) => isDeletedForGood(resource, one))
    const known = await this.known.of(forGood.map(({ id }) => id))
    const unsent = forGood.filter((one) => !isKnown(one, known.get(one.id)))
    const states = unsent.flatMap(({ id }) => known.get(id) ?? [])
    const withContent = states.filter((state) => !isBlank(resource, state))
    if (withContent.length > 0)
      await this.known.write(withContent.map((state) => ({ ...state, ...resource.blank })))
    return unsent.map(({ id }) => id)
  }

  /** Stores the cursor. */
  async keepCursor(): Promise<void> {
    await this.known.write([], { down: this.cursor })
  }

  close(): Promise<void> {
    return this.known.close()
  }

  /** Makes all documents except these unsent. */
  private async forgetBut(seen: ReadonlySet<string>): Promise<void> {
    for await (const documents of this.pagesBut(seen)) {
      const lost = documents.filter((one) => !isUndated(one))
      await this.unmark(lost)
      await this.known.forget(lost.map(({ id }) => id))
    }
  }

  /** Deletes all documents except these, and except what is unsent. */
  private async deleteBut(seen: ReadonlySet<string>): Promise<void> {
    for await (const documents of this.pagesBut(seen)) {
      const found = documents.filter(({ _deleted }) => !_deleted)
      const known = await this.known.of(found.map(({ id }) => id))
      const unedited = this.isReadOnly
        ? found
        : found.filter((one) => isKnown(one, known.get(one.id)))
      const changed = unedited.map((here) => ({ document: asDeleted(stateOf(here)), here }))
      const edited = await this.store(changed.map(({ document, here }) => rowOver(document, here)))
      if (this.isReadOnly) continue
      const kept = changed.filter(({ document }) => !edited.has(document.id))
      await this.known.write(kept.map(({ document }) => document))
    }
  }

  /** Lists the ids before the first page: the caller changes the documents. */
  private async *pagesBut(seen: ReadonlySet<string>): AsyncGenerator<Kept[]> {
    const all: string[] = []
    for await (const ids of this.pagesOfIds()) all.push(...ids)
    const unseen = all.filter((id) => !seen.has(id))
    for (let i = 0; i < unseen.length; i += COMPARE_LIMIT)
      yield await this.find(unseen.slice(i, i + COMPARE_LIMIT))
  }

  /** Rewrites documents unchanged, so that each of them counts as an edit. */
  private async unmark(documents: readonly Kept[]): Promise<void> {
    const unedited = documents.filter((one) => isFromServer(one) || isInsert(one))
    // A document that is edited meanwhile already counts as one.
    await this.store(unedited.map((document) => ({ previous: document, document })))
  }

  private async find(ids: readonly string[]): Promise<Kept[]> {
    if (ids.length === 0) return []
    return (await this.collection.storageInstance.findDocumentsById([...ids], true)) as Kept[]
  }

  /** @returns the ids of documents that were edited meanwhile and therefore not written */
  private async store(rows: BulkWriteRow<WireDocument>[]): Promise<ReadonlySet<string>> {
    if (rows.length === 0) return new Set()
    const { error } = await this.collection.storageInstance.bulkWrite(rows, CONTEXT)
    const fault = error.find(({ status }) => status !== 409)
    if (fault) throw new Error(`The storage refused ${fault.documentId}.`, { cause: fault })
    return new Set(error.map(({ documentId }) => documentId))
  }
}

/** The two states of a document. Where nothing is ever unsent, they are one. */
export interface Pair {
  readonly id: string
  /** The visible one. */
  readonly here: WireDocument | undefined
  readonly known: WireDocument | undefined
  /** Whether the visible one is an unsent edit. */
  readonly isEdited: boolean
}

interface Change {
  document: WireDocument
  here: Kept
}

interface Snapshot {
  /** The ids that it has brought so far. */
  ids: Set<string>
  /** What the device relied on before. */
  expired: Checkpoint[]
}

function distinct(cursors: readonly (Checkpoint | undefined)[]): Checkpoint[] {
  const present = cursors.filter((one) => one !== undefined)
  return present.filter((one, i) => present.findIndex((other) => deepEqual(one, other)) === i)
}

/**
 * Whether it is no edit. Each edit has a later `updated_at` than the state that it was made on, so content that
 * differs without one is a fault of the storage, which must not be pushed: see `SelfCheck`.
 */
function isKnown(here: Kept, known: WireDocument | undefined): boolean {
  if (isFromServer(here)) return true
  return here.updated_at === known?.updated_at && here.created_at === known.created_at
}

/** A rejected row without a stored document is answered as a tombstone. */
function undated(answer: WireDocument, sent: WireDocument | undefined): WireDocument {
  const isOwn = sent && deepEqual(answer, { ...sent, _deleted: true })
  return isOwn ? asDeleted(answer) : answer
}

/**
 * The tombstone of a document that the server does not have. It gets the oldest date, so that any later
 * document with this id is newer, even one that another device wrote earlier.
 */
function asDeleted(document: WireDocument): WireDocument {
  return { ...document, _deleted: true, updated_at: NEVER }
}

/** Whether it is such a tombstone. */
function isUndated({ _deleted, updated_at }: Kept): boolean {
  return _deleted && updated_at === NEVER
}

/** Whether it was read before a push that has been answered since: `updated_at` increases with every change. */
function isOlder(document: WireDocument, here: WireDocument): boolean {
  return String(document.updated_at) < String(here.updated_at)
}

/** A document in wire form. */
function stateOf(document: Kept): WireDocument {
  return writeDocToDocState(document, false, false) as WireDocument
}

/** Puts a state of the server, and the cursor that it came with, into the place of what is here. */
function rowOver(
  state: WireDocument,
  previous?: Kept,
  pulled?: Checkpoint,
): BulkWriteRow<WireDocument> {
  const height = previous ? getHeightOfRevision(previous._rev) + 1 : 1
  const { [PULLED]: _, ...meta } = { ...previous?._meta }
  const _meta = { ...meta, [FROM_SERVER]: height, ...(pulled && { [PULLED]: pulled }) }
  const document = { ...state, _attachments: {}, _meta, _rev: previous?._rev ?? '' } as Kept
  return { ...(previous && { previous }), document }
}

/** Whether it was inserted on this device and not written since. */
function isInsert(document: Kept): boolean {
  return getHeightOfRevision(document._rev) === 1 && !isFromServer(document)
}

/** Whether its last write came from the server: RxDB increments the height with each write. */
function isFromServer({ _meta, _rev }: Kept): boolean {
  return _meta[FROM_SERVER] === getHeightOfRevision(_rev)
}
