import { AsyncLocalStorage } from 'node:async_hooks'
import {
  type Checkpoint,
  type Frame,
  Problem,
  type PushRow,
  type Ready,
  type ReplicaState,
  type Resource,
  resources,
} from '../../protocol/index.ts'
import { createFollowers, type Followers } from '../../server/realtime/followers.ts'
import { compare, type Held } from '../../server/sync/digest.ts'
import { create, edit, type Outcome } from '../../server/sync/edit.ts'
import { type Restoral, restoreLoss } from '../../server/sync/journal.ts'
import { pull, push } from '../../server/sync/replicate.ts'
import type { Store } from '../../server/sync/store.ts'
import { LostConnection } from '../support/memory-store.ts'
import type { Timeline } from './timeline.ts'

const SWEEP_MS = 3_000

/** A request to a node. Serializable, so that repetitions are detected. */
export type Request =
  | {
      kind: 'pull'
      resource: string
      from: Checkpoint
      limit: number
      buckets?: readonly number[]
      replica?: ReplicaState
    }
  | ({ kind: 'digest'; resource: string } & Held)
  | {
      kind: 'push'
      resource: string
      rows: readonly PushRow[]
      keepsRejected: boolean
      from?: Checkpoint
      replica?: ReplicaState
    }
  | { kind: 'list'; resource: string }
  | { kind: 'create'; resource: string; input: { id: string; [field: string]: unknown } }
  | {
      kind: 'patch' | 'delete' | 'restore'
      resource: string
      id: string
      fields: Readonly<Record<string, unknown>>
      seq: number
    }
  | { kind: 'put_back'; id: string }

/** The request for which the store is called. */
export const underWay = new AsyncLocalStorage<Request>()

class Crash extends Error {}

/** A response; `undefined` for a broken connection. */
export type Reply = unknown

interface Dependencies {
  timeline: Timeline
  /** The error of its clock in milliseconds. */
  skew: number
  /** Sends a hint to the other nodes, which may be delayed or lost. */
  hint: (user: string) => void
  /** Called with errors that clients would see as a 500. */
  failed: (error: unknown) => void
}

/**
 * One process of the server: the real sync core and the real followers, on a store that pauses between
 * steps. A crash interrupts its work anywhere, before the commit or after it.
 */
export class Node {
  readonly name: string
  alive = true
  /** Incremented at every start, to recognize work of an earlier process. */
  life = 0
  private followers!: Followers
  private stopped: ((crash: Crash) => void)[] = []
  private readonly cuts = new Set<() => void>()
  private store!: Store
  private readonly timeline: Timeline
  private readonly skew: number
  private readonly hint: (user: string) => void
  private readonly failed: (error: unknown) => void

  constructor(name: string, { timeline, skew, hint, failed }: Dependencies) {
    this.name = name
    this.timeline = timeline
    this.skew = skew
    this.hint = hint
    this.failed = failed
  }

  start(store: Store): void {
    this.store = store
    this.alive = true
    this.life++
    this.followers = createFollowers(store, { warn: () => {} }, { lostHint() {} })
    this.sweepLater(this.life)
  }

  crash(): void {
    this.timeline.tell(this.name, 'CRASHES')
    this.alive = false
    for (const stop of this.stopped.splice(0)) stop(new Crash())
    for (const cut of this.cuts) cut()
    this.cuts.clear()
  }

  restart(): void {
    this.timeline.tell(this.name, 'starts again')
    this.start(this.store)
  }

  /** Lets others run in the middle of a transaction. */
  async pause(): Promise<void> {
    if (!this.alive) throw new Crash()
    if (!this.timeline.chance.happens(0.4)) return
    const delay = this.timeline.chance.between(1, 150)
    await new Promise<void>((resume, reject) => {
      this.stopped.push(reject)
      this.timeline.after(delay, () => {
        this.stopped = this.stopped.filter((stop) => stop !== reject)
        resume()
      })
    })
  }

  /** Notifies followers of changes: here at once, on other nodes over the network. */
  committed(user: string): void {
    if (!this.alive) return
    this.followers.changed(user)
    this.hint(user)
  }

  /** The time of its clock in milliseconds. */
  clock(): number {
    return Date.parse(this.timeline.clock(this.skew))
  }

  hears(user: string): void {
    if (this.alive) this.followers.changed(user)
  }

  /** @returns undefined if it is down, or crashes before it has answered */
  async answer(user: string, request: Request): Promise<Reply> {
    if (!this.alive) return undefined
    const { life } = this
    try {
      const reply = await underWay.run(request, () => this.serve(user, request))
      return this.alive && this.life === life ? reply : undefined
    } catch (error) {
      if (error instanceof Problem && error.code === 'checkpoint_expired') return error
      if (!(error instanceof Crash || error instanceof LostConnection)) this.failed(error)
      return undefined
    }
  }

  /** @returns the head of the feed, and a function that unsubscribes; undefined if it is down */
  async connect(
    user: string,
    frame: (frame: Frame) => void,
    cut: () => void,
  ): Promise<{ head: Ready; leave: () => void } | undefined> {
    if (!this.alive) return undefined
    const { life } = this
    const { head, leave } = await this.followers.join(user, { frame, end: cut })
    if (!this.alive || this.life !== life) return undefined
    this.cuts.add(cut)
    return {
      head,
      leave: () => {
        leave()
        this.cuts.delete(cut)
      },
    }
  }

  private async serve(user: string, request: Request): Promise<Reply> {
    const now = this.timeline.clock(this.skew)
    if (request.kind === 'put_back')
      return outcome(await restoreLoss(this.store, { user, session: user }, request.id, now))
    const resource: Resource = resources[request.resource as keyof typeof resources]
    switch (request.kind) {
      case 'pull': {
        const { from, limit, buckets, replica } = request
        const page = await pull(this.store, user, resource, from, limit, replica, buckets)
        return { ...page, documents: JSON.parse(page.documents) }
      }
      case 'digest':
        return compare(this.store, user, resource, request)
      case 'push':
        return push(this.store, { user, session: user }, resource, request.rows, now, request)
      case 'list':
        return this.store.changes(user, resource, 0, 1_000)
      case 'create':
        return outcome(await create(this.store, user, resource, request.input, now))
      default: {
        const { kind: action, id, fields, seq } = request
        return outcome(
          await edit(this.store, user, resource, { action, id, fields, ifSeq: [seq], now }),
        )
      }
    }
  }

  private sweepLater(life: number): void {
    this.timeline.after(SWEEP_MS, () => {
      if (!this.alive || this.life !== life) return
      void this.followers.sweep()
      this.sweepLater(life)
    })
  }
}

const outcome = ({ outcome }: Outcome | Restoral) => ({ outcome })
