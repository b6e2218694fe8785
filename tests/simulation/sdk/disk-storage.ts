import { addRxStorageMultiInstanceSupport } from 'rxdb'
import { getRxStorageMemory, type RxStorageInstanceMemory } from 'rxdb/plugins/storage-memory'
import { Subject } from 'rxjs'
import type { Storage } from '../../../client-sdk/local/storage.ts'
import { type Disk, type Place, type Tab, UNNOTICED } from './disk.ts'

type MemoryStorage = ReturnType<typeof getRxStorageMemory>
type MemoryInstance = RxStorageInstanceMemory<unknown>

/**
 * RxDB's memory storage on contents that survive the tab and are shared between tabs. Every operation goes
 * through the disk first, which may delay it, fail, or kill the tab.
 */
export function diskStorage(disk: Disk, tab: Tab): Storage {
  const memory = getRxStorageMemory()
  memory.collectionStates = disk.states as MemoryStorage['collectionStates']
  return {
    name: 'disk',
    rxdbVersion: memory.rxdbVersion,
    async createStorageInstance(params) {
      const { databaseName, collectionName } = params
      const place: Place = { databaseName, collectionName }
      await disk.read(tab, place, 'open')
      const instance = (await memory.createStorageInstance(params as never)) as MemoryInstance
      throughDisk(instance, disk, tab, place)
      addRxStorageMultiInstanceSupport('disk', params as never, instance as never)
      return instance as never
    },
  }
}

function throughDisk(instance: MemoryInstance, disk: Disk, tab: Tab, place: Place): void {
  // Only events of this tab: others get them over a channel. And no delayed index writes.
  const changes$ = new Subject()
  const silence = { next: () => {} }
  let isSilent = false
  const shared = instance.internals
  Object.assign(instance, {
    internals: Object.create(instance.internals, {
      changes$: {
        value: {
          next: (event: unknown) => (isSilent ? silence : changes$).next(event),
          asObservable: () => changes$.asObservable(),
        },
      },
      ensurePersistenceIdlePromise: { value: Promise.resolve() },
    }),
  })
  const original = {
    bulkWrite: instance.bulkWrite.bind(instance),
    findDocumentsById: instance.findDocumentsById.bind(instance),
    query: instance.query.bind(instance),
    count: instance.count.bind(instance),
    remove: instance.remove.bind(instance),
  }
  disk.opened(tab, place, (rows) => original.bulkWrite(rows as never, UNNOTICED))
  Object.assign(instance, {
    bulkWrite: (rows: never[], context: string) =>
      disk.write(tab, place, rows, context, async (some, isUnheard) => {
        isSilent = isUnheard
        const written = original.bulkWrite(some as never[], context)
        isSilent = false
        instance.ensurePersistence()
        return written
      }),
    async findDocumentsById(ids: string[], withDeleted: boolean) {
      await disk.read(tab, place, 'find')
      return original.findDocumentsById(ids, withDeleted)
    },
    async query(query: never) {
      await disk.read(tab, place, 'query')
      return original.query(query)
    },
    async count(query: never) {
      await disk.read(tab, place, 'count')
      return original.count(query)
    },
    async remove() {
      await disk.remove(tab, place)
      await original.remove()
      // For other tabs that have it open.
      shared.removed = true
    },
  })
}
