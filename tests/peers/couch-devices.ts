import { randomUUID } from 'node:crypto'
import { createRequire } from 'node:module'

const load = createRequire(import.meta.url)
const PouchDB = load('pouchdb')
PouchDB.plugin(load('pouchdb-adapter-memory'))
const { createRxDatabase } = load('rxdb-17')
const { getRxStorageMemory } = load('rxdb-17/plugins/storage-memory')
const { replicateCouchDB } = load('rxdb-17/plugins/replication-couchdb')

// biome-ignore lint/suspicious/noExplicitAny: PouchDB has no types here
export type Pouch = any

/** A database of PouchDB on this device. */
export const localDatabase = (): Pouch => new PouchDB(randomUUID(), { adapter: 'memory' })

type Fetch = (address: string, options: RequestInit & { headers: Headers }) => Promise<Response>

/** How PouchDB reaches a server. */
export const pouchFetch: Fetch = PouchDB.fetch

/** A database of a server for PouchDB, with a token that each request has. */
export function remoteDatabase(
  url: string,
  token: () => string,
  fetched: Fetch = pouchFetch,
): Pouch {
  return new PouchDB(url, {
    fetch(address: string, options: RequestInit & { headers: Headers }) {
      options.headers.set('Authorization', `Bearer ${token()}`)
      return fetched(address, options)
    },
  })
}

/** The same with a username and a password. */
export const remoteWithPassword = (
  url: string,
  auth: { username: string; password: string },
): Pouch => new PouchDB(url, { auth })

/** A collection of RxDB 17 that replicates with its CouchDB plugin. */
export async function rxCollection(server: string, name: string) {
  const answer = await fetch(`${server}/api/schema/${name}.json`)
  const { rxdb_schema } = (await answer.json()) as { rxdb_schema: object }
  const database = await createRxDatabase({ name: randomUUID(), storage: getRxStorageMemory() })
  const collections = await database.addCollections({ [name]: { schema: rxdb_schema } })
  const collection = collections[name]
  return {
    collection,
    replicate(token: () => string) {
      return replicateCouchDB({
        replicationIdentifier: `${server} ${name}`,
        collection,
        url: `${server}/couch/${name}/`,
        fetch(address: string, options: RequestInit = {}) {
          const headers = { ...options.headers, Authorization: `Bearer ${token()}` }
          return fetch(address, { ...options, headers })
        },
        live: true,
        retryTime: 200,
        pull: { batchSize: 100 },
        push: { batchSize: 100 },
      })
    },
    close: () => database.close(),
  }
}
