import { randomBytes, randomUUID } from 'node:crypto'
import { readdirSync, readFileSync } from 'node:fs'
import pg from 'pg'
import { afterEach, beforeEach, expect, inject, test, vi } from 'vitest'
import { migrationSource } from '../../../migrations/index.ts'
import { schemaFile, schemaOf } from '../../../scripts/schema.ts'
import type { Database } from '../../../server/database/connect.ts'
import { migrate, pendingMigrations } from '../../../server/database/migrate.ts'
import { statementsIn } from '../../../server/database/single-statements.ts'
import { connectTo, databaseUrl } from '../../support/cluster.ts'

let admin: Database
let name: string
let nodes: Database[]

/** An empty database, on which any number of nodes may meet. */
beforeEach(async () => {
  name = `empty_${randomBytes(6).toString('hex')}`
  admin = connectTo(inject('adminUrl'))
  nodes = []
  await admin.raw(`create database ${name}`)
})
afterEach(async () => {
  for (const node of nodes) await node.destroy()
  await admin.raw(`drop database ${name} with (force)`)
  await admin.destroy()
})

function aNode(): Database {
  const node = connectTo(databaseUrl(inject('adminUrl'), name))
  nodes.push(node)
  return node
}

const files = readdirSync('migrations')
  .filter((file) => /^\d/.test(file))
  .map((file) => file.replace(/\.ts$/, ''))
  .sort()

test('every migration is named in the index, in order and without an extension', async () => {
  const names = await migrationSource.getMigrations([])
  expect(names).toEqual(files)
  expect(names.filter((name) => !/^\d{4}_[a-z_]+$/.test(name))).toEqual([])
  expect(names.map((name) => Number(name.slice(0, 4)))).toEqual(names.map((_, i) => i + 1))
})

test('every migration is recorded under that name, so that built files continue the same history', async () => {
  const db = aNode()
  expect(await pendingMigrations(db)).toEqual(files)
  expect(await migrate(db)).toEqual(files)
  expect(await db('knex_migrations').orderBy('id').pluck('name')).toEqual(files)
  expect(await pendingMigrations(db)).toEqual([])
  expect(await migrate(db)).toEqual([])
})

test('their statements come one by one, because Citus cannot pass on several at once', async () => {
  const query = pg.Client.prototype.query as (...values: unknown[]) => unknown
  const spy = vi.spyOn(pg.Client.prototype, 'query')
  // This protocol takes one statement at a time, too.
  spy.mockImplementation(function (this: pg.Client, ...values: unknown[]) {
    const [first] = values as [{ text?: string; queryMode?: string }]
    const isOurs = first?.text !== undefined && !first.text.includes('graphile_worker')
    if (isOurs) first.queryMode = 'extended'
    return query.apply(this, values)
  } as never)
  try {
    expect(await migrate(aNode())).toEqual(files)
  } finally {
    spy.mockRestore()
  }
})

test.each<[string, string, string[]]>([
  ['several', 'create table a (b int); drop table a;', ['create table a (b int)', 'drop table a']],
  [
    'texts',
    `select 'a;''b;', E'c\\';d', "e;""f"; select 2`,
    [`select 'a;''b;', E'c\\';d', "e;""f"`, 'select 2'],
  ],
  [
    'comments',
    "-- one; 'two\n/* three; */ select 1; -- four;\n",
    ["-- one; 'two\n/* three; */ select 1"],
  ],
  [
    'bodies',
    `do $$ begin null; end $$; do $a$ select $$;$$; $a$`,
    ['do $$ begin null; end $$', 'do $a$ select $$;$$; $a$'],
  ],
  ['nothing', ' ; -- five\n ;', []],
])('%s are statements of their own', (_what, sql, expected) => {
  expect(statementsIn(sql)).toEqual(expected)
})

test('all migrations can be rolled back and run again with the same result', async () => {
  const db = aNode()
  await migrate(db)
  const first = await schemaOf(db)
  expect(first).toContainEqual(expect.stringContaining('create table tasks ('))

  await db.migrate.rollback({ migrationSource }, true)
  expect(await schemaOf(db)).toEqual([])

  await migrate(db)
  expect(await schemaOf(db)).toEqual(first)
})

test('schema.sql shows their result', async () => {
  const db = aNode()
  await migrate(db)
  expect(readFileSync('migrations/schema.sql', 'utf8')).toBe(await schemaFile(db)) // else: npm run schema
})

test.each([
  'create sequence loose',
  'create domain odd as int',
  'create materialized view seen as select 1',
])('statements that schema.sql cannot show are detected: %s', async (statement) => {
  const db = aNode()
  await db.raw(statement)
  await expect(schemaOf(db)).rejects.toThrow(/does not know/)
})

test('each single migration can be rolled back and run again', async () => {
  const db = aNode()
  for (const name of files) {
    const before = await schemaOf(db)
    await db.migrate.up({ migrationSource })
    const after = await schemaOf(db)
    expect(after, name).not.toEqual(before)
    await db.migrate.down({ migrationSource })
    expect(await schemaOf(db), name).toEqual(before)
    await db.migrate.up({ migrationSource })
    expect(await schemaOf(db), name).toEqual(after)
  }
})

test('four nodes can migrate a fresh database at the same time', async () => {
  const answers = await Promise.all([aNode(), aNode(), aNode(), aNode()].map(migrate))
  expect(answers.flat().sort()).toEqual(files)
  const db = aNode()
  expect(await db('knex_migrations').orderBy('id').pluck('name')).toEqual(files)
  expect(await db('tasks')).toEqual([])
})

test('a failed migration leaves no trace, and the next attempt continues with it', async () => {
  const db = aNode()
  await db.raw('create table tasks (id int)')
  await expect(migrate(db)).rejects.toMatchObject({ code: '42P07' })
  await db.raw('drop table tasks')
  const [first, ...others] = files
  expect(await pendingMigrations(db)).toEqual(others)
  expect(await schemaOf(db)).not.toContainEqual(expect.stringContaining('profiles'))
  expect(first).toBe('0001_accounts_and_feeds')
  expect(await migrate(db)).toEqual(others)
})

test('a migration that waits for a table does not block its users', async () => {
  const [old, backup, next] = [aNode(), aNode(), aNode()]
  while ((await pendingMigrations(old))[0] !== '0006_account_life')
    await old.migrate.up({ migrationSource })
  const reading = await backup.transaction()
  await reading.raw('lock table users in access share mode')
  const migrated = migrate(next)
  const waiting = () => old('pg_locks').where({ granted: false, locktype: 'relation' })
  await expect.poll(waiting, { timeout: 10_000 }).toHaveLength(1)
  // Stands behind the one that waits, until that gives way.
  expect(await old('users')).toEqual([])
  await reading.rollback()
  expect(await migrated).toContain('0006_account_life')
})

test('names of accounts and links are known after 0017, and nothing is lost, there and back', async () => {
  const db = aNode()
  while ((await pendingMigrations(db))[0] !== '0017_keys_by_user')
    await db.migrate.up({ migrationSource })
  const at = new Date()
  const [ann, bob] = [randomUUID(), randomUUID()]
  for (const [id, name] of [
    [ann, 'Ann'],
    [bob, 'bob'],
  ] as const) {
    const user = { id, username: name, email: `${name}@Example.com`, password_hash: '' }
    await db('users').insert(user)
    await db('sessions').insert({ id: randomUUID(), user_id: id, expires_at: at })
    const mail = { recipient: '', letter: 'digest', data: {}, locale: 'en', timezone: 'UTC' }
    await db('mails').insert({
      ...mail,
      id: randomUUID(),
      user_id: id,
      cause: name,
      created_at: at,
    })
  }
  const token_hash = randomBytes(32)
  const link = { id: randomUUID(), user_id: ann, purpose: 'confirm_email', email: '', token_hash }
  await db('account_links').insert({ ...link, created_at: at, expires_at: at })
  const rows = async () => {
    const tables = ['users', 'sessions', 'mails', 'account_links']
    return Promise.all(tables.map((table) => db(table).orderBy('id')))
  }
  const before = await rows()
  const names = () => db('names').orderBy(['kind', 'name'])
  const known = [
    { kind: 'username', name: 'ann', user_id: ann },
    { kind: 'username', name: 'bob', user_id: bob },
    { kind: 'email', name: 'ann@example.com', user_id: ann },
    { kind: 'email', name: 'bob@example.com', user_id: bob },
    { kind: 'link', name: token_hash.toString('hex'), user_id: ann },
  ]
  await db.migrate.up({ migrationSource })
  expect(await names()).toEqual(known)
  expect(await rows()).toEqual(before)
  await db.migrate.down({ migrationSource })
  expect(await rows()).toEqual(before)
  await db.migrate.up({ migrationSource })
  expect(await names()).toEqual(known)
})

test('a killed migrator does not lock out others', async () => {
  const [killed, next] = [aNode(), aNode()]
  const holding = await killed.transaction()
  await migrate(holding as unknown as Database)
  const { rows } = await holding.raw('select pg_backend_pid() as pid')
  await admin.raw('select pg_terminate_backend(?)', [rows[0].pid])
  await holding.rollback().catch(() => {})
  expect(await migrate(next)).toEqual(files)
})
