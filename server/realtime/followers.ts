import type { Frame } from '../../protocol/index.ts'
import type { Log } from '../runtime/log.ts'
import type { Store } from '../sync/store.ts'

/** Somebody who hears of a user's changes: a socket, or a stream. */
export interface Subscriber {
  /** @param committed when the first of its changes was, as far as that is known */
  frame(frame: Frame, committed?: number): void
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
     * @returns the counter, and how to leave
     */
    async join(user: string, subscriber: Subscriber): Promise<{ seq: number; leave(): void }> {
      let follower = followers.get(user)
      if (!follower) {
        follower = new Follower(store, user, log)
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
        seq: current.seq,
        leave() {
          current.subscribers.delete(subscriber)
          dropIfIdle(user, current)
        },
      }
    },

    /** There may be something new, committed then, if that is known. */
    changed: (user: string, committed?: number) => followers.get(user)?.look(committed),

    /** There may be something new for anybody. */
    gap() {
      for (const follower of followers.values()) follower.look()
    },

    /** Asks how far the feeds are: hints may be lost, and an administrator's SQL gives none. */
    async sweep() {
      if (followers.size === 0) return
      try {
        for (const [user, seq] of await store.heads([...followers.keys()])) {
          const follower = followers.get(user)
          if (follower && seq > follower.seq) follower.look()
        }
      } catch (error) {
        log.warn({ error }, 'the heads of feeds could not be read')
      }
    },
  }

  function dropIfIdle(user: string, follower: Follower) {
    if (
      follower.subscribers.size === 0 &&
      follower.expected === 0 &&
      followers.get(user) === follower
    )
      followers.delete(user)
  }
}

export type Followers = ReturnType<typeof createFollowers>

class Follower {
  readonly subscribers = new Set<Subscriber>()
  /** Who is about to subscribe. */
  expected = 0
  /** What every subscriber has been told of. */
  seq = 0
  readonly opened: Promise<void>
  private readonly store: Pick<Store, 'frame' | 'heads'>
  private readonly user: string
  private readonly log: Pick<Log, 'warn'>
  private reading = false
  private again = false
  /** When the first change was committed that has been heard of and not been read. */
  private committed: number | undefined

  constructor(store: Pick<Store, 'frame' | 'heads'>, user: string, log: Pick<Log, 'warn'>) {
    this.store = store
    this.user = user
    this.log = log
    this.opened = this.open()
  }

  /** Reads what is new and passes it on; asked while it reads, it reads once more after that. */
  look(committed?: number): void {
    this.again = true
    this.committed ??= committed
    if (!this.reading) void this.readOn()
  }

  private async open(): Promise<void> {
    this.seq = (await this.store.heads([this.user])).get(this.user) ?? 0
  }

  private async readOn(): Promise<void> {
    this.reading = true
    try {
      await this.opened
      while (this.again && this.subscribers.size > 0) {
        this.again = false
        const { committed } = this
        this.committed = undefined
        const { seq, documents } = await this.store.frame(this.user, this.seq)
        if (seq <= this.seq) continue
        const frame: Frame = { prev: this.seq, seq, ...(documents && { documents }) }
        this.seq = seq
        for (const subscriber of this.subscribers) subscriber.frame(frame, committed)
      }
    } catch (error) {
      // Nothing was passed over: the next hint or sweep reads from the same place.
      this.log.warn({ error }, 'a feed could not be read')
    } finally {
      this.reading = false
    }
  }
}
