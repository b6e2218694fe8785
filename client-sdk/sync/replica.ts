import type { RxCollection } from 'rxdb'
import {
  BehaviorSubject,
  filter,
  firstValueFrom,
  merge,
  type Observable,
  Subject,
  type Subscription,
  timer,
} from 'rxjs'
import type {
  Checkpoint,
  PullResponse,
  ReplicaState,
  WireDocument,
} from '../../protocol/replication.ts'
import type { Definition } from '../local/resources.ts'
import { storageFault } from '../local/storage-fault.ts'
import { isShaped } from '../runtime/answers.ts'
import type { Api } from '../runtime/api.ts'
import { delayAfter } from '../runtime/back-off.ts'
import { ClientError } from '../runtime/client-error.ts'
import { stopped, until } from '../runtime/until.ts'
import type { Connection } from '../session/connection.ts'
import { DocumentStates } from './document-states.ts'
import { Pull, type Page as Pulled } from './pull.ts'
import { Push, type Pushed, type Rejection } from './push.ts'
import {
  isEarly,
  type PushedRow,
  QUOTA_EXCEEDED,
  type RejectedEdit,
  type Rejections,
  SERVER_ERROR,
  UNKNOWN_FIELD,
} from './rejections.ts'
import { SelfCheck } from './self-check.ts'
import type { Progress } from './sync-status.ts'
import { Turns } from './turns.ts'
import { UnsentEdits } from './unsent-edits.ts'

/** The maximum number of frames waiting for the storage. Beyond it, they are dropped and pulled instead. */
const MAX_FRAMES = 100

interface Frame {
  documents: readonly WireDocument[]
  /** The position in the feed after this frame. */
  checkpoint: Checkpoint
}

interface Page extends Pulled {
  /** The number of gaps when it was requested. */
  gaps: number
  /** The number of waiting frames at that time. If it is the last page, it contains their changes. */
  frames: number
}

/** The rows of one push. */
interface Batch {
  sent: Sent[]
  asideCount: number
  /** The position in the feed of the states that they assume. */
  cursor: Checkpoint | undefined
  replica: ReplicaState
}

/** A document with an unsent edit, in its state at the start of the push. */
interface Sent {
  row: PushedRow
  /** The number of the edit; a later edit has another one. */
  edit: number
}

interface ReplicaOptions {
  resource: Definition
  collection: RxCollection
  api: Api
  connection: Connection
  rejections: Rejections
  now: () => number
  /** The time-out of requests, in milliseconds. */
  patience: number
}

/**
 * Synchronizes one collection with the server. The device stores two states of each document: the one that
 * the user sees, and the known state of the server.
 *
 *     edit ──▶ unsent ──▶ push ──▶ record: the known state becomes the pushed or the answered one
 *     page, frame ──▶ keep: document and known state become the received one, then the cursor moves
 *
 * 1. A document is unsent if its two states differ by an edit, which always has another `updated_at`. They are
 *    compared at the start and after each edit, without clocks or cursors.
 * 2. The cursor moves past a page or frame when all of it is stored. A failing storage is retried with
 *    pauses; meanwhile the status is not `synced`.
 * 3. For an unsent document, received states are not stored: its push reaches the same state on the server
 *    and is answered with the merge.
 * 4. No received state is stored between the start of a document's push and the record of the answer.
 *    Otherwise a later edit of another device could be taken for an unsent one, and be overwritten.
 * 5. Every step can be interrupted anywhere and restarted from the stored data.
 * 6. An expired cursor means that the server has lost changes, by a restore or a failover, or that it has
 *    purged tombstones that this device did not see. Then the device pulls a snapshot from the start. If
 *    changes were lost, documents that are missing in it, older than their known state, or changed since by
 *    others, become unsent, so the devices restore what only they have. If tombstones were purged, missing
 *    documents were deleted, and are deleted here unless they are unsent. Until the snapshot is complete,
 *    nothing is pushed (known states are outdated) and the status is not `synced`. An interrupted snapshot
 *    starts over.
 */
export class Replica {
  readonly name: string
  /** Whether everything that the server has announced is stored. */
  readonly isComplete$ = new BehaviorSubject(false)
  /** Whether a snapshot is being pulled because the cursor has expired. */
  readonly isStartingOver$ = new BehaviorSubject(false)
  /** The progress of the first pull, while it lasts. */
  readonly progress$ = new BehaviorSubject<Progress | undefined>(undefined)
  /** The number of documents with edits that the server has not confirmed. */
  readonly pending$: Observable<number>
  /** The storage error, while writes fail. */
  readonly fault$ = new BehaviorSubject<ClientError | undefined>(undefined)
  /** Why edits are set aside, while all unsent ones are. */
  readonly stuck$ = new BehaviorSubject<ClientError | undefined>(undefined)
  private readonly options: ReplicaOptions
  private readonly abort = new AbortController()
  private readonly way: { api: Api; path: string; signal: AbortSignal; patience: number }
  private readonly pulls: Pull
  private readonly pushes: Push
  private opened: DocumentStates | undefined
  private readonly opened$ = new Subject<void>()
  private running: Promise<void> = Promise.resolve()
  private watching: Subscription | undefined
  /** Serializes work that reads both states of a document and writes one. */
  private readonly turns = new Turns()
  private readonly edits = new UnsentEdits()
  /** All documents have been compared since the start. */
  private readonly isCompared$ = new BehaviorSubject(false)
  /** The ids of documents that are being pushed. */
  private readonly sending$ = new BehaviorSubject<ReadonlySet<string>>(new Set())
  /** Whether known states are valid: there is a cursor, and it has not expired. */
  private readonly mayPush$ = new BehaviorSubject(false)
  private frames: Frame[] = []
  private gaps = 0
  /** Whether everything before the next frame has been fetched. */
  private isFetched = false
  /** Emits for a frame or a gap. */
  private readonly news$ = new Subject<void>()
  /** The number of steps that wait for a failing storage. */
  private failing = 0
  private readonly retry$ = new Subject<void>()

  constructor(options: ReplicaOptions) {
    this.options = options
    const { resource, api, patience } = options
    this.name = resource.name
    this.pending$ = this.edits.count$
    const path = `/replication/${resource.name}/${resource.version}`
    this.way = { api, path, signal: this.abort.signal, patience }
    this.pulls = new Pull(this.way)
    this.pushes = new Push({ ...this.way, resource, due: () => this.edits.nudge() })
  }

  start(): void {
    if (!this.options.resource.readOnly) this.watchEdits()
    this.running = this.run().catch((error) => {
      if (!this.abort.signal.aborted) throw error
    })
  }

  async stop(): Promise<void> {
    this.abort.abort()
    this.watching?.unsubscribe()
    await this.running
    await this.turns.take(async () => {}) // a self-check may be writing
    if (!this.opened) return
    // Saves pulling the same changes again at the next start.
    await this.opened.keepCursor().catch(() => {})
    await this.opened.close()
  }

  /** Adds a frame without a gap before it. */
  add(documents: readonly WireDocument[], checkpoint: Checkpoint): void {
    if (this.frames.length < MAX_FRAMES) {
      this.frames.push({ documents, checkpoint })
      this.isComplete$.next(false)
      this.news$.next()
    } else this.look()
  }

  /** Pulls, because changes may be missing. */
  look(): void {
    this.gaps++
    this.frames = []
    this.isFetched = false
    this.isComplete$.next(false)
    this.news$.next()
  }

  /** Marks documents that may now differ from their known states. */
  edited(ids: readonly string[]): void {
    this.edits.mark(ids)
  }

  /** Retries failed writes and set-aside edits at once. */
  wake(): void {
    this.retry$.next()
    this.pushes.forgetAside()
    this.edits.nudge()
  }

  /** Resolves when all changes on the server at the time of the call are here, and all edits are on the server. */
  async catchUp(): Promise<void> {
    this.look()
    await firstValueFrom(this.isComplete$.pipe(filter(Boolean)))
    await firstValueFrom(this.pending$.pipe(filter((count) => count === 0)))
  }

  /**
   * Compares all documents with the server's, and repairs what differs.
   *
   * @returns the number of repaired documents
   * @throws ClientError, and errors of the storage
   */
  async check(): Promise<number> {
    const complete = () => this.until(this.isComplete$.pipe(filter(Boolean)))
    await complete()
    return new SelfCheck({
      ...this.options,
      ...this.way,
      states: this.states,
      turns: this.turns,
      pulls: this.pulls,
      isSending: () => this.sending$.value.size > 0,
      complete,
      look: () => this.look(),
      onUnsent: (ids) => this.edited(ids.filter((id) => !this.edits.has(id))),
    }).run()
  }

  /**
   * Counts the documents that differ from their known states, by comparing all of them. During a snapshot
   * all documents count, because any of them may exist only on this device.
   *
   * @throws ClientError `storage_failed` or `storage_full` if the storage cannot be read
   */
  async unsent(): Promise<number> {
    if (this.options.resource.readOnly) return 0
    const isFaulty$ = this.fault$.pipe(filter(Boolean))
    if (!this.opened) await this.until(merge(this.opened$, isFaulty$))
    if (!this.opened) throw this.fault$.value
    const ids: string[] = []
    for await (const page of this.states.pagesOfIds())
      ids.push(...(this.states.isExpired ? page : (await this.states.unsent(page)).map(idOf)))
    if (this.states.isExpired) return ids.length
    // A document may have been between the writes of its two states.
    const again = () => this.states.unsent(ids)
    const rows = await (this.fault$.value ? again() : this.turns.take(again))
    return rows.length
  }

  private async run(): Promise<void> {
    const { collection, resource } = this.options
    this.opened = await this.lasting(() => DocumentStates.open(collection, resource))
    this.mayPush$.next(this.states.cursor !== undefined)
    this.opened$.next()
    const isWritable = !resource.readOnly
    await Promise.all([
      this.bring(),
      ...(isWritable ? [this.compare(), this.eraseAtOnce(), this.push()] : []),
    ])
  }

  private watchEdits(): void {
    this.watching = this.options.collection.storageInstance.changeStream().subscribe((bulk) => {
      if (DocumentStates.isEdit(bulk)) this.edits.mark(bulk.events.map((event) => event.documentId))
    })
  }

  // Push

  /** Finds the documents that were unsent when the app was closed, without relying on clocks. */
  private async compare(): Promise<void> {
    await this.lasting(async () => {
      for await (const ids of this.states.pagesOfIds())
        await this.turns.take(async () => {
          await this.states.repair(ids)
          const unsent = (await this.states.unsent(ids)).map(idOf)
          this.edits.mark(unsent.filter((id) => !this.edits.has(id)))
        })
    })
    this.isCompared$.next(true)
    this.news$.next()
  }

  /** Erases without waiting for the network; at the start, what an earlier run of the app could not. */
  private async eraseAtOnce(): Promise<void> {
    for (let seen = 0; ; ) {
      const edited = this.edits.since(seen)
      seen = this.edits.version
      if (edited.length === 0) await this.until(this.edits.news$)
      else await this.turns.take(() => this.lasting(() => this.erase(edited)))
    }
  }

  /** Erases what this device has besides of documents that were deleted for good on it. */
  private async erase(ids: readonly string[]): Promise<void> {
    const erased = await this.states.eraseKnown(ids)
    await this.options.rejections.drop(this.name, erased)
  }

  private async push(): Promise<void> {
    for (;;) {
      if (this.edits.count$.value === 0) await this.until(this.edits.news$)
      await this.until(this.mayPush$.pipe(filter(Boolean)))
      const { version } = this.edits
      const batch = await this.nextBatch()
      if (batch.sent.length > 0) await this.pushThrough(batch)
      else if (batch.asideCount > 0 && version === this.edits.version)
        await this.whileAside(batch.asideCount)
    }
  }

  private async pushThrough(first: Batch): Promise<void> {
    let batch: Batch | undefined = first
    const attempt = async (token: string) => {
      // A retry sends what is unsent by then.
      const next = batch ?? (await this.nextBatch())
      batch = undefined
      await this.pushOnce(token, next)
    }
    try {
      await this.options.connection.through(attempt, this.abort.signal)
    } catch (error) {
      if (!isExpiry(error)) throw error
      this.mayPush$.next(false)
      this.look()
    }
  }

  /** Waits while all unsent edits are set aside. */
  private async whileAside(count: number): Promise<void> {
    const code = this.pushes.asideCode
    const changes = count === 1 ? 'a change' : `${count} changes`
    const messages: Record<string, string> = {
      [SERVER_ERROR]: `The server failed to process ${changes}.`,
      [QUOTA_EXCEEDED]: `The account is full: ${changes} will be sent once there is room. Delete documents.`,
      [UNKNOWN_FIELD]: `The server is older than this app: ${changes} will be sent once it is updated.`,
    }
    const blocked = `A proxy or firewall between this device and the server blocked ${changes}.`
    this.stuck$.next(new ClientError(code, messages[code] ?? blocked))
    await this.until(this.edits.news$).finally(() => this.stuck$.next(undefined))
  }

  private async pushOnce(token: string, { sent, cursor, replica }: Batch): Promise<void> {
    if (sent.length === 0) return
    try {
      const rows = sent.map(({ row }) => row)
      const pushed = await this.pushes.send(token, rows, { cursor, replica })
      await this.turns.take(() => this.lasting(() => this.record(sent, pushed)))
    } finally {
      this.sending$.next(new Set())
    }
  }

  /** Chooses unsent documents to push. From then on no received states of them are stored. */
  private nextBatch(): Promise<Batch> {
    return this.turns.take(() =>
      this.lasting(async () => {
        const { cursor, replica } = this.states
        if (!this.mayPush$.value) return { sent: [], asideCount: 0, cursor, replica }
        const most = this.pushes.size.current + this.pushes.asideCount
        const edits = this.edits.first(most)
        const rows = await this.states.unsent([...edits.keys()])
        const unsent = rows.map((row): Sent => ({ row, edit: edits.get(idOf(row))! }))
        const ids = new Set(rows.map(idOf))
        for (const [id, edit] of edits) if (!ids.has(id)) this.edits.markSent(id, edit)
        const sent = unsent.filter(({ row }) => !this.pushes.isAside(row))
        this.sending$.next(new Set(sent.map(({ row }) => idOf(row))))
        return { sent, asideCount: unsent.length - sent.length, cursor, replica }
      }),
    )
  }

  /** Records the result of a push. Rejected edits come first, because only they could be lost. */
  private async record(sent: readonly Sent[], pushed: Pushed): Promise<void> {
    await this.keepRefused(pushed, sent)
    const { answered, conflicts, checkpoint } = pushed
    const recorded = await this.states.record(answered, conflicts, checkpoint)
    for (const { row, edit } of sent)
      if (recorded.has(idOf(row))) this.edits.markSent(idOf(row), edit)
    // Documents may have been deleted for good after an edit of them was sent.
    await this.erase(sent.map(({ row }) => idOf(row)).filter((id) => this.edits.has(id)))
  }

  private async keepRefused(pushed: Pushed, sent: readonly Sent[]): Promise<void> {
    const { resource, rejections, now } = this.options
    const rowsById = new Map(sent.map(({ row }) => [idOf(row), row]))
    const rejected_at = new Date(now()).toISOString()
    // A set-aside deletion has no input of the user to show, and what only has to wait needs no answer.
    const isShown = ({ id, code }: Rejection) =>
      !isEarly({ code }) && !rowsById.get(id)!.newDocumentState._deleted
    const shown = [...pushed.rejected, ...pushed.setAside.filter(isShown)]
    const edits = shown.map((refused): RejectedEdit => {
      const { newDocumentState, assumedMasterState } = rowsById.get(refused.id)!
      const previous = assumedMasterState ?? null
      return {
        ...refused,
        resource: resource.name,
        document: newDocumentState,
        previous,
        rejected_at,
      }
    })
    await rejections.passed(resource.name, pushed.answered.map(idOf))
    await rejections.add(edits)
  }

  // Pull

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

  private async fetch(): Promise<void> {
    try {
      await this.fetchPages()
    } catch (error) {
      if (!isExpiry(error)) throw error
      this.mayPush$.next(false)
      this.isStartingOver$.next(true)
      await this.turns.take(async () => this.states.expire())
    }
  }

  /** Fetches all pages, each while the previous one is being stored. */
  private async fetchPages(): Promise<void> {
    const isSnapshot = this.states.isExpired
    for (let next = this.page(this.states.cursor); ; ) {
      const page = await next
      if (!page.isLast) {
        next = this.page(page.checkpoint)
        next.catch(() => {}) // stopped before it is awaited
      }
      await this.keep(page)
      if (!isSnapshot) this.mayPush$.next(true)
      if (!page.isLast) continue
      await this.turns.take(() =>
        this.lasting(() => this.states.complete(page.checkpoint, page.missing)),
      )
      if (isSnapshot) await this.startedOver()
      if (page.gaps !== this.gaps) return
      this.frames = this.frames.slice(page.frames)
      this.isFetched = true
      return
    }
  }

  /** After a snapshot: finds unsent documents, and allows pushes again. */
  private async startedOver(): Promise<void> {
    if (!this.options.resource.readOnly) await this.compare()
    this.mayPush$.next(true)
    this.isStartingOver$.next(false)
  }

  private async keepFrames(): Promise<void> {
    const { frames, gaps } = this
    const documents = new Map(
      frames.flatMap(({ documents }) => documents.map((one) => [one.id, one] as const)),
    )
    this.frames = []
    const { checkpoint } = frames.at(-1)!
    await this.keep({ documents: [...documents.values()], checkpoint }, () => gaps === this.gaps)
  }

  /**
   * Stores documents, and then moves the cursor.
   *
   * @param isWanted called right before; false skips them
   */
  private async keep(
    { documents, checkpoint, changed_since }: PullResponse,
    isWanted: () => boolean = () => true,
  ): Promise<void> {
    const store = () => this.states.keep(documents, checkpoint, changed_since)
    const isSending = () => documents.some(({ id }) => this.sending$.value.has(id))
    for (let isKept = false; !isKept; ) {
      while (isSending()) await this.until(this.sending$.pipe(filter(() => !isSending())))
      isKept = await this.turns.take(async () => {
        if (isSending()) return false
        if (isWanted()) await this.lasting(store)
        return true
      })
    }
  }

  private page(checkpoint: Checkpoint | undefined): Promise<Page> {
    return this.options.connection.through(async (token) => {
      const { gaps, frames } = this
      const counts = { gaps, frames: frames.length }
      const [page, total] = await Promise.all([
        this.pulls.page(token, checkpoint, this.states.replica),
        // A page that has come counts, also where this has not.
        checkpoint || this.isFetched || this.states.isExpired
          ? undefined
          : this.total(token).catch(() => undefined),
      ])
      if (total !== undefined) this.progress$.next({ done: 0, total })
      this.progress$.next(page.isLast ? undefined : this.furtherBy(page.documents))
      return { ...page, ...counts }
    }, this.abort.signal)
  }

  private async total(token: string): Promise<number> {
    const { name, singleton } = this.options.resource
    if (singleton) return 1
    const request = {
      token,
      signal: this.abort.signal,
      isAnswer: isShaped({ fields: { count: 'number' } }),
    }
    return (await this.options.api<{ count: number }>(`/api/${name}/?page_size=1`, request)).count
  }

  private furtherBy(documents: WireDocument[]): Progress | undefined {
    const progress = this.progress$.value
    if (!progress) return undefined
    const done = progress.done + documents.filter(({ _deleted }) => !_deleted).length
    return { done, total: Math.max(done, progress.total) }
  }

  /** Retries a step that only uses the storage until it succeeds. */
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
        await this.until(merge(timer(delayAfter(failures)), this.retry$))
      }
    }
  }

  private until(event$: Observable<unknown>): Promise<void> {
    return until(event$, this.abort.signal)
  }

  private get states(): DocumentStates {
    return this.opened!
  }

  private throwIfStopped(): void {
    if (this.abort.signal.aborted) throw stopped()
  }
}

const isExpiry = (error: unknown) =>
  error instanceof ClientError && error.code === 'checkpoint_expired'

const idOf = ({ newDocumentState }: PushedRow) => newDocumentState.id
