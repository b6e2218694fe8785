import {
  fillWithDefaultSettings,
  getAllCollectionDocuments,
  getChangedDocumentsSince,
  getRxReplicationMetaInstanceSchema,
  type InternalStoreCollectionDocType,
  type RxDatabase,
  type RxDocumentData,
  type RxJsonSchema,
} from 'rxdb'
import type { Resource } from '../../protocol/resource.ts'
import { settle } from '../../protocol/settle.ts'
import { ClientError } from '../runtime/client-error.ts'
import { takeOver } from '../tabs/takeover.ts'
import type { Definition } from './resources.ts'
import { rxSchema } from './rx-schema.ts'

interface Kept {
  id: string
  [name: string]: unknown
}

type Schema = RxJsonSchema<RxDocumentData<Kept>>

const BATCH = 500

/**
 * Migrates the data of an earlier release of the app: the documents with their unsent edits, and the known
 * states of the server. RxDB stores each version of a schema separately. Its migration plugin would
 * increase the size of the SDK by 10%.
 *
 * Old data is deleted after everything is copied, so an interrupted migration restarts at the next start.
 */
export async function migrate(
  database: RxDatabase,
  resources: readonly Definition[],
): Promise<void> {
  const records = await olderRecords(database, resources)
  if (records.length === 0) return
  // Other tabs may still run the earlier release.
  await takeOver(database, records)
  for (const record of await olderRecords(database, resources)) {
    const resource = resources.find(({ name }) => name === record.data.name)!
    const schema: Schema = fillWithDefaultSettings(rxSchema<Kept>(resource))
    await carryOver(database, record.data, schema, (document) => inForm(resource, document))
    const document = { ...record, _deleted: true }
    await database.internalStore.bulkWrite([{ previous: record, document }], 'migration')
  }
}

async function olderRecords(database: RxDatabase, resources: readonly Definition[]) {
  const records = await getAllCollectionDocuments(database.internalStore)
  const versions = new Map(resources.map((one) => [one.name, rxSchema(one).version]))
  return records.filter(({ data }) => data.version < (versions.get(data.name) ?? 0))
}

async function carryOver(
  database: RxDatabase,
  old: InternalStoreCollectionDocType['data'],
  schema: Schema,
  form: (document: Kept) => Kept,
): Promise<void> {
  const metaSchema = getRxReplicationMetaInstanceSchema<Kept, unknown>(schema, false) as Schema
  const metaForm = (kept: Kept) => metaInForm(form, kept)
  const emptied = [await copy(database, old.name, old.schema, schema, form)]
  for (const { collectionName, schema } of old.connectedStorages)
    emptied.push(await copy(database, collectionName, schema, metaSchema, metaForm))
  for (const place of emptied) await place.remove()
}

/** Copies documents with their revisions and write times, to which the known states refer. */
async function copy(
  database: RxDatabase,
  collectionName: string,
  from: Schema,
  to: Schema,
  convert: (kept: Kept) => Kept,
) {
  const [source, target] = [await open(from), await open(to)]
  for (let checkpoint: unknown; ; ) {
    const changed = await getChangedDocumentsSince(source, BATCH, checkpoint)
    if (changed.documents.length === 0) break
    checkpoint = changed.checkpoint
    const rows = changed.documents.map((document) => ({ document: convert(document) }))
    const { error } = await target.bulkWrite(rows as never, 'migration')
    // Existing documents are from an interrupted migration.
    const cause = error.find(({ status }) => status !== 409)
    if (cause)
      throw new ClientError('not_stored', 'The storage of this device did not accept the write.', {
        cause,
      })
  }
  await target.close()
  return source

  function open(schema: Schema) {
    return database.storage.createStorageInstance<Kept>({
      databaseInstanceToken: database.token,
      databaseName: database.name,
      multiInstance: database.multiInstance,
      collectionName,
      schema,
      options: {},
      devMode: false,
    })
  }
}

/** The known state of a document; cursors have none. */
function metaInForm(form: (document: Kept) => Kept, { docData, ...kept }: Kept): Kept {
  return { ...kept, ...(docData !== undefined && { docData: form(docData as Kept) }) }
}

/** Converts a document to the fields of this version, like the server. */
export function inForm(resource: Definition, document: Kept): Kept {
  // Settled as if created at its last change, so that no timestamp changes.
  const filled = settle(resource as Resource, document, undefined, document.updated_at as string)
  const names = new Set(['id', 'created_at', 'updated_at', ...resource.fieldNames])
  return Object.fromEntries(
    Object.entries(filled).filter(([name]) => names.has(name) || name.startsWith('_')),
  ) as Kept
}
