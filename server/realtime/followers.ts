import type { Frame, Ready } from '../../protocol/index.ts'
import type { Log } from '../runtime/log.ts'
import type { Metrics } from '../runtime/metrics.ts'
import { type Tracing, untraced } from '../runtime/tracing.ts'
import { cursorAt, FIRST_EPOCH } from '../sync/cursors.ts'
import type { Changes, Head, Store } from '../sync/store.ts'
import { type EncodedFrame, encode } from './encoded-frame.ts'

/** Receives a user's changes: a socket or an event stream. */
export interface Subscriber {
  /**
   * @param encoded its documents, which all subscribers share; undefined if it has none
   * @param committed the commit time of its first change, if known
   */
  frame(frame: Frame, encoded?: EncodedFrame, committed?: number): void
  /** No more frames will follow: the subscriber must subscribe again and start over. */
  end(): void
}

/** So many users' feeds are looked at at once. */
const BATCH = 200

/**
 * Follows the feeds of the users with a subscriber on this node. A hint costs one read per user, however
 * many subscribers the user has. Frames are sent in order, each starting where the previous one ended.
 */
export function createFollowers(
  store: Pick<Store, 'frame' | 'heads'>,
  log: Pick<Log, 'warn'>,
  metrics: Pick<Metrics, 'lostHint'>,
  tracing: Pick<Tracing, 'here' | 'continued'> = untraced,
) {
  const followers = new Map<string, Follower>()
  let sweeping: Promise<void> | undefined

  return {
    /**
     * Subscribes.
     *
     * @returns the head of the feed, after which frames follow, and a function that unsubscribes
     */
    async join(user: string, subscriber: Subscriber): Promise<{ head: Ready; leave(): void }> {
      let follower = followers.get(user)
      if (!follower) {
        follower = new Follower(store, user, log, tracing, (ended) => drop(user, ended))
        followers.set(user, follower)
      }
      const current = follower
      current.expected++
      try {
        await current.opened
      } catch (error) {
        current.expected--
        dropIfIdle(user, current)
        throw error
      }
      current.expected--
      current.subscribers.add(subscriber)
      return {
        head: positionAt(current.head),
        leave() {
          current.subscribers.delete(subscriber)
          dropIfIdle(user, current)
        },
      }
    },

    /** The user may have changes, with their commit time and content if known. */
    changed: (user: string, committed?: number, changes?: Changes) =>
      followers.get(user)?.hint(committed, changes),

    /** Any user may have changes. */
    async gap(): Promise<void> {
      await sweeping // it may have asked before the gap ended
      await sweep()
    },

    sweep,
  }

  /** Polls the heads of all feeds, since hints may be lost and SQL by an administrator sends none. */
  function sweep(): Promise<void> {
    sweeping ??= sweepAll()
      .catch((error) => log.warn({ error }, 'the heads of feeds could not be read'))
      .finally(() => {
        sweeping = undefined
      })
    return sweeping
  }

  async function sweepAll(): Promise<void> {
    for (const follower of followers.values()) if (follower.hasMissedHint()) metrics.lostHint()
    const users = [...followers.keys()]
    while (users.length > 0) {
      const heads = await store.heads(users.splice(0, BATCH))
      await Promise.all([...heads].map(([user, head]) => followers.get(user)?.catchUp(head)))
    }
  }

  function dropIfIdle(user: string, follower: Follower) {
    if (follower.subscribers.size === 0 && follower.expected === 0) drop(user, follower)
  }

  function drop(user: string, follower: Follower) {
    if (followers.get(user) === follower) followers.delete(user)
  }
}

export type Followers = ReturnType<typeof createFollowers>

class Follower {
  readonly subscribers = new Set<Subscriber>()
  /** The number of pending subscriptions. */
  expected = 0
  /** The end of the last frame sent. */
  head: Head = { epoch: FIRST_EPOCH, seq: 0 }
  readonly opened: Promise<void>
  private readonly store: Pick<Store, 'frame' | 'heads'>
  private readonly user: string
  private readonly log: Pick<Log, 'warn'>
  private readonly tracing: Pick<Tracing, 'here' | 'continued'>
  private readonly ended: (follower: Follower) => void
  private reading: Promise<void> | undefined
  private again = false
  /** Whether a change was found by looking, and no hint has come since. */
  private isUnhinted = false
  /** The commit time of the first announced change that is not read yet, and its span. */
  private committed: number | undefined
  private span: string | undefined
  /** The latest announced changes, if known. */
  private changes: Changes | undefined

  constructor(
    store: Pick<Store, 'frame' | 'heads'>,
    user: string,
    log: Pick<Log, 'warn'>,
    tracing: Pick<Tracing, 'here' | 'continued'>,
    ended: (follower: Follower) => void,
  ) {
    this.store = store
    this.user = user
    this.log = log
    this.tracing = tracing
    this.ended = ended
    this.opened = this.open()
  }

  /** Reads new changes and sends them. A call during a read causes one more read. */
  hint(committed?: number, changes?: Changes): void {
    this.isUnhinted = false
    this.changes = changes
    this.committed ??= committed
    this.span ??= this.tracing.here()
    void this.look()
  }

  /** Reads on if the feed is ahead, whether a hint has come or not. */
  async catchUp(head: Head): Promise<void> {
    if (this.isAt(head)) return
    // A head that was asked for before the latest read may be behind it.
    this.isUnhinted = head.seq > this.head.seq
    this.changes = undefined
    await this.look()
  }

  /** Whether the hint of a change that was found by looking has not come since. Tells so once. */
  hasMissedHint(): boolean {
    const { isUnhinted } = this
    this.isUnhinted = false
    return isUnhinted
  }

  private look(): Promise<void> {
    this.again = true
    this.reading ??= this.readOn()
    return this.reading
  }

  private isAt({ epoch, seq }: Head): boolean {
    return epoch === this.head.epoch && seq === this.head.seq
  }

  /** A feed that is behind what was read of it lost its last changes in a failover. */
  private isOver({ epoch, seq }: Head): boolean {
    return epoch !== this.head.epoch || seq < this.head.seq
  }

  private isContinuedBy({ prev, head }: Changes): boolean {
    return head.epoch === this.head.epoch && prev === this.head.seq
  }

  private async open(): Promise<void> {
    this.head = (await this.store.heads([this.user])).get(this.user) ?? this.head
  }

  private async readOn(): Promise<void> {
    try {
      await this.opened
      while (this.again && this.subscribers.size > 0) {
        this.again = false
        const { committed, changes, span } = this
        this.committed = undefined
        this.changes = undefined
        this.span = undefined
        const about = { subscribers: this.subscribers.size }
        await this.tracing.continued(span, 'frame', about, () => this.sendOn(committed, changes))
      }
    } catch (error) {
      // Nothing is skipped: the next hint or sweep reads from the same position.
      this.log.warn({ error }, 'a feed could not be read')
    } finally {
      this.reading = undefined
    }
  }

  /** Reads on from the latest position, and sends what it finds. */
  private async sendOn(committed?: number, changes?: Changes): Promise<void> {
    const read =
      changes && this.isContinuedBy(changes)
        ? { head: changes.head, documents: changes.documents() }
        : await this.store.frame(this.user, this.head.seq)
    if (!read || this.isAt(read.head)) return
    if (this.isOver(read.head)) return this.end()
    const { head, documents } = read
    const position = { prev: this.head.seq, ...positionAt(head) }
    const encoded = documents && encode(documents, position.checkpoint)
    const frame: Frame = { ...position, ...(encoded && { documents }) }
    this.head = head
    for (const subscriber of this.subscribers) subscriber.frame(frame, encoded, committed)
  }

  /** Its database is back at an older point: what was sent may not be so any more. */
  private end(): void {
    this.ended(this)
    for (const subscriber of this.subscribers) subscriber.end()
    this.subscribers.clear()
  }
}

const positionAt = (head: Head): Ready => ({ seq: head.seq, checkpoint: cursorAt(head) })
