import { randomUUID } from 'node:crypto'
import { afterAll, beforeAll, beforeEach, describe, expect, test, vi } from 'vitest'
import { type Document, type Resource, resources } from '../../../protocol/index.ts'
import { connect, type Database } from '../../../server/database/connect.ts'
import { postgresStore } from '../../../server/store/postgres.ts'
import type { Store } from '../../../server/sync/store.ts'
import { connectTo } from '../../support/cluster.ts'
import { createDatabase, type TestDatabase } from '../../support/database.ts'
import {
  aCategory,
  addUser,
  aTask,
  deferred,
  live,
  patch,
  removal,
  restoral,
  tombstone,
} from '../../support/store-contract.ts'

const { tasks, categories, profile } = resources
const FOREIGN_KEY_VIOLATION = { code: '23503' }

/** Where tests make writers wait, by triggers of their own: an advisory lock. */
const GATE = 8_142

let database: TestDatabase
/** What an administrator works on, and one node; the other node has a pool of its own. */
let db: Database
let otherDb: Database
let store: Store
let otherNode: Store
let ann: string
let bob: string

beforeAll(async () => {
  database = await createDatabase()
  db = database.db
  otherDb = connectTo(database.url)
  store = postgresStore(db)
  otherNode = postgresStore(otherDb)
  await db.raw(`
    create function wait_at_gate() returns trigger language plpgsql as $$
    begin
      perform pg_advisory_xact_lock_shared(${GATE});
      return new;
    end $$;
  `)
})
afterAll(async () => {
  await otherDb.destroy()
  await database.drop()
})
beforeEach(async () => {
  ann = await addUser(db)
  bob = await addUser(db)
})

describe('ownership', () => {
  test('two users may have the same id, and each writes their own document', async () => {
    const task = aTask()
    for (const [user, title] of [
      [ann, 'Milk'],
      [bob, 'Bread'],
    ] as const)
      await db('tasks').insert({ user_id: user, ...task, title })
    await store.edit(ann, tasks, patch(task.id, { title: 'Oat milk' }))
    const titles = await db('tasks').where({ id: task.id }).orderBy('title').pluck('title')
    expect(titles).toEqual(['Bread', 'Oat milk'])
  })

  test("a task cannot point at another person's category, whoever writes it", async () => {
    const category_id = await insertRow(bob, categories, aCategory())
    const task = await insertRow(ann, tasks, aTask())
    const stray = aTask({ category_id })
    await expect(insertRow(ann, tasks, stray)).rejects.toMatchObject(FOREIGN_KEY_VIOLATION)
    await expect(
      db('tasks').where({ user_id: ann, id: task }).update({ category_id }),
    ).rejects.toMatchObject(FOREIGN_KEY_VIOLATION)
    await expect(
      store.transaction(ann, (tx) => tx.write(tasks, [live(stray)])),
    ).rejects.toMatchObject(FOREIGN_KEY_VIOLATION)
    expect(await store.insert(ann, tasks, stray)).toBeUndefined()
    expect(await store.edit(ann, tasks, patch(task, { category_id }))).toBeUndefined()
  })

  test('a task cannot be moved to another user without its category', async () => {
    const category_id = await insertRow(ann, categories, aCategory())
    const id = await insertRow(ann, tasks, aTask({ category_id }))
    await expect(
      db('tasks').where({ user_id: ann, id }).update({ user_id: bob }),
    ).rejects.toMatchObject(FOREIGN_KEY_VIOLATION)
  })

  test("a profile has its user's id and no other", async () => {
    await expect(
      insertRow(ann, profile, { ...profileOf(ann), id: randomUUID() }),
    ).rejects.toMatchObject({ code: '23514' })
  })

  test('deleting a user removes all their documents and no others', async () => {
    await furnish(ann)
    await furnish(bob)
    const bobs = await rowsOf(bob)
    await db('users').where({ id: ann }).delete()
    expect(await rowsOf(ann)).toEqual(NOTHING)
    expect(await rowsOf(bob)).toEqual(bobs)
    expect(Object.values(bobs)).not.toContain(0)
  })

  test('whoever writes while their user is deleted leaves nothing, also behind the wall', async () => {
    const walled = connect({ url: database.url, tls: 'off', poolSize: 1, isWalled: true })
    const [written, end] = [deferred(), deferred()]
    try {
      await furnish(ann)
      const writing = store.transaction(ann, async (tx) => {
        await tx.write(tasks, [live(aTask())])
        written.resolve()
        await end.promise
      })
      await written.promise
      const deleting = walled('users')
        .where({ id: ann })
        .delete()
        .then(() => {})
      const waiting = () =>
        db('pg_stat_activity')
          .where({ wait_event_type: 'Lock', datname: db.raw('current_database()') })
          .pluck('query')
      await expect.poll(waiting).toHaveLength(1)
      const late = otherNode.insert(ann, tasks, aTask())
      await expect.poll(waiting).toHaveLength(2)
      end.resolve()
      await Promise.all([writing, deleting, late])
      expect(await rowsOf(ann)).toEqual(NOTHING)
    } finally {
      end.resolve()
      await walled.destroy()
    }
  })

  test('a deleted user can write nothing', async () => {
    await db('users').where({ id: ann }).delete()
    expect(await store.insert(ann, tasks, aTask())).toBeUndefined()
  })
})

describe('a write without a number gets one', () => {
  interface Furniture {
    category: string
    loose: string
    filed: string[]
  }

  // Each writes as an administrator would, and tells which documents it touches.
  test.each<[string, (f: Furniture) => Promise<string[]>, number?]>([
    ['an insert', async () => [await insertRow(ann, tasks, aTask())]],
    [
      'an insert of several rows',
      async () => {
        const several = [aTask(), aTask(), aTask()]
        await db('tasks').insert(several.map((task) => ({ user_id: ann, ...task })))
        return several.map(({ id }) => id)
      },
    ],
    [
      'an update of one row',
      async ({ loose }) => {
        await db('tasks').where({ user_id: ann, id: loose }).update({ title: 'Bread' })
        return [loose]
      },
    ],
    [
      'an update of every row',
      async ({ loose, filed }) => {
        await db('tasks').where({ user_id: ann }).update({ priority: 'high' })
        return [loose, ...filed]
      },
    ],
    [
      'an insert that turns into an update',
      async ({ loose }) => {
        await db('tasks')
          .insert({ user_id: ann, ...aTask({ id: loose, title: 'Bread' }) })
          .onConflict(['user_id', 'id'])
          .merge(['title'])
        return [loose]
      },
    ],
    [
      'a deletion and a restore by SQL',
      async ({ loose }) => {
        await db('tasks').where({ user_id: ann, id: loose }).update({ deleted: true })
        await db('tasks').where({ user_id: ann, id: loose }).update({ deleted: false })
        return [loose]
      },
    ],
    [
      'the category of a task',
      async ({ category }) => {
        await db('categories').where({ user_id: ann, id: category }).update({ name: 'Travel' })
        return [category]
      },
    ],
    [
      'the deletion of a category, with its tasks',
      async ({ category, filed }) => {
        await db('categories').where({ user_id: ann, id: category }).update({ deleted: true })
        return [category, ...filed]
      },
    ],
    [
      'the removal of a category row: each of its tasks',
      async ({ category, filed }) => {
        await db('categories').where({ user_id: ann, id: category }).delete()
        return filed
      },
      1, // the horizon, which is then ahead of every cursor
    ],
    [
      'a profile',
      async () => {
        await db('profiles').where({ user_id: ann }).update({ locale: 'pt-BR' })
        return [ann]
      },
    ],
    [
      'a transaction over several tables',
      async ({ category, loose }) => {
        await db.transaction(async (trx) => {
          await trx('tasks').where({ user_id: ann, id: loose }).update({ title: 'Bread' })
          await trx('categories').where({ user_id: ann, id: category }).update({ name: 'Travel' })
          await trx('tasks').where({ user_id: ann, id: loose }).update({ title: 'Rye bread' })
        })
        return [loose, category]
      },
    ],
  ])('%s', async (_what, write, others = 0) => {
    const furniture = await furnish(ann)
    await furnish(bob)
    const before = { mine: await numbers(ann), bobs: await numbers(bob), last: await counter(ann) }

    const touched = await write(furniture)

    const after = await numbers(ann)
    const changed = [...after].filter(([id, seq]) => before.mine.get(id) !== seq)
    expect(changed.map(([id]) => id).sort()).toEqual(touched.sort())
    const given = changed.map(([, seq]) => seq)
    expect(Math.min(...given)).toBeGreaterThan(before.last)
    expect(Math.max(...given) + others).toBe(await counter(ann))
    expect(new Set(after.values()).size).toBe(after.size)
    expect(await numbers(bob)).toEqual(before.bobs)
  })
})

describe('a write of the store', () => {
  let task: Document
  beforeEach(async () => {
    task = aTask()
    await store.insert(ann, tasks, task)
  })

  test.each<[string, number, () => Promise<unknown>]>([
    ['an insert', 1, () => store.insert(ann, tasks, aTask())],
    ['a patch', 1, () => store.edit(ann, tasks, patch(task.id, { title: 'Bread' }))],
    ['a completion', 1, () => store.edit(ann, tasks, patch(task.id, { completed: true }))],
    ['a deletion', 1, () => store.edit(ann, tasks, removal(task.id))],
    ['one row in a transaction', 1, () => write([live(aTask())])],
    ['a replacement in a transaction', 1, () => write([live({ ...task, title: 'Bread' })])],
    ['a tombstone in a transaction', 1, () => write([tombstone(task)])],
    ['three rows in a transaction', 3, () => write([live(aTask()), live(task), live(aTask())])],
  ])('takes one number per document: %s', async (_what, count, work) => {
    const before = await counter(ann)
    await work()
    expect(await counter(ann)).toBe(before + count)
    const changes = await store.changes(ann, tasks, before, 10)
    expect(changes.map(({ seq }) => seq)).toEqual(
      Array.from({ length: count }, (_, i) => before + 1 + i),
    )
  })

  test('takes one number for a restore', async () => {
    await store.edit(ann, tasks, removal(task.id))
    const before = await counter(ann)
    expect(await store.edit(ann, tasks, restoral(task.id))).toMatchObject({ seq: before + 1 })
    expect(await counter(ann)).toBe(before + 1)
  })

  const write = (documents: { deleted: boolean; document: Document }[]) =>
    store.transaction(ann, (tx) => tx.write(tasks, documents))
})

describe('the deletion of a category', () => {
  const category = aCategory()
  const deletions: [string, () => Promise<unknown>][] = [
    ['by the store', () => store.edit(ann, categories, removal(category.id))],
    [
      'in a transaction',
      () => store.transaction(ann, (tx) => tx.write(categories, [tombstone(category)])),
    ],
    [
      'by SQL',
      () => db('categories').where({ user_id: ann, id: category.id }).update({ deleted: true }),
    ],
  ]

  test.each(deletions)('%s, then each of its tasks: a change of its own', async (_how, remove) => {
    await insertRow(ann, categories, category)
    const category_id = category.id
    const [first, gone, other, last] = [
      aTask({ category_id }),
      aTask({ category_id }),
      aTask(),
      aTask({ category_id }),
    ]
    for (const task of [first, gone, other, last]) await store.insert(ann, tasks, task)
    await store.edit(ann, tasks, removal(gone.id))
    const before = await counter(ann)

    await remove()

    const [change] = await store.changes(ann, categories, before, 10)
    expect(change).toMatchObject({ seq: before + 1, deleted: true })
    const changes = await store.changes(ann, tasks, before, 10)
    expect(changes.map(({ seq, deleted, document: { id } }) => ({ seq, deleted, id }))).toEqual([
      { seq: before + 2, deleted: false, id: first.id },
      { seq: before + 3, deleted: false, id: last.id },
      { seq: before + 4, deleted: true, id: gone.id },
    ])
    for (const { document } of changes) {
      expect(document.category_id).toBeNull()
      expect(document.updated_at >= change!.document.updated_at).toBe(true)
    }
    expect(await counter(ann)).toBe(before + 4)
  })

  test.each(deletions)('%s takes one number when it has no tasks', async (_how, remove) => {
    await insertRow(ann, categories, category)
    const before = await counter(ann)
    await remove()
    expect(await counter(ann)).toBe(before + 1)
  })

  test('does not restore the references of its tasks when it is restored', async () => {
    await insertRow(ann, categories, category)
    await store.insert(ann, tasks, aTask({ category_id: category.id }))
    await store.edit(ann, categories, removal(category.id))
    const before = await counter(ann)
    await store.edit(ann, categories, restoral(category.id))
    expect(await counter(ann)).toBe(before + 1)
    expect(await store.changes(ann, tasks, before, 10)).toEqual([])
  })
})

/**
 * One writer is held back after it has its number and before it commits; then another one writes,
 * and a reader reads. Rows with `held` in their title or name wait at the gate.
 */
describe('a reader', () => {
  beforeAll(async () => {
    await db.raw(`
      create table by_clock (id uuid primary key, title text, place timestamptz default clock_timestamp());
      create table by_sequence (id uuid primary key, title text, place bigserial);
      create trigger gate after insert or update on tasks
        for each row when (new.title like '%held%') execute function wait_at_gate();
      create trigger gate after update on categories
        for each row when (new.name like '%held%') execute function wait_at_gate();
      create trigger gate after insert on by_clock
        for each row when (new.title like '%held%') execute function wait_at_gate();
      create trigger gate after insert on by_sequence
        for each row when (new.title like '%held%') execute function wait_at_gate();
    `)
  })

  let open: () => Promise<void>
  beforeEach(async () => {
    open = await closeGate()
    return open
  })

  interface Reading<Cursor> {
    start: Cursor
    /** What is new after the cursor, oldest first. */
    read(cursor: Cursor): Promise<{ id: string; cursor: Cursor }[]>
  }

  /** Runs the race; answers the ids that the reader came to see, in order. */
  async function race<Cursor>(
    { start, read }: Reading<Cursor>,
    heldWrite: () => Promise<unknown>,
    otherWrite: () => Promise<unknown>,
  ): Promise<string[]> {
    const held = heldWrite()
    await until(async () => (await waitingAt('advisory')) === 1)
    let isOver = false
    const other = otherWrite().finally(() => {
      isOver = true
    })
    await until(async () => isOver || (await waitingAt('transactionid')) === 1)
    const early = await read(start)
    await open()
    await Promise.all([held, other])
    const late = await read(early.at(-1)?.cursor ?? start)
    return [...early, ...late].map(({ id }) => id)
  }

  /** The feed of Ann's tasks, from now on. */
  async function feed(): Promise<Reading<number>> {
    return {
      start: await counter(ann),
      read: async (cursor) =>
        (await otherNode.changes(ann, tasks, cursor, 10)).map(({ seq, document }) => ({
          id: document.id,
          cursor: seq,
        })),
    }
  }

  /** The ways to write a task that is there already under this id, or (insert) is not. */
  const ways = {
    insert: (node: Store, id: string, title: string) =>
      node.insert(ann, tasks, aTask({ id, title })),
    edit: (node: Store, id: string, title: string) => node.edit(ann, tasks, patch(id, { title })),
    transaction: (node: Store, id: string, title: string) =>
      node.transaction(ann, (tx) => tx.write(tasks, [live(aTask({ id, title }))])),
    sql: async (_node: Store, id: string, title: string) =>
      await db('tasks').where({ user_id: ann, id }).update({ title }),
  }
  type Way = keyof typeof ways
  const names = Object.keys(ways) as Way[]
  const pairs = names.flatMap((held) => names.map((other): [Way, Way] => [held, other]))

  async function target(way: Way): Promise<string> {
    const task = aTask()
    if (way === 'edit' || way === 'sql') await insertRow(ann, tasks, task)
    return task.id
  }

  test.each(pairs)('never overtakes a writer: %s held, %s on another node', async (held, other) => {
    const [first, second] = [await target(held), await target(other)]
    const seen = await race(
      await feed(),
      () => ways[held](store, first, 'held'),
      () => ways[other](otherNode, second, 'Bread'),
    )
    expect(seen).toEqual([first, second])
  })

  test.each(pairs)('never overtakes a writer: %s held, %s on one node', async (held, other) => {
    const [first, second] = [await target(held), await target(other)]
    const { start, read } = await feed()
    const heldWrite = ways[held](store, first, 'held')
    await until(async () => (await waitingAt('advisory')) === 1)
    const otherWrite = ways[other](store, second, 'Bread')
    const early = await read(start)
    await open()
    await Promise.all([heldWrite, otherWrite])
    const late = await read(early.at(-1)?.cursor ?? start)
    expect([...early, ...late].map(({ id }) => id)).toEqual([first, second])
  })

  test.each(['by_clock', 'by_sequence'])(
    'would overtake a writer with a cursor %s',
    async (table) => {
      const write = (node: Database, id: string, title: string) => node(table).insert({ id, title })
      const [first, second] = [randomUUID(), randomUUID()]
      const cursorOf: Reading<string> = {
        start: table === 'by_clock' ? '-infinity' : '0',
        read: (cursor) =>
          db(table)
            .where('place', '>', cursor)
            .orderBy('place')
            .select('id', db.raw('place::text as cursor')),
      }
      const seen = await race(
        cursorOf,
        async () => await write(db, first, 'held'),
        async () => await write(otherDb, second, 'Bread'),
      )
      expect(seen).toEqual([second])
      expect(await db(table).where({ id: first })).toHaveLength(1)
    },
  )

  test('is not blocked by a writer, nor are other users', async () => {
    const id = await target('edit')
    const held = store.edit(ann, tasks, patch(id, { title: 'held' }))
    await until(async () => (await waitingAt('advisory')) === 1)
    expect(JSON.parse((await store.find(ann, tasks, id))!.json).title).toBe('Milk')
    expect(await otherNode.changes(ann, tasks, 0, 10)).toHaveLength(1)
    for (const node of [store, otherNode])
      expect(await node.insert(bob, tasks, aTask())).toBeDefined()
    await open()
    expect(await held).toBeDefined()
  })

  test('continues after a rolled-back transaction', async () => {
    const { start, read } = await feed()
    const [first, second] = [randomUUID(), randomUUID()]
    await ways.insert(store, first, 'Milk')
    const failing = store.transaction(ann, async (tx) => {
      await tx.write(tasks, [live(aTask()), live(aTask())])
      throw new Error('no')
    })
    await expect(failing).rejects.toThrow('no')
    await ways.insert(otherNode, second, 'Bread')
    const early = await read(start)
    expect(early.map(({ id }) => id)).toEqual([first, second])
    expect(await read(early.at(-1)!.cursor)).toEqual([])
  })

  test('continues past unused numbers', async () => {
    const { start, read } = await feed()
    const [first, second] = [randomUUID(), randomUUID()]
    await ways.insert(store, first, 'Milk')
    for (let i = 0; i < 3; i++) await store.edit(ann, tasks, removal(randomUUID()))
    await ways.insert(store, second, 'Bread')
    expect((await read(start)).map(({ id }) => id)).toEqual([first, second])
  })

  describe('finds no task in a deleted category', () => {
    const start = async () => {
      const id = await insertRow(ann, categories, aCategory({ name: 'held' }))
      return { id, task: await insertRow(ann, tasks, aTask()) }
    }
    const filedIn = (id: string) => db('tasks').where({ user_id: ann, category_id: id }).pluck('id')

    test.each<[string, (category_id: string, task: string) => Promise<unknown>]>([
      ['an insert', (category_id) => otherNode.insert(ann, tasks, aTask({ category_id }))],
      ['an edit', (category_id, id) => otherNode.edit(ann, tasks, patch(id, { category_id }))],
    ])('when %s into it waits for the deletion', async (_what, write) => {
      const { id, task } = await start()
      const deletion = store.edit(ann, categories, removal(id))
      await until(async () => (await waitingAt('advisory')) === 1)
      const writing = write(id, task)
      await until(async () => (await waitingAt('transactionid')) === 1)
      await open()
      expect(await deletion).toBeDefined()
      expect(await writing).toBeUndefined()
      expect(await filedIn(id)).toEqual([])
    })

    test.each<[string, (category_id: string, task: string) => Promise<unknown>]>([
      [
        'an insert',
        (category_id) => otherNode.insert(ann, tasks, aTask({ category_id, title: 'held' })),
      ],
      [
        'an edit',
        (category_id, id) => otherNode.edit(ann, tasks, patch(id, { category_id, title: 'held' })),
      ],
    ])('when the deletion waits for %s into it', async (_what, write) => {
      const { id, task } = await start()
      const writing = write(id, task)
      await until(async () => (await waitingAt('advisory')) === 1)
      const deletion = store.edit(ann, categories, removal(id))
      await until(async () => (await waitingAt('transactionid')) === 1)
      await open()
      expect(await writing).toBeDefined()
      expect(await deletion).toBeDefined()
      expect(await filedIn(id)).toEqual([])
    })
  })
})

/**
 * An administrator's transaction locks a task and then waits for the feed; a writer has the feed and
 * waits for the task. The administrator, who waits first, is set to look for deadlocks late, so that
 * the writer is the one that has to give way.
 */
describe('a deadlock with the SQL of an administrator', () => {
  beforeAll(async () => {
    await db.raw(`
      create trigger gate before update on feeds
        for each row when (pg_trigger_depth() = 0) execute function wait_at_gate()
    `)
    return async () => {
      await db.raw('drop trigger gate on feeds')
    }
  })

  test.each<[string, (id: string) => Promise<unknown>]>([
    ['an edit', (id) => otherNode.edit(ann, tasks, patch(id, { description: 'two' }))],
    [
      'a transaction',
      (id) =>
        otherNode.transaction(ann, async (tx) => {
          const { document } = (await tx.read(tasks, [id])).get(id)!
          await tx.write(tasks, [live({ ...document, description: 'two' })])
        }),
    ],
  ])('does not reach the caller of %s', async (_what, write) => {
    const id = await insertRow(ann, tasks, aTask())
    const deadlocks = await deadlocksSoFar()
    const administrator = await db.transaction()
    await administrator.raw("set local deadlock_timeout = '25s'")
    const task = administrator('tasks').where({ user_id: ann, id })
    await task.clone().forUpdate().select('id')

    const open = await closeGate()
    const writing = write(id)
    await until(async () => (await waitingAt('advisory')) === 1)
    const administration = task.update({ title: 'Bread' }).then(() => administrator.commit())
    await until(async () => (await waitingAt('transactionid')) === 1)
    await open()
    await Promise.all([administration, writing])

    const found = (await store.read(ann, tasks, [id])).get(id)!
    expect(found.document).toMatchObject({ title: 'Bread', description: 'two' })
    await until(async () => (await deadlocksSoFar()) === deadlocks + 1)
  })
})

/** Whoever comes to the gate waits there until it is opened; opening it again does nothing. */
async function closeGate(): Promise<() => Promise<void>> {
  const keeper = await db.transaction()
  await keeper.raw('select pg_advisory_xact_lock(?)', [GATE])
  return async () => {
    if (!keeper.isCompleted()) await keeper.commit()
  }
}

/** A profile, a category with two tasks, a task without, tombstones, a placeholder, a session. */
async function furnish(user: string) {
  const category = await insertRow(user, categories, aCategory())
  const filed = [
    await insertRow(user, tasks, aTask({ category_id: category })),
    await insertRow(user, tasks, aTask({ category_id: category })),
  ]
  const loose = await insertRow(user, tasks, aTask())
  await insertRow(user, profile, profileOf(user))
  await db('categories').insert({ user_id: user, ...aCategory(), deleted: true, seq: 0 })
  await db('sessions').insert({ id: randomUUID(), user_id: user, expires_at: db.fn.now() })
  return { category, filed, loose }
}

async function insertRow(user: string, { table }: Resource, document: Document): Promise<string> {
  await db(table).insert({ user_id: user, ...document })
  return document.id
}

function profileOf(user: string): Document {
  const { created_at, updated_at } = aTask()
  return { ...profile.initial, id: user, created_at, updated_at }
}

/** The number of each document, by id; placeholders have none. */
async function numbers(user: string): Promise<Map<string, number>> {
  const { rows } = await db.raw(
    `select id, seq from tasks where user_id = :user
     union all select id, seq from categories where user_id = :user and seq > 0
     union all select id, seq from profiles where user_id = :user`,
    { user },
  )
  return new Map(rows.map(({ id, seq }: { id: string; seq: string }) => [id, Number(seq)]))
}

async function counter(user: string): Promise<number> {
  return Number((await db('feeds').where({ user_id: user }).first('seq')).seq)
}

const NOTHING = { feeds: 0, profiles: 0, categories: 0, tasks: 0, sessions: 0 }

async function rowsOf(user: string): Promise<Record<string, number>> {
  const counts: Record<string, number> = {}
  for (const table of ['feeds', 'profiles', 'categories', 'tasks', 'sessions'])
    counts[table] = (await db(table).where({ user_id: user })).length
  return counts
}

/** How many sessions of this database wait for a lock of this kind. */
async function waitingAt(event: 'advisory' | 'transactionid'): Promise<number> {
  const { rows } = await db.raw(
    `select count(*)::int as waiting from pg_stat_activity
     where datname = current_database() and wait_event_type = 'Lock' and wait_event = ?`,
    [event],
  )
  return rows[0].waiting
}

async function deadlocksSoFar(): Promise<number> {
  const { rows } = await db.raw(
    'select deadlocks from pg_stat_database where datname = current_database()',
  )
  return Number(rows[0].deadlocks)
}

const until = (condition: () => Promise<boolean>) =>
  vi.waitFor(async () => expect(await condition()).toBe(true), { interval: 5, timeout: 10_000 })
