import { BehaviorSubject, filter, firstValueFrom } from 'rxjs'

/**
 * Keeps what the server says out of RxDB while a push is between its start and its record.
 *
 * RxDB skips a pulled document that has an unsent edit, since the push will meet the same conflict.
 * But a push that the server has taken may not yet be recorded here: a later edit of another device,
 * pulled in that moment, would be skipped, the cursor would move past it, and the push, which met no
 * conflict, would be recorded over it. Nobody would look for that edit again.
 *
 * So no page is fetched while a push is under way, nor is a push sent while a page is being
 * fetched. What is pulled before a push starts may be skipped safely: the push meets it.
 */
export class Gate {
  private readonly pushes = new BehaviorSubject(0)
  private readonly pulls = new BehaviorSubject(0)

  get isPushing(): boolean {
    return this.pushes.value > 0
  }

  /** Until none was for a moment: another may have begun since. */
  pushed(): Promise<unknown> {
    return isNone(this.pushes)
  }

  async pulling<T>(fetch: () => Promise<T>): Promise<T> {
    while (this.isPushing) await this.pushed()
    this.pulls.next(this.pulls.value + 1)
    try {
      return await fetch()
    } finally {
      this.pulls.next(this.pulls.value - 1)
    }
  }

  /** @param recorded settles when RxDB has taken note of the answer; a failed push has none */
  async pushing<T>(send: () => Promise<T>, recorded: () => Promise<unknown>): Promise<T> {
    while (this.pulls.value > 0) await isNone(this.pulls)
    this.pushes.next(this.pushes.value + 1)
    const leave = () => this.pushes.next(this.pushes.value - 1)
    try {
      const answer = await send()
      void recorded().then(leave, leave)
      return answer
    } catch (error) {
      leave()
      throw error
    }
  }
}

const isNone = (count: BehaviorSubject<number>) =>
  firstValueFrom(count.pipe(filter((number) => number === 0)))
