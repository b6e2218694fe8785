import type { Knex } from 'knex'
import { APP } from '../../server/database/wall.ts'

interface Node {
  'Relation Name'?: string
  'Actual Rows': number
  'Actual Loops': number
  'Rows Removed by Filter'?: number
  Plans?: Node[]
}

/**
 * How many rows the scans of tables read for a statement, kept or not: with a generic plan, and behind the wall,
 * where only some conditions may be those of an index.
 */
export function rowsRead(
  db: Knex,
  user: string,
  { text, values }: { readonly text: string; readonly values: readonly unknown[] },
): Promise<number> {
  return db.transaction(async (trx) => {
    await trx.raw(
      `select set_config('role', '${APP}', true), set_config('tasktide.person', ?, true)`,
      [user],
    )
    await trx.raw(`prepare page as ${text}`.replaceAll('?', '\\?'))
    const literals = values.map((value) => `'${String(value).replaceAll("'", "''")}'`)
    const explain = `explain (analyze, format json) execute page (${literals.join(', ')})`
    const { rows } = await trx.raw(explain.replaceAll('?', '\\?'))
    await trx.raw('deallocate page')
    return readBy(rows[0]['QUERY PLAN'][0].Plan)
  })
}

function readBy(node: Node): number {
  const own =
    node['Relation Name'] === undefined
      ? 0
      : (node['Actual Rows'] + (node['Rows Removed by Filter'] ?? 0)) * node['Actual Loops']
  return (node.Plans ?? []).reduce((sum, plan) => sum + readBy(plan), own)
}
