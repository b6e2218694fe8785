import type { RxCollection } from 'rxdb'
import { DocumentStates } from './document-states.ts'

/**
 * Tells which documents this tab has edited, or tried to. The events of the storage tell less: a write
 * that fails may have been kept all the same, without one; and RxDB's channel between tabs drops what
 * is dated earlier than the tab that listens, as after the clock was set back.
 */
export function watchWrites(collection: RxCollection, wrote: (ids: string[]) => void): void {
  const { storageInstance } = collection
  const write = storageInstance.bulkWrite.bind(storageInstance)
  storageInstance.bulkWrite = async (rows, context) => {
    try {
      return await write(rows, context)
    } finally {
      if (DocumentStates.isEdit({ context })) wrote(rows.map(({ document }) => document.id))
    }
  }
}
