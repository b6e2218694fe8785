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

/** A document as RxDB passes it to a storage. */
export type Stored = RxDocumentData<Record<string, unknown>>

/** The persistent log of one collection. */
export interface DocumentLog {
  /** Loads all documents, and invalidates every other open log of them. */
  load(): Promise<Stored[]>
  /**
   * Writes all of these documents atomically, replacing earlier versions.
   *
   * @throws if that fails; then nothing has changed
   */
  keep(documents: readonly Stored[]): Promise<void>
  /** Deletes these documents atomically. */
  purge(ids: readonly string[]): Promise<void>
  /** Deletes everything. */
  remove(): Promise<void>
}

/** Identifies a collection of a database, in one version of its schema. */
export interface Place {
  database: string
  collection: string
  version: number
  /** The name of the id field. */
  primaryPath: string
}

/**
 * An RxDB storage that reads from memory and writes to a log first. If the log rejects a write, memory is
 * unchanged and the write can be retried. One instance of the app at a time can write to a log: the one
 * that opened it last.
 *
 * @param medium where the logs are: storages on the same one have the same data
 */
export function loggedStorage(
  name: string,
  medium: object,
  logOf: (place: Place) => DocumentLog,
): Storage & { medium: object } {
  const { rxdbVersion } = getRxStorageMemory()
  return {
    name,
    medium,
    rxdbVersion,
    // biome-ignore lint/suspicious/noExplicitAny: RxDB asks for a storage of anything
    async createStorageInstance(params: RxStorageInstanceCreationParams<any, any>) {
      // RxDB's memory storage shares documents between instances with the same name.
      const storage = { ...getRxStorageMemory(), collectionStates: new Map() }
      const memory = (await storage.createStorageInstance(params)) as unknown as Memory
      try {
        if (params.schema.attachments)
          throw new Error(`The ${name} storage does not support attachments.`)
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
        await memory.close() // RxDB keeps a reference to every open instance
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
  /** Serializes writes. */
  private queue: Promise<unknown> = Promise.resolve()
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
    return this.enqueue(async () => {
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
    return Promise.reject(new Error('Attachments are not supported.'))
  }

  cleanup(minimumDeletedTime: number): Promise<boolean> {
    return this.enqueue(async () => {
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
    return this.enqueue(async () => {
      await this.log.remove()
      await this.memory.remove()
      this.closing = Promise.resolve()
    })
  }

  /** Waits for running writes. */
  close(): Promise<void> {
    this.closing ??= this.queue.then(() => this.memory.close())
    return this.closing
  }

  /** The writes that RxDB's rules accept: those without conflicts. */
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

  private enqueue<T>(run: () => Promise<T>): Promise<T> {
    if (this.closing) return Promise.reject(new Error(`${this.collectionName} is closed.`))
    const result = this.queue.then(run)
    this.queue = result.catch(() => {})
    return result
  }
}

/** The storage rejected a write. */
export function notStored(cause: unknown): ClientError {
  return new ClientError('not_stored', 'The storage of this device did not accept the write.', {
    cause,
  })
}

/** Another instance of the app has opened the same store. */
export function takenAway(): ClientError {
  return new ClientError('opened_elsewhere', 'Another client has opened the same store.')
}
