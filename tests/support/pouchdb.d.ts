/** The packages have no types. */
declare module 'pouchdb-adapter-http'
declare module 'pouchdb-adapter-memory'
declare module 'pouchdb-replication'
declare module 'pouchdb-core' {
  interface Replication extends PromiseLike<object> {
    on(event: string, work: (about: never) => void): this
    cancel(): void
  }
  interface Options {
    live?: boolean
    retry?: boolean
    selector?: object
    batch_size?: number
  }
  type Stored = Record<string, unknown> & { _id: string; _rev: string }
  class PouchDB {
    constructor(name: string, options?: object)
    static plugin(plugin: unknown): typeof PouchDB
    put(document: object): Promise<{ rev: string }>
    get(id: string): Promise<Stored>
    remove(id: string, rev: string): Promise<object>
    bulkDocs(documents: object[]): Promise<object[]>
    allDocs(options: object): Promise<{ rows: { doc?: Stored }[] }>
    destroy(): Promise<void>
    sync(remote: string, options?: Options): Replication
    replicate: {
      to(remote: string, options?: Options): Replication
      from(remote: string, options?: Options): Replication
    }
  }
  export default PouchDB
}
