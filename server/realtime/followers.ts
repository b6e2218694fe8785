import type { Frame, Ready } from '../../protocol/index.ts'
import type { Log } from '../runtime/log.ts'
import { cursorAt, FIRST_EPOCH } from '../sync/cursors.ts'
import type { Changes, Head, Store } from '../sync/store.ts'

/** Somebody who hears of a user's changes: a socket, or a stream. */
export interface Subscriber {
  /** @param committed when the first of its changes was, as far as that is known */
  frame(frame: Frame, committed?: number): void
  /** No more frames will come, and none continues these: it has to subscribe anew. */
  end(): void
}

/**
 * Follows the feeds of the users who have a subscriber here. However many they are, a hint costs one
 * read for each user, and nothing for a user without any. Frames go out in order, each beginning
 * where the one before ended.
 */
export function createFollowers(store: Pick<Store, 'frame' | 'heads'>, log: Pick<Log, 'warn'>) {
  const followers = new Map<string, Follower>()

  return {
    /**
     * Subscribes, and answers with how far the feed is: what comes later comes as frames.
     *
     * @returns how far it is, and how to leave
     */
    async join(user: string, subscriber: Subscriber): Promise<{ head: Ready; leave(): void }> {
      let follower = followers.get(user)
      if (!follower) {
        follower = new Follower(store, user, log, (ended) => drop(user, ended))
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

    /** There may be something new: committed then, and this, if that is known. */
    changed: (user: string, committed?: number, changes?: Changes) =>
      followers.get(user)?.look(committed, changes),

    /** There may be something new for anybody. */
    gap() {
      for (const follower of followers.values()) follower.look()
    },

    /** Asks how far the feeds are: hints may be lost, and an administrator's SQL gives none. */
    async sweep() {
      if (followers.size === 0) return
      try {
        for (const [user, head] of await store.heads([...followers.keys()]))
          if (!followers.get(user)?.isAt(head)) followers.get(user)?.look()
      } catch (error) {
        log.warn({ error }, 'the heads of feeds could not be read')
      }
    },
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
  /** Who is about to subscribe. */
  expected = 0
  /** What every subscriber has been told of. */
  head: Head = { epoch: FIRST_EPOCH, seq: 0 }
  readonly opened: Promise<void>
  private readonly store: Pick<Store, 'frame' | 'heads'>
  private readonly user: string
  private readonly log: Pick<Log, 'warn'>
  private readonly ended: (follower: Follower) => void
  private reading = false
  private again = false
  /** When the first change was committed that has been heard of and not been read. */
  private committed: number | undefined
  /** What the latest of them was, if that is known. */
  private changes: Changes | undefined

  constructor(
    store: Pick<Store, 'frame' | 'heads'>,
    user: string,
    log: Pick<Log, 'warn'>,
    ended: (follower: Follower) => void,
  ) {
    this.store = store
    this.user = user
    this.log = log
    this.ended = ended
    this.opened = this.open()
  }

  /** Reads what is new and passes it on; asked while it reads, it reads once more after that. */
  look(committed?: number, changes?: Changes): void {
    this.again = true
    this.changes = changes
    this.committed ??= committed
    if (!this.reading) void this.readOn()
  }

  isAt({ epoch, seq }: Head): boolean {
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
    this.reading = true
    try {
      await this.opened
      while (this.again && this.subscribers.size > 0) {
        this.again = false
        const { committed, changes } = this
        this.committed = undefined
        this.changes = undefined
        const read =
          changes && this.isContinuedBy(changes)
            ? { head: changes.head, documents: changes.documents() }
            : await this.store.frame(this.user, this.head.seq)
        if (!read || this.isAt(read.head)) continue
        if (this.isOver(read.head)) return this.end()
        const { head, documents } = read
        const position = { prev: this.head.seq, ...positionAt(head) }
        const frame: Frame = { ...position, ...(documents && { documents }) }
        this.head = head
        for (const subscriber of this.subscribers) subscriber.frame(frame, committed)
      }
    } catch (error) {
      // Nothing was passed over: the next hint or sweep reads from the same place.
      this.log.warn({ error }, 'a feed could not be read')
    } finally {
      this.reading = false
    }
  }

  /** Its database is back at an older point: what was sent may not be so any more. */
  private end(): void {
    this.ended(this)
    for (const subscriber of this.subscribers) subscriber.end()
    this.subscribers.clear()
  }
}

const positionAt = (head: Head): Ready => ({ seq: head.seq, checkpoint: cursorAt(head) })
