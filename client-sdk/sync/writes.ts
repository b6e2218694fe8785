import type { RxCollection } from 'rxdb'
import { signedOut } from '../runtime/client-error.ts'
import { DocumentStates } from './document-states.ts'

/** Called with the documents of an edit, also if it failed. */
type Wrote = (collection: string, ids: string[]) => void

/**
 * Tracks the edits of this tab. The storage's events are not enough: a failed write may have been stored
 * without an event, and RxDB's channel between tabs drops events dated before the listening tab, as happens
 * after the clock was set back.
 */
export class Writes {
  private readonly wrote: Wrote
  private readonly underWay = new Set<Promise<unknown>>()
  private isStopped = false

  constructor(wrote: Wrote) {
    this.wrote = wrote
  }

  watch({ name, storageInstance }: RxCollection): void {
    const write = storageInstance.bulkWrite.bind(storageInstance)
    storageInstance.bulkWrite = (rows, context) => {
      if (!DocumentStates.isEdit({ context })) return write(rows, context)
      if (this.isStopped) return Promise.reject(signedOut())
      const ids = rows.map(({ document }) => document.id)
      const written = write(rows, context).finally(() => {
        this.underWay.delete(written)
        this.wrote(name, ids)
      })
      this.underWay.add(written)
      return written
    }
  }

  /** Rejects edits from now on, and waits for running writes. */
  async stop(): Promise<void> {
    this.isStopped = true
    await Promise.allSettled(this.underWay)
  }

  resume(): void {
    this.isStopped = false
  }
}
