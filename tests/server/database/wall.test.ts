import { randomBytes } from 'node:crypto'
import { v7 as uuidv7 } from 'uuid'
import { afterAll, beforeAll, describe, expect, inject, test } from 'vitest'
import { type Resource, resources } from '../../../protocol/index.ts'
import { connect, type Database, OF_EVERYONE, ofPerson } from '../../../server/database/connect.ts'
import type { DatabaseConnection } from '../../../server/database/connection.ts'
import { migrate } from '../../../server/database/migrate.ts'
import { raiseWall } from '../../../server/database/wall.ts'
import { postgresExports } from '../../../server/store/export.ts'
import { postgresLists } from '../../../server/store/lists.ts'
import { postgresStore } from '../../../server/store/postgres.ts'
import { connectTo, databaseUrl } from '../../support/cluster.ts'
import { type Person, startServer, type TestServer } from '../../support/server.ts'
import { openTransactionPooler } from '../../support/transaction-pooler.ts'

const { tasks } = resources

let server: TestServer
let ann: Person
let bob: Person
/** Her only task is `ferry`, his is this one. */
let bobsTask: string
const opened: Database[] = []

beforeAll(async () => {
  server = await startServer()
  ann = await server.person()
  bob = await server.person()
  const create = async ({ call }: Person, title: string) =>
    (await call('POST', '/api/tasks/', { title })).body.id
  await create(ann, 'ferry')
  bobsTask = await create(bob, 'ferry, secretly')
})
afterAll(async () => {
  for (const db of opened) await db.destroy()
  await server.stop()
})

function open(isWalled: boolean, url = server.testDatabase.url): Database {
  const db = connect({ url, tls: 'off', poolSize: 2, isWalled })
  opened.push(db)
  return db
}

describe('statements that forget the owner', () => {
  const listing = { filters: [], words: [], order: [], deleted: false }
  type Look = (db: Database, user: string) => Promise<unknown>
  const looks: Record<string, Look> = {
    find: (db, user) => postgresStore(db).find(user, tasks, bobsTask),
    read: async (db, user) => [...(await postgresStore(db).read(user, tasks, [bobsTask])).values()],
    changes: (db, user) => postgresStore(db).changes(user, tasks, 0, 100),
    page: (db, user) => postgresStore(db).page(user, tasks, 0, 100),
    'a page of buckets': (db, user) =>
      postgresStore(db).pageOf(user, tasks, [...Array(256).keys()], 0, 100),
    frame: (db, user) => postgresStore(db).frame(user, 0),
    'a list': (db, user) => postgresLists(db).page(user, tasks, listing, 100, 0),
    'a search': (db, user) =>
      postgresLists(db).page(user, tasks, { ...listing, words: ['ferry'] }, 100, 0),
    'a slice': (db, user) => postgresLists(db).slice(user, tasks, listing, 100, undefined),
    export: async (db, user) => {
      const { value } = await postgresExports(db).pages(user, tasks).next()
      return value
    },
    'a read in a transaction': (db, user) =>
      postgresStore(db).transaction(user, async (transaction) => [
        ...(await transaction.read(tasks, [bobsTask])).values(),
      ]),
    'a document in a transaction': (db, user) =>
      postgresStore(db).transaction(user, (transaction) =>
        transaction.olderThanNewest(tasks, 'title', ['ferry, secretly'], 0),
      ),
    'an edit': (db, user) =>
      postgresStore(db).edit(user, tasks, {
        action: 'patch',
        id: bobsTask,
        now: new Date().toISOString(),
        fields: { title: 'secretly ours' },
      }),
  }

  test.each(Object.entries(looks))('show nothing of another person: %s', async (_name, look) => {
    const seen = await look(forgetful(open(true)), ann.id)
    expect(JSON.stringify(seen ?? null)).not.toContain('secretly')
  })

  test.each(Object.entries(looks))('would without the wall: %s', async (_name, look) => {
    const seen = await look(forgetful(open(false)), ann.id)
    expect(JSON.stringify(seen)).toContain('secretly')
  })

  /** The pool with a fault in each of its statements. */
  function forgetful(db: Database): Database {
    const { client } = db
    const acquire = client.acquireConnection.bind(client)
    const met = new WeakSet<DatabaseConnection>()
    client.acquireConnection = async () => {
      const connection: DatabaseConnection = await acquire()
      if (met.has(connection)) return connection
      met.add(connection)
      const query = connection.query.bind(connection) as (config: unknown) => unknown
      const forgets = (config: string | { text: string }) =>
        typeof config === 'string' ? query(config) : query({ ...config, text: forget(config.text) })
      return Object.assign(connection, { query: forgets })
    }
    return db
  }

  const forget = (text: string) =>
    text.replaceAll(/(\w+\.)?user_id = \$1/g, () => '$1::uuid is not null')
})

describe('a statement that names', () => {
  const titles = (db: Database) => db('tasks').select('title')

  test('nobody sees and writes nothing', async () => {
    const db = open(true)
    expect(await titles(db)).toEqual([])
    expect(await db('tasks').update({ title: 'lost' })).toBe(0)
    await expect(db('profiles').insert(await profileOf(ann))).rejects.toThrow(/row-level security/)
  })

  test('a person sees hers, and writes for nobody else', async () => {
    const db = open(true)
    const seen = await titles(db).options(ofPerson(ann.id))
    expect(seen).toEqual([{ title: 'ferry' }])
    const row = { ...(await profileOf(bob)), id: uuidv7() }
    await expect(db('profiles').insert(row).options(ofPerson(ann.id))).rejects.toThrow(
      /row-level security/,
    )
  })

  test('everyone sees all', async () => {
    expect(await titles(open(true)).options(OF_EVERYONE)).toHaveLength(2)
  })

  test('a person holds for the rest of a transaction, everyone for one statement, and neither afterwards', async () => {
    const db = open(true)
    await db.transaction(async (trx) => {
      expect(await titles(trx)).toEqual([])
      expect(await titles(trx).options(ofPerson(bob.id))).toHaveLength(1)
      expect(await titles(trx)).toHaveLength(1)
      expect(await titles(trx).options(OF_EVERYONE)).toHaveLength(2)
      expect(await titles(trx)).toEqual([])
    })
    expect(await titles(db)).toEqual([])
  })

  async function profileOf({ id }: Person) {
    const [row] = await server.testDatabase.db('profiles').where({ user_id: id })
    return { ...row, user_id: id }
  }
})

test('through a pooler in transaction mode, a connection carries no name to the next one', async () => {
  const { url } = server.testDatabase
  const pooler = await openTransactionPooler(url, { processes: 1 })
  try {
    const [walled, plain] = [open(true, pooler.url), open(false, pooler.url)]
    const whoIs = async (db: Database) => {
      const { rows } = await db.raw(
        `select current_user as role, current_setting('tasktide.person', true) as person`,
      )
      return rows[0]
    }
    const before = await whoIs(plain)
    for (const { id } of [ann, bob]) {
      const [{ user_id }] = await walled('tasks').options(ofPerson(id))
      expect(user_id).toBe(id)
      expect((await whoIs(plain)).role).toBe(before.role)
      expect((await whoIs(plain)).person || null).toBe(null)
      // As a node of the release before, which knows nothing of the wall.
      expect(await plain('tasks')).toHaveLength(2)
    }
  } finally {
    for (const db of opened.splice(0)) await db.destroy()
    await pooler.close()
  }
})

test.each([
  ['drop a table', 'drop table digests'],
  ['add a column', 'alter table tasks add column mood text'],
  ['create a table', 'create table moods (id uuid)'],
  ['disable a trigger', 'alter table tasks disable trigger all'],
  ['change an entry of the audit log', `update audit_log set actor = 'nobody'`],
  ['delete an entry of the audit log', 'delete from audit_log'],
  ['empty the audit log', 'truncate audit_log'],
  ['lower the wall', 'alter table tasks disable row level security'],
])('the application cannot %s', async (_what, sql) => {
  await expect(open(true).raw(sql)).rejects.toMatchObject({ code: '42501' })
})

test('every table of documents is behind it', async () => {
  const { rows } = await server.testDatabase.db.raw(
    `select relname from pg_class join pg_policy on polrelid = pg_class.oid
     where relrowsecurity and relnamespace = 'public'::regnamespace group by relname having count(*) = 2`,
  )
  const walled = rows.map(({ relname }: { relname: string }) => relname).sort()
  const all = Object.values<Resource>(resources).map(({ table }) => table)
  const others = [
    'couch_documents',
    'couch_revisions',
    'idempotency_keys',
    'search_parts',
    'search_words',
  ]
  expect(walled).toEqual([...all, ...others].sort())
})

describe('where the roles', () => {
  /** A database of a role that owns it and is nothing else. */
  async function ownedBy(attributes: string) {
    const name = `owned_${randomBytes(6).toString('hex')}`
    const admin = connectTo(inject('adminUrl'))
    await admin.raw(`create role ${name} login ${attributes}`)
    await admin.raw(`create database ${name} owner ${name}`)
    return {
      name,
      admin,
      url: loginUrl(databaseUrl(inject('adminUrl'), name), name),
      async drop() {
        await admin.raw(`drop database ${name} with (force)`)
        await admin.raw(`drop role ${name}`)
        await admin.destroy()
      },
    }
  }

  const loginUrl = (url: string, login: string) => {
    const changed = new URL(url)
    changed.username = login
    return changed.href
  }

  async function usesIt({ call, person }: TestServer) {
    const carol = await person()
    const { status, body } = await carol.call('POST', '/api/tasks/', { title: 'Tea' })
    expect(status).toBe(201)
    expect((await carol.call('GET', '/api/tasks/')).body.results).toEqual([body])
    expect((await call('GET', '/readyz')).status).toBe(200)
  }

  test('cannot be taken, a node says so and serves without it', async () => {
    const owned = await ownedBy('nocreaterole')
    const node = await startServer({ DATABASE_URL: owned.url, MIGRATE_ON_START: 'true' })
    try {
      await usesIt(node)
      expect(node.logged.join()).toContain('row-level security is off')
      expect(await node.database.db('tasks')).toHaveLength(1)
    } finally {
      await node.stop()
      await owned.drop()
    }
  })

  test('belong to a login without an owner, it serves, and only the owner migrates', async () => {
    const owned = await ownedBy('')
    await owned.admin.raw(`grant tasktide_everyone to ${owned.name}`)
    const login = `${owned.name}_app`
    await owned.admin.raw(`create role ${login} login in role tasktide_everyone`)
    const node = await startServer({
      DATABASE_URL: loginUrl(owned.url, login),
      DATABASE_OWNER_URL: owned.url,
      MIGRATE_ON_START: 'true',
      RUN_WORKER: 'true',
    })
    try {
      await usesIt(node)
      expect(node.logged.join()).not.toContain('row-level security is off')
      expect(await node.database.db('tasks')).toEqual([])
      // The worker takes its jobs in this login too.
      const mails = () => node.database.db('mails').whereNotNull('outcome').pluck('outcome')
      await expect.poll(mails, { timeout: 10_000 }).toEqual(['sent'])
    } finally {
      await node.stop()
      await owned.admin.raw(`drop owned by ${login}; drop role ${login}`)
      await owned.drop()
    }
  })

  test('have lost a policy, the next migration repairs it', async () => {
    const { db } = server.testDatabase
    await db.raw('drop policy tasktide_app on tasks')
    await migrate(db)
    expect(await open(true)('tasks').options(ofPerson(ann.id))).toHaveLength(1)
    expect(await db.transaction((trx) => raiseWall(trx))).toBe(true)
  })
})
