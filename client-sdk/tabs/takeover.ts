import type { getAllCollectionDocuments, RxDatabase } from 'rxdb'
import { filter, map, type Observable } from 'rxjs'
import { ClientError } from '../runtime/client-error.ts'

type Record = Awaited<ReturnType<typeof getAllCollectionDocuments>>[number]

/**
 * Marks these collections as taken over by a newer release of the app, before it reads the data to
 * migrate.
 */
export async function takeOver(database: RxDatabase, records: readonly Record[]): Promise<void> {
  const rows = records.map((record) => ({
    previous: record,
    document: { ...record, data: { ...record.data, isTakenOver: true } },
  }))
  await database.internalStore.bulkWrite(rows, 'takeover')
}

/** Emits when a tab with a newer release of the app takes over these collections. */
export function takenOver(database: RxDatabase): Observable<void> {
  const open = new Set(Object.values(database.collections).map(recordId))
  return database.internalStore.changeStream().pipe(
    filter(({ events }) =>
      events.some(({ documentId, documentData }) => open.has(documentId) && isOver(documentData)),
    ),
    map(() => {}),
  )
}

/**
 * Rejects late writes. The new release sets the mark before it reads, so a write is migrated if the mark
 * is not there after the write. Otherwise this is unknown, and the write rejects.
 */
export function refuseLateWrites(database: RxDatabase): void {
  const collections = Object.values(database.collections)
  const ids = collections.map(recordId)
  let isLate = false
  takenOver(database).subscribe(() => {
    isLate = true
  })
  for (const { storageInstance } of collections) {
    const write = storageInstance.bulkWrite.bind(storageInstance)
    storageInstance.bulkWrite = async (rows, context) => {
      if (isLate) throw overtaken()
      const result = await write(rows, context)
      const records = await database.internalStore.findDocumentsById(ids, false)
      isLate ||= records.length < ids.length || records.some(isOver)
      if (isLate) throw overtaken()
      return result
    }
  }
}

export function overtaken(): ClientError {
  return new ClientError('outdated_client', 'A newer release of the app runs in another tab.')
}

const recordId = ({ name, schema }: RxDatabase['collections'][string]) =>
  `collection|${name}-${schema.version}`

const isOver = ({ _deleted, data }: { _deleted: boolean; data: object }) =>
  _deleted || 'isTakenOver' in data
