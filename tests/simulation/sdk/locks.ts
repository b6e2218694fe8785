export type RequestLock = <T>(name: string, run: () => Promise<T>) => Promise<T>

interface Waiter {
  owner: object
  begin: () => void
}

/** `navigator.locks` of one device: one holder at a time, in the order of requests. A killed tab releases its locks. */
export class Locks {
  private readonly held = new Map<string, object>()
  private readonly waiting = new Map<string, Waiter[]>()

  /** For one tab. */
  owner(isAlive: () => boolean): { request: RequestLock; release: () => void } {
    const owner = {}
    return {
      request: (name, run) => this.requestBy(owner, isAlive, name, run),
      release: () => this.releaseAll(owner),
    }
  }

  private async requestBy<T>(
    owner: object,
    isAlive: () => boolean,
    name: string,
    run: () => Promise<T>,
  ): Promise<T> {
    if (!isAlive()) return new Promise(() => {})
    if (this.held.has(name))
      await new Promise<void>((begin) => {
        const queue = this.waiting.get(name) ?? []
        queue.push({ owner, begin })
        this.waiting.set(name, queue)
      })
    else this.held.set(name, owner)
    try {
      return await run()
    } finally {
      if (this.held.get(name) === owner) this.passOn(name)
    }
  }

  private passOn(name: string): void {
    const next = this.waiting.get(name)?.shift()
    if (!next) {
      this.held.delete(name)
      return
    }
    this.held.set(name, next.owner)
    next.begin()
  }

  private releaseAll(owner: object): void {
    for (const [name, queue] of this.waiting)
      this.waiting.set(
        name,
        queue.filter((waiter) => waiter.owner !== owner),
      )
    for (const [name, holder] of [...this.held]) if (holder === owner) this.passOn(name)
  }
}
