import { randomUUID } from 'node:crypto'
import type pg from 'pg'
import { expect, test } from 'vitest'
import { resources } from '../../../protocol/index.ts'
import { connect, type Database, ofPerson, run } from '../../../server/database/connect.ts'
import { postgresStore } from '../../../server/store/postgres.ts'
import { purgeTombstones } from '../../../server/store/purge.ts'
import { postgresRevisions } from '../../../server/store/revisions.ts'
import { aboveSql } from '../../../server/store/statements.ts'
import type { Store } from '../../../server/sync/store.ts'
import { createDatabase } from '../../support/database.ts'
import {
  aCategory,
  addUser,
  aTask,
  EDITED,
  live,
  patch,
  removal,
  restoral,
  tombstone,
} from '../../support/store-contract.ts'

/**
 * A lookup of a document by its id reads that row, whatever Postgres knows of the tables: it keeps the plans
 * of statements and triggers, and may have made them when the tables were empty.
 */

const { tasks, categories, profile } = resources

/** Of one person: a fresh import. */
const MANY = 10_000

/** What the statistics of Postgres were when it made the plans. */
const STATES: Record<string, (db: Database) => Promise<unknown>> = {
  'no statistics': async () => {},
  'statistics of empty tables': (db) => db.raw('analyze'),
  'statistics of people with one task each': async (db) => {
    for (let i = 0; i < 80; i++) await postgresStore(db).insert(await addUser(db), tasks, aTask())
    await db.raw('analyze')
  },
  'statistics of one person with a few tasks': async (db) => {
    const user = await addUser(db)
    for (let i = 0; i < 80; i++) await postgresStore(db).insert(user, tasks, aTask())
    await db.raw('analyze')
  },
}

test.each(Object.entries(STATES))(
  'only primary keys serve lookups by id: %s',
  async (_what, prepare) => {
    const database = await createDatabase()
    try {
      const { db } = database
      for (const table of TABLES)
        await db.raw('alter table ?? set (autovacuum_enabled = off)', [table])
      await prepare(db)
      const user = await addUser(db)
      const name = new URL(database.url).pathname.slice(1)
      for (const [setting, value] of Object.entries(TELLS_PLANS))
        await db.raw(`alter database ${name} set ${setting} = ${value}`)
      const early = await openWatched(database.url)
      const faults = { early: await early.faultsOf(user) }
      await grow(db, user)
      const late = await openWatched(database.url)
      Object.assign(faults, { kept: await early.faultsOf(user), late: await late.faultsOf(user) })
      await early.db.destroy()
      await late.db.destroy()
      expect(faults).toEqual({ early: [], kept: [], late: [] })
    } finally {
      await database.drop()
    }
  },
)

const TELLS_PLANS = {
  session_preload_libraries: 'auto_explain',
  'auto_explain.log_min_duration': 0,
  'auto_explain.log_nested_statements': 'on',
  'auto_explain.log_analyze': 'on',
  'auto_explain.log_format': 'json',
  'auto_explain.log_level': 'notice',
}

/** Past the triggers, which are not what is tested here. */
async function grow(db: Database, user: string): Promise<void> {
  await db.raw(
    `insert into tasks (user_id, id, title, description, priority, completed, position, due_date, created_at, updated_at, seq)
       select ?, gen_random_uuid(), 'Milk', '', 'low', false, 'a', '2030-01-01', now(), now(), f.seq + n
       from feeds f, generate_series(1, ${MANY}) n where f.user_id = ?`,
    [user, user],
  )
  await db.raw(
    `insert into categories (user_id, id, name, color, position, created_at, updated_at, seq)
       select ?, gen_random_uuid(), 'Errands', '', 'a', now(), now(), f.seq + n
       from feeds f, generate_series(1, ${MANY}) n where f.user_id = ?`,
    [user, user],
  )
  await db.raw(
    `with documents as (
       insert into couch_documents (user_id, type, id, seq, deleted)
       select ?, 'tasks', gen_random_uuid(), f.seq + n, false
       from feeds f, generate_series(1, ${MANY}) n where f.user_id = ? returning *
     )
     insert into couch_revisions (user_id, type, id, generation, hash, path, deleted, body, is_leaf, seq)
       select user_id, type, id, 1, 'a', '{a}', false, '{}', true, seq from documents`,
    [user, user],
  )
  await db('feeds').where({ user_id: user }).increment('seq', MANY)
}

/** One connection, which tells the plans of all its statements, also of those in triggers. */
async function openWatched(url: string) {
  const db = connect({ url, poolSize: 1, tls: 'off', isWalled: true })
  const connection: pg.Client = await db.client.acquireConnection()
  const plans: Explained[] = []
  connection.on('notice', ({ message = '' }) => {
    const json = /plan:\n(.*)$/s.exec(message)?.[1]
    if (json) plans.push(JSON.parse(json))
  })
  await db.client.releaseConnection(connection)
  return {
    db,
    async faultsOf(user: string): Promise<string[]> {
      plans.splice(0)
      await walk(db, postgresStore(db), user)
      for (const part of TRIGGERED)
        expect(
          plans.some(({ 'Query Text': text }) => text.includes(part)),
          part,
        ).toBe(true)
      const faults = plans.flatMap(({ 'Query Text': text, Plan }) =>
        scansIn(Plan)
          .flatMap(faultOf)
          .map((fault) => `${fault}: ${text.replaceAll(/\s+/g, ' ').trim()}`),
      )
      return [...new Set(faults)]
    },
  }
}

/** Of what triggers and foreign keys do. */
const TRIGGERED = ['reminder_moment(', 'delete from reminders', 'FOR KEY SHARE', 'now.nth']

interface Explained {
  'Query Text': string
  Plan: Node
}

interface Node {
  'Node Type': string
  'Relation Name'?: string
  'Index Name'?: string
  'Index Cond'?: string
  Filter?: string
  'Actual Rows': number
  'Actual Loops': number
  'Rows Removed by Filter'?: number
  Plans?: Node[]
}

const scansIn = (node: Node): Node[] => [node, ...(node.Plans ?? []).flatMap(scansIn)]

const TABLES = [
  ...['tasks', 'categories', 'profiles', 'conflicts', 'reminders'],
  ...['couch_documents', 'couch_revisions'],
]
/** No lookup of this test asks for more. */
const MOST_ROWS = 100

function faultOf(node: Node): string[] {
  const { 'Node Type': kind, 'Relation Name': table = '', 'Index Cond': cond = '' } = node
  const { 'Index Name': index = '', Filter: filter = '' } = node
  // What a bitmap index scan reads has no relation.
  const isOfDocuments = TABLES.some((one) => one === table || index.startsWith(`${one}_`))
  if (!isOfDocuments || !/ Scan$/.test(kind)) return []
  const BY_ID = /(?<!\w)(id|task_id) = /
  const read = (node['Actual Rows'] + (node['Rows Removed by Filter'] ?? 0)) * node['Actual Loops']
  return [
    ...(kind === 'Seq Scan' ? [`${table} is read whole`] : []),
    ...(BY_ID.test(filter) || (BY_ID.test(cond) && !index.endsWith('_pkey'))
      ? [`${index} looks for an id`]
      : []),
    ...(read > MOST_ROWS ? [`${read} rows of ${index || table}`] : []),
  ]
}

/** Every statement of the store that looks documents up, with the triggers of every write. */
async function walk(db: Database, store: Store, user: string): Promise<void> {
  const errands = aCategory()
  await store.insert(user, categories, errands)
  const dated = { due_date: '2030-01-01', due_time: '08:30', remind_at: '2030-01-01T08:00:00.000Z' }
  const [one, two, three, four] = [1, 2, 3, 4].map(() =>
    aTask({ ...dated, category_id: errands.id }),
  ) as [Task, Task, Task, Task]
  await store.insert(user, tasks, one)
  await store.insert(user, tasks, one)
  await store.edit(
    user,
    tasks,
    patch(one.id, { title: 'Oat milk', ...dated, due_date: '2030-02-01' }),
  )
  await store.edit(user, tasks, patch(one.id, { category_id: errands.id, completed: true }))
  await store.edit(user, tasks, removal(one.id))
  await store.edit(user, tasks, restoral(one.id))
  await store.find(user, tasks, one.id)
  const key = { type: 'tasks', id: one.id }
  const revision = { generation: 1, path: ['a'], deleted: false, body: '{}', isLeaf: true }
  for (const revisions of [[revision], [{ ...revision, isLeaf: false }]])
    await store.transaction(user, async (tx) => {
      await tx.revisions.read([key], true)
      await tx.revisions.write([{ ...key, seq: 1, deleted: false, revisions }])
    })
  await postgresRevisions(db).read(user, [key])
  await store.read(user, tasks, [one.id, randomUUID()])
  const [unknown, further] = [randomUUID(), randomUUID()]
  await store.transaction(user, async (tx) => {
    await tx.placehold(categories, [unknown, further])
    await tx.write(tasks, [live({ ...two, category_id: unknown }), live(three), live(four)])
    await tx.read(tasks, [two.id, three.id])
    await tx.write(tasks, [live({ ...three, ...dated, due_date: '2031-01-01' }), tombstone(four)])
  })
  const pushed = aTask({ ...dated, category_id: errands.id })
  const ahead = [
    { resource: tasks, ids: [two.id, pushed.id] },
    { resource: categories, ids: [errands.id] },
  ]
  const attempted = await store.attempt(
    user,
    (tx) => tx.write(tasks, [live({ ...two, title: 'Rye' }), live(pushed)], true),
    ahead,
  )
  expect(attempted).toBeDefined()
  await store.insert(user, categories, { ...aCategory(), id: unknown })
  await run(db, aboveSql(tasks, 'category_id'), [user, [one.id]])
  // Releases its tasks.
  await store.edit(user, categories, removal(errands.id))
  await store.edit(user, categories, restoral(errands.id))
  await db('reminder_moments').where({ user_id: user, task_id: one.id }).options(ofPerson(user))
  await db('tasks')
    .where({ user_id: user, id: four.id })
    .update({ updated_at: EDITED })
    .options(ofPerson(user))
  await store.edit(user, profile, patch(user, { timezone: 'UTC' }))
  await purgeTombstones(db, 0)
}

type Task = ReturnType<typeof aTask>
