import { randomUUID } from 'node:crypto'
import { createRequire } from 'node:module'

/**
 * A device that keeps one collection in step by `replicateServer`, the client of rxdb-server, as an
 * app would use it.
 */
export interface Device<D extends Stamped> {
  insert(document: Given<D>): Promise<void>
  insertMany(documents: Given<D>[]): Promise<void>
  /** An edit that is not awaited to arrive anywhere. */
  edit(id: string, fields: Partial<D>): Promise<void>
  remove(id: string): Promise<void>
  read(id: string): Promise<D | undefined>
  /** Everything that is live, by id. */
  all(): Promise<D[]>
  count(): Promise<number>
  /** Resolves once the document is as it should be; without one, once it is gone. */
  until(id: string, fits: (document: D | undefined) => unknown): Promise<void>
  untilCount(count: number): Promise<void>
  /** Begins, or goes on from where it was. `url` is that of the endpoints: `…/replication/tasks/0`. */
  online(url: string, access: string): Online
  offline(): Promise<void>
  /** Goes offline, and forgets how far it was: `online` begins anew, with what is here. */
  forget(): Promise<void>
  /** Goes offline, sends what is unsent without pulling, and empties itself: `online` begins anew. */
  deliverAndEmpty(url: string, access: string): Promise<void>
  close(): Promise<void>
}

export interface Online {
  initialReplication: Promise<void>
  /** Resolves when the server first says that the token is no good. */
  unauthorized: Promise<void>
  /** Resolves when the server says that this version is no longer spoken. */
  outdated: Promise<void>
  /** Resolves when the server says that the checkpoint has expired, which it does again and again. */
  expired(missing: 'lost' | 'deleted'): Promise<void>
  isStopped(): boolean
  renew(access: string): void
}

interface Stamped {
  id: string
  updated_at: string
}

/** What a device must say of a new document; the server fills in the rest. */
type Given<D> = Partial<D> & { id: string }

// The ESM build of rxdb-server 15.22 does not run.
const load = createRequire(import.meta.url)
const { createRxDatabase } = load('rxdb')
const { getRxStorageMemory } = load('rxdb/plugins/storage-memory')
const { replicateServer } = load('rxdb-server/plugins/replication-server')

const text = { type: 'string' }
const textOrNull = { type: ['string', 'null'] }

/** Of a task, besides those that every document has. */
export const taskProperties = {
  title: text,
  description: text,
  category_id: textOrNull,
  priority: text,
  due_date: textOrNull,
  due_time: textOrNull,
  remind_at: textOrNull,
  completed: { type: 'boolean' },
  completed_at: textOrNull,
  position: text,
}

/**
 * @param properties of the JSON schema, besides those that every document has
 * @param now the clock that dates the edits
 */
export async function createDevice<D extends Stamped>(
  properties: object,
  now: () => Date = () => new Date(),
): Promise<Device<D>> {
  const database = await createRxDatabase({
    name: randomUUID(),
    storage: getRxStorageMemory(),
    multiInstance: false,
  })
  const addDocuments = async () =>
    (await database.addCollections({ documents: { schema: schema(properties) } })).documents
  let documents = await addDocuments()
  const found = (id: string) => documents.findOne(id).exec()
  let replication: { cancel(): Promise<void>; remove(): Promise<void> } | undefined

  return {
    insert: (document) => documents.insert(document),
    insertMany: (many) => documents.bulkInsert(many),
    async edit(id, fields) {
      await (await found(id)).incrementalPatch({ ...fields, updated_at: now().toISOString() })
    },
    remove: async (id) => (await found(id)).remove(),
    read: async (id) => (await found(id))?.toJSON(),
    all: async () =>
      (await documents.find({ sort: [{ id: 'asc' }] }).exec()).map((document: { toJSON(): D }) =>
        document.toJSON(),
      ),
    count: () => documents.count().exec(),
    until: (id, fits) =>
      first(documents.findOne(id).$, (document: { toJSON(): D } | null) =>
        fits(document?.toJSON()),
      ),
    untilCount: (count) => first(documents.count().$, (current: number) => current === count),
    online(url, access) {
      const started = replicateServer({
        ...options(url, access),
        live: true,
        pull: { batchSize: 100 },
      })
      replication = started
      return {
        initialReplication: started.awaitInitialReplication(),
        unauthorized: first(started.unauthorized$),
        outdated: first(started.outdatedClient$),
        expired: (missing) =>
          first(started.error$, ({ parameters }: RxError) =>
            parameters.errors.some(
              (error) =>
                error.code === 'checkpoint_expired' && error.extensions?.missing === missing,
            ),
          ),
        isStopped: () => started.isStopped(),
        renew: (renewed) => started.setHeaders(authorization(renewed)),
      }
    },
    offline: async () => replication?.cancel(),
    forget: async () => replication?.remove(),
    async deliverAndEmpty(url, access) {
      await replication?.cancel()
      const delivery = replicateServer({ ...options(url, access), live: false })
      await delivery.awaitInitialReplication()
      await documents.remove()
      documents = await addDocuments()
    },
    close: () => database.destroy(),
  }

  function options(url: string, access: string) {
    return {
      collection: documents,
      replicationIdentifier: 'documents',
      url,
      headers: authorization(access),
      retryTime: 200,
      push: {},
    }
  }
}

const authorization = (access: string) => ({ Authorization: `Bearer ${access}` })

function schema(properties: object) {
  return {
    version: 0,
    primaryKey: 'id',
    type: 'object',
    properties: {
      id: { type: 'string', maxLength: 36 },
      ...properties,
      created_at: { type: 'string' },
      updated_at: { type: 'string' },
    },
    required: ['id'],
  }
}

/** What `error$` gives of a pull or a push that failed. */
interface RxError {
  parameters: { errors: { code?: string; extensions?: { missing: string } }[] }
}

interface Observable<T> {
  subscribe(listener: (value: T) => void): { unsubscribe(): void }
}

/** Resolves at the first value that fits. */
function first<T>(
  observable: Observable<T>,
  fits: (value: T) => unknown = () => true,
): Promise<void> {
  return new Promise((resolve) => {
    const subscription = observable.subscribe((value) => {
      if (!fits(value)) return
      resolve()
      // Not yet there when the first value comes at once.
      queueMicrotask(() => subscription.unsubscribe())
    })
  })
}
