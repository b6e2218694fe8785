import type { Chance } from './chance.ts'

/** The start of virtual time. */
const EPOCH = Date.UTC(2026, 0, 1)

interface Event {
  at: number
  nth: number
  run: () => void
}

/**
 * Virtual time. Runs one planned event after the other, each after all effects of the previous one. So a
 * seed always has the same history, on a database too.
 */
export class Timeline {
  /** Milliseconds since the start. */
  now = 0
  readonly history: string[] = []
  readonly chance: Chance
  private readonly events: Event[] = []
  private nth = 0
  private readonly atRest: () => Promise<void>

  /** @param atRest waits until no work is in progress except planned events */
  constructor(chance: Chance, atRest: () => Promise<void>) {
    this.chance = chance
    this.atRest = atRest
  }

  /** @returns a function that cancels the event */
  after(delay: number, run: () => void): () => void {
    const event = { at: this.now + delay, nth: this.nth++, run }
    this.events.push(event)
    return () => {
      const place = this.events.indexOf(event)
      if (place >= 0) this.events.splice(place, 1)
    }
  }

  pause(delay: number): Promise<void> {
    return new Promise((resume) => {
      this.after(delay, resume)
    })
  }

  /** The time of a clock with this error in milliseconds. */
  clock(skew: number): string {
    return new Date(EPOCH + this.now + skew).toISOString()
  }

  tell(who: string, what: string): void {
    this.history.push(`${String(this.now).padStart(6)} ${who.padEnd(10)} ${what}`)
  }

  async runUntil(end: number, isDone: () => boolean = () => false): Promise<void> {
    while (!isDone()) {
      const next = this.takeNext(end)
      if (!next) break
      this.now = next.at
      next.run()
      await this.atRest()
    }
    if (!isDone()) this.now = end
  }

  private takeNext(end: number): Event | undefined {
    let first = -1
    this.events.forEach((event, i) => {
      const best = this.events[first]
      if (!best || event.at < best.at || (event.at === best.at && event.nth < best.nth)) first = i
    })
    return first >= 0 && this.events[first]!.at <= end ? this.events.splice(first, 1)[0] : undefined
  }
}
