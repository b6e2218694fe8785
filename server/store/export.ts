import type { Resource } from '../../protocol/index.ts'
import { type Database, run } from '../database/connect.ts'
import { documentSql } from './columns.ts'
import { named } from './statements.ts'
import { createTurns } from './turns.ts'

const MAX_PAGE = 200
/** A few documents of ten thousand characters each fill memory as fast as many short ones. */
const MAX_PAGE_BYTES = 256 * 1024
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

type Row = [id: string, deleted: boolean, json: string]

export function postgresExports(db: Database): Exports {
  return {
    takeTurn: createTurns(),

    async *pages(user, resource) {
      const page = named(`
        select id, deleted, json from (
          select id, deleted, json,
            sum(octet_length(json)) over (order by id rows unbounded preceding) - octet_length(json) as before
          from (
            select t.id, t.deleted, ${documentSql(resource)}::text as json from ${resource.table} t
            where t.user_id = $1 and t.id > $2 and t.seq > 0 order by t.id limit $3
          ) asked
        ) counted
        where before < ${MAX_PAGE_BYTES} order by id`)
      let after = BEFORE_ALL
      for (let limit = MAX_PAGE; ; ) {
        const rows = await run<Row>(db, page, [user, after, limit])
        if (rows.length === 0) return
        yield rows.map(([, deleted, json]) => ({ json, deleted }))
        after = rows.at(-1)![0]
        // Where documents are long, not many are read in vain.
        limit = Math.min(MAX_PAGE, Math.ceil(1.25 * rows.length))
      }
    },
  }
}
