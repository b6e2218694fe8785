import { randomUUID } from 'node:crypto'
import fc from 'fast-check'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import {
  type Document,
  foldText,
  resources,
  searchRelevance,
  searchTerms,
} from '../../../protocol/index.ts'
import type { Database } from '../../../server/database/connect.ts'
import {
  type Listing,
  type OrderKey,
  pageStatement,
  postgresLists,
  sliceStatement,
} from '../../../server/store/lists.ts'
import { postgresStore } from '../../../server/store/postgres.ts'
import { purgeTombstones } from '../../../server/store/purge.ts'
import {
  forgetSearches,
  indexSearch,
  MAX_INDEX_BYTES,
  TAIL,
} from '../../../server/store/search-index.ts'
import { deleteForGood } from '../../../server/sync/for-good.ts'
import { createDatabase, type TestDatabase } from '../../support/database.ts'
import { rowsRead } from '../../support/rows-read.ts'
import { addUser, aTask, EDITED, live, patch, removal } from '../../support/store-contract.ts'

const { tasks } = resources
let database: TestDatabase
let db: Database
beforeAll(async () => {
  database = await createDatabase()
  db = database.db
})
afterAll(() => database.drop())

describe('a text is found as people type it, in SQL as in JavaScript', () => {
  test.each<[typed: string, text: string]>([
    ['cafe', 'Café'],
    ['cafe', 'Cafe\u0301'],
    ['CAFÉ', 'cafe'],
    ['strasse', 'Straße'],
    ['STRASSE', 'STRAẞE'],
    ['straße', 'Strasse'],
    ['istanbul', 'İstanbul'],
    ['istanbul', 'ISTANBUL'],
    ['kadikoy', 'Kadıköy'],
    ['елка', 'Ёлка'],
    ['ёлка', 'ЕЛКА'],
    ['όδος', 'ΟΔΟΣ'],
    ['οδοσ', 'οδός'],
    ['lodz', 'Łódź'],
    ['smorrebrod', 'Smørrebrød'],
    ['oeuvre', 'Œuvre'],
    ['aether', 'Æther'],
    ['thor', 'Þór'],
    ['dakovo', 'Đakovo'],
    ['abc 123', 'ＡＢＣ　１２３'],
    ['ガイド', 'ｶﾞｲﾄﾞ'],
    ['カメラ', 'ｶﾒﾗ'],
    ['한국', '한국'.normalize('NFD')],
    ['fish', 'ﬁsh'],
    ["ann's", 'Ann’s'],
    ['say "hi"', 'say “hi”'],
    ['10-12', '10–12'],
    ['e-mail', 'e\u2011mail'],
    ['cooperate', 'co\u00adoperate'],
    ['two words', 'two\u00a0words'],
    ['two words', 'two\nwords'],
    ['שלום', 'שָׁלוֹם'],
    ['محمد', 'مُحَمَّد'],
  ])('%s: %s', async (typed, text) => {
    expect(foldText(text)).toContain(foldText(typed))
    const { rows } = await db.raw('select folded(?) as text, folded(?) as typed', [text, typed])
    expect(rows[0]).toEqual({ text: foldText(text), typed: foldText(typed) })
  })

  test('but not as something else', () => {
    for (const [typed, text] of [
      ['か', 'が'],
      ['ハ', 'パ'],
      ['は', 'ハ'],
      ['oe', 'ö'],
      ['하', '한'],
    ])
      expect(foldText(text!)).not.toContain(foldText(typed!))
  })

  test('whatever it is', async () => {
    // Not the letters of Unicode 11 and later: the database may have an older one.
    const letter = fc
      .integer({ min: 1, max: 0xfffd })
      .map((code) => String.fromCharCode(code))
      .filter((one) => /^[\p{L}\p{M}\p{N}\p{P}\p{S}\p{Z}\t\n\r]$/u.test(one))
      .filter((one) => !/[\u0897\u1c89-\u1cbf\u2c2f\ua7b8-\ua7f5]/.test(one))
    const text = fc.array(letter, { maxLength: 20 }).map((letters) => letters.join(''))
    await fc.assert(
      fc.asyncProperty(fc.array(text, { maxLength: 100 }), async (texts) => {
        const { rows } = await db.raw(
          'select folded(one) as text from unnest(?::text[]) with ordinality as u (one, nth) order by nth',
          [texts],
        )
        expect(rows.map(({ text }: { text: string }) => text)).toEqual(texts.map(foldText))
      }),
    )
  })
})

test.each<[string, string[]]>([
  ['Milk  and\tBread', ['milk', 'and', 'bread']],
  ['"Book the ferry" now', ['book the ferry', 'now']],
  ['„Book the ferry“', ['book the ferry']],
  ['milk milk', ['milk']],
  ['5" screen', ['5"', 'screen']],
  // While it is typed.
  ['"', []],
  ['"open', ['open']],
  ['now “open the d', ['now', 'open the d']],
  ['"open"door', ['"open"door']],
  ['say"so"', ['say"so"']],
  ['"" " "', []],
  ['\u0301 \u00ad', []],
])('the words and phrases of %s', (search, terms) => {
  expect(searchTerms(search)).toEqual(terms)
})

const listing = (search: string): Listing => ({
  filters: [],
  words: searchTerms(search),
  order: [{ field: 'created_at', descending: true }],
  deleted: false,
})

const RELEVANT = [
  { field: 'relevance', descending: true },
  { field: 'created_at', descending: true },
]

const NOTE = 'the early one, with a cabin '

/** A person with many tasks; every hundredth is about a ferry. */
async function personWithMany(many: number): Promise<string> {
  const user = await addUser(db)
  await db.raw(
    `insert into tasks (user_id, id, title, description, priority, completed, position, created_at, updated_at)
     select ?, gen_random_uuid(), case when i % 100 = 0 then 'Book the Férry' else 'Buy milk' end || ' ' || i,
       repeat(?, i % 3), 'low', false, 'a0', now() + i * interval '1 second', now()
     from generate_series(1, ?) i`,
    [user, NOTE, many],
  )
  return user
}

const wordsOf = async (user: string) => [
  ...(await db('search_words').where({ user_id: user }).pluck('word')),
  ...(await db('search_parts').where({ user_id: user }).pluck('words')),
]

describe('an index', () => {
  const lists = (behind?: () => void) => postgresLists(db, behind)
  const titles = async (user: string, search: string) => {
    const { results } = await lists().page(user, tasks, listing(search), 1_000, 0)
    return (JSON.parse(results) as { title: string }[]).map(({ title }) => title)
  }

  test('is read instead of the documents, except for those that have changed since', async () => {
    const user = await personWithMany(5_000)
    await indexSearch(db, user, tasks)
    const found = await titles(user, 'ferry')
    expect(found).toHaveLength(50)
    for (const search of ['ferry', 'nothing', '"the ferry" 400', '"the  ferry"']) {
      const page = pageStatement(user, tasks, listing(search), 50, 0)
      expect(await rowsRead(db, user, page), search).toBeLessThan(300)
    }

    const store = postgresStore(db)
    const [{ id }] = await db('tasks').where({ user_id: user, title: 'Buy milk 7' }).select('id')
    await store.edit(user, tasks, patch(id, { title: 'Fähre statt Milch' }))
    expect(await titles(user, 'fahre')).toEqual(['Fähre statt Milch'])
    expect(await titles(user, '"milk 7"')).toHaveLength(109)
    await indexSearch(db, user, tasks)
    expect(await titles(user, 'fahre')).toEqual(['Fähre statt Milch'])
    expect(await titles(user, '"milk 7"')).toHaveLength(109)
    // One entry for each document, by its id.
    const ids = db('search_words').where({ user_id: user }).whereLike('word', ' _____%')
    expect(await ids.count()).toEqual([{ count: '5000' }])
  })

  const purge = async (id: string) => {
    await db.transaction(async (trx) => {
      await trx.raw('set local session_replication_role = replica') // without triggers
      await trx('tasks').where({ id }).update({ deleted_at: '2020-01-01' })
    })
    expect(await purgeTombstones(db, 90)).toBe(1)
  }

  test.each<[string, (user: string, id: string) => Promise<unknown>, isKept: boolean]>([
    [
      'with a tombstone that was indexed',
      async (user, id) => {
        await postgresStore(db).edit(user, tasks, removal(id))
        await indexSearch(db, user, tasks)
        await purge(id)
      },
      true,
    ],
    [
      'with a tombstone that was not indexed',
      async (user, id) => {
        await postgresStore(db).edit(user, tasks, removal(id))
        await purge(id)
      },
      false,
    ],
    ['without a tombstone', (_user, id) => db('tasks').where({ id }).delete(), false],
  ])('does not count what is gone %s', async (_what, remove, isKept) => {
    const user = await personWithMany(20)
    const count = async () =>
      (await lists().page(user, tasks, { ...listing('milk'), order: RELEVANT }, 5, 0)).count
    const [{ id }] = await db('tasks').where({ user_id: user, title: 'Buy milk 2' }).select('id')
    await indexSearch(db, user, tasks)
    await remove(user, id)
    expect(await count()).toBe(19)
    await indexSearch(db, user, tasks)
    expect(await count()).toBe(19)
    const parts = await db('search_parts').where({ user_id: user, nth: 0 }).orderBy('seq')
    const { seq } = await db('feeds').where({ user_id: user }).first()
    expect(parts).toHaveLength(isKept ? 2 : 1)
    expect(parts.at(-1).seq).toBe(seq)
  })

  test('is asked for once a search has to read much, and not before', async () => {
    const user = await personWithMany(TAIL - 1)
    const asked: boolean[] = []
    const search = async () => {
      let isBehind = false
      await lists(() => {
        isBehind = true
      }).page(user, tasks, listing('ferry'), 10, 0)
      asked.push(isBehind)
    }
    await search()
    await postgresStore(db).insert(user, tasks, aTask())
    await search()
    await indexSearch(db, user, tasks)
    await search()
    expect(asked).toEqual([false, true, false])
  })

  test('finds long words, and words with what would be a pattern', async () => {
    const user = await personWithMany(1)
    const long = 'x'.repeat(3_000)
    await postgresStore(db).insert(user, tasks, aTask({ title: '100%_a\\b', description: long }))
    for (let i = 0; i < 2; i++) {
      expect(await titles(user, '0%_')).toHaveLength(1)
      expect(await titles(user, '0__')).toHaveLength(0)
      expect(await titles(user, 'x'.repeat(400))).toHaveLength(1)
      await indexSearch(db, user, tasks)
    }
  })

  test('finds more words than are looked up', async () => {
    const user = await personWithMany(1)
    const store = postgresStore(db)
    const words = Array.from({ length: 20 }, (_, i) => `word${i}`)
    const [phrase, others] = [words.slice(0, 12).join(' '), words.slice(12).join(' ')]
    await store.insert(user, tasks, aTask({ title: `${phrase} ${others}` }))
    await store.insert(user, tasks, aTask({ id: randomUUID(), title: phrase, description: others }))
    await store.insert(user, tasks, aTask({ id: randomUUID(), title: others }))
    await indexSearch(db, user, tasks)
    const order = [{ field: 'relevance', descending: true }]
    const wanted = { ...listing(`"${phrase}" ${others}`), order }
    const { documents } = await lists().slice(user, tasks, wanted, 10, undefined)
    expect(documents.map(({ relevance }) => relevance)).toEqual([9, 1])
  })

  test('is read instead of the documents for a page of many hits', async () => {
    const user = await addUser(db)
    await db.raw(
      `insert into tasks (user_id, id, title, description, priority, completed, position, created_at, updated_at)
       select ?, gen_random_uuid(), case when i % 50 = 0 then 'Brot' else 'Milch' end, 'Brot',
         'low', false, 'a0', now() + i * interval '1 second', now()
       from generate_series(1, 6000) i`,
      [user],
    )
    await indexSearch(db, user, tasks)
    await db.raw('analyze')
    for (const [search, order] of [
      ['milch', RELEVANT],
      ['m', RELEVANT],
      ['ro b', RELEVANT],
      ['brot', RELEVANT],
      ['brot', listing('').order],
    ] as const) {
      const wanted = { ...listing(search), order }
      expect(
        await rowsRead(db, user, sliceStatement(user, tasks, wanted, 20, undefined)),
        search,
      ).toBeLessThan(400)
    }
  })

  test('is made of so many bytes at a time, of one document at least', async () => {
    const user = await personWithMany(4)
    const repeated = db.raw(
      `repeat('word ', case when title like '%4' then 1000000 else 200000 end)`,
    )
    await db('tasks').where({ user_id: user }).update({ description: repeated })
    await indexSearch(db, user, tasks)
    const parts = await db('search_parts').where({ user_id: user, nth: 0 }).orderBy('seq')
    expect(parts.map(({ live }) => live)).toEqual(['111', '1'])
    expect(await titles(user, 'word')).toHaveLength(4)
  })

  test('does not grow without end', async () => {
    const user = await personWithMany(TAIL)
    await db('search_parts').insert({
      user_id: user,
      resource: 'tasks',
      seq: 1,
      nth: 1,
      horizon: 0,
      words: 'x'.repeat(MAX_INDEX_BYTES),
    })
    await indexSearch(db, user, tasks)
    expect(await db('search_words').where({ user_id: user })).toEqual([])
    let isBehind = false
    const some = lists(() => {
      isBehind = true
    })
    expect((await some.page(user, tasks, listing('ferry'), 10, 0)).count).toBe(5)
    expect(isBehind).toBe(false)
  })

  test('is dropped when a document is deleted for good, with every word of it', async () => {
    const user = await personWithMany(10)
    const store = postgresStore(db)
    const secret = aTask({ title: 'Geheimnis' })
    await store.insert(user, tasks, secret)
    await indexSearch(db, user, tasks)
    await store.edit(user, tasks, patch(secret.id, { title: 'Nichts' }))
    await indexSearch(db, user, tasks)
    expect((await wordsOf(user)).join(' ')).toContain('geheimnis')
    await deleteForGood(store, user, tasks, { id: secret.id, ifSeq: undefined, now: EDITED })
    expect(await wordsOf(user)).toEqual([])
    await indexSearch(db, user, tasks)
    expect((await wordsOf(user)).join(' ')).not.toMatch(/geheimnis|nichts/)
    expect(await titles(user, 'milk')).toHaveLength(10)
  })

  test.each<[string, (user: string, trx: Database) => Promise<unknown>]>([
    [
      'a document was deleted for good',
      (user, trx) =>
        trx('tasks')
          .where({ user_id: user, title: 'Buy milk 3' })
          .update({ deleted: true, title: '', description: '' }),
    ],
    [
      'the index was dropped',
      async (user, trx) => {
        await trx('search_words').where({ user_id: user }).delete()
        await trx('search_parts').where({ user_id: user }).delete()
      },
    ],
  ])('is not made of what was read before %s', async (_what, change) => {
    const user = await personWithMany(10)
    await indexSearch(db, user, tasks)
    await postgresStore(db).insert(user, tasks, aTask({ title: 'Later' }))
    const trx = await db.transaction()
    await trx.raw('select from feeds where user_id = ? for update', [user])
    const indexing = indexSearch(db, user, tasks).then(
      () => 'made',
      (error: Error) => error.message,
    )
    // It has read, and waits for the lock of the feed.
    await expect
      .poll(async () => {
        const { rows } = await db.raw(
          `select count(*)::int as waiting from pg_stat_activity
           where datname = current_database() and wait_event_type = 'Lock'`,
        )
        return rows[0].waiting
      })
      .toBe(1)
    await change(user, trx)
    await trx.commit()
    expect(await indexing).toBe('what was indexed was deleted meanwhile')
    await indexSearch(db, user, tasks)
    expect(await titles(user, 'later')).toEqual(['Later'])
  })

  test('is dropped when it is old', async () => {
    const [old, young] = [await personWithMany(10), await personWithMany(10)]
    for (const user of [old, young]) await indexSearch(db, user, tasks)
    await db('search_parts')
      .where({ user_id: old })
      .update({ indexed_at: db.raw(`now() - interval '31 days'`) })
    await forgetSearches(db, 90)
    expect(await wordsOf(old)).toEqual([])
    expect((await wordsOf(young)).length).toBeGreaterThan(0)
    await db('search_parts')
      .where({ user_id: young })
      .update({ indexed_at: db.raw(`now() - interval '8 days'`) })
    await forgetSearches(db, 7)
    expect(await wordsOf(young)).toEqual([])
  })

  test('goes with its person', async () => {
    const user = await personWithMany(10)
    await indexSearch(db, user, tasks)
    await db('users').where({ id: user }).delete()
    expect(await wordsOf(user)).toEqual([])
  })
})

test('a search finds the same with and without an index, and in memory', async () => {
  const word = fc.constantFrom(
    ...[
      'milk',
      'Milch',
      'Fähre',
      'faehre',
      'straße',
      'STRASSE',
      '“fähre”',
      '書店',
      '新書店へ',
      'a',
      'ab',
      '100%',
      'x_y',
    ],
  )
  const text = fc.array(word, { maxLength: 5 }).map((words) => words.join(' '))
  const search = fc
    .array(fc.oneof(word, fc.constantFrom('"milk a"', '店', 'mil', 'il', '_', '"fahre" ab')), {
      minLength: 1,
      maxLength: 3,
    })
    .map((words) => words.join(' '))
  const store = postgresStore(db)
  const lists = postgresLists(db)
  await fc.assert(
    fc.asyncProperty(
      fc.array(fc.record({ title: text, description: text }), { minLength: 1, maxLength: 30 }),
      fc.nat(30),
      fc.array(search, { minLength: 1, maxLength: 8 }),
      async (texts, indexed, searches) => {
        const user = await addUser(db)
        const documents = texts.map(({ title, description }) =>
          aTask({ id: randomUUID(), title: `${title}.`, description }),
        )
        const write = (some: typeof documents) =>
          store.transaction(user, (transaction) => transaction.write(tasks, some.map(live)))
        await write(documents.slice(0, indexed))
        await indexSearch(db, user, tasks)
        await write(documents.slice(indexed))
        for (const one of searches) {
          const terms = searchTerms(one)
          const expected = documents
            .map((document) => [searchRelevance(tasks, document, terms), document.id] as const)
            .filter(([relevance]) => relevance !== undefined)
          const order = [{ field: 'relevance', descending: true }]
          const { documents: found } = await lists.slice(
            user,
            tasks,
            { ...listing(one), order },
            100,
            undefined,
          )
          expect(found.map(({ relevance, document }) => [relevance, document.id])).toEqual(
            expected.sort((a, b) => b[0]! - a[0]! || (a[1] < b[1] ? -1 : 1)),
          )
        }
      },
    ),
    { numRuns: 60 },
  )
}, 60_000)

test('of many hits, each page is that of a naive search', async () => {
  const store = postgresStore(db)
  const lists = postgresLists(db)
  const orders: OrderKey[][] = [
    ['-relevance', '-created_at'],
    ['-relevance', 'due_date', 'title'],
    ['-relevance', 'title'],
    ['created_at'],
    ['created_at', '-relevance'],
    ['-due_date'],
  ].map((keys) =>
    keys.map((key) => ({ field: key.replace('-', ''), descending: key.startsWith('-') })),
  )
  const day = (n: number) => new Date(Date.UTC(2026, 0, 1 + n)).toISOString()
  await fc.assert(
    fc.asyncProperty(fc.noBias(fc.infiniteStream(fc.nat(999_999))), async (chances) => {
      const chance = () => (chances.next().value as number) / 1_000_000
      const below = (end: number) => Math.floor(chance() * end)
      const textOf = (shares: Record<string, number>) =>
        Object.keys(shares)
          .filter((word) => chance() < shares[word]!)
          .join(' ')
      const user = await addUser(db)
      const write = (some: Document[]) =>
        store.transaction(user, (transaction) => transaction.write(tasks, some.map(live)))
      // More than are walked over are newer than those with the word "old".
      const documents = Array.from({ length: 6_500 }, (_, n) =>
        aTask({
          id: randomUUID(),
          title: `${textOf({ milk: 0.3, milch: 0.2, brot: 0.4, eier: 0.002, old: n < 1_300 ? 0.5 : 0 })}.`,
          description: textOf({ milk: 0.3, brot: 0.5, eier: 0.3, old: n < 1_300 ? 0.5 : 0 }),
          created_at: day(Math.floor(n / 40)),
          due_date: chance() < 0.3 ? null : day(below(50)).slice(0, 10),
          completed: chance() < 0.5,
        }),
      )
      // A gap that no set of bits is as wide as.
      await write(documents.slice(0, 2_000))
      await db('feeds')
        .where({ user_id: user })
        .increment('seq', 2 ** 32)
      await write(documents.slice(2_000))
      await db('tasks').where({ id: documents.pop()!.id }).delete()
      await indexSearch(db, user, tasks)
      // Some have changed since they were indexed, and some of those since the index was extended.
      for (let i = 0; i < 100; i++) {
        const changed = documents[i * 60]!
        changed.title = `${textOf({ milk: 0.5, brot: 0.5, neu: 0.5 })}.`
        if (i % 5 === 0) documents.push(aTask({ id: randomUUID(), title: 'milk brot neu' }))
      }
      const touched = documents.filter((_, n) => n % 60 === 0 || n >= 6_499)
      await write(touched.slice(0, 70))
      await indexSearch(db, user, tasks)
      await write(touched.slice(70))
      const gone = documents.splice(3_000, 50)
      await store.transaction(user, (transaction) =>
        transaction.write(
          tasks,
          gone.map((document) => ({ document, deleted: true })),
        ),
      )

      for (const search of [
        'milk',
        'mil',
        'milk brot',
        'old',
        'eier',
        'neu milk',
        '"milk brot"',
        'brot x',
        'o il',
      ])
        for (const order of orders)
          for (const filters of [
            [],
            [{ field: 'completed', operator: 'eq', value: true } as const],
          ]) {
            const terms = searchTerms(search)
            const found = documents
              .filter(({ completed }) => filters.length === 0 || completed === true)
              .map((document) => ({
                document,
                relevance: searchRelevance(tasks, document, terms),
              }))
              .filter(({ relevance }) => relevance !== undefined)
              .map(
                ({ document, relevance }): Record<string, unknown> => ({
                  ...document,
                  relevance,
                }),
              )
              .sort(byKeys(order))
            const wanted = { filters, words: terms, order, deleted: false }
            const limit = 1 + below(60)
            const offset = below(4) * limit
            const what = JSON.stringify({ search, order, filters, limit, offset })
            const { count, results } = await lists.page(user, tasks, wanted, limit, offset)
            expect(count, what).toBe(found.length)
            expect(idsOf(JSON.parse(results)), what).toEqual(
              idsOf(found.slice(offset, offset + limit)),
            )

            const at = found[below(found.length)]
            for (const backward of [false, true]) {
              const bookmark = at && {
                id: String(at.id),
                values: order.map(({ field }) => at[field] as string | number | null),
                backward,
              }
              const next = at ? found.indexOf(at) : -1
              const from = backward && at ? Math.max(0, next - limit) : next + 1
              const expected = found.slice(from, backward && at ? next : from + limit)
              const { documents: slice } = await lists.slice(user, tasks, wanted, limit, bookmark)
              expect(
                slice.map(({ document }) => document.id),
                what,
              ).toEqual(idsOf(expected))
            }
          }
    }),
    { numRuns: 2, endOnFailure: true },
  )
}, 120_000)

const idsOf = (some: Record<string, unknown>[]) => some.map(({ id }) => id)

/** Nulls last; ties by id. */
function byKeys(order: readonly OrderKey[]) {
  const keys = [...order, { field: 'id', descending: false }]
  return (a: Record<string, unknown>, b: Record<string, unknown>) => {
    for (const { field, descending } of keys) {
      const [x, y] = [a[field], b[field]] as [string | number | null, string | number | null]
      if (x === y) continue
      if (x === null || y === null) return x === null ? 1 : -1
      return x < y !== descending ? -1 : 1
    }
    return 0
  }
}
