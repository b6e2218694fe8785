import type { RxCollection, RxDatabase } from 'rxdb'
import {
  BehaviorSubject,
  distinctUntilChanged,
  filter,
  firstValueFrom,
  interval,
  map,
  Subscription,
  startWith,
  throttleTime,
} from 'rxjs'
import type { Collections } from './local/collections.ts'
import { openDatabase } from './local/database.ts'
import type { ResourceName } from './local/documents.ts'
import { resources } from './local/resources.ts'
import type { Storage } from './local/storage.ts'
import type { Api } from './runtime/api.ts'
import type { Clock } from './runtime/clock.ts'
import { uuidv7 } from './runtime/uuid.ts'
import { Connection } from './session/connection.ts'
import type { Session } from './session/session.ts'
import type { User } from './session/token-store.ts'
import { unsentInClosed } from './sync/closed-collections.ts'
import { Rejections } from './sync/rejections.ts'
import { Replication } from './sync/replication.ts'
import type { SyncState } from './sync/sync-status.ts'
import { Writes } from './sync/writes.ts'
import { Leader, type LeaderMessage } from './tabs/leader.ts'
import { Tabs } from './tabs/tabs.ts'
import { overtaken, takenOver } from './tabs/takeover.ts'

/** Messages between the tabs of one user. The leader responds for all. */
type Message =
  | LeaderMessage
  | { kind: 'state'; state: SyncState; offset: number }
  | { kind: 'hello'; open: readonly string[] }
  | { kind: 'greeting'; open: readonly string[] }
  | Paused
  | { kind: 'wake' }
  | { kind: 'wrote'; collection: string; ids: readonly string[] }
  | { kind: 'await'; nonce: string }
  | { kind: 'in_sync'; nonce: string }

interface Paused {
  kind: 'pause'
  isPaused: boolean
  /** How often the user had paused or resumed then, as far as the sender knows. Earlier releases do not say. */
  count?: number
}

interface LocalCopyOptions {
  storage: Storage
  /** Which are open. */
  resources: readonly ResourceName[]
  name: string
  multiInstance: boolean
  api: Api
  url: string
  session: Session
  now: () => number
  clock: Clock
  pollInterval: number
  patience: number
}

const REMEMBER_MS = 10_000
const ASK_AGAIN_MS = 500

/** The name of a user's database on this device. */
export const databaseName = (name: string, { id }: Pick<User, 'id'>) => `${name}-${id}`

/** One user's local copy and its sync, which runs in this tab or in another. */
export class LocalCopy {
  readonly user: User
  readonly database: RxDatabase<Collections>
  /** If a newer release in another tab has closed them, they throw `outdated_client`. */
  readonly collections: Collections
  readonly rejections: Rejections
  readonly connection: Connection
  readonly state$: BehaviorSubject<SyncState>
  readonly isPaused$: BehaviorSubject<boolean>
  readonly api: Api
  /** Writes of this tab count as unsent at once, before the leader counts them. */
  readonly writes = new Writes((collection, ids) => this.wrote(collection, ids))
  private readonly options: LocalCopyOptions
  private readonly tabs: Tabs<Message>
  private readonly leader: Leader
  private readonly replication$ = new BehaviorSubject<Replication | undefined>(undefined)
  private readonly subscription = new Subscription()
  /** The tabs that wait for a message when everything is in sync. */
  private readonly answering = new Set<string>()
  /** Serializes starting and stopping. */
  private queue: Promise<void> = Promise.resolve()
  private isOver = false
  /** How often the user has paused or resumed: what another tab says may be older than what was done here. */
  private pauses: number
  /** Serializes storing the paused state. */
  private keeping: Promise<void> = Promise.resolve()

  static async open(user: User, options: LocalCopyOptions): Promise<LocalCopy> {
    const name = databaseName(options.name, user)
    const database = await openDatabase({ ...options, name, now: () => options.clock.now() })
    try {
      const synced = await database.getLocal<{ at: string }>('last_synced')
      const paused = await database.getLocal<{ isPaused: boolean; count?: number }>('paused')
      return new LocalCopy(user, database, options, {
        last_synced_at: synced?.get('at') ?? null,
        isPaused: paused?.get('isPaused') ?? false,
        pauses: paused?.get('count') ?? 0,
      })
    } catch (error) {
      await database.close()
      throw error
    }
  }

  private constructor(
    user: User,
    database: RxDatabase<Collections>,
    options: LocalCopyOptions,
    kept: { last_synced_at: string | null; isPaused: boolean; pauses: number },
  ) {
    this.user = user
    this.database = database
    this.collections = { ...database.collections }
    this.options = options
    this.api = options.api
    this.rejections = new Rejections(database as unknown as RxDatabase)
    this.connection = new Connection(options.session, user.id)
    this.isPaused$ = this.connection.isPaused$
    this.isPaused$.next(kept.isPaused)
    this.pauses = kept.pauses
    this.state$ = new BehaviorSubject<SyncState>({
      status: 'connecting',
      pending: 0,
      last_synced_at: kept.last_synced_at,
      progress: null,
      error: null,
      live_refused: null,
    })
    this.tabs = new Tabs(`tasktide ${database.name}`, options.multiInstance)
    this.subscription.add(this.tabs.message$.subscribe((message) => this.hear(message)))
    this.subscription.add(
      this.state$
        .pipe(
          map((state) => state.last_synced_at),
          distinctUntilChanged(),
          throttleTime(REMEMBER_MS, undefined, { leading: true, trailing: true }),
        )
        .subscribe(() => void this.remember()),
    )
    for (const collection of Object.values<RxCollection>(this.collections))
      if (!resources[collection.name as ResourceName].readOnly) this.writes.watch(collection)
    this.subscription.add(
      takenOver(database as unknown as RxDatabase).subscribe(() => void this.giveUp()),
    )
    this.tabs.tell({ kind: 'hello', open: this.options.resources })
    this.leader = new Leader(this.tabs as Tabs<LeaderMessage>)
    this.subscription.add(
      this.leader.isLeader$.pipe(distinctUntilChanged()).subscribe((isLeader) => {
        this.queue = this.queue
          .then(() => (isLeader ? this.lead() : this.follow()))
          .catch(() => this.state$.next({ ...this.state$.value, status: 'error' }))
      }),
    )
  }

  /** Resolves when all edits are sent and everything that the server had at the call is here. */
  async inSync(): Promise<void> {
    const nonce = uuidv7()
    const answered = firstValueFrom(
      this.tabs.message$.pipe(
        filter((message) => message.kind === 'in_sync' && message.nonce === nonce),
      ),
    )
    // The leader may change in the meantime.
    const asking = interval(ASK_AGAIN_MS)
      .pipe(startWith(0))
      .subscribe(() => this.replication$.value || this.tabs.tell({ kind: 'await', nonce }))
    const here = firstValueFrom(this.replication$.pipe(filter(Boolean))).then((one) => one.inSync())
    try {
      await Promise.race([answered, here])
      await firstValueFrom(this.state$.pipe(filter(({ status }) => status === 'synced')))
    } finally {
      asking.unsubscribe()
    }
  }

  /** The exact number of unsent edits. This tab becomes the leader to count them. */
  async unsent(): Promise<number> {
    const replication = await this.asLeader()
    return (await replication.unsent()) + (await unsentInClosed(this.database))
  }

  /** Compares all documents with the server's. This tab becomes the leader. Returns the number of repairs. */
  async verify(): Promise<number> {
    return (await this.asLeader()).verify()
  }

  /** Resolves when it is stored. */
  async pause(isPaused: boolean): Promise<void> {
    const isNew = isPaused !== this.isPaused$.value
    if (isNew) this.pauses++
    this.isPaused$.next(isPaused)
    this.tellPaused()
    if (!isPaused) this.wake()
    if (!isNew) return this.keeping
    const keep = () =>
      this.database.upsertLocal('paused', { isPaused: this.isPaused$.value, count: this.pauses })
    const kept = this.keeping.then(keep)
    this.keeping = kept.then(
      () => {},
      () => {}, // the caller gets the error
    )
    await kept
  }

  wake(): void {
    this.replication$.value?.wake()
    this.tabs.tell({ kind: 'wake' })
  }

  async stop(): Promise<void> {
    this.leader.close()
    await this.queue
    this.subscription.unsubscribe()
    await this.keeping
    await this.remember()
    this.tabs.close()
    this.connection.close()
  }

  private async asLeader(): Promise<Replication> {
    if (this.isOver) throw overtaken()
    this.leader.lead()
    return firstValueFrom(this.replication$.pipe(filter(Boolean)))
  }

  private async lead(): Promise<void> {
    const replication = new Replication({
      ...this.options,
      database: this.database,
      rejections: this.rejections,
      connection: this.connection,
      lastSyncedAt: this.state$.value.last_synced_at,
    })
    replication.state$.subscribe((state) => {
      this.state$.next(state)
      this.tellState()
    })
    replication.start()
    this.replication$.next(replication)
  }

  private async follow(): Promise<void> {
    const replication = this.replication$.value
    this.replication$.next(undefined)
    replication?.state$.complete()
    await replication?.stop()
  }

  private hear(message: Message): void {
    if (this.isOver) return
    const replication = this.replication$.value
    if (message.kind === 'pause') this.hearPaused(message)
    if (message.kind === 'state' && !replication) {
      this.state$.next(message.state)
      this.options.clock.offset = message.offset
    }
    if ('open' in message && message.open.some((name) => !(name in this.collections)))
      void this.giveUp()
    if (message.kind === 'hello') this.greet()
    if (message.kind === 'wake') replication?.wake()
    if (message.kind === 'wrote') replication?.edited(message.collection, message.ids)
    if (message.kind === 'await') this.answer(message.nonce)
  }

  private wrote(collection: string, ids: readonly string[]): void {
    const state = this.state$.value
    const status = state.status === 'synced' ? 'syncing' : state.status
    if (state.pending === 0) this.state$.next({ ...state, status, pending: 1 })
    const replication = this.replication$.value
    if (replication) replication.edited(collection, ids)
    else this.tabs.tell({ kind: 'wrote', collection, ids })
  }

  /** A tab with a newer release of the app has taken over the documents, or has collections that this one lacks. */
  private async giveUp(): Promise<void> {
    if (this.isOver) return
    this.isOver = true
    this.leader.close()
    await this.queue
    this.state$.next({ ...this.state$.value, status: 'outdated' })
  }

  private answer(nonce: string): void {
    const replication = this.replication$.value
    if (!replication || this.answering.has(nonce)) return
    this.answering.add(nonce)
    replication
      .inSync()
      .then(() => this.tabs.tell({ kind: 'in_sync', nonce }))
      .catch(() => {}) // another tab has taken over
      .finally(() => this.answering.delete(nonce))
  }

  private greet(): void {
    this.tabs.tell({ kind: 'greeting', open: this.options.resources })
    if (this.replication$.value) this.tellState()
    this.tellPaused()
  }

  private tellPaused(): void {
    this.tabs.tell({ kind: 'pause', isPaused: this.isPaused$.value, count: this.pauses })
  }

  private hearPaused({ isPaused, count = this.pauses + 1 }: Paused): void {
    // If both tabs were used at once, all agree on the pause.
    if (count < this.pauses || (count === this.pauses && !isPaused)) return
    this.pauses = count
    this.isPaused$.next(isPaused)
  }

  private tellState(): void {
    this.tabs.tell({
      kind: 'state',
      state: this.state$.value,
      offset: this.options.clock.offset,
    })
  }

  private async remember(): Promise<void> {
    const at = this.state$.value.last_synced_at
    if (at !== null) await this.database.upsertLocal('last_synced', { at }).catch(() => {}) // closed
  }
}
