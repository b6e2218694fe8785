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
import { Push, type Pushed } from './push.ts'
import { type PushedRow, type RejectedEdit, type Rejections, SERVER_ERROR } from './rejections.ts'
import type { Progress } from './sync-status.ts'
import { Turns } from './turns.ts'
import { UnsentEdits } from './unsent-edits.ts'

/** More frames than this that nobody could keep yet are dropped, and pulled instead. */
const MAX_FRAMES = 100

interface Frame {
  documents: readonly WireDocument[]
  /** Where whoever has applied it has come to. */
  checkpoint: Checkpoint
}

interface Page extends Pulled {
  /** How many gaps there had been when it was asked for. */
  gaps: number
  /** How many frames had come and not been kept by then: if it is the last page, it has what they have. */
  frames: number
}

/** What is to be pushed at once. */
interface Batch {
  sent: Sent[]
  asideCount: number
  /** Of what they assume to be stored. */
  cursor: Checkpoint | undefined
  replica: ReplicaState
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
  /** How long a request may wait while nothing moves, in milliseconds. */
  patience: number
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
 * 6. A cursor that has expired tells that the server was restored to an older point. Then a snapshot is
 *    taken, from the start: what it has older than it was known to be, or has not, is unsent over what it
 *    has. So the devices bring back what only they have. Until it is complete, nothing is pushed (known
 *    states are not the server's) and nothing called synced; cut off, it is begun anew.
 */
export class Replica {
  readonly name: string
  /** Everything that the server has told of is here, and kept. */
  readonly isComplete$ = new BehaviorSubject(false)
  /** A snapshot is being taken because the cursor has expired. */
  readonly isStartingOver$ = new BehaviorSubject(false)
  /** While the very first pull lasts. */
  readonly progress$ = new BehaviorSubject<Progress | undefined>(undefined)
  /** Documents with edits that the server has not confirmed. */
  readonly pending$: Observable<number>
  /** Why the storage does not keep what it should, while it does not. */
  readonly fault$ = new BehaviorSubject<ClientError | undefined>(undefined)
  /** Why edits stay here though others pass, while all that are unsent do. */
  readonly stuck$ = new BehaviorSubject<ClientError | undefined>(undefined)
  private readonly options: ReplicaOptions
  private readonly abort = new AbortController()
  private readonly pulls: Pull
  private readonly pushes: Push
  private opened: DocumentStates | undefined
  private readonly opened$ = new Subject<void>()
  private running: Promise<void> = Promise.resolve()
  private watching: Subscription | undefined
  /** One after the other: whatever reads both states of a document and writes one. */
  private readonly turns = new Turns()
  private readonly edits = new UnsentEdits()
  /** All documents have been compared since the start. */
  private readonly isCompared$ = new BehaviorSubject(false)
  /** The ids that a push is under way for. */
  private readonly sending$ = new BehaviorSubject<ReadonlySet<string>>(new Set())
  /** Whether known states are the server's: there is a cursor, and it has not expired. */
  private readonly mayPush$ = new BehaviorSubject(false)
  private frames: Frame[] = []
  private gaps = 0
  /** All has been fetched up to where the frames go on. */
  private isFetched = false
  /** A frame has come, or a gap. */
  private readonly news$ = new Subject<void>()
  /** Steps that the storage does not let pass. */
  private failing = 0
  private readonly retry$ = new Subject<void>()

  constructor(options: ReplicaOptions) {
    this.options = options
    const { resource, api, patience } = options
    this.name = resource.name
    this.pending$ = this.edits.count$
    const path = `/replication/${resource.name}/${resource.version}`
    const way = { api, path, signal: this.abort.signal, patience }
    this.pulls = new Pull(way)
    this.pushes = new Push({ ...way, due: () => this.edits.nudge() })
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
    if (!this.opened) return
    // Else what is behind it would come again, and change nothing.
    await this.opened.keepCursor().catch(() => {})
    await this.opened.close()
  }

  /** A frame that continues what is here. */
  add(documents: readonly WireDocument[], checkpoint: Checkpoint): void {
    if (this.frames.length < MAX_FRAMES) {
      this.frames.push({ documents, checkpoint })
      this.isComplete$.next(false)
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

  /** These may differ now from what the server is known to have. */
  edited(ids: readonly string[]): void {
    this.edits.mark(ids)
  }

  /** Tries at once what the storage has refused, or something on the way. */
  wake(): void {
    this.retry$.next()
    this.pushes.forgetAside()
    this.edits.nudge()
  }

  /** Until all that was on the server when asked is here, and all that is here is on the server. */
  async catchUp(): Promise<void> {
    this.look()
    await firstValueFrom(this.isComplete$.pipe(filter(Boolean)))
    await firstValueFrom(this.pending$.pipe(filter((count) => count === 0)))
  }

  /**
   * How many documents differ from what the server is known to have: all are compared. While a snapshot
   * is being taken, any of them may be on this device alone.
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
    // What was being kept just then may have been between its two states.
    const again = () => this.states.unsent(ids)
    const rows = await (this.fault$.value ? again() : this.turns.take(again))
    return rows.length
  }

  private async run(): Promise<void> {
    const { collection, resource } = this.options
    this.opened = await this.lasting(() => DocumentStates.open(collection, resource.readOnly))
    this.mayPush$.next(this.states.cursor !== undefined)
    this.opened$.next()
    const isWritable = !resource.readOnly
    await Promise.all([this.bring(), ...(isWritable ? [this.compare(), this.push()] : [])])
  }

  private watchEdits(): void {
    this.watching = this.options.collection.storageInstance.changeStream().subscribe((bulk) => {
      if (DocumentStates.isEdit(bulk)) this.edits.mark(bulk.events.map((event) => event.documentId))
    })
  }

  // Up

  /** Finds what was left unsent when the app ended, whatever the clocks said then. */
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
      // Another attempt takes what is unsent by then.
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

  /** As long as all that is unsent is set aside, until some of it may pass. */
  private async whileAside(count: number): Promise<void> {
    const code = this.pushes.asideCode
    const edits = count === 1 ? 'an edit' : `${count} edits`
    const message =
      code === SERVER_ERROR
        ? `The server fails on ${edits}.`
        : `Something on the way to the server refuses ${edits}.`
    this.stuck$.next(new ClientError(code, message))
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

  /** Takes some of what is unsent; from then on nothing is kept of these documents. */
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

  /** What came of a push, beginning with what a person would miss. */
  private async record(sent: readonly Sent[], pushed: Pushed): Promise<void> {
    await this.keepRefused(pushed, sent)
    const { answered, conflicts, checkpoint } = pushed
    const recorded = await this.states.record(answered, conflicts, checkpoint)
    for (const { row, edit } of sent)
      if (recorded.has(idOf(row))) this.edits.markSent(idOf(row), edit)
  }

  private async keepRefused(pushed: Pushed, sent: readonly Sent[]): Promise<void> {
    const { resource, rejections, now } = this.options
    const rowsById = new Map(sent.map(({ row }) => [idOf(row), row]))
    const rejected_at = new Date(now()).toISOString()
    // Of a deletion that is set aside, nothing that was typed is at stake.
    const isTyped = ({ id }: { id: string }) => !rowsById.get(id)!.newDocumentState._deleted
    const shown = [...pushed.rejected, ...pushed.setAside.filter(isTyped)]
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

  /** Page after page, each asked for while the one before is being kept. */
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
      await this.turns.take(() => this.lasting(() => this.states.complete(page.checkpoint)))
      if (isSnapshot) await this.startedOver()
      if (page.gaps !== this.gaps) return
      this.frames = this.frames.slice(page.frames)
      this.isFetched = true
      return
    }
  }

  /** Finds what is unsent over a snapshot, and sends it. */
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
   * Puts documents into the storage, and moves the cursor when all are there.
   *
   * @param isWanted asked when it is their turn
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
