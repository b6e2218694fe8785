import {
  addRxPlugin,
  createRxDatabase,
  getAllCollectionDocuments,
  type RxCollection,
  type RxDatabase,
} from 'rxdb'
import { RxDBLocalDocumentsPlugin } from 'rxdb/plugins/local-documents'
import type { Document, Resource } from '../../protocol/resource.ts'
import { settle, type Unsettled } from '../../protocol/settle.ts'
import { ClientError } from '../runtime/client-error.ts'
import { exclusively } from '../runtime/environment.ts'
import { uuidv7 } from '../runtime/uuid.ts'
import { refuseLateWrites } from '../tabs/takeover.ts'
import { type Collections, methods } from './collections.ts'
import type { ResourceName } from './documents.ts'
import { refuseFaults } from './faults.ts'
import { deleteForGood } from './for-good.ts'
import { hash } from './hash.ts'
import { migrate } from './migration.ts'
import { sortLikeServer } from './order.ts'
import { type Definition, resources } from './resources.ts'
import { rxSchema } from './rx-schema.ts'
import type { Storage } from './storage.ts'

interface DatabaseOptions {
  storage: Storage
  /** The resources to open. */
  resources: readonly ResourceName[]
  name: string
  multiInstance: boolean
  now: () => number
}

/** RxDB's error code for more open collections than its free version allows per process. */
const LIMIT_REACHED = 'COL23'
/** RxDB's error code for a second database of one name, on storages of one name. */
const IN_USE = 'DB8'

/** Opens the documents of one user on this device. On failure everything is closed again. */
export async function openDatabase(options: DatabaseOptions): Promise<RxDatabase<Collections>> {
  const { storage, name, multiInstance } = options
  addRxPlugin(RxDBLocalDocumentsPlugin)
  const database = await createRxDatabase<Collections>({
    storage,
    name,
    multiInstance,
    localDocuments: true,
    hashFunction: (input) => hash(input as string), // other types are for attachments
  }).catch((cause) => {
    if (cause.code !== IN_USE) throw cause
    const message =
      'Another client of this name has the documents of this user open, on another store. Close it, or pass another `name` to createClient.'
    throw new ClientError('opened_elsewhere', message, { cause })
  })
  try {
    const plain = database as unknown as RxDatabase
    await exclusively(`${name} migration`, () => migrate(plain, Object.values(resources)))
    await openCollections(database, options)
    if (multiInstance) refuseLateWrites(plain)
    return database
  } catch (error) {
    await database.close()
    throw error
  }
}

async function openCollections(
  database: RxDatabase<Collections>,
  options: DatabaseOptions,
): Promise<void> {
  const opening = options.resources.map(async (name) => {
    const resource = resources[name]
    const collection = await openCollection(database, name)
    // Not as RxDB statics, because its dev-mode rejects some of the names.
    Object.assign(collection, methods[name as keyof typeof methods])
    const now = () => new Date(options.now()).toISOString()
    sortLikeServer(collection, resource)
    if (resource.readOnly) refuseWrites(collection, resource)
    else settleWrites(collection, resource, now)
    Object.assign(collection, {
      add: (document: object) => collection.insert(document),
      async deleteForGood(id: string) {
        if (resource.readOnly || resource.singleton)
          throw new ClientError('read_only', `Nothing in ${name} can be deleted.`)
        await deleteForGood(collection as unknown as RxCollection<Document>, resource, id, now())
      },
    })
  })
  // A collection that opens after another has failed would not be closed with the database.
  await Promise.allSettled(opening)
  await Promise.all(opening)
}

/** Opens a collection without the hooks that normalize writes. */
export async function openCollection(
  database: RxDatabase<Collections>,
  name: ResourceName,
): Promise<RxCollection> {
  try {
    const { [name]: collection } = await database.addCollections({
      [name]: creator(resources[name]),
    })
    return collection!
  } catch (cause) {
    if ((cause as { code?: string }).code !== LIMIT_REACHED) throw cause
    const message =
      'Too many collections are open. Pass `resources` to createClient to open only those that the app uses.'
    throw new ClientError('too_many_collections', message, { cause })
  }
}

/** The collections that an earlier run of the app opened on this device, and this one did not. */
export async function closedCollections(
  database: RxDatabase<Collections>,
): Promise<ResourceName[]> {
  const records = await getAllCollectionDocuments(database.internalStore)
  const names = new Set(records.map(({ data }) => data.name as ResourceName))
  return [...names].filter((name) => name in resources && !(name in database.collections))
}

/** The definition of an RxDB collection. */
export function creator(resource: Definition) {
  const schema = rxSchema(resource)
  // `migrate` has already migrated the data, but RxDB's dev-mode requires a strategy for each version.
  const versions = Array.from({ length: schema.version }, (_, index) => index + 1)
  const migrationStrategies = Object.fromEntries(versions.map((version) => [version, same]))
  return { schema, autoMigrate: false, migrationStrategies }
}

const same = (document: object) => document

/** Checks and normalizes documents that the app writes, like the server. */
function settleWrites(collection: RxCollection, resource: Definition, now: () => string): void {
  const settled = (next: Unsettled, previous?: never) =>
    settle(resource as Resource, next, previous, now())
  collection.preInsert((data) => {
    data.id ??= uuidv7()
    refuseFaults(resource, data)
    Object.assign(data, settled(data))
  }, false)
  collection.preSave((data, previous) => {
    // An edit that does not change `updated_at` is made now.
    const isDated = data.updated_at !== (previous as unknown as Unsettled).updated_at
    const next = isDated ? data : { ...data, updated_at: undefined }
    refuseFaults(resource, data, previous)
    Object.assign(data, settled(next, previous as never))
  }, false)
  collection.preRemove((data) => {
    Object.assign(data, settled({ ...data, updated_at: undefined }, data as never))
  }, false)
}

function refuseWrites(collection: RxCollection, { name }: Definition): void {
  const refuse = () => {
    throw new ClientError('read_only', `Only the server can write ${name}.`)
  }
  collection.preInsert(refuse, false)
  collection.preSave(refuse, false)
  collection.preRemove(refuse, false)
}
