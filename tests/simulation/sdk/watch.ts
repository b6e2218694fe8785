import { hash } from '../../../client-sdk/local/hash.ts'
import type { RejectedRow } from '../../../client-sdk/sync/sync.ts'
import {
  type DigestResponse,
  type Frame,
  type PullResponse,
  type PushResponse,
  type Resource,
  resources,
  type WireDocument,
} from '../../../protocol/index.ts'
import type { State } from '../../../server/sync/judge.ts'
import { type Ledger, stateKey } from '../ledger.ts'
import type { Timeline } from '../timeline.ts'
import { APP, type AppTab, type SdkDevice } from './device.ts'
import { type Place, type Row, stateOf, type Tab, type Watcher } from './disk.ts'
import type { HttpAnswer, HttpRequest } from './gateway.ts'

/** How long a tab may report `synced` after another tab has written, or a failed write was stored. */
const GRACE_MS = 2_500
/** The maximum delay of messages between tabs. */
const CHANNEL_MS = 50
/** How long a working disk may take to store received changes. */
const KEEPING_MS = 1_000

/** The date of a tombstone that the device made, of what the server does not have. */
const NEVER = new Date(0).toISOString()

const all = Object.values<Resource>(resources)

/**
 * Checks what a device reports against the facts. It sees what is stored on the disk, the server's answers and
 * frames, and each `synced`.
 */
export class Watch implements Watcher {
  private readonly device: SdkDevice
  private readonly timeline: Timeline
  private readonly ledger: Ledger
  /** The newest state of each document that the server has sent to this device. */
  private readonly told = new Map<string, { seq: number; at: number; deleted: boolean }>()
  private readonly lastWrites = new Map<string, { at: number; tab: Tab }>()
  /** The newest state of each document that was stored here. */
  private readonly reached = new Map<string, number>()
  /** Documents with pending writes. */
  private readonly writing = new Map<string, number>()
  /** Documents whose last write failed, and may be stored anyway. */
  private readonly halfWritten = new Set<string>()
  /** Documents written by a tab that was killed before it could notify the others. */
  private readonly orphans = new Set<string>()
  private readonly refused = new Set<string>()
  /** Users whose documents may be deleted, sent or not. */
  private readonly givenUp = new Set<string>()
  private readonly said = new Set<string>()
  private hasFailedOver = false

  constructor(device: SdkDevice, timeline: Timeline, ledger: Ledger) {
    this.device = device
    this.timeline = timeline
    this.ledger = ledger
  }

  /** The documents of a user on this device, sorted by id. */
  held(user: string, resource: string): State[] {
    const states = this.device.disk.documents(placeOf(user, resource))
    return [...states.values()].sort((a, b) => (a.document.id < b.document.id ? -1 : 1))
  }

  /**
   * A user starts to write a document.
   *
   * @returns a function to call with the result
   */
  begins(user: string, resource: string, id: string): (isKept: boolean) => void {
    const key = `${user} ${resource} ${id}`
    this.writing.set(key, (this.writing.get(key) ?? 0) + 1)
    let isOver = false
    return (isKept) => {
      if (isOver) return
      isOver = true
      if (isKept) this.halfWritten.delete(key)
      else this.halfWritten.add(key)
      const left = this.writing.get(key)! - 1
      if (left === 0) this.writing.delete(key)
      else this.writing.set(key, left)
    }
  }

  written(tab: Tab, place: Place, rows: readonly Row[], context: string): void {
    const [user, resource] = ownerOf(place)
    if (!user || !resource) return
    for (const { document: row } of rows) {
      const state = stateOf(row)
      const key = `${user} ${resource.name} ${row.id}`
      this.lastWrites.set(key, { at: this.timeline.now, tab })
      this.checkOwner(user, state)
      const seq = this.ledger.seqOf(user, resource, state)
      const reached = this.reached.get(key) ?? 0
      this.timeline.tell(
        tab.name,
        `keeps ${resource.name} ${JSON.stringify(state.document)} ${state.deleted ? 'deleted ' : ''}@${seq} (${context})`,
      )
      if (seq === undefined || this.ledger.isLost(user, seq)) continue
      if (seq < reached) this.violated(`${key} went back from ${reached} to ${seq}`)
      this.reached.set(key, Math.max(reached, seq))
    }
  }

  failed(): void {
    this.ledger.count('faults of a disk')
  }

  orphaned(place: Place, rows: readonly Row[]): void {
    const [user, resource] = ownerOf(place)
    if (!user || !resource) return
    for (const { document } of rows) this.orphans.add(`${user} ${resource.name} ${document.id}`)
  }

  /** Only a restarted app can find the writes of a killed tab. */
  started(): void {
    this.orphans.clear()
  }

  get hasOrphans(): boolean {
    return this.orphans.size > 0
  }

  /** All that is here of a person, but for the conflict journal, which devices do not push. */
  heldOf(user: string): State[] {
    return all.filter(({ readOnly }) => !readOnly).flatMap(({ name }) => this.held(user, name))
  }

  /** The places of live documents that it has created, and does not know to be stored. */
  async creating(user: string): Promise<string[]> {
    const places: string[] = []
    for (const { name } of all) {
      const known = `rx-replication-meta-${await hash(`${name}-tasktide`)}`
      const rows = this.device.disk.contents.documents(placeOf(user, known))
      const ids = new Set([...rows].filter(({ _deleted }) => !_deleted).map(({ id }) => id))
      for (const { document, deleted } of this.held(user, name))
        if (!deleted && !ids.has(`${document.id}|0`)) places.push(`${name} ${document.id}`)
    }
    return places
  }

  /** The database has lost commits, which the device cannot know yet. */
  failedOver(): void {
    this.hasFailedOver = true
    for (const known of [this.told, this.reached]) known.clear()
  }

  /** In the end: what others who used the device have left on it is there for their next time. */
  close(): void {
    for (const user of this.device.disk.people())
      if (user !== this.device.owner)
        for (const resource of all) {
          for (const key of this.unsent(user, resource)) this.letsGo(user, resource, key)
          this.knowsWhatMayBeLost(user, resource)
        }
  }

  /** After a failover, the only copies of accepted edits may be here, and the device cannot know that yet. */
  private knowsWhatMayBeLost(user: string, resource: Resource): void {
    if (!this.hasFailedOver) return
    for (const { document } of this.held(user, resource.name)) this.ledger.knows(document)
  }

  removing(place: Place): void {
    const [user, resource] = ownerOf(place)
    if (!user || !resource) return
    this.timeline.tell(this.device.name, `deletes ${resource.name} of ${user.slice(0, 4)}`)
    this.knowsWhatMayBeLost(user, resource)
    for (const key of this.unsent(user, resource)) {
      if (this.givenUp.has(user)) this.letsGo(user, resource, key)
      else if (!this.writing.has(key))
        this.violated(`${key} was deleted unsent, without asking the user`)
    }
    for (const known of [this.told, this.reached, this.lastWrites])
      for (const key of [...known.keys()])
        if (key.startsWith(`${user} ${resource.name} `)) known.delete(key)
  }

  /** A user discards the unsent documents on this device. */
  givesUp(user: string): void {
    this.givenUp.add(user)
    for (const resource of all)
      for (const key of this.unsent(user, resource)) this.letsGo(user, resource, key)
  }

  keeps(user: string): void {
    this.givenUp.delete(user)
  }

  /** The app received an answer of the server. */
  answered(
    user: string | undefined,
    { path, body }: HttpRequest,
    { status, body: text }: HttpAnswer,
  ): void {
    const [, face, name = '', , rest = ''] = path.split('/')
    const resource = all.find((one) => one.name === name)
    if (face !== 'replication' || !resource || status !== 200) return
    // What a self-check reads announces nothing.
    if (rest.startsWith('digest')) {
      const { result } = JSON.parse(text) as DigestResponse
      this.ledger.count(`self-checks: ${result}`)
      return
    }
    if (rest.includes('buckets=')) return
    if (rest.startsWith('pull')) {
      for (const document of (JSON.parse(text) as PullResponse).documents)
        this.tells(resource, document, user)
      return
    }
    const { conflicts, rejected } = JSON.parse(text) as PushResponse
    for (const { id } of rejected) this.refused.add(`${resource.name} ${id}`)
    for (const document of conflicts) this.tells(resource, document, user)
    if (body) this.ledger.count('pushes of the SDK')
  }

  framed(user: string, { documents = {} }: Frame): void {
    for (const resource of all)
      for (const document of documents[resource.name] ?? []) this.tells(resource, document, user)
  }

  /** A tab changed its status to `synced`. */
  claimed(tab: AppTab): void {
    this.ledger.count('synced')
    if (!tab.user) return
    for (const resource of all) {
      for (const key of this.unsent(tab.user, resource)) {
        const last = this.lastWrites.get(key)
        const isOwn = last?.tab === tab && !this.halfWritten.has(key)
        if (this.writing.has(key) || this.orphans.has(key)) continue
        // The leading tab may not know of the write yet.
        const isAlone = this.device.tabs.length === 1
        const grace = !isOwn ? GRACE_MS : isAlone ? -1 : CHANNEL_MS
        if (this.isOld(last?.at, grace))
          this.violated(`${tab.name} is synced, but ${key} is unsent`)
      }
      for (const [key, { at }] of this.unkept(tab.user, resource))
        if (at < this.timeline.now - KEEPING_MS)
          this.violated(`${tab.name} is synced, but ${key} is not kept`)
    }
  }

  /** Checks tabs that have reported `synced` for a while. */
  look(): void {
    for (const tab of this.device.tabs) {
      if (tab.state?.status !== 'synced' || !tab.user || !tab.client) continue
      for (const resource of all) {
        for (const key of this.unsent(tab.user, resource))
          if (
            !this.writing.has(key) &&
            !this.orphans.has(key) &&
            this.isOld(this.lastWrites.get(key)?.at)
          )
            this.violated(`${tab.name} stays synced, but ${key} is unsent`)
        for (const [key, { at }] of this.unkept(tab.user, resource))
          if (this.isOld(at)) this.violated(`${tab.name} stays synced, but ${key} is not kept`)
      }
    }
  }

  /** Checks `awaitInSync` against the states of server and device at the time of the call. */
  async awaits(tab: AppTab, inSync: () => Promise<void>): Promise<void> {
    const { user } = tab
    if (!user) return
    const began = this.timeline.now
    const stored = this.ledger.stored(user)
    const unsent = new Set(all.flatMap((resource) => this.unsent(user, resource)))
    await inSync()
    if (tab.user !== user || this.hasFailedOver) return
    this.ledger.count('awaited')
    for (const resource of all) {
      const held = this.device.disk.documents(placeOf(user, resource.name))
      const stillUnsent = new Set(this.unsent(user, resource))
      for (const key of stillUnsent) {
        const isSince = (this.lastWrites.get(key)?.at ?? 0) >= began || this.writing.has(key)
        if (this.orphans.has(key)) continue
        if (unsent.has(key) && !isSince)
          this.violated(`${tab.name} was awaited in sync, but ${key} is unsent`)
      }
      for (const [place, seq] of stored) {
        const [name, id] = place.split(' ') as [string, string]
        const key = `${user} ${place}`
        if (name !== resource.name || stillUnsent.has(key) || this.writing.has(key)) continue
        const state = held.get(id)
        const here = state && this.ledger.seqOf(user, resource, state)
        if (here === undefined && this.ledger.isDeleted(user, place)) continue
        if (here !== undefined ? here < seq : !this.told.get(key)?.deleted)
          this.violated(`${tab.name} was awaited in sync, but ${key} is at ${here}, not ${seq}`)
      }
    }
  }

  /** The server must have rejected these rows. */
  rejects(tab: AppTab, rows: readonly RejectedRow[]): void {
    for (const { resource, id, code, document } of rows) {
      this.ledger.knows(document)
      // A row that a firewall blocks stays unsent and is retried.
      if (
        !this.refused.has(`${resource} ${id}`) &&
        !['refused_on_the_way', 'server_error'].includes(code)
      )
        this.violated(
          `${tab.name} shows ${resource} ${id} as ${code}, but the server did not reject it`,
        )
    }
  }

  /** Descriptions of the differences from the final state. */
  differences(user: string, final: ReadonlyMap<string, State>): string[] {
    return all.flatMap((resource) => {
      const held = this.device.disk.documents(placeOf(user, resource.name))
      const places = [...final.keys()].filter((place) => place.startsWith(`${resource.name} `))
      const ids = new Set([...held.keys(), ...places.map((place) => place.split(' ')[1]!)])
      return [...ids].flatMap((id) => {
        const [here, there] = [held.get(id), final.get(`${resource.name} ${id}`)]
        const isNowhere = (here?.deleted ?? true) && (there?.deleted ?? true) && !(here && there)
        // Nobody but the server writes the journal, and what it lost of that stays here.
        if (this.hasFailedOver && resource.readOnly && !there) return []
        const [mine, theirs] = [here, there].map((one) => one && stateKey(resource, one))
        return isNowhere || mine === theirs ? [] : [`${mine} instead of ${theirs}`]
      })
    })
  }

  private letsGo(user: string, resource: Resource, key: string): void {
    const held = this.device.disk.documents(placeOf(user, resource.name))
    this.ledger.knows(held.get(key.split(' ')[2]!)?.document ?? {})
  }

  private tells(resource: Resource, wire: WireDocument, user: string | undefined): void {
    if (!user) return
    const { _deleted: deleted, ...document } = wire
    const seq = this.ledger.seqOf(user, resource, { document, deleted } as State)
    if (seq === undefined) return // its own row that was refused, as a tombstone
    if (this.ledger.isLost(user, seq)) return
    const key = `${user} ${resource.name} ${document.id}`
    if ((this.told.get(key)?.seq ?? -1) >= seq) return
    this.told.set(key, { seq, at: this.timeline.now, deleted })
  }

  /** Documents on this device in a state that was never on the server. */
  private unsent(user: string, resource: Resource): string[] {
    if (resource.readOnly) return []
    return this.held(user, resource.name)
      .filter((state) => {
        if (this.ledger.seqOf(user, resource, state) !== undefined) return false
        if (!state.deleted) return true
        if (state.document.updated_at === NEVER) return false
        // A rejected row becomes a tombstone if the server has no such document, or has not sent it yet.
        const { id } = state.document
        const isRefused = this.refused.has(`${resource.name} ${id}`)
        const isTold = this.told.has(`${user} ${resource.name} ${id}`)
        return this.ledger.isKnown(user, resource, id) && (isTold || !isRefused)
      })
      .map(({ document }) => `${user} ${resource.name} ${document.id}`)
  }

  private unkept(user: string, resource: Resource): [string, { at: number }][] {
    const held = this.device.disk.documents(placeOf(user, resource.name))
    const prefix = `${user} ${resource.name} `
    return [...this.told].filter(([key, { seq, deleted }]) => {
      if (!key.startsWith(prefix) || this.writing.has(key)) return false
      const state = held.get(key.slice(prefix.length))
      // A device that begins needs no tombstones, and the server purges them.
      const place = key.slice(user.length + 1)
      if (!state) return !deleted && !this.ledger.isDeleted(user, place)
      if (state.deleted && this.ledger.isPurged(user, place)) return false
      const here = this.ledger.seqOf(user, resource, state)
      return here !== undefined && here < seq // otherwise it is unsent, which is checked elsewhere
    })
  }

  private checkOwner(user: string, { document }: State): void {
    for (const value of Object.values(document)) {
      if (typeof value !== 'string') continue
      const typist = this.ledger.typistOf(value)
      if (typist && typist !== user)
        this.violated(`${this.device.name} keeps ${JSON.stringify(value)} of somebody else`)
    }
  }

  private isOld(at: number | undefined, grace = GRACE_MS): boolean {
    return (at ?? 0) < this.timeline.now - grace
  }

  private violated(what: string): void {
    if (this.said.has(what)) return
    this.said.add(what)
    this.timeline.tell(this.device.name, `VIOLATION: ${what}`)
    this.ledger.violated(what)
  }
}

export const placeOf = (user: string, collectionName: string): Place => ({
  databaseName: `${APP}-${user}`,
  collectionName,
})

/** The user and the resource of a collection; empty for RxDB's internal ones. */
function ownerOf({ databaseName, collectionName }: Place): [string?, Resource?] {
  if (!databaseName.startsWith(`${APP}-`)) return []
  const resource = all.find(({ name }) => name === collectionName)
  return resource ? [databaseName.slice(APP.length + 1), resource] : []
}
