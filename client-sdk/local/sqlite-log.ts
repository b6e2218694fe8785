import { randomToken } from 'rxdb'
import { ClientError } from '../runtime/client-error.ts'
import {
  type DocumentLog,
  notStored,
  type Place,
  type Stored,
  takenAway,
} from './storage-logged.ts'

/** The interface of a driver for SQLite 3.38 or later: one connection, one method. */
export interface SqliteDatabase {
  /** Executes one statement as one transaction. Returns its rows as objects, if any. */
  execute(statement: string, parameters: string[]): readonly object[] | Promise<readonly object[]>
}

const TABLES = [
  `create table if not exists tasktide_documents
    (place text not null, id text not null, body text not null, primary key (place, id))`,
  `create table if not exists tasktide_owners (place text primary key not null, token text not null)`,
]

/** Every change is one statement, so it is atomic. */
export class SqliteLog implements DocumentLog {
  private readonly database: SqliteDatabase
  private readonly primaryPath: string
  private readonly place: string
  private token = randomToken(10)

  constructor(database: SqliteDatabase, { primaryPath, ...place }: Place) {
    this.database = database
    this.primaryPath = primaryPath
    this.place = JSON.stringify([place.database, place.collection, place.version])
  }

  async load(): Promise<Stored[]> {
    for (const table of TABLES) await this.execute(table)
    await this.own()
    const select = 'select body from tasktide_documents where place = ?'
    const rows = await this.execute(select, [this.place])
    return rows.map(({ body }) => JSON.parse(body!))
  }

  async keep(documents: readonly Stored[]): Promise<void> {
    const rows = documents.map((document) => [
      document[this.primaryPath] as string,
      JSON.stringify(document),
    ])
    await this.change(
      `insert into tasktide_documents (place, id, body)
        select owner.place, json_extract(value, '$[0]'), json_extract(value, '$[1]')
        from json_each(?) join tasktide_owners owner on owner.place = ? and owner.token = ?
        where true
        on conflict (place, id) do update set body = excluded.body
        returning id`,
      rows,
      async () => (await this.matches(rows)) === rows.length,
    )
  }

  async purge(ids: readonly string[]): Promise<void> {
    await this.change(
      `delete from tasktide_documents
        where id in (select value from json_each(?))
        and place = (select place from tasktide_owners where place = ? and token = ?)
        returning id`,
      ids,
      async () => (await this.count(ids)) === 0,
    )
  }

  async remove(): Promise<void> {
    const documents = `delete from tasktide_documents
      where place = (select place from tasktide_owners where place = ? and token = ?)`
    await this.execute(documents, [this.place, this.token])
    const owner = 'delete from tasktide_owners where place = ? and token = ? returning place'
    const owned = await this.execute(owner, [this.place, this.token])
    if (owned.length === 0) throw takenAway()
  }

  private async own(): Promise<void> {
    const own = 'insert or replace into tasktide_owners (place, token) values (?, ?)'
    try {
      await this.execute(own, [this.place, this.token])
    } catch (error) {
      // The store is full: the previous instance stays the owner.
      const former = 'select token from tasktide_owners where place = ?'
      const [owner] = await this.execute(former, [this.place])
      if (!owner) throw notStored(error)
      this.token = owner.token!
    }
  }

  /** @param isDone checks the database, because a driver may fail after the statement succeeded */
  private async change(
    statement: string,
    rows: readonly unknown[],
    isDone: () => Promise<boolean>,
  ): Promise<void> {
    const parameters = [JSON.stringify(rows), this.place, this.token]
    try {
      const changed = await this.execute(statement, parameters)
      if (changed.length === 0) throw takenAway()
    } catch (error) {
      if (error instanceof ClientError) throw error
      if (!(await isDone().catch(() => false))) throw notStored(error)
    }
  }

  private async matches(rows: readonly string[][]): Promise<number> {
    const found = await this.execute(
      `select kept.id from json_each(?) join tasktide_documents kept on kept.place = ?
        and kept.id = json_extract(value, '$[0]') and kept.body = json_extract(value, '$[1]')`,
      [JSON.stringify(rows), this.place],
    )
    return found.length
  }

  private async count(ids: readonly string[]): Promise<number> {
    const select = `select id from tasktide_documents
      where place = ? and id in (select value from json_each(?))`
    return (await this.execute(select, [this.place, JSON.stringify(ids)])).length
  }

  private async execute(statement: string, parameters: string[] = []) {
    const rows = await this.database.execute(statement, parameters)
    return rows as readonly Record<string, string>[]
  }
}
