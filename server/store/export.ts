import type { Resource } from '../../protocol/index.ts'
import { type Database, run } from '../database/connect.ts'
import { slowWorkOf } from '../database/pool.ts'
import { documentSql } from './columns.ts'
import { filledSql, named } from './statements.ts'
import { createTurns } from './turns.ts'

const MAX_PAGE = 200
/** Limits a page by size too: a few long documents need as much memory as many short ones. */
const MAX_PAGE_BYTES = 256 * 1024
/** Less than any valid id. */
const BEFORE_ALL = '00000000-0000-0000-0000-000000000000'

export interface ExportedDocument {
  readonly json: string
  readonly deleted: boolean
}

/** All documents of a user, read page by page. */
export interface Exports {
  /** Serializes the exports of a user. */
  takeTurn(user: string, work: () => Promise<void>): Promise<void>

  /**
   * All documents of a resource, each once, sorted by their immutable ids; deleted ones too, except those that
   * were deleted for good. Holds no
   * connection while the client reads.
   */
  pages(user: string, resource: Resource): AsyncGenerator<ExportedDocument[]>
}

type Row = [id: string, deleted: boolean, json: string]

export function postgresExports(db: Database): Exports {
  const slowWork = slowWorkOf(db)
  return {
    takeTurn: createTurns(),

    async *pages(user, resource) {
      const page = named(`
        select id, deleted, json from (
          select id, deleted, json,
            sum(octet_length(json)) over (order by id rows unbounded preceding) - octet_length(json) as before
          from (
            select t.id, t.deleted, ${documentSql(resource)}::text as json from ${resource.table} t
            where ${['t.user_id = $1 and t.id > $2 and t.seq > 0', ...filledSql(resource)].join(' and ')} order by t.id limit $3
          ) asked
        ) counted
        where before < ${MAX_PAGE_BYTES} order by id`)
      let after = BEFORE_ALL
      for (let limit = MAX_PAGE; ; ) {
        const values = [user, after, limit]
        const rows = await slowWork.run(user, 'export', (limitMs) =>
          run<Row>(db, { ...page, limitMs }, values),
        )
        if (rows.length === 0) return
        yield rows.map(([, deleted, json]) => ({ json, deleted }))
        after = rows.at(-1)![0]
        // Smaller pages for long documents.
        limit = Math.min(MAX_PAGE, Math.ceil(1.25 * rows.length))
      }
    },
  }
}
