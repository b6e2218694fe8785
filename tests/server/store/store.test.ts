import { randomUUID } from 'node:crypto'
import pg from 'pg'
import { afterAll, afterEach, beforeAll, describe, expect, test, vi } from 'vitest'
import { type Resource, resources, settle } from '../../../protocol/index.ts'
import type { Database } from '../../../server/database/connect.ts'
import { postgresLists } from '../../../server/store/lists.ts'
import { postgresStore } from '../../../server/store/postgres.ts'
import { referringFirst } from '../../../server/store/purge.ts'
import {
  type Changes,
  type Encoded,
  type Store,
  type Transaction,
  UnknownUser,
} from '../../../server/sync/store.ts'
import { type DocumentStore, storeWithin } from '../../../server/sync/within.ts'
import { connectTo } from '../../support/cluster.ts'
import { memoryStore } from '../../support/memory-store.ts'
import { type Person, startServer, type TestServer } from '../../support/server.ts'
import {
  aCategory,
  addUser,
  aTask,
  countUp,
  deferred,
  EDITED,
  increment,
  justAfter,
  live,
  patch,
  removal,
  restoral,
  storeContract,
  tombstone,
} from '../../support/store-contract.ts'

const { tasks, categories, conflicts } = resources

let server: TestServer
let db: Database
let otherDb: Database
beforeAll(async () => {
  server = await startServer()
  db = server.testDatabase.db
  otherDb = connectTo(server.testDatabase.url)
})
afterAll(async () => {
  await otherDb.destroy()
  await server.stop()
})

const contractOnPostgres = (open: () => Store) =>
  storeContract(
    async () => open(),
    () => addUser(db),
    // A promotion raises the timeline of the log: here that of the last change is lowered.
    (user_id) =>
      db.transaction(async (trx) => {
        await trx.raw('set local session_replication_role = replica') // without triggers
        await trx('feeds').where({ user_id }).decrement('timeline')
      }),
    async (user_id, upTo) => {
      for (const { table } of referringFirst())
        await db(table).where({ user_id, deleted: true }).andWhereBetween('seq', [1, upTo]).delete()
    },
  )

describe('the store in Postgres', () => contractOnPostgres(() => postgresStore(db)))

describe('the store within a transaction', () =>
  contractOnPostgres(() => {
    const store = postgresStore(db)
    const within = (user: string, write: (within: DocumentStore) => Promise<Encoded | undefined>) =>
      store
        .transaction(user, (transaction) => write(storeWithin(transaction)))
        .catch((error) => {
          if (!(error instanceof UnknownUser)) throw error
          return undefined
        })
    return {
      ...store,
      insert: (user, ...rest) => within(user, (inside) => inside.insert(user, ...rest)),
      edit: (user, ...rest) => within(user, (inside) => inside.edit(user, ...rest)),
    }
  }))

describe('the store in memory', () => {
  const store = memoryStore()
  storeContract(
    async () => store,
    async () => {
      const user = randomUUID()
      store.addUser(user)
      return user
    },
    async () => store.failOver(0),
    async (user, upTo) => store.purge(user, upTo),
  )
})

describe('a commit is announced with its changes', () => {
  const category = aCategory()
  const filed = aTask({ category_id: category.id })
  const [first, second] = [aTask(), aTask()]
  const many = Array.from({ length: 101 }, () => live(aTask()))

  const aConflict = () => {
    const [id, document_id, session_id] = [randomUUID(), randomUUID(), randomUUID()]
    const [lost, kept] = [
      { title: 'Milk', completed: true },
      { title: 'Oat milk', completed: false },
    ]
    const fields = { resource: 'tasks', document_id, cause: 'edit', lost, kept, session_id }
    return settle(conflicts, { id, ...fields, lost_at: EDITED }, undefined, EDITED)
  }

  type Write = (store: Store, user: string) => Promise<unknown>
  const inTransaction =
    (write: (transaction: Transaction) => Promise<void>): Write =>
    (store, user) =>
      store.transaction(user, write)

  test.each<[string, Write]>([
    ['a task', (store, user) => store.insert(user, tasks, first)],
    ['an edited task', (store, user) => store.edit(user, tasks, patch(filed.id, { title: 'Rye' }))],
    ['a deleted task', (store, user) => store.edit(user, tasks, removal(filed.id))],
    [
      'a renamed category',
      (store, user) => store.edit(user, categories, patch(category.id, { name: 'Home' })),
    ],
    ['two tasks', inTransaction((tx) => tx.write(tasks, [live(first), tombstone(second)]))],
    [
      'a task with a journal entry',
      inTransaction(async (tx) => {
        await tx.write(tasks, [live(first)])
        await tx.write(conflicts, [live(aConflict())])
      }),
    ],
  ])('%s, as in the feed', async (_, write) => {
    expect(await announced(write)).toMatchObject([{ changes: expect.anything() }])
  })

  test.each<[string, Write]>([
    [
      'a deleted category, which clears references',
      (store, user) => store.edit(user, categories, removal(category.id)),
    ],
    ['the same, pushed', inTransaction((tx) => tx.write(categories, [tombstone(category)]))],
    ['more than a frame carries', inTransaction((tx) => tx.write(tasks, many))],
    [
      'a task twice',
      inTransaction(async (tx) => {
        await tx.write(tasks, [live(first)])
        await tx.write(tasks, [live({ ...first, title: 'Again' })])
      }),
    ],
  ])('but not %s: its changes must be read', async (_, write) => {
    expect(await announced(write)).toMatchObject([{ changes: undefined }])
  })

  test('a write without changes is not announced', async () => {
    expect(
      await announced((store, user) => store.edit(user, tasks, patch(first.id, { title: 'x' }))),
    ).toEqual([])
    expect(await announced((store, user) => store.insert(user, tasks, filed))).toEqual([])
  })

  /** What is announced, each compared with what another node reads of it. */
  async function announced(write: Write) {
    const ann = await addUser(db)
    const heard: { user: string; changes: Changes | undefined }[] = []
    const node = postgresStore(db, (user, changes) => heard.push({ user, changes }))
    const other = postgresStore(otherDb)
    await node.insert(ann, categories, category)
    await node.insert(ann, tasks, filed)
    const { seq } = (await node.heads([ann])).get(ann)!
    heard.length = 0
    await write(node, ann)
    for (const { user, changes } of heard) {
      expect(user).toBe(ann)
      if (!changes) continue
      const { prev, head, documents } = changes
      expect(prev).toBe(seq)
      expect({ head, documents: documents() }).toEqual(await other.frame(ann, seq))
    }
    return heard
  }
})

describe('two nodes on one database', () => {
  let nodes: [Store, Store]
  let ann: string
  let id: string
  beforeAll(() => {
    nodes = [postgresStore(db), postgresStore(otherDb)]
  })

  async function oneTask(title: string): Promise<void> {
    ann = await addUser(db)
    const task = aTask({ title })
    id = task.id
    await nodes[0].insert(ann, tasks, task)
  }

  const titleNow = async () => (await nodes[0].read(ann, tasks, [id])).get(id)!.document.title

  test('lose no update of read-modify-write transactions', async () => {
    await oneTask('0')
    await Promise.all(Array.from({ length: 40 }, (_, i) => countUp(nodes[i % 2]!, ann, id)))
    expect(await titleNow()).toBe('40')
  })

  test('lose no update of edits with a version', async () => {
    await oneTask('0')
    await Promise.all(Array.from({ length: 12 }, (_, i) => increment(nodes[i % 2]!, ann, id)))
    expect(await titleNow()).toBe('12')
  })

  test('lose no edit of different fields', async () => {
    await oneTask('Milk')
    const fields = { title: 'Oat milk', description: 'two', priority: 'high', completed: true }
    await Promise.all(
      Object.entries(fields).map(([name, value], i) =>
        nodes[i % 2]!.edit(ann, tasks, patch(id, { [name]: value })),
      ),
    )
    expect((await nodes[1].read(ann, tasks, [id])).get(id)!.document).toMatchObject(fields)
  })

  test('accept one of two creations of the same id', async () => {
    await oneTask('Milk')
    const same = aTask()
    const answers = await Promise.all(nodes.map((node) => node.insert(ann, tasks, same)))
    expect(answers.filter((answer) => answer !== undefined)).toHaveLength(1)
  })

  test('serialize their transactions', async () => {
    await oneTask('before')
    const [started, others] = [deferred(), deferred()]
    const seen = nodes[0].transaction(ann, async (tx) => {
      started.resolve()
      await others.promise
      return (await tx.read(tasks, [id])).get(id)!.document.title
    })
    await started.promise
    const edit = nodes[1].edit(ann, tasks, patch(id, { title: 'after' }))
    await vi.waitFor(async () => expect(await lockWaits()).toBe(1), { interval: 5 })
    others.resolve()
    expect(await seen).toBe('before')
    await edit
    expect(await titleNow()).toBe('after')
  })
})

test('all statements use generic plans, because statistics may be missing', async () => {
  const { rows } = await db.raw('show plan_cache_mode')
  expect(rows).toEqual([{ plan_cache_mode: 'force_generic_plan' }])
})

describe('a placeholder', () => {
  const store = () => postgresStore(db)
  let ann: string
  let id: string

  /** What a task leaves that came before its category. */
  async function placeholder(): Promise<void> {
    ann = await addUser(db)
    id = randomUUID()
    await db('categories').insert({ user_id: ann, ...aCategory({ id }), deleted: true, seq: 0 })
  }

  async function taskBefore(): Promise<string> {
    const task = aTask({ category_id: id })
    await db('tasks').insert({ user_id: ann, ...task })
    return task.id
  }

  test('is invisible to readers', async () => {
    await placeholder()
    expect(await store().find(ann, categories, id)).toBeUndefined()
    expect(await store().read(ann, categories, [id])).toEqual(new Map())
    expect(await store().transaction(ann, (tx) => tx.read(categories, [id]))).toEqual(new Map())
    expect(await store().changes(ann, categories, 0, 10)).toEqual([])
  })

  test.each([false, true])('is in no list (of the deleted ones: %s)', async (deleted) => {
    await placeholder()
    const lists = postgresLists(db)
    const listing = { filters: [], words: [], order: [], deleted }
    expect(await lists.page(ann, categories, listing, 10, 0)).toMatchObject({
      count: 0,
      results: '[]',
    })
    expect(await lists.slice(ann, categories, listing, 10, undefined)).toMatchObject({
      documents: [],
      more: false,
    })
  })

  test('cannot be edited', async () => {
    await placeholder()
    for (const edit of [patch(id, { name: 'Travel' }), removal(id), restoral(id)])
      expect(await store().edit(ann, categories, edit)).toBeUndefined()
  })

  test('cannot be the category of a created or changed task', async () => {
    await placeholder()
    expect(await store().insert(ann, tasks, aTask({ category_id: id }))).toBeUndefined()
    const task = aTask()
    await store().insert(ann, tasks, task)
    expect(await store().edit(ann, tasks, patch(task.id, { category_id: id }))).toBeUndefined()
  })

  test.each(['insert', 'transaction'] as const)('is filled by %s', async (way) => {
    await placeholder()
    const task = await taskBefore()
    const category = aCategory({ id, name: 'Travel', color: '#0ea5e9' })
    if (way === 'insert') await store().insert(ann, categories, category)
    else await store().transaction(ann, (tx) => tx.write(categories, [live(category)]))
    const [change] = await store().changes(ann, categories, 0, 10)
    expect(change).toEqual({ seq: expect.any(Number), ...live(category) })
    expect(await categoryOf(task)).toBe(id)
  })

  test('replaced by a deleted category clears the references of its tasks', async () => {
    await placeholder()
    const task = await taskBefore()
    await store().transaction(ann, (tx) => tx.write(categories, [tombstone(aCategory({ id }))]))
    const [change] = await store().changes(ann, categories, 0, 10)
    expect(await categoryOf(task)).toBeNull()
    expect(await store().changes(ann, tasks, change!.seq, 10)).toHaveLength(1)
  })

  const categoryOf = async (task: string) =>
    (await store().read(ann, tasks, [task])).get(task)!.document.category_id
})

describe('a write', () => {
  let statements: string[]
  let ann: Person
  beforeAll(async () => {
    ann = await server.person()
  })
  afterEach(() => vi.restoreAllMocks())

  test('of many documents in a transaction is one statement, numbers included', async () => {
    const many = Array.from({ length: 20 }, () => live(aTask()))
    await postgresStore(db).transaction(ann.id, async (tx) => {
      listen()
      await tx.write(tasks, many)
      await tx.write(tasks, [])
      expect(statements.filter((text) => !isBeside(text))).toEqual([
        expect.stringMatching(/^\s*with feed as \(\s*update feeds/),
      ])
    })
  })

  /** The statements that Postgres is sent from now on, by anybody in this process. */
  function listen(): void {
    statements = []
    const { query } = pg.Client.prototype as unknown as { query: (...args: unknown[]) => unknown }
    vi.spyOn(pg.Client.prototype, 'query').mockImplementation(function (
      this: pg.Client,
      ...args: unknown[]
    ) {
      const [first] = args as [string | { text: string }]
      statements.push(typeof first === 'string' ? first : first.text)
      return query.apply(this, args) as never
    })
  }

  const create = async (resource: Resource, body: object): Promise<string> =>
    (await ann.call('POST', `/api/${resource.name}/`, body)).body.id

  test.each<[string, string, () => Promise<string>, object | undefined, number]>([
    ['POST', 'task', async () => '/api/tasks/', { title: 'Bread' }, 201],
    ['POST', 'category', async () => '/api/categories/', { name: 'Travel' }, 201],
    ['PATCH', 'title', taskPath, { title: 'Oat milk' }, 200],
    ['PATCH', 'completion', taskPath, { completed: true }, 200],
    ['PUT', 'task', taskPath, { title: 'Bread', priority: 'high' }, 200],
    ['DELETE', 'task', taskPath, undefined, 204],
  ])(
    'of one document is one statement and no transaction: %s of a %s',
    async (method, _what, pathOf, body, status) => {
      const path = await pathOf()
      listen()
      const answer = await ann.call(method, path, body)
      expect(answer.status).toBe(status)
      expect(statements.filter((text) => !isBeside(text))).toEqual([
        expect.stringMatching(/^\s*with feed as \(update feeds/),
      ])
    },
  )

  test.each<[string, () => Promise<string>, object | undefined]>([
    ['DELETE', categoryPath, undefined],
    ['PATCH', async () => '/api/profile/', { bio: 'Likes ferries.' }],
  ])(
    'that may change many rows is one statement with a limit: %s',
    async (method, pathOf, body) => {
      const path = await pathOf()
      listen()
      expect((await ann.call(method, path, body)).status).toBeLessThan(300)
      expect(statements.filter((text) => !isBeside(text))).toEqual([
        expect.stringMatching(/^begin; set local statement_timeout = \d+$/),
        expect.stringMatching(/^\s*with feed as \(update feeds/),
        'commit',
      ])
    },
  )

  test('of a task into a category is one statement too', async () => {
    const category_id = await create(categories, { name: 'Travel' })
    listen()
    const answer = await ann.call('POST', '/api/tasks/', { title: 'Ferry', category_id })
    expect(answer.status).toBe(201)
    expect(statements.filter((text) => !isBeside(text))).toHaveLength(1)
  })

  /**
   * What is sent before anything is answered, by round trip: the first words of the statements. Each round trip is felt
   * where the database is not on the same machine.
   */
  test.each<[string, () => Promise<Call>, string[]]>([
    ['GET of a task', async () => ['GET', await taskPath()], ['select']],
    ['GET of a list', async () => ['GET', '/api/tasks/?completed=false'], ['begin select commit']],
    ['POST', async () => ['POST', '/api/tasks/', { title: 'Bread' }], ['with']],
    ['PATCH', async () => ['PATCH', await taskPath(), { title: 'Oat milk' }], ['with']],
    ['pull', async () => ['GET', '/replication/tasks/0/pull?limit=100'], ['begin with commit']],
    [
      'push of new tasks in a category',
      async () => pushOf(aTask({ category_id: await create(categories, { name: 'Travel' }) })),
      ['begin select select select commit', 'with'],
    ],
    [
      'push of an edit',
      async () => {
        const { body: task } = await ann.call('POST', '/api/tasks/', { title: 'Milk' })
        return pushOf({ ...task, title: 'Oat milk', updated_at: justAfter(task.updated_at) }, task)
      },
      ['begin select select commit', 'with'],
    ],
    [
      'push that is repeated',
      async () => {
        const push = pushOf(aTask())
        await ann.call(...push)
        return push
      },
      ['begin select select commit'],
    ],
    [
      'push into a category that comes later',
      async () => pushOf(aTask({ category_id: randomUUID() })),
      ['begin select select select commit', 'begin select select', 'insert', 'with commit'],
    ],
    [
      'POST with an Idempotency-Key',
      async () => ['POST', '/api/tasks/', { title: 'Bread' }, keyed()],
      ['begin', 'select', 'savepoint select', 'with', 'insert', 'commit'],
    ],
    [
      'POST that is repeated with its key',
      async () => {
        const call: Call = ['POST', '/api/tasks/', { title: 'Bread' }, keyed()]
        await ann.call(...call)
        return call
      },
      ['begin', 'select', 'commit'],
    ],
    [
      'batch of two creations',
      async () => {
        const one = { method: 'POST', path: '/api/tasks/', body: { title: 'Bread' } }
        return ['POST', '/api/batch/', { operations: [one, one] }]
      },
      ['begin', 'select', 'with', 'select', 'with', 'commit'],
    ],
  ])('round trips of a %s', async (_what, callOf, trips) => {
    const call = await callOf()
    const taken = listenForTrips()
    expect((await ann.call(...call)).status).toBeLessThan(300)
    expect(taken).toEqual(trips)
  })

  type Call = [method: string, path: string, body?: unknown, options?: object]

  const keyed = () => ({ headers: { 'idempotency-key': randomUUID() } })

  function pushOf(newDocumentState: object, assumedMasterState?: object): Call {
    return ['POST', '/replication/tasks/0/push', [{ newDocumentState, assumedMasterState }]]
  }

  function listenForTrips(): string[] {
    const trips: string[] = []
    let isAnswered = true
    const { query } = pg.Client.prototype as unknown as { query: (...args: unknown[]) => unknown }
    vi.spyOn(pg.Client.prototype, 'query').mockImplementation(function (
      this: pg.Client,
      ...args: unknown[]
    ) {
      const [first] = args as [string | { text: string }]
      const text = typeof first === 'string' ? first : first.text
      const [verb] = isBeside(text.replace('clock_timestamp', '')) ? [] : (/\w+/.exec(text) ?? [])
      if (!verb) return query.apply(this, args) as never
      trips.push(isAnswered ? verb : `${trips.pop()} ${verb}`)
      isAnswered = false
      const done = () => {
        isAnswered = true
      }
      const callback = args.at(-1)
      if (typeof callback === 'function')
        return query.call(this, ...args.slice(0, -1), (...answer: unknown[]) => {
          done()
          callback(...answer)
        }) as never
      const answer = query.apply(this, args) as Promise<unknown>
      answer.then(done, done)
      return answer as never
    })
    return trips
  }

  async function taskPath(): Promise<string> {
    return `/api/tasks/${await create(tasks, { title: 'Milk' })}/`
  }

  async function categoryPath(): Promise<string> {
    const category_id = await create(categories, { name: 'Travel' })
    await create(tasks, { title: 'Ferry', category_id })
    return `/api/categories/${category_id}/`
  }
})

test('a search reads the texts of its user once, for the page and the count', async () => {
  const ann = await server.person()
  for (const title of ['Milk', 'Oat milk', 'Bread'])
    await ann.call('POST', '/api/tasks/', { title })
  const query = vi.spyOn(pg.Client.prototype, 'query')
  const { body } = await ann.call('GET', '/api/tasks/?search=milk&page_size=1&ordering=title')
  const texts = query.mock.calls.map(([first]) => (first as { text?: string }).text ?? '')
  vi.restoreAllMocks()
  expect([body.count, body.results.length]).toEqual([2, 1])
  // A slow machine may send it again, among those that take long.
  const [search, ...others] = new Set(texts.filter((text) => text.includes('ilike')))
  expect(others).toEqual([])
  expect(search!.match(/t\.description[^,]*ilike/g)).toHaveLength(1)
})

/**
 * Whether a session still lives is asked once a second, and noted when it is; hints go out gathered, after
 * commits; the clock is asked now and then; and a new connection is set up.
 */
const isBeside = (text: string) =>
  / from "?sessions\b|^update "sessions"|pg_notify|^select 'beat'|clock_timestamp|^set tcp_|as stands|^select set_config/.test(
    text,
  )

async function lockWaits(): Promise<number> {
  const { rows } = await db.raw(
    `select count(*)::int as waits from pg_stat_activity
     where datname = current_database() and wait_event_type = 'Lock'`,
  )
  return rows[0].waits
}
