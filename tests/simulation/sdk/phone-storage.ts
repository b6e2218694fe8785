import sqlite from 'node-sqlite3-wasm'
import type { Storage } from '../../../client-sdk/local/storage.ts'
import type { SqliteDatabase } from '../../../client-sdk/sqlite.ts'
import { keyValueStore, type Step } from '../../client-sdk/media.ts'
import type { Sdk } from './bundle.ts'
import { type Contents, type Disk, type Place, type Row, type Tab, UNNOTICED } from './disk.ts'

/** A phone with its contents and the SDK's own storage. */
export interface Phone extends Contents {
  /** The storage for a new run of the app. Each change of the contents goes through `step`. */
  storage(sdk: Sdk, step: Step): Storage
}

/** A phone with a key-value store, such as MMKV. */
export function keyValuePhone(): Phone {
  const texts = new Map<string, string>()
  return {
    storage: (sdk, step) => sdk.keyValueStorage(keyValueStore(texts, step)),
    databases: () => [...texts.keys()].map((key) => decodeURIComponent(key.split('/')[1] ?? '')),
    documents({ databaseName, collectionName }) {
      const prefix = `tasktide/${encodeURIComponent(databaseName)}/${encodeURIComponent(collectionName)}/`
      const segments = [...texts]
        .filter(([key]) => key.startsWith(prefix) && !key.endsWith('owner'))
        .map(([key, text]): [number, string] => [Number(key.split('/').at(-1)), text])
        .sort(([a], [b]) => a - b)
      const held = new Map<string, Row['document']>()
      for (const [, text] of segments)
        for (const document of parsed(text))
          if (document) held.set(document.id, document)
          else held.clear()
      return held.values()
    },
  }
}

/** A partially written text contains no documents. A cache; documents are immutable. */
function parsed(text: string): (Row['document'] | null)[] {
  let documents = texts.get(text)
  if (documents) return documents
  try {
    documents = JSON.parse(text) as (Row['document'] | null)[]
  } catch {
    documents = []
  }
  texts.set(text, documents)
  return documents
}
const texts = new Map<string, (Row['document'] | null)[]>()

/** A phone with SQLite. */
export function sqlitePhone(): Phone {
  const database = new sqlite.Database(':memory:')
  const isThere = () =>
    database.all("select 1 from sqlite_master where name = 'tasktide_documents'").length > 0
  const all = (statement: string, parameters: string[] = []) =>
    database.all(statement, parameters) as { place: string; body: string }[]
  return {
    storage: (sdk, step) => sdk.sqliteStorage(driverOf(database, step)),
    databases: () =>
      isThere()
        ? all('select distinct place from tasktide_documents').map(
            ({ place }) => JSON.parse(place)[0],
          )
        : [],
    documents: ({ databaseName, collectionName }) =>
      isThere()
        ? all('select body from tasktide_documents where place like ?', [
            `${JSON.stringify([databaseName, collectionName]).slice(0, -1)},%`,
          ]).map(({ body }) => parsed(`[${body}]`)[0]!)
        : [],
    close: () => database.close(),
  }
}

function driverOf(database: InstanceType<typeof sqlite.Database>, step: Step): SqliteDatabase {
  return {
    execute(statement, parameters) {
      const run = () => database.all(statement, parameters) as object[]
      const isChange = /^\s*(insert|delete)/.test(statement)
      return isChange ? (step(run, () => {}) as object[]) : run()
    },
  }
}

/**
 * The SDK's own storages for phones. Every operation goes through the disk, which may delay it, and each
 * step may fail or kill the app.
 */
export function phoneStorage(phone: Phone, sdk: Sdk, disk: Disk, tab: Tab): Storage {
  const storage = phone.storage(sdk, (apply, applyHalf) => disk.strike(tab, apply, applyHalf))
  return {
    ...storage,
    async createStorageInstance(params) {
      const { databaseName, collectionName } = params
      const place: Place = { databaseName, collectionName }
      await disk.read(tab, place, 'open')
      const instance = await storage.createStorageInstance(params)
      const bulkWrite = instance.bulkWrite.bind(instance)
      const remove = instance.remove.bind(instance)
      disk.opened(tab, place, (rows) => bulkWrite(rows as never, UNNOTICED))
      const reading = (name: 'findDocumentsById' | 'query' | 'count') => {
        const read = instance[name].bind(instance) as (...args: unknown[]) => unknown
        return async (...args: unknown[]) => {
          await disk.read(tab, place, name)
          return read(...args)
        }
      }
      return Object.assign(instance, {
        findDocumentsById: reading('findDocumentsById'),
        query: reading('query'),
        count: reading('count'),
        bulkWrite: (rows: never[], context: string) =>
          disk.pass(tab, place, rows, context, () => bulkWrite(rows, context)),
        async remove() {
          await disk.read(tab, place, 'remove')
          disk.removing(place)
          return remove()
        },
      }) as never
    },
  }
}
