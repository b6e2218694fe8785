import {
  type BulkWriteRow,
  categorizeBulkWriteRows,
  now,
  type PreparedQuery,
  type RxDocumentData,
  type RxStorageBulkWriteResponse,
  type RxStorageDefaultCheckpoint,
  type RxStorageInstance,
  type RxStorageInstanceCreationParams,
} from 'rxdb'
import {
  getRxStorageMemory,
  type RxStorageInstanceMemory,
  removeDocFromState,
} from 'rxdb/plugins/storage-memory'
import { ClientError } from '../runtime/client-error.ts'
import type { Storage } from './storage.ts'

/** A document as RxDB hands it to a storage. */
export type Stored = RxDocumentData<Record<string, unknown>>

/** Where the documents of one collection outlive the app. */
export interface DocumentLog {
  /** All of them, as they were last kept. Any other log of these documents ends. */
  load(): Promise<Stored[]>
  /**
   * Keeps all of these, each in the place of the former one, or none of them.
   *
   * @throws what prevents it; then everything is as it was
   */
  keep(documents: readonly Stored[]): Promise<void>
  /** Keeps these no longer, as `keep` does: all or none. */
  purge(ids: readonly string[]): Promise<void>
  /** Leaves nothing behind. */
  remove(): Promise<void>
}

/** Which documents: a collection of a database, in one version of its schema. */
export interface Place {
  database: string
  collection: string
  version: number
  /** The name of the field that holds the id. */
  primaryPath: string
}

/**
 * A storage for RxDB that answers from memory and keeps every write in a log first. What the log
 * refuses is not in memory either: the same write may be tried again. One instance of the app at a
 * time writes to a log: the one that opened it last.
 */
export function loggedStorage(name: string, logOf: (place: Place) => DocumentLog): Storage {
  const { rxdbVersion } = getRxStorageMemory()
  return {
    name,
    rxdbVersion,
    // biome-ignore lint/suspicious/noExplicitAny: RxDB asks for a storage of anything
    async createStorageInstance(params: RxStorageInstanceCreationParams<any, any>) {
      // RxDB's own shares its documents among all that have their name.
      const storage = { ...getRxStorageMemory(), collectionStates: new Map() }
      const memory = (await storage.createStorageInstance(params)) as unknown as Memory
      try {
        if (params.schema.attachments) throw new Error(`The ${name} storage keeps no attachments.`)
        const log = logOf({
          database: params.databaseName,
          collection: params.collectionName,
          version: params.schema.version,
          primaryPath: memory.primaryPath,
        })
        const rows = (await log.load()).map((document) => ({ document }))
        await memory.bulkWrite(rows as never, 'load')
        return new LoggedInstance(memory, log) as never
      } catch (error) {
        await memory.close() // RxDB holds on to what is not closed
        throw error
      }
    },
  }
}

type Memory = RxStorageInstanceMemory<Record<string, unknown>>

class LoggedInstance
  implements RxStorageInstance<Record<string, unknown>, object, object, RxStorageDefaultCheckpoint>
{
  readonly databaseName: string
  readonly collectionName: string
  readonly schema: Memory['schema']
  readonly options: object
  readonly internals = {}
  private readonly memory: Memory
  private readonly log: DocumentLog
  /** Writing, one after the other. */
  private turn: Promise<unknown> = Promise.resolve()
  private closing: Promise<void> | undefined

  constructor(memory: Memory, log: DocumentLog) {
    this.memory = memory
    this.log = log
    this.databaseName = memory.databaseName
    this.collectionName = memory.collectionName
    this.schema = memory.schema
    this.options = memory.options
  }

  bulkWrite(
    rows: BulkWriteRow<Record<string, unknown>>[],
    context: string,
  ): Promise<RxStorageBulkWriteResponse<Record<string, unknown>>> {
    return this.inTurn(async () => {
      const written = this.accepted(rows, context)
      if (written.length > 0) await this.log.keep(written)
      return this.memory.bulkWrite(rows, context)
    })
  }

  findDocumentsById(ids: string[], withDeleted: boolean) {
    return this.memory.findDocumentsById(ids, withDeleted)
  }

  query(query: PreparedQuery<Record<string, unknown>>) {
    return this.memory.query(query)
  }

  count(query: PreparedQuery<Record<string, unknown>>) {
    return this.memory.count(query)
  }

  changeStream() {
    return this.memory.changeStream()
  }

  getAttachmentData(): Promise<Blob> {
    return Promise.reject(new Error('There are no attachments.'))
  }

  cleanup(minimumDeletedTime: number): Promise<boolean> {
    return this.inTurn(async () => {
      const { primaryPath, schema, internals } = this.memory
      const latest = now() - minimumDeletedTime
      const old = [...this.documents().values()].filter(
        ({ _deleted, _meta }) => _deleted && _meta.lwt <= latest,
      )
      if (old.length === 0) return true
      await this.log.purge(old.map((document) => document[primaryPath] as string))
      for (const document of old) removeDocFromState(primaryPath, schema, internals, document)
      return true
    })
  }

  remove(): Promise<void> {
    return this.inTurn(async () => {
      await this.log.remove()
      await this.memory.remove()
      this.closing = Promise.resolve()
    })
  }

  /** Waits for what is being written. */
  close(): Promise<void> {
    this.closing ??= this.turn.then(() => this.memory.close())
    return this.closing
  }

  /** What of these RxDB's own rules let in: no conflicts. */
  private accepted(rows: BulkWriteRow<Record<string, unknown>>[], context: string): Stored[] {
    const { bulkInsertDocs, bulkUpdateDocs } = categorizeBulkWriteRows(
      this.memory,
      this.memory.primaryPath as never,
      this.documents(),
      rows,
      context,
    )
    return [...bulkInsertDocs, ...bulkUpdateDocs].map(({ document }) => document)
  }

  private documents() {
    this.memory.ensurePersistence()
    return this.memory.internals.documents
  }

  private inTurn<T>(run: () => Promise<T>): Promise<T> {
    if (this.closing) return Promise.reject(new Error(`${this.collectionName} is closed.`))
    const result = this.turn.then(run)
    this.turn = result.catch(() => {})
    return result
  }
}

/** The device refuses to keep something. */
export function notStored(cause: unknown): ClientError {
  return new ClientError('not_stored', 'The device does not store more.', { cause })
}

/** Another instance of the app has opened the same store since. */
export function takenAway(): ClientError {
  return new ClientError('opened_elsewhere', 'Another client has opened the same store since.')
}
