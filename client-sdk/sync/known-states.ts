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

/** Cursors of what is stored on the device. Only up to `down` everything is. */
export interface Marks {
  /** All documents up to here are stored. */
  down?: Checkpoint | undefined
  /** The latest page or frame that may be stored in part. */
  pulled?: Checkpoint | undefined
  /** The latest push whose response is stored. */
  pushed?: Checkpoint | undefined
}
const MARKS = ['down', 'pulled', 'pushed'] as const

/**
 * The known states of the server for one collection, and the cursors of its feed. Stored on the device in the
 * format of RxDB's replication, which the first releases of this SDK used.
 */
export class KnownStates {
  private readonly instance: Instance
  private readonly token: string
  private markDocuments: ReadonlyMap<string, MetaDocument>

  static async open(collection: RxCollection): Promise<KnownStates> {
    const { database, schema, name } = collection
    const collectionName = `rx-replication-meta-${await database.hashFunction(`${name}-${IDENTIFIER}`)}`
    const metaSchema = getRxReplicationMetaInstanceSchema<WireDocument, Checkpoint>(
      schema.jsonSchema as RxJsonSchema<RxDocumentData<WireDocument>>,
      false,
    )
    // So that RxDB deletes it with the collection.
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
      return new KnownStates(instance, database.token, await marksIn(instance))
    } catch (error) {
      await instance.close()
      throw error
    }
  }

  private constructor(
    instance: Instance,
    token: string,
    markDocuments: ReadonlyMap<string, MetaDocument>,
  ) {
    this.instance = instance
    this.token = token
    this.markDocuments = markDocuments
  }

  get marks(): Readonly<Marks> {
    const marks = [...this.markDocuments].map(([name, { checkpointData }]) => [
      name,
      checkpointData,
    ])
    return Object.fromEntries(marks)
  }

  /** The known states by id. */
  async of(ids: readonly string[]): Promise<Map<string, WireDocument>> {
    const found = await this.find(ids)
    const known = [...found.values()].filter(({ _deleted }) => !_deleted)
    return new Map(known.map(({ itemId, docData }) => [itemId, docData as WireDocument]))
  }

  /**
   * Stores marks, then states, then the cursor. Can be retried after a failure, which may have stored
   * nothing or a part: what comes first in this order.
   */
  async write(states: readonly WireDocument[], { down, ...seen }: Marks = {}): Promise<void> {
    const found = await this.find(states.map(({ id }) => id))
    await this.store([
      ...this.markRows(seen),
      ...states.map((state) => this.row(state.id, { docData: state }, found.get(state.id))),
      ...this.markRows({ down }),
    ])
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

  private markRows(marks: Marks): BulkWriteRow<Meta>[] {
    return MARKS.flatMap((name) => {
      const checkpointData = marks[name]
      const previous = this.markDocuments.get(name)
      if (!checkpointData || isSame(checkpointData, previous?.checkpointData)) return []
      return [this.row(name, { checkpointData }, previous)]
    })
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
    const marks = rows.filter(
      ({ document: { isCheckpoint, id } }) => isCheckpoint === '1' && !failed.has(id),
    )
    this.markDocuments = new Map([
      ...this.markDocuments,
      ...marks.map(({ document }) => [document.itemId, document] as const),
    ])
    if (error.length === 0) return
    // A failed attempt or another tab may have stored them: the next attempt reads them again.
    this.markDocuments = await marksIn(this.instance)
    throw new Error(`The storage rejected ${error.length} known states.`, { cause: error[0] })
  }
}

async function marksIn(instance: Instance): Promise<ReadonlyMap<string, MetaDocument>> {
  const found = await instance.findDocumentsById(
    MARKS.map((name) => key(name, '1')),
    false,
  )
  return new Map(found.map((document) => [document.itemId, document]))
}

function isSame(one: Checkpoint, other: Checkpoint | undefined): boolean {
  return one.lwt === other?.lwt && one.id === other.id
}

const key = (itemId: string, isCheckpoint: '0' | '1') => `${itemId}|${isCheckpoint}`
