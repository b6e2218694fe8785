import type { RxCollection } from 'rxdb'
import { signedOut } from '../runtime/client-error.ts'
import { DocumentStates } from './document-states.ts'

/** Told of the documents that were edited, or tried to be. */
type Wrote = (collection: string, ids: string[]) => void

/**
 * The edits of this tab. The events of the storage tell less: a write that fails may have been kept all
 * the same, without one; and RxDB's channel between tabs drops what is dated earlier than the tab that
 * listens, as after the clock was set back.
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

  /** Refuses edits from now on, and waits for those that are being stored. */
  async stop(): Promise<void> {
    this.isStopped = true
    await Promise.allSettled(this.underWay)
  }

  resume(): void {
    this.isStopped = false
  }
}
