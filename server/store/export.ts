import type { Resource } from '../../protocol/index.ts'
import { type Database, run } from '../database/connect.ts'
import { documentSql } from './columns.ts'
import { named } from './statements.ts'
import { createTurns } from './turns.ts'

/** A few documents of ten thousand characters each fill memory as fast as many short ones. */
const PAGE = 200
/** Less than any id that a document may have. */
const BEFORE_ALL = '00000000-0000-0000-0000-000000000000'

export interface ExportedDocument {
  /** Its JSON text. */
  readonly json: string
  readonly deleted: boolean
}

/** Everything that a person has, read a page at a time. */
export interface Exports {
  /** One export of a person runs at a time. */
  takeTurn(user: string, work: () => Promise<void>): Promise<void>

  /**
   * The documents of a kind, deleted ones too, each once: in the order of their ids, which never
   * change. No connection is held while whoever reads takes their time.
   */
  pages(user: string, resource: Resource): AsyncGenerator<ExportedDocument[]>
}

export function postgresExports(db: Database): Exports {
  return {
    takeTurn: createTurns(),

    async *pages(user, resource) {
      const page = named(`
        select t.id, t.deleted, ${documentSql(resource)}::text from ${resource.table} t
        where t.user_id = $1 and t.id > $2 and t.seq > 0 order by t.id limit ${PAGE}`)
      for (let after = BEFORE_ALL; ; ) {
        const rows = await run<[id: string, deleted: boolean, json: string]>(db, page, [
          user,
          after,
        ])
        if (rows.length > 0) yield rows.map(([, deleted, json]) => ({ json, deleted }))
        if (rows.length < PAGE) return
        after = rows.at(-1)![0]
      }
    },
  }
}
