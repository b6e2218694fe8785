import { BehaviorSubject, Subject } from 'rxjs'

/** The documents of one collection with edits that the server has not confirmed, in memory. */
export class UnsentEdits {
  readonly count$ = new BehaviorSubject(0)
  /** Emits when there are edits to send, or set-aside edits may be retried. */
  readonly news$ = new Subject<void>()
  /** The number of the latest edit by document id. */
  private readonly latest = new Map<string, number>()
  private newsCount = 0

  /** Grows with every edit and every nudge. */
  get version(): number {
    return this.newsCount
  }

  has(id: string): boolean {
    return this.latest.has(id)
  }

  /** Up to `most` edits, oldest first: ids with the numbers for `markSent`. */
  first(most: number): Map<string, number> {
    return new Map([...this.latest].slice(0, most))
  }

  /** The documents with edits after this version. */
  since(version: number): string[] {
    return [...this.latest].filter(([, edit]) => edit > version).map(([id]) => id)
  }

  mark(ids: readonly string[]): void {
    if (ids.length === 0) return
    for (const id of ids) this.latest.set(id, ++this.newsCount)
    this.count()
    this.news$.next()
  }

  /** Removes the edit unless the document has been edited again. */
  markSent(id: string, edit: number): void {
    if (this.latest.get(id) === edit) this.latest.delete(id)
    this.count()
  }

  /** Called when set-aside edits may be retried. */
  nudge(): void {
    this.newsCount++
    this.news$.next()
  }

  private count(): void {
    const { size } = this.latest
    if (this.count$.value !== size) this.count$.next(size)
  }
}
