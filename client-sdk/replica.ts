import {
  getAssumedMasterState,
  getChangedDocumentsSince,
  getLastCheckpointDoc,
  type RxCollection,
  type RxReplicationPullStreamItem,
  writeDocToDocState,
} from 'rxdb'
import { RxReplicationState } from 'rxdb/plugins/replication'
import { BehaviorSubject, filter, firstValueFrom, Subject, skipWhile, throttleTime } from 'rxjs'
import type { WireDocument } from '../protocol/replication.ts'
import type { Api } from './api.ts'
import { ClientError } from './client-error.ts'
import type { Connection } from './connection.ts'
import { Gate } from './gate.ts'
import type { PushedDocument, PushedRow, RejectedEdit, Rejections } from './rejections.ts'
import type { Definition } from './resources.ts'
import type { Progress } from './sync-status.ts'

const IDENTIFIER = 'tasktide'
const PULL_LIMIT = 500
const PUSH_LIMIT = 200
const PUSH_RESULT = 'application/vnd.tasktide.push+json'
/** Counting reads the storage, which has enough to do while an edit is on its way. */
const COUNT_MS = 100
/** RxDB's own pause before it asks again; ours are in the connection. */
const RETRY_MS = 100

interface Checkpoint {
  id: string
  lwt: number
}

interface Page {
  documents: WireDocument[]
  checkpoint: Checkpoint
}

type Given = RxReplicationPullStreamItem<PushedDocument, Checkpoint>

interface PushAnswer {
  conflicts: WireDocument[]
  rejected: { id: string; code: string; errors: Record<string, string[]> }[]
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
 * Keeps one collection equal to the server's, through RxDB's replication, which pulls when it is told
 * RESYNC and takes frames as events. It is given one or the other, and nothing else until that is
 * kept: it drops a RESYNC that waits behind an event (17.6), and the next event would move the cursor
 * past what was to be pulled.
 */
export class Replica {
  readonly name: string
  /** Everything up to where the frames go on is here, and kept. */
  readonly isComplete$ = new BehaviorSubject(false)
  /** While the very first pull lasts. */
  readonly progress$ = new BehaviorSubject<Progress | undefined>(undefined)
  /** Edits that the server has not confirmed, as counted a moment ago. */
  readonly pending$ = new BehaviorSubject(0)
  /** There may be another number of them. */
  private readonly changed$ = new Subject<void>()
  private readonly options: ReplicaOptions
  private readonly abort = new AbortController()
  private readonly gate = new Gate()
  private readonly stream$ = new Subject<Given>()
  private readonly state: RxReplicationState<PushedDocument, Checkpoint>
  private frames: { seq: number; documents: WireDocument[] }[] = []
  private gaps = 0
  /** Everything has been fetched up to where the frames go on. */
  private isFetched = false
  /** A frame has come, or a gap. */
  private readonly news$ = new Subject<void>()
  private counting: Promise<void> | undefined

  constructor(options: ReplicaOptions) {
    this.options = options
    const { resource, collection } = options
    this.name = resource.name
    // Made without RxDB's replicateRxCollection, which fakes mouse moves to keep tabs awake.
    this.state = new RxReplicationState<PushedDocument, Checkpoint>(
      IDENTIFIER,
      collection,
      '_deleted',
      { handler: this.pull, batchSize: PULL_LIMIT, stream$: this.stream$ },
      resource.readOnly ? undefined : { handler: this.push, batchSize: PUSH_LIMIT },
      true,
      RETRY_MS,
      false,
      true,
    )
    if (resource.readOnly) return
    const local$ = collection.storageInstance
      .changeStream()
      .pipe(filter(({ context }) => !context.startsWith('replication-')))
    const seldom$ = this.changed$.pipe(
      throttleTime(COUNT_MS, undefined, { leading: false, trailing: true }),
    )
    this.state.subs.push(
      local$.subscribe(() => this.changed$.next()),
      seldom$.subscribe(() => void this.count()),
    )
  }

  async start(): Promise<void> {
    await this.state.start()
    this.bring().catch(() => {}) // stopped
  }

  async stop(): Promise<void> {
    this.abort.abort()
    await this.state.cancel()
  }

  /** A frame that continues what is here. */
  add(seq: number, documents: WireDocument[]): void {
    this.frames.push({ seq, documents })
    this.news$.next()
  }

  /** There may be more than is here: pulls. */
  look(): void {
    this.gaps++
    this.frames = []
    this.isFetched = false
    this.isComplete$.next(false)
    this.news$.next()
  }

  /** Until all that was on the server when asked is here, and nothing is on its way. */
  async catchUp(): Promise<void> {
    await this.state.startPromise
    this.look()
    await firstValueFrom(this.isComplete$.pipe(filter(Boolean)))
    await this.state.internalReplicationState!.streamQueue.down
    await this.state.internalReplicationState!.streamQueue.up
  }

  /** Counts again once more if something changed while it counted. */
  async count(): Promise<void> {
    await this.counting
    this.counting ??= this.unsent()
      .then((count) => this.pending$.next(count))
      .catch(() => {}) // closed meanwhile
      .finally(() => {
        this.counting = undefined
      })
    await this.counting
  }

  /** How many documents differ from what the server is known to have. */
  async unsent(): Promise<number> {
    if (this.options.resource.readOnly) return 0
    await this.state.startPromise
    const state = this.state.internalReplicationState!
    const { forkInstance, conflictHandler } = state.input
    let checkpoint = await getLastCheckpointDoc(state, 'up')
    for (let count = 0; ; ) {
      const changed = await getChangedDocumentsSince(forkInstance, PULL_LIMIT, checkpoint)
      if (changed.documents.length === 0) return count
      checkpoint = changed.checkpoint
      const ids = changed.documents.map(({ id }) => id)
      const assumed = await getAssumedMasterState(state, ids)
      count += changed.documents.filter((document) => {
        const known = assumed[document.id]?.docData
        const current = writeDocToDocState(document, false, false)
        return !known || !conflictHandler.isEqual(known, current, 'unsent')
      }).length
    }
  }

  /** Gives RxDB the frames, or tells it to pull: one after the other, for as long as it runs. */
  private async bring(): Promise<void> {
    const { firstSyncDone } = this.state.internalReplicationState!
    await firstValueFrom(firstSyncDone.down.pipe(filter(Boolean)))
    for (;;) {
      if (this.isFetched && !this.isComplete$.value) this.isComplete$.next(true)
      if (!this.isFetched) await this.give('RESYNC')
      else if (this.frames.length === 0) await firstValueFrom(this.news$)
      else if (this.gate.isPushing) await this.gate.pushed()
      else await this.give(this.fromFrames())
    }
  }

  /** Until RxDB has put it into the storage. */
  private async give(item: Given): Promise<void> {
    const { down } = this.state.internalReplicationState!.events.active
    const isKept = firstValueFrom(
      down.pipe(
        skipWhile((isActive) => !isActive),
        filter((isActive) => !isActive),
      ),
    )
    this.stream$.next(item)
    await isKept
  }

  private readonly pull = (checkpoint: Checkpoint | undefined, limit: number) =>
    this.options.connection.through(
      (token) => this.gate.pulling(() => this.page(token, checkpoint, limit)),
      this.abort.signal,
    )

  private async page(token: string, checkpoint: Checkpoint | undefined, limit: number) {
    const { gaps } = this
    const { id, lwt } = checkpoint ?? { id: '', lwt: 0 }
    const isFirst = !checkpoint && !this.state.internalReplicationState!.firstSyncDone.down.value
    const [page, total] = await Promise.all([
      this.request<Page>(`${this.path()}/pull?lwt=${lwt}&id=${id}&limit=${limit}`, token),
      isFirst ? this.total(token) : undefined,
    ])
    if (total !== undefined) this.progress$.next({ done: 0, total })
    const isLast = page.documents.length < limit
    this.progress$.next(isLast ? undefined : this.furtherBy(page.documents))
    if (isLast && gaps === this.gaps) {
      const { lwt } = page.checkpoint
      this.frames = this.frames.filter(({ seq }) => seq > lwt)
      this.isFetched = true
    }
    return page
  }

  /** What the frames have brought, each document as it came last. */
  private fromFrames(): Given {
    const { seq } = this.frames.at(-1)!
    const documents = new Map(
      this.frames.flatMap(({ documents }) => documents.map((one) => [one.id, one])),
    )
    this.frames = []
    return { documents: [...documents.values()], checkpoint: { id: '', lwt: seq } }
  }

  private readonly push = (rows: unknown) =>
    this.options.connection.through(
      (token) =>
        this.gate.pushing(
          () => this.send(token, rows as PushedRow[]),
          () => this.recorded(),
        ),
      this.abort.signal,
    )

  private async recorded(): Promise<void> {
    await this.state.internalReplicationState!.streamQueue.up
    this.changed$.next()
  }

  /** A batch that is refused as a whole is halved, until the row at fault is found: it alone stays behind. */
  private async send(token: string, rows: PushedRow[]): Promise<WireDocument[]> {
    try {
      const answer = await this.request<PushAnswer>(`${this.path()}/push`, token, rows)
      await this.keepRejected(rows, answer.rejected)
      return answer.conflicts
    } catch (error) {
      const isAtFault = error instanceof ClientError && [400, 413].includes(error.status ?? 0)
      if (!isAtFault) throw error
      if (rows.length > 1) {
        const half = Math.ceil(rows.length / 2)
        const first = await this.send(token, rows.slice(0, half))
        return [...first, ...(await this.send(token, rows.slice(half)))]
      }
      const [{ newDocumentState, assumedMasterState }] = rows as [PushedRow]
      const { code, errors } = error
      await this.keepRejected(rows, [{ id: newDocumentState.id, code, errors }])
      return [(assumedMasterState ?? { ...newDocumentState, _deleted: true }) as WireDocument]
    }
  }

  private async keepRejected(rows: PushedRow[], rejected: PushAnswer['rejected']): Promise<void> {
    const { resource, rejections, now } = this.options
    const rowsById = new Map(rows.map((row) => [row.newDocumentState.id, row]))
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
