import {
  type BulkWriteRow,
  deepEqual,
  getChangedDocumentsSince,
  getHeightOfRevision,
  type RxCollection,
  type RxDocumentData,
  writeDocToDocState,
} from 'rxdb'
import type { Checkpoint, WireDocument } from '../../protocol/replication.ts'
import { KnownStates } from './known-states.ts'
import type { PushedRow } from './rejections.ts'

const COMPARE_LIMIT = 500
/** Of writes that are no edits of a person. */
const CONTEXT = 'replication-tasktide'
/** In a document's `_meta`: the height of the revision that is a state of the server. */
const FROM_SERVER = 'from_server'
const NEVER = new Date(0).toISOString()

type Kept = RxDocumentData<WireDocument>

/**
 * The two states of each document of a collection: what the person sees, and what the server is known
 * to have. A document is unsent if they differ.
 *
 * A method that writes may fail anywhere, and may then be called again: it begins from what is stored.
 * Only one of those may run at a time.
 */
export class DocumentStates {
  /** Everything before it is kept. The storage may know only of an earlier one. */
  cursor: Checkpoint | undefined
  private readonly collection: RxCollection
  private readonly known: KnownStates
  /** The ids that a snapshot has brought so far, while one is being taken. */
  private seen: Set<string> | undefined
  /** Nothing of it is ever unsent, so one state is enough. */
  private readonly isReadOnly: boolean

  static async open(collection: RxCollection, isReadOnly: boolean): Promise<DocumentStates> {
    return new DocumentStates(collection, await KnownStates.open(collection), isReadOnly)
  }

  private constructor(collection: RxCollection, known: KnownStates, isReadOnly: boolean) {
    this.collection = collection
    this.known = known
    this.isReadOnly = isReadOnly
    this.cursor = known.cursor
  }

  /** What is kept is a snapshot that is not complete: what the server has may not be what is known of it. */
  get isExpired(): boolean {
    return this.seen !== undefined
  }

  /**
   * The cursor has expired. What is kept from now on is a snapshot, until it is complete. The storage has
   * the cursor until then: whoever begins again from it is told the same.
   */
  expire(): void {
    this.cursor = undefined
    this.seen = new Set()
  }

  /** Whether a write was made by a person, in whichever tab. */
  static isEdit({ context }: { context: string }): boolean {
    return !context.startsWith('replication-')
  }

  /** What is to be pushed of these documents. */
  async unsent(ids: readonly string[]): Promise<PushedRow[]> {
    const known = await this.known.of(ids)
    const documents = await this.find(ids)
    const differing = documents.filter((one) => !isKnown(one, known.get(one.id)))
    return differing.map((document) => {
      // An insert was made over nothing: that the server has something here was not known to its author.
      const assumedMasterState = isInsert(document) ? undefined : known.get(document.id)
      const newDocumentState = stateOf(document)
      return { newDocumentState, ...(assumedMasterState && { assumedMasterState }) }
    })
  }

  /** All documents, the deleted ones too. */
  async *pagesOfIds(): AsyncGenerator<string[]> {
    const { storageInstance } = this.collection
    for (let checkpoint: unknown; ; ) {
      const page = await getChangedDocumentsSince(storageInstance, COMPARE_LIMIT, checkpoint)
      if (page.documents.length === 0) return
      checkpoint = page.checkpoint
      yield page.documents.map((document) => (document as Kept).id)
    }
  }

  /** Completes what was cut off between the two states of a document. */
  async repair(ids: readonly string[]): Promise<void> {
    const fromServer = (await this.find(ids)).filter(isFromServer)
    const known = await this.known.of(fromServer.map(({ id }) => id))
    const states = fromServer.map(stateOf)
    await this.known.write(states.filter((state) => !deepEqual(state, known.get(state.id))))
  }

  /**
   * Keeps what the server has, but for what is unsent here; then moves the cursor. Of a snapshot, what is
   * older than what the server was known to have is a former state: from then on that is known, and what
   * is here is unsent.
   */
  async keep(documents: readonly WireDocument[], cursor: Checkpoint): Promise<void> {
    const ids = documents.map(({ id }) => id)
    const current = new Map((await this.find(ids)).map((one) => [one.id, one]))
    const known = this.isReadOnly ? undefined : await this.known.of(ids)
    const added: WireDocument[] = []
    const changed: Change[] = []
    const former: Change[] = []
    const confirmed: WireDocument[] = []
    for (const document of documents) {
      const here = current.get(document.id)
      const knownState = known?.get(document.id)
      if (!here) added.push(document)
      else if (deepEqual(stateOf(here), document)) {
        if (known && !deepEqual(knownState, document)) confirmed.push(document)
      } else if (!known) {
        if (this.seen || !isOlder(document, here)) changed.push({ document, here })
      } else if (isKnown(here, knownState)) {
        if (!isOlder(document, here)) changed.push({ document, here })
        else if (this.seen) former.push({ document, here })
      } else if (this.seen && knownState && isOlder(document, knownState))
        former.push({ document, here })
    }
    // The known state comes first of a document that is new here, and last of any other: wherever
    // this is cut off, nothing that came from the server passes as an edit of this device.
    if (known) await this.known.write(added, this.cursor)
    const edited = await this.store([
      ...added.map((document) => rowOver(document)),
      ...changed.map(({ document, here }) => rowOver(document, here)),
    ])
    if (known) {
      await this.known.forget(added.map(({ id }) => id).filter((id) => edited.has(id)))
      const kept = changed.filter(({ document }) => !edited.has(document.id))
      await this.unmark(former.map(({ here }) => here))
      const states = [...[...kept, ...former].map(({ document }) => document), ...confirmed]
      if (states.length > 0) await this.known.write(states, this.seen ? undefined : cursor)
    }
    if (!this.seen) this.cursor = cursor
    for (const id of ids) this.seen?.add(id)
  }

  /** All up to the cursor is here. What a snapshot has not brought by then, the server has not. */
  async complete(cursor: Checkpoint): Promise<void> {
    if (this.seen) {
      if (!this.isReadOnly) await this.forgetBut(this.seen)
      this.seen = undefined
      this.cursor = cursor
    }
    await this.keepCursor()
  }

  /**
   * Records what the server has answered to a push.
   *
   * @param conflicts what it has instead of what was pushed
   * @returns the ids of those that are recorded: others were edited meanwhile, and go up again over the
   *   same known state, where both edits are merged
   */
  async record(
    answered: readonly PushedRow[],
    conflicts: readonly WireDocument[],
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
    const edited = await this.store(changed.map(({ document, here }) => rowOver(document, here)))
    for (const { document } of changed) if (!edited.has(document.id)) states.push(document)
    await this.known.write(states, this.cursor)
    return new Set(states.map(({ id }) => id))
  }

  /** Lets the storage know of the cursor. */
  async keepCursor(): Promise<void> {
    await this.known.write([], this.cursor)
  }

  close(): Promise<void> {
    return this.known.close()
  }

  /** Of all documents but these, what is here is unsent. */
  private async forgetBut(seen: ReadonlySet<string>): Promise<void> {
    const all: string[] = []
    for await (const ids of this.pagesOfIds()) all.push(...ids)
    const unseen = all.filter((id) => !seen.has(id))
    for (let i = 0; i < unseen.length; i += COMPARE_LIMIT) {
      const documents = await this.find(unseen.slice(i, i + COMPARE_LIMIT))
      const lost = documents.filter((one) => !isRefused(one))
      await this.unmark(lost)
      await this.known.forget(lost.map(({ id }) => id))
    }
  }

  /** Writes documents as they are, so that each of them passes as an edit. */
  private async unmark(documents: readonly Kept[]): Promise<void> {
    const unedited = documents.filter((one) => isFromServer(one) || isInsert(one))
    // One that is edited meanwhile is an edit by that.
    await this.store(unedited.map((document) => ({ previous: document, document })))
  }

  private async find(ids: readonly string[]): Promise<Kept[]> {
    if (ids.length === 0) return []
    return (await this.collection.storageInstance.findDocumentsById([...ids], true)) as Kept[]
  }

  /** @returns the ids of documents that were edited meanwhile, and so were not written */
  private async store(rows: BulkWriteRow<WireDocument>[]): Promise<ReadonlySet<string>> {
    if (rows.length === 0) return new Set()
    const { error } = await this.collection.storageInstance.bulkWrite(rows, CONTEXT)
    const fault = error.find(({ status }) => status !== 409)
    if (fault) throw new Error(`The storage refused ${fault.documentId}.`, { cause: fault })
    return new Set(error.map(({ documentId }) => documentId))
  }
}

interface Change {
  document: WireDocument
  here: Kept
}

/** Whether the server is known to have it as it is here. */
function isKnown(here: Kept, known: WireDocument | undefined): boolean {
  return isFromServer(here) || deepEqual(stateOf(here), known)
}

/**
 * A row that was refused comes back as a tombstone where the server has nothing of that id. Whatever
 * it comes to have there is newer, also what another device wrote before.
 */
function undated(answer: WireDocument, sent: WireDocument | undefined): WireDocument {
  const isOwn = sent && deepEqual(answer, { ...sent, _deleted: true })
  return isOwn ? { ...answer, updated_at: NEVER } : answer
}

/** What is here of a row that was refused, see `undated`. */
function isRefused({ _deleted, updated_at }: Kept): boolean {
  return _deleted && updated_at === NEVER
}

/** It was read before a push whose answer is here by now: `updated_at` rises with every change. */
function isOlder(document: WireDocument, here: WireDocument): boolean {
  return String(document.updated_at) < String(here.updated_at)
}

/** A document as it travels. */
function stateOf(document: Kept): WireDocument {
  return writeDocToDocState(document, false, false) as WireDocument
}

/** Puts a state of the server into the place of what is here. */
function rowOver(state: WireDocument, previous?: Kept): BulkWriteRow<WireDocument> {
  const height = previous ? getHeightOfRevision(previous._rev) + 1 : 1
  const _meta = { ...previous?._meta, [FROM_SERVER]: height }
  const document = { ...state, _attachments: {}, _meta, _rev: previous?._rev ?? '' } as Kept
  return { ...(previous && { previous }), document }
}

/** Whether it was inserted on this device, and nothing has been written over it. */
function isInsert(document: Kept): boolean {
  return getHeightOfRevision(document._rev) === 1 && !isFromServer(document)
}

/** Whether it was last written from the server: RxDB raises the height with each write. */
function isFromServer({ _meta, _rev }: Kept): boolean {
  return _meta[FROM_SERVER] === getHeightOfRevision(_rev)
}
