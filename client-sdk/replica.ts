import {
  getAssumedMasterState,
  getChangedDocumentsSince,
  getLastCheckpointDoc,
  type RxCollection,
  writeDocToDocState,
} from 'rxdb'
import { RxReplicationState } from 'rxdb/plugins/replication'
import { BehaviorSubject, filter, firstValueFrom, Subject } from 'rxjs'
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
/** RxDB's own pause before it asks again; ours are in the connection. */
const RETRY_MS = 100

interface Checkpoint {
  id: string
  lwt: number
}

interface Page {
  documents: WireDocument[]
  checkpoint: Checkpoint | undefined
}

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
 * Keeps one collection equal to the server's, through RxDB's replication.
 *
 * Everything that comes from the server goes through the pull handler, the frames too: they wait
 * here until RxDB asks, and are a page that needed no request. So there is one cursor, which RxDB
 * moves as it stores. Its own way for events has a hole: a RESYNC that waits behind an event is
 * dropped (17.6), and the next event moves the cursor past what was to be pulled.
 */
export class Replica {
  readonly name: string
  /** Everything up to where the frames go on is here, and kept. */
  readonly isComplete$ = new BehaviorSubject(false)
  /** While the very first pull lasts. */
  readonly progress$ = new BehaviorSubject<Progress | undefined>(undefined)
  /** There may be another number of unsent edits. */
  readonly changed$ = new Subject<void>()
  private readonly options: ReplicaOptions
  private readonly abort = new AbortController()
  private readonly gate = new Gate()
  private readonly stream$ = new Subject<'RESYNC'>()
  private readonly state: RxReplicationState<PushedDocument, Checkpoint>
  private frames: { seq: number; documents: WireDocument[] }[] = []
  private gaps = 0
  /** Everything has been fetched up to where the frames go on. */
  private isFetched = false
  private isAsked = false

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
    this.state.subs.push(local$.subscribe(() => this.changed$.next()))
  }

  start(): Promise<void> {
    return this.state.start()
  }

  async stop(): Promise<void> {
    this.abort.abort()
    await this.state.cancel()
  }

  /** A frame that continues what is here. */
  add(seq: number, documents: WireDocument[]): void {
    this.frames.push({ seq, documents })
    this.ask()
  }

  /** There may be more than is here: pulls. */
  look(): void {
    this.gaps++
    this.frames = []
    this.isFetched = false
    this.isComplete$.next(false)
    this.ask()
  }

  /** Until all that was on the server when asked is here, and nothing is on its way. */
  async catchUp(): Promise<void> {
    await this.state.startPromise
    this.look()
    await firstValueFrom(this.isComplete$.pipe(filter(Boolean)))
    await this.state.internalReplicationState!.streamQueue.down
    await this.state.internalReplicationState!.streamQueue.up
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

  private ask(): void {
    if (this.isAsked) return
    this.isAsked = true
    this.stream$.next('RESYNC')
  }

  private readonly pull = (checkpoint: Checkpoint | undefined, limit: number) =>
    this.options.connection.through(
      (token) => this.gate.pulling(() => this.page(token, checkpoint, limit)),
      this.abort.signal,
    )

  private async page(token: string, checkpoint: Checkpoint | undefined, limit: number) {
    this.isAsked = false
    if (this.isFetched) return this.fromFrames(checkpoint)
    const { gaps } = this
    if (!checkpoint) this.progress$.next({ done: 0, total: await this.count(token) })
    const { id, lwt } = checkpoint ?? { id: '', lwt: 0 }
    const page = await this.request<Page & { checkpoint: Checkpoint }>(
      `${this.path()}/pull?lwt=${lwt}&id=${id}&limit=${limit}`,
      token,
    )
    const isLast = page.documents.length < limit
    this.progress$.next(isLast ? undefined : this.furtherBy(page.documents))
    if (isLast && gaps === this.gaps) {
      const { lwt } = page.checkpoint
      this.frames = this.frames.filter(({ seq }) => seq > lwt)
      this.isFetched = true
      if (this.frames.length > 0) this.ask()
      void this.completeWhenKept(gaps)
    }
    return page
  }

  /** The last page is still on its way into the storage. */
  private async completeWhenKept(gaps: number): Promise<void> {
    await this.state.internalReplicationState?.streamQueue.down
    if (gaps === this.gaps) this.isComplete$.next(true)
  }

  /** What the frames have brought, each document as it came last. */
  private fromFrames(checkpoint: Checkpoint | undefined): Page {
    const last = this.frames.at(-1)
    if (!last) return { documents: [], checkpoint }
    const documents = new Map(
      this.frames.flatMap(({ documents }) => documents.map((one) => [one.id, one])),
    )
    this.frames = []
    return { documents: [...documents.values()], checkpoint: { id: '', lwt: last.seq } }
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

  private async count(token: string): Promise<number> {
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
