import { afterAll, beforeAll, expect, test } from 'vitest'
import { resources } from '../../../protocol/index.ts'
import { type Database, run } from '../../../server/database/connect.ts'
import { sliceStatement } from '../../../server/store/lists.ts'
import { postgresStore } from '../../../server/store/postgres.ts'
import { createDatabase, type TestDatabase } from '../../support/database.ts'
import { addUser, aTask } from '../../support/store-contract.ts'

const { tasks } = resources
const MANY = 20_000
const PAGE = 20

let database: TestDatabase
let user: string

beforeAll(async () => {
  database = await createDatabase()
  user = await addUser(database.db)
  await postgresStore(database.db).insert(user, tasks, aTask())
  await database.db.raw(
    `insert into tasks select (jsonb_populate_record(t, jsonb_build_object(
       'id', gen_random_uuid(), 'seq', i + 100, 'created_at', t.created_at + i * interval '1 minute'))).*
     from tasks t, generate_series(1, ${MANY}) i`,
  )
  await database.db.raw('analyze')
})
afterAll(() => database.drop())

test.each(
  [0.01, 0.5, 0.99].flatMap((depth) =>
    [true, false].flatMap((descending) =>
      [true, false].map((backward) => ({ depth, descending, backward })),
    ),
  ),
)(
  'a page reads no more rows than it has: at $depth, descending $descending, backward $backward',
  async ({ depth, descending, backward }) => {
    const { db } = database
    const offset = Math.floor(depth * MANY)
    const { rows: found } = await db.raw(
      `select id, created_at from tasks where user_id = ? order by created_at ${descending ? 'desc' : ''} offset ? limit 1`,
      [user, offset],
    )
    const [{ id, created_at }] = found
    const listing = {
      filters: [],
      words: [],
      order: [{ field: 'created_at', descending }],
      deleted: false,
    }
    const bookmark = { id, values: [created_at.toISOString()], backward }
    const { text, values } = sliceStatement(user, tasks, listing, PAGE, bookmark)
    expect(await rowsRead(db, text, values)).toBeLessThanOrEqual(2 * PAGE)
  },
)

/** The rows that the scans of a statement read, kept or not. */
async function rowsRead(db: Database, text: string, values: unknown[]): Promise<number> {
  const [[plan]] = (await run(db, { text: `explain (analyze, format json) ${text}` }, values)) as [
    [string],
  ]
  const [{ Plan }] = typeof plan === 'string' ? JSON.parse(plan) : plan
  return scans(Plan).reduce(
    (sum, node) => sum + Number(node['Actual Rows']) + Number(node['Rows Removed by Filter'] ?? 0),
    0,
  )
}

interface Node {
  'Node Type': string
  Plans?: Node[]
  [name: string]: unknown
}

function scans(node: Node): Node[] {
  const own = node['Node Type'].includes('Scan') ? [node] : []
  return [...own, ...(node.Plans ?? []).flatMap(scans)]
}
