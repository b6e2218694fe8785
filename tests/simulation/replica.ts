import {
  type Checkpoint,
  type Document,
  type Frame,
  follow,
  type Missing,
  Problem,
  type PullResponse,
  type PushResponse,
  type PushRow,
  type ReplicaState,
  type Resource,
  resources,
  settle,
  type Unsettled,
  type WireDocument,
} from '../../protocol/index.ts'
import type { State } from '../../server/sync/judge.ts'
import { type Ledger, stateKey } from './ledger.ts'
import type { Connection, Network } from './network.ts'
import type { Timeline } from './timeline.ts'

const PAGE = 5
const RETRY_MS = 400
const RECONNECT_MS = 700

const START: Checkpoint = { id: '', lwt: 0 }

/** What a device keeps of one kind of document; it survives a crash of the app. */
class Collection {
  readonly resource: Resource
  readonly local = new Map<string, State>()
  /** The assumed states of the server. */
  readonly assumed = new Map<string, State>()
  checkpoint: Checkpoint = START
  /** That of the latest push. */
  pushed: Checkpoint | undefined
  /** While a snapshot is taken: what it has brought, and the checkpoints that have expired. */
  snapshot: { ids: Set<string>; expired: Checkpoint[] } | undefined

  constructor(resource: Resource) {
    this.resource = resource
  }

  get replica(): ReplicaState {
    if (this.snapshot) return { expired: this.snapshot.expired }
    return { seen: this.pushed ? [this.pushed] : [] }
  }

  expire(): void {
    const known = [this.checkpoint, ...(this.pushed ? [this.pushed] : [])]
    this.snapshot = { ids: new Set(), expired: this.snapshot?.expired ?? known }
    this.checkpoint = START
  }

  /** What the snapshot has not brought, the server has not. */
  complete(missing: Missing): void {
    if (!this.snapshot) return
    for (const id of [...this.local.keys()]) {
      if (this.snapshot.ids.has(id)) continue
      const isUnsent = !this.isSame(this.local.get(id), this.assumed.get(id))
      if (missing === 'deleted' && isUnsent && !this.resource.readOnly) continue
      this.assumed.delete(id)
      if (missing === 'deleted' || this.resource.readOnly) this.local.delete(id)
    }
    this.snapshot = undefined
    this.pushed = this.checkpoint
  }

  /** Before its first pull, a client cannot know that the server has lost or purged something. */
  mayPush(): boolean {
    return !this.resource.readOnly && this.checkpoint !== START
  }

  unsent(): string[] {
    return [...this.local.keys()].filter(
      (id) => !this.isSame(this.local.get(id), this.assumed.get(id)),
    )
  }

  isSame(a: State | undefined, b: State | undefined): boolean {
    return a === b || (!!a && !!b && stateKey(this.resource, a) === stateKey(this.resource, b))
  }
}

interface Dependencies {
  timeline: Timeline
  network: Network
  ledger: Ledger
  user: string
  skew: number
  /** Whether it requests rejections and keeps them. Other clients drop rejected rows. */
  keepsRejected: boolean
}

/**
 * A model of a device: a local copy of a user's documents, synchronized like RxDB does. Edits are local at
 * first. Documents that differ from their assumed states are pushed, the same rows again until there is an
 * answer. In a conflict the stored state replaces the local one (RxDB's default handler). Pulls and frames
 * wait for a running push, and do not change unsent documents.
 */
export class Replica {
  readonly name: string
  readonly user: string
  online = true
  /** Rejected rows, which the user sees. */
  readonly rejected: { id: string; row: WireDocument }[] = []
  private readonly collections = Object.values<Resource>(resources).map(
    (one) => new Collection(one),
  )
  private readonly timeline: Timeline
  private readonly network: Network
  private readonly ledger: Ledger
  private readonly skew: number
  private readonly keepsRejected: boolean
  /** Incremented at every crash, to ignore work from before it. */
  private life = 0
  private connection: Connection | undefined
  private cursor = 0
  private working = new Set<Collection>()
  private due = new Map<Collection, { pull: boolean; frames: Frame[] }>()

  constructor(name: string, dependencies: Dependencies) {
    const { timeline, network, ledger, user, skew, keepsRejected } = dependencies
    this.name = name
    this.user = user
    this.timeline = timeline
    this.network = network
    this.ledger = ledger
    this.skew = skew
    this.keepsRejected = keepsRejected
  }

  start(): void {
    this.working.clear()
    for (const one of this.collections) if (one.snapshot) one.expire()
    this.due = new Map(this.collections.map((one) => [one, { pull: true, frames: [] }]))
    this.connect(this.life)
    this.workOn()
  }

  crash(): void {
    this.timeline.tell(this.name, 'crashes and starts again')
    this.life++
    this.connection?.close()
    this.start()
  }

  goOnline(online: boolean): void {
    if (this.online === online) return
    this.timeline.tell(this.name, online ? 'goes online' : 'goes offline')
    this.online = online
    this.connection?.close()
    if (online) {
      this.life++
      this.start()
    }
  }

  /** All that it has, but for the conflict journal. */
  held(): State[] {
    return this.collections.flatMap(({ resource, local }) =>
      resource.readOnly ? [] : [...local.values()],
    )
  }

  /** The places of live documents that it has created, and does not know to be stored. */
  creating(): string[] {
    return this.collections.flatMap(({ resource, local, assumed }) =>
      [...local]
        .filter(([id, { deleted }]) => !deleted && !assumed.has(id))
        .map(([id]) => `${resource.name} ${id}`),
    )
  }

  /** The documents that a person sees here. */
  documents(resource: string): State[] {
    return [...this.collection(resource).local.values()]
  }

  /** An edit of the user: normalized and visible at once. */
  write(resource: string, next: Unsettled, deleted = false): void {
    const collection = this.collection(resource)
    const previous = collection.local.get(next.id)
    const now = this.timeline.clock(this.skew)
    const document = settle(
      collection.resource,
      { ...next, updated_at: now },
      previous?.document,
      now,
    )
    collection.local.set(next.id, { document, deleted })
    this.timeline.tell(
      this.name,
      `writes ${resource} ${JSON.stringify(document)} ${deleted ? 'deleted' : ''}`,
    )
    this.workOn()
  }

  /** Descriptions of the differences from the final state. */
  differences(final: ReadonlyMap<string, State>): string[] {
    const held = new Map(
      this.collections.flatMap(({ resource, local }) =>
        [...local].map(([id, state]) => [`${resource.name} ${id}`, stateKey(resource, state)]),
      ),
    )
    const places = new Set([...held.keys(), ...final.keys()])
    return [...places].flatMap((place) => {
      const resource = this.collection(place.split(' ')[0]!).resource
      const state = final.get(place)
      const stored = state && stateKey(resource, state)
      const here = this.collection(resource.name).local.get(place.split(' ')[1]!)
      // A device that begins needs no tombstones, and the server purges them.
      const isNowhere = (state?.deleted ?? true) && (here?.deleted ?? true) && !(state && here)
      return isNowhere || held.get(place) === stored
        ? []
        : [`${held.get(place)} instead of ${stored}`]
    })
  }

  hasUnsent(): boolean {
    return this.collections.some((collection) => collection.unsent().length > 0)
  }

  private collection(resource: string): Collection {
    return this.collections.find((one) => one.resource.name === resource)!
  }

  private connect(life: number): void {
    const again = () => {
      const delay = this.timeline.chance.between(RECONNECT_MS / 2, RECONNECT_MS)
      this.timeline.after(delay, () => this.life === life && this.online && this.connect(life))
    }
    this.connection = this.network.connect(this, {
      ready: ({ seq }) => {
        if (this.life !== life) return
        this.cursor = seq
        for (const due of this.due.values()) due.pull = true
        this.workOn()
      },
      frame: (frame) => {
        if (this.life !== life) return
        const { cursor, isGap } = follow(this.cursor, frame)
        const isNews = cursor !== this.cursor
        this.cursor = cursor
        this.ledger.count(`frames ${isGap ? 'with a gap' : isNews ? 'applied' : 'passed over'}`)
        for (const due of this.due.values()) {
          if (isGap) due.pull = true
          else if (isNews) due.frames.push(frame)
        }
        this.workOn()
      },
      cut: () => {
        if (this.life === life && this.online) again()
      },
    })
  }

  private workOn(): void {
    for (const collection of this.collections)
      if (this.online && !this.working.has(collection)) void this.work(collection, this.life)
  }

  /**
   * Runs one step at a time per collection. Frames that arrived before a pull are part of it, so they are
   * dropped.
   */
  private async work(collection: Collection, life: number): Promise<void> {
    const isCurrent = () => this.life === life && this.online
    this.working.add(collection)
    const due = this.due.get(collection)!
    while (isCurrent()) {
      if (due.pull) {
        due.frames.length = 0
        due.pull = false
        if (!(await this.pull(collection, isCurrent))) {
          due.pull = true
          await this.timeline.pause(RETRY_MS)
        }
      } else if (due.frames.length > 0) this.apply(collection, due.frames.shift()!)
      else if (collection.mayPush() && collection.unsent().length > 0)
        await this.push(collection, isCurrent)
      else break
    }
    if (this.life === life) this.working.delete(collection)
  }

  private async push(collection: Collection, isCurrent: () => boolean): Promise<void> {
    const { resource, local, assumed } = collection
    const ids = collection.unsent().slice(0, this.timeline.chance.between(1, 6))
    const sent = new Map(ids.map((id) => [id, local.get(id)!]))
    const rows: PushRow[] = ids.map((id) => ({
      newDocumentState: onTheWire(sent.get(id)!),
      ...(assumed.has(id) && { assumedMasterState: onTheWire(assumed.get(id)!) }),
    }))
    let answer: PushResponse | Problem | undefined
    const { checkpoint: from, replica } = collection
    while (isCurrent() && !answer) {
      const { keepsRejected } = this
      const request = {
        kind: 'push',
        resource: resource.name,
        rows,
        keepsRejected,
        from,
        replica,
      } as const
      answer = (await this.network.ask(this, request)) as PushResponse | Problem | undefined
      if (!answer) await this.timeline.pause(RETRY_MS)
    }
    if (!answer || !isCurrent()) return
    if (answer instanceof Problem) {
      this.due.get(collection)!.pull = true
      return
    }
    collection.pushed = answer.checkpoint
    const rejectedIds = new Set(answer.rejected.map(({ id }) => id))
    const conflicts = new Map(answer.conflicts.map((document) => [document.id, ofWire(document)]))
    for (const id of ids) {
      const state = sent.get(id)!
      const stored = conflicts.get(id)
      if (rejectedIds.has(id) && this.keepsRejected) this.reject(state)
      if (!stored) {
        assumed.set(id, state)
        this.ledger.takesOver(this.name, this.user, resource, state)
        continue
      }
      this.ledger.count(rejectedIds.has(id) ? 'rejections' : 'conflicts')
      this.timeline.tell(this.name, `is told of ${id.slice(0, 4)} ${JSON.stringify(stored)}`)
      // Edited meanwhile: RxDB keeps the edit and the assumed state, and pushes again.
      if (!collection.isSame(local.get(id), state)) continue
      // Its own content as a tombstone: the server has no document with this id.
      const isUnknown = collection.isSame(stored, { ...state, deleted: true })
      if (!isUnknown) this.ledger.takesOver(this.name, this.user, resource, stored)
      if (isUnknown) {
        local.delete(id)
        assumed.delete(id)
      } else {
        local.set(id, stored)
        assumed.set(id, stored)
      }
    }
  }

  private reject(state: State): void {
    this.rejected.push({ id: state.document.id, row: onTheWire(state) })
    this.ledger.knows(state.document)
  }

  /** @returns whether all pages came */
  private async pull(collection: Collection, isCurrent: () => boolean): Promise<boolean> {
    for (;;) {
      const { checkpoint: from, resource, replica } = collection
      const request = { kind: 'pull', resource: resource.name, from, limit: PAGE, replica } as const
      const page = (await this.network.ask(this, request)) as PullResponse | Problem | undefined
      if (!isCurrent()) return true
      if (!page) return false
      if (page instanceof Problem) {
        this.timeline.tell(this.name, `begins ${resource.name} anew`)
        collection.expire()
        continue
      }
      this.timeline.tell(this.name, `pulls ${resource.name} up to ${page.checkpoint.lwt}`)
      const { documents, changed_since = 0 } = page
      for (const [i, document] of documents.entries())
        if (collection.snapshot)
          this.takeAnew(collection, ofWire(document), i >= documents.length - changed_since)
        else this.take(collection, ofWire(document))
      collection.checkpoint = page.checkpoint
      if (documents.length < PAGE) {
        collection.complete(page.missing ?? 'lost')
        return true
      }
    }
  }

  /** Of a snapshot: what is here and not there is pushed again. */
  private takeAnew(collection: Collection, state: State, isDiverged: boolean): void {
    const { id, updated_at } = state.document
    const { local, assumed, resource } = collection
    collection.snapshot!.ids.add(id)
    const [here, known] = [local.get(id), assumed.get(id)]
    const isUnsent = !collection.isSame(here, known)
    const isOlder = known !== undefined && updated_at < known.document.updated_at
    if (collection.isSame(here, state)) assumed.set(id, state)
    else if (resource.readOnly || !here || (!isDiverged && !isUnsent && !isOlder)) {
      local.set(id, state)
      assumed.set(id, state)
      this.ledger.takesOver(this.name, this.user, resource, state)
    } else if (isDiverged) {
      if (!collection.isSame(known, state)) assumed.delete(id)
    } else if (isOlder) assumed.set(id, state)
  }

  private apply(collection: Collection, { checkpoint, documents }: Frame): void {
    const changed = documents?.[collection.resource.name]
    if (!changed) return
    for (const document of changed) this.take(collection, ofWire(document))
    collection.checkpoint = checkpoint
  }

  /** A pull that ran during a push may bring an older state than the known one. */
  private take(collection: Collection, state: State): void {
    const { id, updated_at } = state.document
    const assumed = collection.assumed.get(id)
    if (!collection.isSame(collection.local.get(id), assumed)) return
    if (assumed && updated_at < assumed.document.updated_at) return
    collection.local.set(id, state)
    collection.assumed.set(id, state)
    this.ledger.takesOver(this.name, this.user, collection.resource, state)
  }
}

const onTheWire = ({ document, deleted }: State): WireDocument => ({
  ...document,
  _deleted: deleted,
})

function ofWire({ _deleted: deleted, ...document }: WireDocument): State {
  return { document: document as Document, deleted }
}
