import {
  addConnectedStorageToCollection,
  type BulkWriteRow,
  createRevision,
  getRxReplicationMetaInstanceSchema,
  now,
  type RxCollection,
  type RxDocumentData,
  type RxJsonSchema,
  type RxStorageInstance,
  type RxStorageReplicationMeta,
} from 'rxdb'
import type { Checkpoint, WireDocument } from '../../protocol/replication.ts'

type Meta = RxStorageReplicationMeta<WireDocument, Checkpoint>
type MetaDocument = RxDocumentData<Meta>
type Instance = RxStorageInstance<Meta, unknown, unknown, unknown>

/** The name of the replication and its cursor, from which RxDB derives names. */
const IDENTIFIER = 'tasktide'
const CURSOR = 'down'

/**
 * The known states of the server for one collection, and the cursor of its feed. Stored on the device in the
 * format of RxDB's replication, which the first releases of this SDK used.
 */
export class KnownStates {
  private readonly instance: Instance
  private readonly token: string
  private cursorDocument: MetaDocument | undefined

  static async open(collection: RxCollection): Promise<KnownStates> {
    const { database, schema, name } = collection
    const collectionName = `rx-replication-meta-${await database.hashFunction(`${name}-${IDENTIFIER}`)}`
    const metaSchema = getRxReplicationMetaInstanceSchema<WireDocument, Checkpoint>(
      schema.jsonSchema as RxJsonSchema<RxDocumentData<WireDocument>>,
      false,
    )
    // So that it is deleted with the collection.
    await addConnectedStorageToCollection(collection, collectionName, metaSchema)
    const instance: Instance = await database.storage.createStorageInstance<Meta>({
      databaseName: database.name,
      databaseInstanceToken: database.token,
      multiInstance: database.multiInstance,
      collectionName,
      schema: metaSchema,
      options: {},
      devMode: false,
    })
    try {
      const [cursor] = await instance.findDocumentsById([key(CURSOR, '1')], false)
      return new KnownStates(instance, database.token, cursor)
    } catch (error) {
      await instance.close()
      throw error
    }
  }

  private constructor(instance: Instance, token: string, cursor: MetaDocument | undefined) {
    this.instance = instance
    this.token = token
    this.cursorDocument = cursor
  }

  /** All documents before it are in the storage. */
  get cursor(): Checkpoint | undefined {
    return this.cursorDocument?.checkpointData
  }

  /** The known states by id. */
  async of(ids: readonly string[]): Promise<Map<string, WireDocument>> {
    const found = await this.find(ids)
    const known = [...found.values()].filter(({ _deleted }) => !_deleted)
    return new Map(known.map(({ itemId, docData }) => [itemId, docData as WireDocument]))
  }

  /**
   * Stores states, and a cursor if given. Can be retried after a failure, which may have stored nothing or a
   * part.
   */
  async write(states: readonly WireDocument[], cursor?: Checkpoint): Promise<void> {
    const found = await this.find(states.map(({ id }) => id))
    const rows = states.map((state) => this.row(state.id, { docData: state }, found.get(state.id)))
    if (cursor && isFurther(cursor, this.cursor)) rows.push(this.cursorRow(cursor))
    await this.store(rows)
  }

  /** Deletes the known states of some documents. */
  async forget(ids: readonly string[]): Promise<void> {
    const found = await this.find(ids)
    await this.store(
      [...found.values()].map((previous) => ({
        previous,
        document: this.revised({ ...previous, _deleted: true }, previous),
      })),
    )
  }

  close(): Promise<void> {
    return this.instance.close()
  }

  private async find(ids: readonly string[]): Promise<Map<string, MetaDocument>> {
    if (ids.length === 0) return new Map()
    const keys = ids.map((id) => key(id, '0'))
    const found = await this.instance.findDocumentsById(keys, true)
    return new Map(found.map((document) => [document.itemId, document]))
  }

  private cursorRow(checkpointData: Checkpoint): BulkWriteRow<Meta> {
    return this.row(CURSOR, { checkpointData }, this.cursorDocument)
  }

  private row(itemId: string, content: Partial<Meta>, previous?: MetaDocument): BulkWriteRow<Meta> {
    const isCheckpoint = content.checkpointData ? '1' : '0'
    const document = this.revised(
      { id: key(itemId, isCheckpoint), itemId, isCheckpoint, ...content } as Meta,
      previous,
    )
    return { ...(previous && { previous }), document }
  }

  private revised(
    content: Meta & { _deleted?: boolean },
    previous: MetaDocument | undefined,
  ): MetaDocument {
    return {
      ...content,
      _deleted: content._deleted ?? false,
      _attachments: {},
      _meta: { lwt: now() },
      _rev: createRevision(this.token, previous),
    } as MetaDocument
  }

  private async store(rows: BulkWriteRow<Meta>[]): Promise<void> {
    if (rows.length === 0) return
    const { error } = await this.instance.bulkWrite(rows, 'replication-known-states')
    const failed = new Set(error.map(({ documentId }) => documentId))
    for (const { document } of rows)
      if (document.isCheckpoint === '1' && !failed.has(document.id)) this.cursorDocument = document
    if (error.length === 0) return
    // A failed attempt or another tab may have stored it: the next attempt reads it again.
    const [cursor] = await this.instance.findDocumentsById([key(CURSOR, '1')], false)
    this.cursorDocument = cursor
    throw new Error(`The storage rejected ${error.length} known states.`, { cause: error[0] })
  }
}

function isFurther(cursor: Checkpoint, kept: Checkpoint | undefined): boolean {
  return !kept || cursor.lwt !== kept.lwt || cursor.id !== kept.id
}

const key = (itemId: string, isCheckpoint: '0' | '1') => `${itemId}|${isCheckpoint}`
