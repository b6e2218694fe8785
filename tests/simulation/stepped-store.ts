import type { Store, Transaction } from '../../server/sync/store.ts'

/** Serializes calls to the database, so that their order is deterministic. */
export class Traffic {
  private busy = false
  private readonly waiting: (() => void)[] = []
  private readonly resting: (() => void)[] = []

  async take(): Promise<void> {
    if (this.busy) await new Promise<void>((go) => this.waiting.push(go))
    this.busy = true
  }

  release(): void {
    const next = this.waiting.shift()
    if (next) next()
    else {
      this.busy = false
      for (const go of this.resting.splice(0)) go()
    }
  }

  async alone<T>(work: () => Promise<T>): Promise<T> {
    await this.take()
    try {
      return await work()
    } finally {
      this.release()
    }
  }

  async atRest(): Promise<void> {
    do {
      if (this.busy) await new Promise<void>((go) => this.resting.push(go))
      await new Promise((flushed) => setImmediate(flushed)) // after all pending promise callbacks
    } while (this.busy)
  }
}

/** The writers of a user: one in its transaction, and one that waits in the store for the lock. */
interface Doorway {
  inside: number
  waiter: Promise<void> | undefined
  /** Resolve when the writer that asked last has entered, and when it has left. */
  entry: Promise<void>
  exit: Promise<void>
  /** The writer inside is about to commit and leave. */
  isLeaving: boolean
  queue: (() => void)[]
}

export interface Steps {
  traffic: Traffic
  /** Lets others run for a while, or throws if this node has crashed. */
  pause(): Promise<void>
  /** Called after each write, successful or not, before any other write. */
  written(user: string, landed: boolean): Promise<void>
}

/** The doorways of all nodes of one database. */
export type Doorways = Map<string, Doorway>

/**
 * A store whose transactions pause between their steps, also before the commit, while others run. Locking is
 * still tested: one writer may wait in the store for another. Further writers wait here, because the order
 * in which the store lets several in is not deterministic.
 */
export function steppedStore(store: Store, doorways: Doorways, steps: Steps): Store {
  const { traffic } = steps
  const alone =
    <A extends unknown[], T>(call: (...args: A) => Promise<T>) =>
    (...args: A) =>
      traffic.alone(() => call(...args))

  return {
    find: alone(store.find),
    read: alone(store.read),
    changes: alone(store.changes),
    heads: alone(store.heads),
    frame: alone(store.frame),
    page: alone(store.page),
    pageOf: alone(store.pageOf),
    insert: (user, ...rest) => statement(user, () => store.insert(user, ...rest)),
    edit: (user, ...rest) => statement(user, () => store.edit(user, ...rest)),
    async attempt(user, work, ahead) {
      await traffic.take()
      let isLooking = true
      let hasWritten = false
      const looked = () => {
        if (isLooking) traffic.release()
        isLooking = false
      }
      try {
        const attempted = await store.attempt(
          user,
          async (transaction) => {
            looked()
            await steps.pause()
            return work({
              ...steppedTransaction(transaction),
              async write(resource, documents, isLast) {
                if (documents.length === 0) return
                hasWritten = true
                await statement(user, () => transaction.write(resource, documents, isLast))
              },
            })
          },
          ahead,
        )
        // What changes nothing is looked at too.
        if (attempted && !hasWritten) await statement(user, async () => {})
        return attempted
      } finally {
        looked()
      }
    },
    transaction: (user, work) =>
      write(user, 1, (entered, finishing) =>
        store.transaction(user, async (transaction) => {
          await entered()
          try {
            const result = await work(steppedTransaction(transaction))
            await steps.pause()
            return result
          } finally {
            await finishing()
          }
        }),
      ),
  }

  function steppedTransaction(transaction: Transaction): Transaction {
    return {
      get feed() {
        return transaction.feed
      },
      async read(...args) {
        const read = await traffic.alone(() => transaction.read(...args))
        await steps.pause()
        return read
      },
      limits: transaction.limits,
      revisions: { ...transaction.revisions, erase: alone(transaction.revisions.erase) },
      answers: transaction.answers,
      undoing: transaction.undoing,
      get atMost() {
        return transaction.atMost
      },
      usage: alone(transaction.usage),
      forgetWords: alone(transaction.forgetWords),
      olderThanNewest: alone(transaction.olderThanNewest),
      above: alone(transaction.above),
      placehold: alone(transaction.placehold),
      // Pauses before the commit, so it cannot be sent together with the write.
      write: alone((resource, documents) => transaction.write(resource, documents)),
    }
  }

  /** Does not wait in the store: it could finish before the end of the writer ahead is observed. */
  function statement<T>(user: string, run: () => Promise<T>): Promise<T> {
    return write(user, 0, async (entered, finishing) => {
      try {
        return await run()
      } finally {
        await entered()
        await finishing()
      }
    })
  }

  async function write<T>(
    user: string,
    mayBeInside: number,
    issue: (entered: () => Promise<void>, finishing: () => Promise<void>) => Promise<T>,
  ): Promise<T> {
    const doorway = doorwayOf(user)
    while (doorway.inside > mayBeInside) await new Promise<void>((go) => doorway.queue.push(go))
    doorway.inside++
    const waits = doorway.inside > 1
    let enter = () => {}
    const entry = new Promise<void>((go) => {
      enter = go
    })
    const { entry: before, exit: ahead } = doorway
    let leave = () => {}
    doorway.entry = entry
    doorway.exit = new Promise<void>((go) => {
      leave = go
    })
    if (waits) {
      doorway.waiter = entry
      await before
    } else await traffic.take()
    let isIn = false
    const entered = async () => {
      if (isIn) return
      isIn = true
      if (doorway.waiter === entry) doorway.waiter = undefined
      enter()
      if (!waits) traffic.release()
      if (doorway.isLeaving) await ahead // the duration of its last steps is not deterministic
    }
    let landed = false
    let tookTraffic = false
    const finishing = async () => {
      await traffic.take()
      tookTraffic = true
      doorway.isLeaving = true
    }
    try {
      const result = await issue(entered, finishing)
      landed = true
      return result
    } finally {
      await entered()
      if (!tookTraffic) await finishing()
      await steps.written(user, landed)
      doorway.inside--
      await doorway.waiter // the lock is free: its waiter enters before anything else runs
      doorway.isLeaving = false
      leave()
      traffic.release()
      doorway.queue.shift()?.()
    }
  }

  function doorwayOf(user: string): Doorway {
    const doorway = doorways.get(user) ?? {
      inside: 0,
      waiter: undefined,
      entry: Promise.resolve(),
      exit: Promise.resolve(),
      isLeaving: false,
      queue: [],
    }
    doorways.set(user, doorway)
    return doorway
  }
}
