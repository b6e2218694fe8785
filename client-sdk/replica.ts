import {
  type BulkWriteRow,
  deepEqual,
  getChangedDocumentsSince,
  getHeightOfRevision,
  type RxCollection,
  type RxDocumentData,
  writeDocToDocState,
} from 'rxdb'
import {
  BehaviorSubject,
  filter,
  firstValueFrom,
  merge,
  type Observable,
  Subject,
  type Subscription,
} from 'rxjs'
import type { ProblemCode } from '../protocol/problem.ts'
import type {
  Checkpoint,
  PullResponse,
  PushResponse,
  WireDocument,
} from '../protocol/replication.ts'
import type { Api } from './api.ts'
import { delayAfter } from './back-off.ts'
import { ClientError } from './client-error.ts'
import type { Connection } from './connection.ts'
import { KnownStates } from './known-states.ts'
import type { PushedRow, RejectedEdit, Rejections } from './rejections.ts'
import type { Definition } from './resources.ts'
import { storageFault } from './storage-fault.ts'
import type { Progress } from './sync-status.ts'
import { Turns } from './turns.ts'
import { stopped, until } from './until.ts'

const PULL_LIMIT = 500
const PUSH_LIMIT = 200
const COMPARE_LIMIT = 500
/** More frames than this that nobody could keep yet are dropped, and pulled instead. */
const MAX_FRAMES = 100
const PUSH_RESULT = 'application/vnd.tasktide.push+json'
/** Writes with it are not edits of a person. */
const CONTEXT = 'replication-tasktide'
/** In a document's `_meta`: the height of the revision that is a state of the server. */
const FROM_SERVER = 'from_server'

type Kept = RxDocumentData<WireDocument>

interface Frame {
  seq: number
  documents: WireDocument[]
}

/** A page, and where the next one begins. */
interface Page extends PullResponse {
  isLast: boolean
  /** How many gaps there had been when it was asked for. */
  gaps: number
}

/** A document with an unsent edit, as it was when its push began. */
interface Sent {
  row: PushedRow
  /** Which edit of it: a later one has another number. */
  edit: number
}

export interface ReplicaOptions {
  resource: Definition
  collection: RxCollection
  api: Api
  connection: Connection
  rejections: Rejections
  now: () => number
}

/**
 * Keeps one collection equal to the server's. For each document there are two states on the device:
 * what the person sees, and what the server is known to have.
 *
 *     edit ──▶ unsent ──▶ push ──▶ record: the known state is what was sent, or what was answered
 *     page, frame ──▶ keep: the document and its known state are what came, then the cursor moves
 *
 * 1. A document is unsent if its two states differ. No clock and no cursor decides it: they are
 *    compared once at the start, and after each edit.
 * 2. The cursor moves past a page or a frame when all of it is in the storage. A storage that fails
 *    is tried again, with pauses, and nothing is called synced meanwhile.
 * 3. Of a document that is unsent, nothing from the server is kept: its push meets the same state
 *    there, and is answered with what came of both.
 * 4. Nothing is kept of a document between the start of its push and the record of the answer. Else
 *    a later edit of another device might pass as unsent, and be recorded over.
 * 5. Every step may be cut off anywhere and begun again from what is stored.
 */
export class Replica {
  readonly name: string
  /** Everything up to where the frames go on is here, and kept. */
  readonly isComplete$ = new BehaviorSubject(false)
  /** While the very first pull lasts. */
  readonly progress$ = new BehaviorSubject<Progress | undefined>(undefined)
  /** Documents with edits that the server has not confirmed. */
  readonly pending$ = new BehaviorSubject(0)
  /** Why the storage does not keep what it should, while it does not. */
  readonly fault$ = new BehaviorSubject<ClientError | undefined>(undefined)
  private readonly options: ReplicaOptions
  private readonly abort = new AbortController()
  private known: KnownStates | undefined
  private readonly opened$ = new Subject<void>()
  private running: Promise<void> = Promise.resolve()
  private edits: Subscription | undefined
  /** One after the other: whatever reads both states of a document and writes one. */
  private readonly turns = new Turns()
  /** Numbers of the latest edits, by id of the document. */
  private readonly unsentEdits = new Map<string, number>()
  private editCount = 0
  private readonly edited$ = new Subject<void>()
  /** All documents have been compared since the start. */
  private readonly isCompared$ = new BehaviorSubject(false)
  /** The ids that a push is under way for. */
  private readonly sending$ = new BehaviorSubject<ReadonlySet<string>>(new Set())
  private frames: Frame[] = []
  private gaps = 0
  /** All has been fetched up to where the frames go on. */
  private isFetched = false
  /** A frame has come, or a gap. */
  private readonly news$ = new Subject<void>()
  /** Everything before it is kept. The storage may know only of an earlier one. */
  private cursor: Checkpoint | undefined
  /** Steps that the storage does not let pass. */
  private failing = 0
  private readonly retry$ = new Subject<void>()

  constructor(options: ReplicaOptions) {
    this.options = options
    this.name = options.resource.name
  }

  start(): void {
    if (!this.options.resource.readOnly) this.watchEdits()
    this.running = this.run().catch((error) => {
      if (!this.abort.signal.aborted) throw error
    })
  }

  async stop(): Promise<void> {
    this.abort.abort()
    this.edits?.unsubscribe()
    await this.running
    if (!this.known) return
    // What is behind it would come again, and change nothing.
    await this.known.write([], this.cursor).catch(() => {})
    await this.known.close()
  }

  /** A frame that continues what is here. */
  add(seq: number, documents: WireDocument[]): void {
    if (this.frames.length < MAX_FRAMES) {
      this.frames.push({ seq, documents })
      this.news$.next()
    } else this.look()
  }

  /** There may be more than is here: pulls. */
  look(): void {
    this.gaps++
    this.frames = []
    this.isFetched = false
    this.isComplete$.next(false)
    this.news$.next()
  }

  /** Tries at once what the storage has refused. */
  wake(): void {
    this.retry$.next()
  }

  /** Until all that was on the server when asked is here, and all that is here is on the server. */
  async catchUp(): Promise<void> {
    this.look()
    await firstValueFrom(this.isComplete$.pipe(filter(Boolean)))
    await firstValueFrom(this.pending$.pipe(filter((count) => count === 0)))
  }

  /**
   * How many documents differ from what the server is known to have: all are compared.
   *
   * @throws ClientError `storage_failed` or `storage_full` if the storage cannot be read
   */
  async unsent(): Promise<number> {
    if (this.options.resource.readOnly) return 0
    const isFaulty$ = this.fault$.pipe(filter(Boolean))
    if (!this.known) await this.until(merge(this.opened$, isFaulty$))
    if (!this.known) throw this.fault$.value
    let count = 0
    for await (const documents of this.pages()) count += (await this.differing(documents)).length
    return count
  }

  private async run(): Promise<void> {
    this.known = await this.lasting(() => KnownStates.open(this.options.collection))
    this.cursor = this.known.cursor
    this.opened$.next()
    const isWritable = !this.options.resource.readOnly
    await Promise.all([this.bring(), ...(isWritable ? [this.compare(), this.push()] : [])])
  }

  private watchEdits(): void {
    this.edits = this.options.collection.storageInstance.changeStream().subscribe((bulk) => {
      if (bulk.context.startsWith('replication-')) return
      for (const { documentId } of bulk.events) this.markUnsent(documentId)
      this.edited$.next()
    })
  }

  private markUnsent(id: string): void {
    this.unsentEdits.set(id, ++this.editCount)
    this.countPending()
  }

  /** Unless it has been edited again. */
  private markSent(id: string, edit: number): void {
    if (this.unsentEdits.get(id) === edit) this.unsentEdits.delete(id)
    this.countPending()
  }

  private countPending(): void {
    const { size } = this.unsentEdits
    if (this.pending$.value !== size) this.pending$.next(size)
  }

  // Up

  /** Finds what was left unsent when the app ended, whatever the clocks said then. */
  private async compare(): Promise<void> {
    await this.lasting(async () => {
      for await (const documents of this.pages())
        await this.turns.take(async () => {
          const current = await this.find(documents.map(({ id }) => id))
          await this.states.write(await this.unrecorded(current))
          for (const { id } of await this.differing(current)) this.markUnsent(id)
        })
    })
    this.isCompared$.next(true)
    this.edited$.next()
    this.news$.next()
  }

  private async push(): Promise<void> {
    const { connection } = this.options
    for (;;) {
      if (this.unsentEdits.size === 0) await this.until(this.edited$)
      let batch: Sent[] | undefined = await this.nextBatch()
      if (batch.length === 0) continue
      await connection.through(async (token) => {
        const sent = batch ?? (await this.nextBatch())
        // Another attempt takes what is unsent by then.
        batch = undefined
        await this.pushOnce(token, sent)
      }, this.abort.signal)
    }
  }

  private async pushOnce(token: string, sent: Sent[]): Promise<void> {
    if (sent.length === 0) return
    try {
      const answer = await this.send(
        token,
        sent.map(({ row }) => row),
      )
      await this.turns.take(() => this.lasting(() => this.record(sent, answer)))
    } finally {
      this.sending$.next(new Set())
    }
  }

  /** Takes some of what is unsent; from then on nothing is kept of these documents. */
  private nextBatch(): Promise<Sent[]> {
    return this.turns.take(() =>
      this.lasting(async () => {
        const edits = new Map([...this.unsentEdits].slice(0, PUSH_LIMIT))
        const documents = await this.find([...edits.keys()])
        const known = await this.states.of([...edits.keys()])
        const differing = documents.filter((one) => !this.isKnown(one, known.get(one.id)))
        const sent = differing.map((document): Sent => {
          const assumedMasterState = known.get(document.id)
          const newDocumentState = stateOf(document)
          return {
            row: { newDocumentState, ...(assumedMasterState && { assumedMasterState }) },
            edit: edits.get(document.id)!,
          }
        })
        const ids = new Set(differing.map(({ id }) => id))
        this.sending$.next(ids)
        for (const [id, edit] of edits) if (!ids.has(id)) this.markSent(id, edit)
        return sent
      }),
    )
  }

  /** What came of a push, beginning with what a person would miss. */
  private async record(sent: readonly Sent[], answer: PushResponse): Promise<void> {
    await this.keepRejected(sent, answer)
    const answers = new Map(answer.conflicts.map((document) => [document.id, document]))
    const ids = sent.map(({ row }) => row.newDocumentState.id)
    const current = new Map((await this.find(ids)).map((one) => [one.id, one]))
    const rows: BulkWriteRow<WireDocument>[] = []
    const states: WireDocument[] = []
    const editsSettled = new Map<string, number>()
    for (const { row, edit } of sent) {
      const { id } = row.newDocumentState
      const document = answers.get(id)
      const here = current.get(id)
      const isUnchanged = here && deepEqual(stateOf(here), row.newDocumentState)
      if (!document) states.push(row.newDocumentState as WireDocument)
      else if (here && deepEqual(stateOf(here), document)) states.push(document)
      // An edit made meanwhile goes up over the same known state, and is merged there.
      else if (isUnchanged) rows.push(rowOver(document, here))
      else continue
      editsSettled.set(id, edit)
    }
    const refused = await this.store(rows)
    for (const { document } of rows)
      if (refused.has(document.id)) editsSettled.delete(document.id)
      else states.push(answers.get(document.id)!)
    await this.states.write(states, this.cursor)
    for (const [id, edit] of editsSettled) this.markSent(id, edit)
  }

  /** A batch that is refused as a whole is halved, until the row at fault is found: it alone stays behind. */
  private async send(token: string, rows: readonly PushedRow[]): Promise<PushResponse> {
    try {
      return await this.request<PushResponse>(`${this.path()}/push`, token, rows)
    } catch (error) {
      const isAtFault = error instanceof ClientError && [400, 413].includes(error.status ?? 0)
      if (!isAtFault) throw error
      if (rows.length > 1) {
        const half = Math.ceil(rows.length / 2)
        const first = await this.send(token, rows.slice(0, half))
        const second = await this.send(token, rows.slice(half))
        return {
          conflicts: [...first.conflicts, ...second.conflicts],
          rejected: [...first.rejected, ...second.rejected],
        }
      }
      const [{ newDocumentState, assumedMasterState }] = rows as [PushedRow]
      const { code, errors } = error
      const back = assumedMasterState ?? { ...newDocumentState, _deleted: true }
      return {
        conflicts: [back as WireDocument],
        rejected: [{ id: newDocumentState.id, code: code as ProblemCode, errors }],
      }
    }
  }

  private async keepRejected(sent: readonly Sent[], { rejected }: PushResponse): Promise<void> {
    const { resource, rejections, now } = this.options
    const rowsById = new Map(sent.map(({ row }) => [row.newDocumentState.id, row]))
    const edits = rejected.map((rejection): RejectedEdit => {
      const row = rowsById.get(rejection.id)!
      return {
        ...rejection,
        resource: resource.name,
        document: row.newDocumentState,
        previous: row.assumedMasterState ?? null,
        rejected_at: new Date(now()).toISOString(),
      }
    })
    await rejections.add(edits)
  }

  // Down

  private async bring(): Promise<void> {
    for (;;) {
      if (!this.isFetched) await this.fetch()
      else if (this.frames.length > 0) await this.keepFrames()
      else {
        const isCompared = this.options.resource.readOnly || this.isCompared$.value
        if (isCompared && !this.isComplete$.value) this.isComplete$.next(true)
        await this.until(this.news$)
      }
    }
  }

  /** Page after page, each asked for while the one before is being kept. */
  private async fetch(): Promise<void> {
    for (let next = this.page(this.cursor); ; ) {
      const page = await next
      if (!page.isLast) {
        next = this.page(page.checkpoint)
        next.catch(() => {}) // stopped before it is awaited
      }
      await this.keep(page.documents, page.checkpoint)
      if (!page.isLast) continue
      await this.turns.take(() => this.lasting(() => this.states.write([], this.cursor)))
      if (page.gaps !== this.gaps) return
      this.frames = this.frames.filter(({ seq }) => seq > page.checkpoint.lwt)
      this.isFetched = true
      return
    }
  }

  private async keepFrames(): Promise<void> {
    const { frames, gaps } = this
    const documents = new Map(
      frames.flatMap(({ documents }) => documents.map((one) => [one.id, one] as const)),
    )
    this.frames = []
    const cursor = { id: '', lwt: frames.at(-1)!.seq }
    await this.keep([...documents.values()], cursor, () => gaps === this.gaps)
  }

  /**
   * Puts documents into the storage, and moves the cursor when all are there.
   *
   * @param isWanted asked when it is their turn
   */
  private async keep(
    documents: readonly WireDocument[],
    cursor: Checkpoint,
    isWanted: () => boolean = () => true,
  ): Promise<void> {
    const isSending = () => documents.some(({ id }) => this.sending$.value.has(id))
    for (let isKept = false; !isKept; ) {
      while (isSending()) await this.until(this.sending$.pipe(filter(() => !isSending())))
      isKept = await this.turns.take(async () => {
        if (isSending()) return false
        if (isWanted()) await this.lasting(() => this.write(documents, cursor))
        return true
      })
    }
  }

  private async write(documents: readonly WireDocument[], cursor: Checkpoint): Promise<void> {
    const ids = documents.map(({ id }) => id)
    const current = new Map((await this.find(ids)).map((one) => [one.id, one]))
    const { readOnly } = this.options.resource
    const known = readOnly ? new Map<string, WireDocument>() : await this.states.of(ids)
    const added: WireDocument[] = []
    const changed: BulkWriteRow<WireDocument>[] = []
    const confirmed: WireDocument[] = []
    for (const document of documents) {
      const here = current.get(document.id)
      if (!here) added.push(document)
      else if (deepEqual(stateOf(here), document)) {
        if (!deepEqual(known.get(document.id), document)) confirmed.push(document)
      } else if (
        (readOnly || this.isKnown(here, known.get(document.id))) &&
        // It was read before the push whose answer is here.
        String(here.updated_at) <= String(document.updated_at)
      )
        changed.push(rowOver(document, here))
    }
    // Of a new document the known state comes first, of others last: whenever this is cut off, no
    // state that came from the server passes as an edit of this device.
    if (!readOnly) await this.states.write(added, this.cursor)
    const refused = await this.store([...added.map((one) => rowOver(one)), ...changed])
    const takenIds = added.filter(({ id }) => refused.has(id)).map(({ id }) => id)
    if (!readOnly) {
      await this.states.forget(takenIds)
      const kept = changed.map(({ document }) => document.id).filter((id) => !refused.has(id))
      const states = documents.filter(({ id }) => kept.includes(id))
      if (states.length + confirmed.length > 0)
        await this.states.write([...states, ...confirmed], cursor)
    }
    this.cursor = cursor
  }

  private page(checkpoint: Checkpoint | undefined): Promise<Page> {
    return this.options.connection.through(async (token) => {
      const { gaps } = this
      const { id, lwt } = checkpoint ?? { id: '', lwt: 0 }
      const [page, total] = await Promise.all([
        this.request<PullResponse>(
          `${this.path()}/pull?lwt=${lwt}&id=${id}&limit=${PULL_LIMIT}`,
          token,
        ),
        checkpoint || this.isFetched ? undefined : this.total(token),
      ])
      if (total !== undefined) this.progress$.next({ done: 0, total })
      const isLast = page.documents.length < PULL_LIMIT
      this.progress$.next(isLast ? undefined : this.furtherBy(page.documents))
      return { ...page, isLast, gaps }
    }, this.abort.signal)
  }

  private async total(token: string): Promise<number> {
    const { name, singleton } = this.options.resource
    if (singleton) return 1
    return (await this.request<{ count: number }>(`/api/${name}/?page_size=1`, token)).count
  }

  private furtherBy(documents: WireDocument[]): Progress | undefined {
    const progress = this.progress$.value
    if (!progress) return undefined
    const done = progress.done + documents.filter(({ _deleted }) => !_deleted).length
    return { done, total: Math.max(done, progress.total) }
  }

  // The two states

  /** Whether the server is known to have it as it is here. */
  private isKnown(document: Kept, known: WireDocument | undefined): boolean {
    return isFromServer(document) || deepEqual(stateOf(document), known)
  }

  private async differing(documents: readonly Kept[]): Promise<Kept[]> {
    const known = await this.states.of(documents.map(({ id }) => id))
    return documents.filter((one) => !this.isKnown(one, known.get(one.id)))
  }

  /** States of the server of which only the documents were written before the app was cut off. */
  private async unrecorded(documents: readonly Kept[]): Promise<WireDocument[]> {
    const fromServer = documents.filter(isFromServer)
    const known = await this.states.of(fromServer.map(({ id }) => id))
    return fromServer.map(stateOf).filter((state) => !deepEqual(state, known.get(state.id)))
  }

  private async find(ids: readonly string[]): Promise<Kept[]> {
    if (ids.length === 0) return []
    const { storageInstance } = this.options.collection
    return (await storageInstance.findDocumentsById([...ids], true)) as Kept[]
  }

  /** All documents, the deleted ones too. */
  private async *pages(): AsyncGenerator<Kept[]> {
    const { storageInstance } = this.options.collection
    for (let checkpoint: unknown; ; ) {
      const page = await getChangedDocumentsSince(storageInstance, COMPARE_LIMIT, checkpoint)
      if (page.documents.length === 0) return
      checkpoint = page.checkpoint
      yield page.documents as Kept[]
    }
  }

  /** @returns the ids of documents that were edited meanwhile, and so were not written */
  private async store(rows: BulkWriteRow<WireDocument>[]): Promise<ReadonlySet<string>> {
    if (rows.length === 0) return new Set()
    const { storageInstance } = this.options.collection
    const { error } = await storageInstance.bulkWrite(rows, CONTEXT)
    const fault = error.find(({ status }) => status !== 409)
    if (fault) throw new Error(`The storage refused ${this.name} ${fault.documentId}.`)
    return new Set(error.map(({ documentId }) => documentId))
  }

  /** A step that works on the storage alone, until the storage lets it pass. */
  private async lasting<T>(step: () => Promise<T>): Promise<T> {
    for (let failures = 0; ; ) {
      this.throwIfStopped()
      try {
        const result = await step()
        if (failures > 0 && --this.failing === 0) this.fault$.next(undefined)
        return result
      } catch (error) {
        this.throwIfStopped()
        if (++failures === 1) this.failing++
        this.fault$.next(storageFault(error))
        await this.pause(delayAfter(failures))
      }
    }
  }

  private until(event$: Observable<unknown>): Promise<void> {
    return until(event$, this.abort.signal)
  }

  private async pause(milliseconds: number): Promise<void> {
    let timer: ReturnType<typeof setTimeout> | undefined
    const over = new Promise<void>((resolve) => {
      timer = setTimeout(resolve, milliseconds)
    })
    await Promise.race([over, this.until(this.retry$)]).finally(() => clearTimeout(timer))
  }

  private get states(): KnownStates {
    return this.known!
  }

  private throwIfStopped(): void {
    if (this.abort.signal.aborted) throw stopped()
  }

  private path(): string {
    const { name, version } = this.options.resource
    return `/replication/${name}/${version}`
  }

  private request<T>(path: string, token: string, body?: unknown): Promise<T> {
    return this.options.api<T>(path, {
      token,
      signal: this.abort.signal,
      ...(body !== undefined && { method: 'POST', body, accept: PUSH_RESULT }),
    })
  }
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

/** Whether it was last written from the server: RxDB raises the height with each write. */
function isFromServer({ _meta, _rev }: Kept): boolean {
  return _meta[FROM_SERVER] === getHeightOfRevision(_rev)
}
