import type { Client } from '../../../client-sdk/client.ts'
import type { RejectedRow } from '../../../client-sdk/sync/sync.ts'
import type { SyncState } from '../../../client-sdk/sync/sync-status.ts'
import type { Ledger } from '../ledger.ts'
import type { Network } from '../network.ts'
import type { Timeline } from '../timeline.ts'
import type { Accounts } from './accounts.ts'
import type { OpenSdk } from './bundle.ts'
import { Channels } from './channels.ts'
import { Disk, type Tab } from './disk.ts'
import type { Gateway } from './gateway.ts'
import { createFetch, type Line } from './http.ts'
import { Locks } from './locks.ts'
import { keyValuePhone, type Phone, phoneStorage, sqlitePhone } from './phone-storage.ts'
import { Realm } from './realm.ts'
import { Socket } from './sockets.ts'
import { Watch } from './watch.ts'

export const APP = 'app'
const POLL_MS = 4_000
const LOOK_MS = 700
/** On a slow connection some requests take longer than this. */
const PATIENCE_MS = 4_000
const HOUR_MS = 3_600_000

const PHONES = { 'key-value': keyValuePhone, SQLite: sqlitePhone }

export interface DeviceDependencies {
  timeline: Timeline
  network: Network
  ledger: Ledger
  accounts: Accounts
  gateway: Gateway
  openSdk: OpenSdk
  /** The user who owns the device. Others sign in on it sometimes. */
  owner: string
  /** Whether it is a browser, in which several tabs may be open. */
  hasTabs: boolean
  /** Its clock may be wrong, but never jumps. */
  hasGoodClock: boolean
  /** The storage for phones, if the device is one. */
  storage: 'key-value' | 'SQLite' | undefined
  /** Its connection to the server, if that is slow. */
  line: Line | undefined
}

/**
 * A device that runs the real SDK: a disk and a clock, which survive restarts, and its open tabs, or the
 * process of an app. It can be killed at any step, and then restarts from the disk.
 */
export class SdkDevice {
  readonly name: string
  readonly owner: string
  readonly disk: Disk
  readonly watch: Watch
  readonly tabs: AppTab[] = []
  readonly hasTabs: boolean
  online = true
  /** The error of its clock in milliseconds. */
  skew: number
  readonly dependencies: DeviceDependencies
  readonly locks = new Locks()
  readonly channels: Channels
  readonly phone: Phone | undefined
  private opened = 0

  constructor(name: string, dependencies: DeviceDependencies) {
    const { timeline, ledger, owner, hasTabs, storage } = dependencies
    this.name = name
    this.owner = owner
    this.hasTabs = hasTabs
    this.dependencies = dependencies
    this.watch = new Watch(this, timeline, ledger)
    this.phone = storage && PHONES[storage]()
    this.disk = new Disk(timeline, name, this.watch, this.phone)
    this.channels = new Channels(timeline, hasTabs)
    this.skew = this.someSkew()
    this.lookAgain()
  }

  clock(): number {
    return Date.parse(this.dependencies.timeline.clock(this.skew))
  }

  /** Opens the app, in another tab if there are any. */
  open(): void {
    if (this.tabs.length === 0) this.watch.started()
    const tab = new AppTab(this, `${this.name}.${++this.opened}`)
    this.tabs.push(tab)
    void tab.start()
  }

  /** A running tab that has opened the database. */
  someTab(): AppTab | undefined {
    const ready = this.tabs.filter(({ client }) => client)
    return ready.length > 0 ? this.dependencies.timeline.chance.one(ready) : undefined
  }

  /** Kills all tabs at once. The clock may differ after the restart. */
  kill(): void {
    this.dependencies.timeline.tell(this.name, 'IS KILLED')
    for (const tab of [...this.tabs]) tab.kill()
    this.setClock()
  }

  setClock(): void {
    const { timeline, hasGoodClock, ledger } = this.dependencies
    if (hasGoodClock || !timeline.chance.happens(0.5)) return
    this.skew = this.someSkew()
    ledger.count('clocks that jumped')
    timeline.tell(this.name, `has its clock at ${this.skew} ms`)
  }

  goOnline(online: boolean): void {
    if (this.online === online) return
    this.dependencies.timeline.tell(this.name, online ? 'goes online' : 'goes offline')
    this.online = online
    for (const tab of this.tabs) tab.goOnline(online)
  }

  private lookAgain(): void {
    this.dependencies.timeline.after(LOOK_MS, () => {
      this.watch.look()
      this.lookAgain()
    })
  }

  private someSkew(): number {
    const { chance } = this.dependencies.timeline
    const range = chance.one([200, 200, 10_000, HOUR_MS])
    return chance.between(-range, range)
  }
}

/** One tab with the app, or one process of the app on a phone. */
export class AppTab implements Tab {
  readonly name: string
  readonly device: SdkDevice
  client: Client | undefined
  /** The signed-in user. */
  user: string | undefined
  state: SyncState | undefined
  rejected: readonly RejectedRow[] = []
  /** The user waits for an operation and starts no other. */
  isBusy = false
  private readonly realm: Realm
  private readonly sockets = new Set<Socket>()
  private readonly endings: (() => void)[] = []

  constructor(device: SdkDevice, name: string) {
    this.device = device
    this.name = name
    const { dependencies, locks, channels, watch } = device
    const { accounts } = dependencies
    const isAlive = () => this.isAlive
    const whenAwake = (run: () => void) => this.realm.whenAwake(run)
    const line = { ...dependencies, device: this, isAlive, whenAwake }
    this.realm = new Realm({
      timeline: dependencies.timeline,
      clock: () => device.clock(),
      locks,
      channels,
      fetch: createFetch({
        ...line,
        strangers: () => dependencies.ledger.count('answers of strangers'),
        disliked: () => dependencies.ledger.count('refusals of a firewall'),
        received: (request, answer) => watch.answered(accounts.userOf(request), request, answer),
      }),
      openSocket: (options) => {
        const received = (user: string, frame: Parameters<Watch['framed']>[1]) =>
          watch.framed(user, frame)
        const socket = new Socket(options, { ...line, received })
        this.sockets.add(socket)
        return socket
      },
    })
  }

  /** Calls `run` when the tab ends for any reason. */
  whenKilled(run: () => void): void {
    this.endings.push(run)
  }

  get isAlive(): boolean {
    return this.realm.isAlive
  }

  get online(): boolean {
    return this.device.online
  }

  get line(): Line | undefined {
    return this.device.dependencies.line
  }

  async start(): Promise<void> {
    const { device } = this
    const { timeline, openSdk } = device.dependencies
    timeline.tell(this.name, 'opens')
    try {
      const sdk = openSdk(this.realm.globals)
      const client = await sdk.createClient({
        url: 'https://tasks.example.com',
        storage: device.phone
          ? phoneStorage(device.phone, sdk, device.disk, this)
          : sdk.diskStorage(device.disk, this),
        name: APP,
        multiInstance: device.hasTabs,
        pollInterval: POLL_MS,
        ...(this.line && { patience: PATIENCE_MS }),
      })
      this.client = client
      client.session.user$.subscribe((user) => {
        this.user = user?.id
      })
      client.sync.rejected$.subscribe((rows) => {
        this.rejected = rows
        device.watch.rejects(this, rows)
      })
      client.sync.state$.subscribe((state) => this.told(state))
    } catch (error) {
      timeline.tell(this.name, `cannot open: ${error}`)
      this.kill()
    }
  }

  /** Closes the app properly, and waits for it. */
  async close(): Promise<void> {
    const { client } = this
    this.client = undefined
    await client?.close().catch((error) => this.tell(`cannot close: ${error}`))
    this.kill()
  }

  kill(): void {
    if (!this.isAlive) return
    this.tell('ends')
    this.device.dependencies.ledger.count('kills')
    this.realm.kill()
    this.client = undefined
    this.user = undefined
    for (const socket of this.sockets) socket.disconnect()
    for (const end of this.endings) end()
    const { tabs } = this.device
    tabs.splice(tabs.indexOf(this), 1)
  }

  /** Suspends the app, like a phone in the background: nothing runs, and messages wait. */
  sleep(duration: number): void {
    this.tell(`sleeps for ${duration} ms`)
    this.device.dependencies.ledger.count('sleeps')
    this.realm.sleep(duration)
  }

  goOnline(online: boolean): void {
    for (const socket of this.sockets) if (!online) this.realm.whenAwake(() => socket.break())
    this.realm.setOnline(online)
  }

  tell(what: string): void {
    this.device.dependencies.timeline.tell(this.name, what)
  }

  private told(state: SyncState): void {
    const before = this.state
    this.state = state
    if (!this.isAlive) return
    if (before?.status !== state.status || before?.pending !== state.pending)
      this.tell(`says ${state.status}, pending ${state.pending}`)
    if (state.status === 'synced' && before?.status !== 'synced') this.device.watch.claimed(this)
  }
}
