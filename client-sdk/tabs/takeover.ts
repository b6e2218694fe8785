import type { getAllCollectionDocuments, RxDatabase } from 'rxdb'
import { filter, map, type Observable } from 'rxjs'
import { ClientError } from '../runtime/client-error.ts'

type Record = Awaited<ReturnType<typeof getAllCollectionDocuments>>[number]

/**
 * Says in the database that a newer release of the app takes these collections over, before it reads
 * what is to be carried over.
 */
export async function takeOver(database: RxDatabase, records: readonly Record[]): Promise<void> {
  const rows = records.map((record) => ({
    previous: record,
    document: { ...record, data: { ...record.data, isTakenOver: true } },
  }))
  await database.internalStore.bulkWrite(rows, 'takeover')
}

/** When another tab, with a newer release of the app, takes over what this one has open. */
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
 * Refuses what is written too late. Whoever takes over says so before it reads: so a write after
 * which nobody has said so is carried over; of any other, nobody knows, and its writer hears of it.
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
