import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { type Resource, resources } from '../../../protocol/index.ts'
import type { Database } from '../../../server/database/connect.ts'
import { INDEXED } from '../../../server/store/list-order.ts'
import { type OrderKey, sliceStatement } from '../../../server/store/lists.ts'
import { postgresStore } from '../../../server/store/postgres.ts'
import { createDatabase, type TestDatabase } from '../../support/database.ts'
import { rowsRead } from '../../support/rows-read.ts'
import { addUser, aTask } from '../../support/store-contract.ts'

const { tasks } = resources
const MANY = 20_000
const PAGE = 20
/** A page, one more, and equals of the first key that have to be sorted by the next. */
const FEW = 6 * PAGE

let database: TestDatabase
let user: string

beforeAll(async () => {
  database = await createDatabase()
  user = await addUser(database.db)
  await postgresStore(database.db).insert(user, tasks, aTask())
  // Half of them are due, forty on a day; half were created by an import, at the same moment.
  await database.db.raw(
    `insert into tasks select (jsonb_populate_record(t, jsonb_build_object(
       'id', gen_random_uuid(), 'seq', i + 100, 'title', md5(i::text), 'position', 'a' || i,
       'due_date', case when i % 2 = 0 then date '2026-01-01' + i / 80 end,
       'created_at', t.created_at + least(i, ${MANY / 2}) * interval '1 minute',
       'updated_at', t.updated_at + i * interval '1 minute'))).*
     from tasks t, generate_series(1, ${MANY}) i`,
  )
  await database.db.raw('analyze')
})
afterAll(() => database.drop())

const ways = (fields: readonly string[]) =>
  fields.flatMap((field) =>
    [false, true].flatMap((descending) =>
      [false, true].map((backward) => ({ field, descending, backward })),
    ),
  )

const readOf = (order: OrderKey[], depth: number, backward: boolean) =>
  rowsAt(database.db, user, order, Math.floor(depth * MANY), backward)

describe.each(ways(INDEXED.tasks!))(
  'a page by $field, descending $descending, backward $backward',
  ({ field, descending, backward }) => {
    test('reads few more rows than it has, at any depth', async () => {
      // Where equals begin, all of them are read once to be sorted: at half of those by creation.
      for (const depth of [0.01, 0.3, 0.52, 0.75, 0.99])
        expect(
          await readOf([{ field, descending }], depth, backward),
          String(depth),
        ).toBeLessThanOrEqual(FEW)
    })

    test('does so if there are more keys', async () => {
      if (field === 'created_at') return
      const order = [
        { field, descending },
        { field: 'title', descending },
      ]
      const depths = field === 'due_date' ? [0.01, 0.2, 0.45] : [0.01, 0.5, 0.99]
      for (const depth of depths)
        expect(await readOf(order, depth, backward), String(depth)).toBeLessThanOrEqual(FEW)
    })
  },
)

test.each(ways(['title', 'priority']))(
  'a page by $field, which has no index, reads the documents of the person once: descending $descending, backward $backward',
  async ({ field, descending, backward }) => {
    for (const depth of [0.01, 0.99])
      expect(await readOf([{ field, descending }], depth, backward)).toBeLessThanOrEqual(MANY + 2)
  },
)

test('an order is read from an index if there is one for it', async () => {
  for (const { table, sortable } of Object.values<Resource>(resources)) {
    const { rows } = await database.db.raw('select indexdef from pg_indexes where tablename = ?', [
      table,
    ])
    const has = (field: string) =>
      rows.some(({ indexdef }: { indexdef: string }) =>
        new RegExp(`\\(user_id, "?${field}"?( DESC)?, id\\) WHERE \\(NOT deleted\\)`).test(
          indexdef,
        ),
      )
    expect(new Set(INDEXED[table])).toEqual(new Set(sortable.filter(has)))
  }
})

/** How many rows are read for a page next to the document at this offset. */
async function rowsAt(
  db: Database,
  user: string,
  order: OrderKey[],
  offset: number,
  backward: boolean,
): Promise<number> {
  const keys = [...order, { field: 'id', descending: false }].map(
    ({ field, descending }) => `${field} ${descending ? 'desc' : 'asc'} nulls last`,
  )
  const columns = order.map(({ field }) => `'${field}', ${field}`)
  const { rows } = await db.raw(
    `select id, json_build_object(${columns}) as at from tasks where user_id = ?
     order by ${keys} offset ? limit 1`,
    [user, offset],
  )
  const [{ id, at }] = rows
  const bookmark = { id, values: order.map(({ field }) => at[field]), backward }
  const listing = { filters: [], words: [], order, deleted: false }
  return rowsRead(db, user, sliceStatement(user, tasks, listing, PAGE, bookmark))
}
