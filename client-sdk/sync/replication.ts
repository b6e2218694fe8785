import { deepEqual, type RxCollection, type RxDatabase } from 'rxdb'
import {
  auditTime,
  BehaviorSubject,
  combineLatest,
  distinctUntilChanged,
  map,
  of,
  Subscription,
  startWith,
  switchMap,
  timer,
} from 'rxjs'
import { follow } from '../../protocol/follow.ts'
import type { Frame, Ready } from '../../protocol/live.ts'
import type { Checkpoint, WireDocument } from '../../protocol/replication.ts'
import type { Collections } from '../local/collections.ts'
import type { ResourceName } from '../local/documents.ts'
import { resources } from '../local/resources.ts'
import type { Api } from '../runtime/api.ts'
import type { ClientError } from '../runtime/client-error.ts'
import { isOnline, onWake } from '../runtime/environment.ts'
import type { Connection } from '../session/connection.ts'
import { RENEW_AHEAD_MS, type Session } from '../session/session.ts'
import { Live } from './live.ts'
import type { Rejections } from './rejections.ts'
import { Replica } from './replica.ts'
import { SelfChecks } from './self-checks.ts'
import { type Progress, type SyncState, statusOf } from './sync-status.ts'

/** A shorter sync is not shown in the status: most changes arrive in the `synced` state. */
const BRIEF_MS = 1_000

interface ReplicationOptions {
  database: RxDatabase<Collections>
  rejections: Rejections
  api: Api
  url: string
  session: Session
  connection: Connection
  now: () => number
  patience: number
  /** The interval of pulls without a live connection, in milliseconds. */
  pollInterval: number
  lastSyncedAt: string | null
}

/** Synchronizes a user's documents with the server. Runs in the leading tab only. */
export class Replication {
  readonly state$: BehaviorSubject<SyncState>
  private readonly replicas: Replica[]
  private readonly options: ReplicationOptions
  private readonly live: Live
  private readonly selfChecks: SelfChecks
  private readonly liveRefusal$ = new BehaviorSubject<SyncState['live_refused']>(null)
  private readonly subscription = new Subscription()
  /** The position after the last frame, as a number and as a checkpoint. */
  private cursor: number | undefined
  private checkpoint: Checkpoint | undefined
  /** The latest invalid response. */
  private refusal: ClientError | undefined
  private renewal: ReturnType<typeof setTimeout> | undefined

  constructor(options: ReplicationOptions) {
    this.options = options
    const { database, api, url, connection, rejections, now, patience, lastSyncedAt } = options
    this.replicas = Object.values<RxCollection>(database.collections).map((collection) => {
      const resource = resources[collection.name as ResourceName]
      return new Replica({ resource, collection, api, connection, rejections, now, patience })
    })
    this.selfChecks = new SelfChecks({ database, replicas: this.replicas, connection, now })
    this.live = new Live({
      url,
      token: (refused) => connection.token(refused),
      connected: () => {
        this.liveRefusal$.next(null)
        connection.wake()
      },
      refused: ({ code, detail }) => this.liveRefusal$.next({ code, message: detail }),
      ready: (head) => this.ready(head),
      frame: (frame) => this.follow(frame),
      disconnected: () => this.look(),
    })
    this.state$ = new BehaviorSubject<SyncState>({
      status: 'connecting',
      pending: 0,
      last_synced_at: lastSyncedAt,
      progress: null,
      error: null,
      live_refused: null,
    })
  }

  start(): void {
    const { connection, session, pollInterval } = this.options
    this.subscription.add(this.watch())
    this.subscription.add(
      connection.isOpen$.subscribe((isOpen) => (isOpen ? this.live.open() : this.live.close())),
    )
    this.subscription.add(session.kept$.subscribe(() => this.renewAhead()))
    this.subscription.add(onWake(() => this.wake()))
    const poll = setInterval(() => this.live.isConnected || this.look(), pollInterval)
    this.subscription.add(() => clearInterval(poll))
    for (const replica of this.replicas) replica.start()
    this.selfChecks.start()
  }

  async stop(): Promise<void> {
    this.subscription.unsubscribe()
    clearTimeout(this.renewal)
    this.live.close()
    this.selfChecks.stop()
    await Promise.all(this.replicas.map((replica) => replica.stop()))
  }

  /** Retries everything at once. */
  wake(): void {
    if (!isOnline()) this.options.connection.contact$.next('lost')
    this.options.connection.wake()
    for (const replica of this.replicas) replica.wake()
    this.live.retry()
    this.look()
  }

  /** Resolves when all edits are on the server, and all changes on the server at the time of the call are here. */
  async inSync(): Promise<void> {
    await Promise.all(this.replicas.map((replica) => replica.catchUp()))
  }

  /** Compares all documents with the server's; see `SelfChecks`. */
  verify(): Promise<number> {
    return this.selfChecks.run()
  }

  /** Called with documents that any tab has written, or has tried to write. */
  edited(collection: string, ids: readonly string[]): void {
    this.replicas.find(({ name }) => name === collection)?.edited(ids)
  }

  async unsent(): Promise<number> {
    const counts = await Promise.all(this.replicas.map((replica) => replica.unsent()))
    return counts.reduce((sum, count) => sum + count, 0)
  }

  private look(): void {
    for (const replica of this.replicas) replica.look()
  }

  /** Compares checkpoints, because the feed of a restored database may have the same number. */
  private ready({ seq, checkpoint }: Ready): void {
    if (!deepEqual(this.checkpoint, checkpoint)) this.look()
    this.cursor = seq
    this.checkpoint = checkpoint
  }

  private follow(frame: Frame): void {
    const { cursor, isGap } = follow(this.cursor, frame)
    const isNew = cursor !== this.cursor
    this.cursor = cursor
    if (isNew) this.checkpoint = frame.checkpoint
    if (isGap) this.look()
    if (isGap || !isNew) return
    for (const replica of this.replicas) {
      const documents = frame.documents?.[replica.name] as WireDocument[] | undefined
      if (documents) replica.add(documents, frame.checkpoint)
    }
  }

  private watch(): Subscription {
    const { connection, session } = this.options
    const isComplete$ = combineLatest(this.replicas.map(({ isComplete$ }) => isComplete$)).pipe(
      map((all) => all.every(Boolean)),
      distinctUntilChanged(),
    )
    const isStartingOver$ = combineLatest(
      this.replicas.map(({ isStartingOver$ }) => isStartingOver$),
    ).pipe(map((all) => all.some(Boolean)))
    const isBehind$ = combineLatest([isComplete$, isStartingOver$]).pipe(
      switchMap(([isComplete, isStartingOver]) =>
        isComplete || isStartingOver
          ? of(!isComplete)
          : timer(BRIEF_MS).pipe(
              map(() => true),
              startWith(false),
            ),
      ),
    )
    const progress$ = combineLatest(this.replicas.map(({ progress$ }) => progress$))
    const pending$ = combineLatest(this.replicas.map(({ pending$ }) => pending$))
    const first = (faults: (ClientError | undefined)[]) => faults.find(Boolean)
    const fault$ = combineLatest(this.replicas.map(({ fault$ }) => fault$)).pipe(map(first))
    const stuck$ = combineLatest(this.replicas.map(({ stuck$ }) => stuck$)).pipe(map(first))
    const watching = new Subscription()
    watching.add(
      connection.error$.subscribe((error) => {
        this.refusal = error
      }),
    )
    const situation$ = combineLatest({
      isSignedIn: session.kept$.pipe(
        map((kept) => kept?.user.id === connection.user && !kept.ended),
      ),
      isOutdated: connection.isOutdated$,
      isPaused: connection.isPaused$,
      contact: connection.contact$,
      fault: fault$,
      stuck: stuck$,
      isComplete: isComplete$,
      isBehind: isBehind$,
      pending: pending$.pipe(map((counts) => counts.reduce((sum, count) => sum + count, 0))),
    })
    watching.add(
      combineLatest([situation$, progress$, this.liveRefusal$])
        // Not debounceTime, which reads the clock and waits too long if that is set back.
        .pipe(auditTime(0))
        .subscribe(([situation, progress, live_refused]) => {
          const { status: before, last_synced_at } = this.state$.value
          const status = statusOf(situation, before)
          const { now } = this.options
          this.state$.next({
            status,
            pending: situation.pending,
            last_synced_at:
              status === 'synced' && situation.isComplete
                ? new Date(now()).toISOString()
                : last_synced_at,
            progress: sum(progress),
            error:
              status === 'error'
                ? described(situation.fault ?? situation.stuck ?? this.refusal)
                : null,
            live_refused,
          })
        }),
    )
    return watching
  }

  /** Refreshes the token before it expires, also for the live connection, which does not ask for one while open. */
  private renewAhead(): void {
    clearTimeout(this.renewal)
    const { connection, session, now } = this.options
    const kept = session.kept$.value
    if (!kept || kept.ended) return
    this.live.renew(kept.access)
    const due = kept.expires_at - RENEW_AHEAD_MS - now()
    if (due > 0) this.renewal = setTimeout(() => connection.token().catch(() => {}), due + 100)
  }
}

function described(error: ClientError | undefined): SyncState['error'] {
  return error ? { code: error.code, message: error.message } : null
}

function sum(parts: readonly (Progress | undefined)[]): Progress | null {
  const running = parts.filter((part) => part !== undefined)
  if (running.length === 0) return null
  return {
    done: running.reduce((sum, { done }) => sum + done, 0),
    total: running.reduce((sum, { total }) => sum + total, 0),
  }
}
