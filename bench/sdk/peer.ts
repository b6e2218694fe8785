/** The client of rxdb-server on the RxDB that it was made for: bundle.ts says where both are. */
import { createRxDatabase, type RxStorage } from 'rxdb'
import { getRxStorageDexie } from 'rxdb/plugins/storage-dexie'
import { getRxStorageMemory } from 'rxdb/plugins/storage-memory'
import { replicateServer } from 'rxdb-server/plugins/replication-server'
import { offer } from './device.ts'

offer(async (name, { url, access, storage, schema, pullBatch, pushBatch }) => {
  const isBrowser = storage === 'dexie'
  const database = await createRxDatabase({
    name,
    storage: (isBrowser ? getRxStorageDexie() : getRxStorageMemory()) as RxStorage<
      unknown,
      unknown
    >,
    // As in our client: a browser may have other tabs.
    multiInstance: isBrowser,
  })
  const { tasks } = await database.addCollections({ tasks: { schema } })
  replicateServer({
    collection: tasks,
    replicationIdentifier: 'bench',
    url,
    headers: { Authorization: `Bearer ${access}` },
    live: true,
    // It would wait half a second to see whether there are other tabs.
    waitForLeadership: false,
    pull: { batchSize: pullBatch },
    push: { batchSize: pushBatch },
  })
  return { tasks, pullBatch: () => pullBatch }
})
