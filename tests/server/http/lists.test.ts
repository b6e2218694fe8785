import { randomUUID } from 'node:crypto'
import fc from 'fast-check'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import {
  type Document,
  type Resource,
  resources,
  searchRelevance,
  searchTerms,
  settle,
} from '../../../protocol/index.ts'
import { indexSearch } from '../../../server/store/search-index.ts'
import { type Person, type Reply, startServer, type TestServer } from '../../support/server.ts'

let server: TestServer
beforeAll(async () => {
  server = await startServer()
})
afterAll(async () => {
  await server.stop()
  expect(server.logged.filter((line) => line.includes('request failed'))).toEqual([])
})

const NOW = '2026-11-22T08:30:00.000Z'

interface Kept {
  deleted?: boolean
  [field: string]: unknown
}

/** Puts documents there as they are, with whatever stamps they bring. */
async function keep(person: Person, resource: Resource, rows: readonly Kept[]) {
  const documents = rows.map(({ deleted = false, ...fields }) => ({
    deleted,
    document: settle(resource, { id: randomUUID(), ...fields }, undefined, NOW),
  }))
  await server.app.store.transaction(person.id, (transaction) =>
    transaction.write(resource, documents),
  )
  return documents
}

async function personWith(rows: readonly Kept[], resource: Resource = resources.tasks) {
  const person = await server.person()
  await keep(person, resource, rows)
  return person
}

/** Titles from `t01`, each created a minute after the one before. */
const numbered = (count: number) =>
  Array.from({ length: count }, (_, i) => ({
    title: `t${String(i + 1).padStart(2, '0')}`,
    created_at: new Date(Date.parse('2026-01-01T00:00:00.000Z') + i * 60_000).toISOString(),
  }))

const titles = ({ body }: Reply): string[] => body.results.map(({ title }: Document) => title)

const query = (parameters: Record<string, string>) =>
  `/api/tasks/?${new URLSearchParams(parameters)}`

/** Follows a link of a page, which is absolute. */
function follow(person: Person, link: string): Promise<Reply> {
  expect(link.startsWith(`${server.url}/`)).toBe(true)
  return person.call('GET', link.slice(server.url.length))
}

/** The pages from this one on, to the end. */
async function walk(person: Person, path: string, way: 'next' | 'previous' = 'next') {
  const pages = [await person.call('GET', path)]
  for (;;) {
    const page = pages.at(-1)!
    expect(page.status).toBe(200)
    expect(pages.length).toBeLessThan(500)
    if (page.body[way] === null) return pages
    pages.push(await follow(person, page.body[way]))
  }
}

describe('numbered pages', () => {
  test('an empty list has one page without neighbours', async () => {
    const ann = await server.person()
    for (const name of ['tasks', 'categories'])
      expect(await ann.call('GET', `/api/${name}/`)).toMatchObject({
        status: 200,
        text: '{"count":0,"next":null,"previous":null,"results":[]}',
      })
  })

  test('have 20 documents by default, and up to 200', async () => {
    const ann = await personWith(numbered(201))
    for (const [size, expected] of [
      [undefined, 20],
      ['1', 1],
      ['200', 200],
    ] as const) {
      const reply = await ann.call('GET', query(size ? { page_size: size } : {}))
      expect(Object.keys(reply.body)).toEqual(['count', 'next', 'previous', 'results'])
      expect(reply.body.results).toHaveLength(expected)
      expect(reply.body.count).toBe(201)
    }
  })

  test('have no documents with page_size=0, which only counts', async () => {
    const ann = await personWith(numbered(3))
    const { body } = await ann.call('GET', query({ page_size: '0', ordering: 'title' }))
    expect(body).toEqual({ count: 3, next: null, previous: null, results: [] })
    const { status, body: refused } = await ann.call('GET', query({ page_size: '0', cursor: '' }))
    expect([status, Object.keys(refused.errors)]).toEqual([400, ['page_size']])
  })

  test.each(['201', '-1', '1.5', '', 'x', '1e2', '99999999999999999999', '0x10', ' 5', '٣'])(
    'page_size=%s is refused',
    async (page_size) => {
      const ann = await server.person()
      const reply = await ann.call('GET', query({ page_size }))
      expect(reply).toMatchObject({ status: 400, body: { code: 'invalid' } })
      expect(reply.body.errors.page_size).toContain('Use a whole number from 0 to 200.')
    },
  )

  test('show the newest first; links are absolute and reach every row once', async () => {
    const ann = await personWith(numbered(23))
    const pages = await walk(ann, query({ page_size: '5' }))
    expect(pages.map(({ body }) => body.results.length)).toEqual([5, 5, 5, 5, 3])
    expect(pages.flatMap(titles)).toEqual(
      numbered(23)
        .map(({ title }) => title)
        .reverse(),
    )
    const back = await walk(ann, query({ page_size: '5', page: '5' }), 'previous')
    expect(back.reverse().map(({ body }) => body)).toEqual(pages.map(({ body }) => body))
  })

  test('links keep all the other parameters', async () => {
    const ann = await personWith(numbered(9).map((row) => ({ ...row, description: '50% & + ü?' })))
    const parameters = {
      page_size: '2',
      search: '50% & + ü?',
      ordering: 'title,-due_date',
      priority__in: 'low,medium',
      created_at__gte: '2026-01-01T00:02:00+00:00',
    }
    const first = await ann.call('GET', query(parameters))
    const next = new URL(first.body.next)
    expect(Object.fromEntries(next.searchParams)).toEqual({ ...parameters, page: '2' })
    expect(next.pathname).toBe('/api/tasks/')
    const pages = await walk(ann, query(parameters))
    expect(pages.flatMap(titles)).toEqual(['t03', 't04', 't05', 't06', 't07', 't08', 't09'])
    const second = await follow(ann, first.body.next)
    expect(Object.fromEntries(new URL(second.body.previous).searchParams)).toEqual({
      ...parameters,
      page: '1',
    })
  })

  test('links keep parameters that are written with fewer escapes', async () => {
    const ann = await personWith(numbered(5).map((row) => ({ ...row, description: 'why?not' })))
    const pages = await walk(ann, '/api/tasks/?search=why?not&page_size=2')
    expect(pages.map(({ body }) => body.results.length)).toEqual([2, 2, 1])
    const moments = await walk(
      ann,
      '/api/tasks?created_at__lt=2026-01-01T02:03:00+02:00&page_size=2',
    )
    expect(moments.flatMap(titles)).toEqual(['t03', 't02', 't01'])
  })

  test.each(['2', '1000000'])('page %s past the end is not found', async (page) => {
    const ann = await personWith(numbered(3))
    expect(await ann.call('GET', query({ page }))).toMatchObject({
      status: 404,
      body: { code: 'not_found' },
    })
    expect((await ann.call('GET', query({ page: '3', page_size: '1' }))).status).toBe(200)
    expect((await ann.call('GET', query({ page: '4', page_size: '1' }))).status).toBe(404)
  })

  test("show nobody else's documents", async () => {
    await personWith(numbered(3))
    const bob = await personWith(numbered(1))
    expect((await bob.call('GET', '/api/tasks/')).body.count).toBe(1)
    expect((await bob.call('GET', query({ cursor: '' }))).body.results).toHaveLength(1)
  })
})

describe('filters', () => {
  const HOME = '0190a5c2-7a4e-7cc3-98c4-dc0c0c073981'
  const WORK = '0190a5c2-7a4e-7cc3-98c4-dc0c0c073982'
  const day = (n: number) => `2026-01-0${n}T08:00:00.000Z`
  const ID = (i: number) => `0190a5c2-7a4e-7cc3-98c4-dc0c0c07398${'abcd'[i]}`
  const rows: Kept[] = [
    {
      title: 'a',
      priority: 'low',
      category_id: HOME,
      due_date: '2026-01-31',
      due_time: '08:00',
      remind_at: day(1),
      completed: false,
    },
    {
      title: 'b',
      priority: 'medium',
      category_id: WORK,
      due_date: '2026-02-01',
      due_time: '09:30',
      remind_at: day(2),
      completed: true,
      completed_at: day(5),
    },
    { title: 'c', priority: 'high', completed: false },
    {
      title: 'd',
      priority: 'high',
      category_id: HOME,
      due_date: '2026-02-01',
      completed: true,
      completed_at: day(6),
    },
  ].map((row, i) => ({ ...row, id: ID(i), created_at: day(i + 1), updated_at: day(i + 5) }))
  let ann: Person
  beforeAll(async () => {
    ann = await server.person()
    await keep(ann, resources.categories, [
      { id: HOME, name: 'Home', created_at: day(1), updated_at: day(3) },
      { id: WORK, name: 'work', created_at: day(2), updated_at: day(4) },
    ])
    await keep(ann, resources.tasks, rows)
  })

  const ofTasks: [string, string, string][] = [
    ['id', ID(1), 'b'],
    ['id__ne', ID(1), 'acd'],
    ['id__in', `${ID(0)},${ID(3)},${randomUUID()}`, 'ad'],
    ['category_id__ne', HOME, 'bc'],
    ['priority__ne', 'high', 'ab'],
    ['due_date__ne', '2026-02-01', 'ac'],
    ['due_time__ne', '08:00', 'bcd'],
    ['remind_at__ne', day(1), 'bcd'],
    ['completed__ne', 'true', 'ac'],
    ['completed_at__ne', day(5), 'acd'],
    ['created_at__ne', day(2), 'acd'],
    ['updated_at__ne', day(6), 'acd'],
    ['or', 'priority:low|due_date:2026-02-01', 'abd'],
    ['or', `category_id__in:${HOME},${WORK}|created_at__gte:2026-01-03T08:00:00Z`, 'abcd'],
    ['or', 'priority:low', 'a'],
    ['category_id', HOME, 'ad'],
    ['category_id', HOME.toUpperCase(), 'ad'],
    ['category_id', randomUUID(), ''],
    ['category_id__in', `${HOME},${WORK}`, 'abd'],
    ['category_id__isnull', 'true', 'c'],
    ['category_id__isnull', 'FALSE', 'abd'],
    ['category_id__isnull', '1', 'c'],
    ['category_id__isnull', '0', 'abd'],
    ['priority', 'high', 'cd'],
    ['priority__in', 'low,high', 'acd'],
    ['priority__gt', 'low', 'bcd'],
    ['priority__gte', 'medium', 'bcd'],
    ['priority__lt', 'high', 'ab'],
    ['priority__lte', 'low', 'a'],
    ['due_date', '2026-02-01', 'bd'],
    ['due_date__in', '2026-01-31,2030-01-01', 'a'],
    ['due_date__gt', '2026-01-31', 'bd'],
    ['due_date__gte', '2026-01-31', 'abd'],
    ['due_date__lt', '2026-02-01', 'a'],
    ['due_date__lte', '2026-02-01', 'abd'],
    ['due_date__isnull', 'true', 'c'],
    ['due_date__isnull', 'false', 'abd'],
    ['due_time', '08:00', 'a'],
    ['due_time__in', '08:00,09:30', 'ab'],
    ['due_time__gt', '08:00', 'b'],
    ['due_time__gte', '08:00', 'ab'],
    ['due_time__lt', '09:30', 'a'],
    ['due_time__lte', '09:30', 'ab'],
    ['due_time__isnull', 'true', 'cd'],
    ['remind_at', '2026-01-01T10:00:00+02:00', 'a'],
    ['remind_at__gt', day(1), 'b'],
    ['remind_at__gte', day(1), 'ab'],
    ['remind_at__lt', day(2), 'a'],
    ['remind_at__lte', day(2), 'ab'],
    ['remind_at__isnull', 'false', 'ab'],
    ['completed', 'true', 'bd'],
    ['completed', '0', 'ac'],
    ['completed_at', day(5), 'b'],
    ['completed_at__gt', day(5), 'd'],
    ['completed_at__gte', day(5), 'bd'],
    ['completed_at__lt', day(6), 'b'],
    ['completed_at__lte', day(6), 'bd'],
    ['completed_at__isnull', 'true', 'ac'],
    ['created_at', day(2), 'b'],
    ['created_at__gt', day(2), 'cd'],
    ['created_at__gte', day(2), 'bcd'],
    ['created_at__lt', day(2), 'a'],
    ['created_at__lte', day(2), 'ab'],
    ['updated_at', day(6), 'b'],
    ['updated_at__gt', day(6), 'cd'],
    ['updated_at__gte', day(6), 'bcd'],
    ['updated_at__lt', day(6), 'a'],
    ['updated_at__lte', day(6), 'ab'],
  ]
  test.each(ofTasks)('%s=%s of tasks', async (name, value, expected) => {
    const order = { ordering: 'title' }
    const page = await ann.call('GET', query({ [name]: value, ...order }))
    expect(titles(page).join('')).toBe(expected)
    expect(page.body.count).toBe(expected.length)
    const slice = await ann.call('GET', query({ [name]: value, ...order, cursor: '' }))
    expect(titles(slice).join('')).toBe(expected)
  })

  const ofCategories: [string, string, string][] = [
    ['id', HOME, 'Home'],
    ['id__ne', HOME, 'work'],
    ['id__in', `${HOME},${WORK}`, 'Home work'],
    ['name__ne', 'Home', 'work'],
    ['created_at__ne', day(2), 'Home'],
    ['updated_at__ne', day(3), 'work'],
    ['or', 'name:Home\\|work|name:work', 'work'],
    ['name', 'Home', 'Home'],
    ['name', 'home', ''],
    ['name__in', 'Home,work,play', 'Home work'],
    ['created_at', day(2), 'work'],
    ['created_at__gt', day(1), 'work'],
    ['created_at__gte', day(1), 'Home work'],
    ['created_at__lt', day(2), 'Home'],
    ['created_at__lte', day(1), 'Home'],
    ['updated_at', day(3), 'Home'],
    ['updated_at__gt', day(3), 'work'],
    ['updated_at__gte', day(3), 'Home work'],
    ['updated_at__lt', day(4), 'Home'],
    ['updated_at__lte', day(4), 'Home work'],
  ]
  test.each(ofCategories)('%s=%s of categories', async (name, value, expected) => {
    const parameters = new URLSearchParams({ [name]: value, ordering: 'name' })
    const page = await ann.call('GET', `/api/categories/?${parameters}`)
    expect(page.body.results.map((found: Document) => found.name).join(' ')).toBe(expected)
  })

  test('these tables contain every documented filter', () => {
    const filters = (id: string) =>
      server.app.operations
        .find((operation) => operation.id === id)!
        .query!.map(({ name }) => name)
        .filter(
          (name) =>
            !['page', 'page_size', 'cursor', 'ordering', 'search', 'deleted'].includes(name),
        )
    const covered = (table: typeof ofTasks) => new Set(table.map(([name]) => name))
    expect(new Set(filters('list_tasks'))).toEqual(covered(ofTasks))
    expect(new Set(filters('list_categories'))).toEqual(covered(ofCategories))
  })

  test('in groups: one of each group must match, and every other filter', async () => {
    const groups = 'or=priority:low|priority:high&or=completed:true|due_date__isnull:true'
    const path = `/api/tasks/?${groups}&ordering=title`
    expect(titles(await ann.call('GET', path))).toEqual(['c', 'd'])
    expect(titles(await ann.call('GET', `${path}&due_date__isnull=false`))).toEqual(['d'])
    const first = await ann.call('GET', `${path}&page_size=1`)
    expect(titles(await follow(ann, first.body.next))).toEqual(['d'])
  })

  test.each([
    ['due_date:2026-02-30', 'due_date: Use a date'],
    ['du_date:2026-02-03', 'Did you mean due_date? Unknown filter.'],
    ['completed', 'Unknown filter.'],
    ['', 'Unknown filter.'],
    ['page:2', 'Unknown filter.'],
    [Array(11).fill('priority:low').join('|'), 'Use at most 10 filters in a group.'],
  ])('of a group that are refused: %s', async (or, message) => {
    const { status, body } = await ann.call('GET', query({ or }))
    expect([status, body.errors.or[0]]).toEqual([400, expect.stringContaining(message)])
  })

  test('of days may be relative to today, where the person is', async () => {
    const bob = await personWith([
      { title: 'a', due_date: '2026-11-21' },
      { title: 'b', due_date: '2026-11-22' },
      { title: 'c', due_date: '2026-11-23' },
      { title: 'd', due_date: '2026-11-29' },
      { title: 'e' },
    ])
    const there = async (timezone: string, parameters: string) => {
      await bob.call('PATCH', '/api/profile/', { timezone })
      return titles(await bob.call('GET', `/api/tasks/?ordering=title&${parameters}`)).join('')
    }
    const today = server.clock.now()
    server.clock.advance(Date.parse('2026-11-22T12:00:00Z') - today.getTime())
    try {
      for (const [parameters, expected] of [
        ['due_date=today', 'b'],
        ['due_date__lt=today', 'a'],
        ['due_date__gte=tomorrow', 'cd'],
        ['due_date__in=yesterday,today', 'ab'],
        ['due_date=+7d', 'd'],
        ['due_date=%2B1w', 'd'],
        ['due_date=-1d', 'a'],
        ['due_date__ne=today', 'acde'],
        ['or=due_date:yesterday|due_date:%2B7d', 'ad'],
      ])
        expect(await there('UTC', parameters!), parameters).toBe(expected)
      expect(await there('Pacific/Kiritimati', 'due_date=today')).toBe('c')
      expect(await there('Pacific/Pago_Pago', 'due_date=today')).toBe('b')
    } finally {
      server.clock.advance(today.getTime() - Date.parse('2026-11-22T12:00:00Z'))
    }
  })

  test('combine: a document must match all of them', async () => {
    const both = { priority: 'high', due_date__isnull: 'false', completed: 'true' }
    expect(titles(await ann.call('GET', query(both)))).toEqual(['d'])
    const range = { due_date__gte: '2026-01-31', due_date__lt: '2026-02-01' }
    expect(titles(await ann.call('GET', query(range)))).toEqual(['a'])
  })

  test.each([
    ['priority', 'urgent'],
    ['priority__in', 'low,urgent'],
    ['priority__in', ''],
    ['due_date', '2026-02-30'],
    ['due_date__gte', 'someday'],
    ['due_date', '+7'],
    ['due_date', '+7m'],
    ['due_date__in', '2026-02-01,'],
    ['due_date__isnull', 'maybe'],
    ['due_time', '24:00'],
    ['remind_at__lt', '2026-01-01'],
    ['created_at__gt', '2026-01-01T00:00:00'],
    ['completed', ''],
    ['completed', 'yes'],
    ['category_id', 'home'],
    ['category_id__in', `${HOME},x`],
    ['category_id', 'null'],
    ['category_id__in', Array(201).fill(HOME).join(',')],
    ['deleted', 'no'],
    ['ordering', 'colour'],
    ['ordering', 'description'],
    ['ordering', '--title'],
    ['ordering', 'title,-title'],
    ['ordering', ''],
    ['ordering', 'title,'],
    ['ordering', '__proto__'],
    ['ordering', 'title;drop table tasks'],
    ['search', 'a\0b'],
    ['search', 'x'.repeat(501)],
    ['search', 'a b c d e f g h i j k'],
    ['page', '0'],
    ['page', '-1'],
    ['page', '1000001'],
    ['page', '999999999999999999999'],
  ])('%s=%s is refused, with a remedy', async (name, value) => {
    const reply = await ann.call('GET', query({ [name]: value }))
    expect(reply).toMatchObject({ status: 400, body: { code: 'invalid' } })
    const fields = Object.keys(reply.body.errors)
    expect(fields).toHaveLength(1)
    expect(fields[0]!.startsWith(name)).toBe(true)
  })

  test.each([
    'colour',
    'title',
    'priority__isnull',
    'priority__like',
    'position__gt',
    '__proto__',
    'constructor',
    'Page',
  ])('the unknown parameter %s is refused, and the error names the known ones', async (name) => {
    const reply = await ann.call('GET', `/api/tasks/?${name}=x`)
    expect(reply.status).toBe(400)
    expect(reply.body.detail).toContain(name)
    const [message] = Object.entries(reply.body.errors as object).find(([key]) => key === name)![1]
    expect(message).toMatch(
      /^(Did you mean \w+\? )?Unknown parameter\. Use one of: search, ordering, page, .*due_date__gte/,
    )
  })

  test.each(['page=1&page=1', 'priority=low&priority=high', 'cursor=&cursor='])(
    'a parameter given twice is refused: %s',
    async (twice) => {
      const reply = await ann.call('GET', `/api/tasks/?${twice}`)
      expect(reply.status).toBe(400)
      expect(reply.body.errors).toEqual({ [twice.split('=')[0]!]: ['Use it only once.'] })
    },
  )
})

test('the values of a list may each have a parameter of their own, as many clients write them', async () => {
  const person = await server.person()
  for (const priority of ['low', 'medium', 'high'])
    await person.call('POST', '/api/tasks/', { title: priority, priority })
  const { body } = await person.call(
    'GET',
    '/api/tasks/?priority__in=low&priority__in=high&ordering=priority',
  )
  expect(body.results.map(({ title }: { title: string }) => title)).toEqual(['low', 'high'])
})

describe('the ETag of a list', () => {
  const poll = (person: Person, path: string, etag: string) =>
    person.call('GET', path, undefined, { headers: { 'if-none-match': etag } })

  test('stays while nothing changes, and then a poller gets no list', async () => {
    const ann = await personWith(numbered(2))
    for (const path of ['/api/tasks/', '/api/tasks/?cursor=', '/api/categories/']) {
      const etag = (await ann.call('GET', path)).headers.get('etag')!
      expect(etag).toMatch(/^W\/"/)
      for (const known of [etag, etag.replace('W/', ''), `"other", ${etag}`, '*']) {
        const { status, text, headers } = await poll(ann, path, known)
        expect([status, text, headers.get('etag')]).toEqual([304, '', etag])
      }
      expect((await poll(ann, path, '"other"')).status).toBe(200)
      expect((await poll(ann, path, 'other')).status).toBe(400)
    }
  })

  test.each([
    ['a creation', (ann: Person) => ann.call('POST', '/api/tasks/', { title: 'Milk' })],
    [
      'a change of another resource',
      (ann: Person) => ann.call('PATCH', '/api/profile/', { bio: 'x' }),
    ],
  ])('changes with %s', async (_what, change) => {
    const ann = await server.person()
    const before = (await ann.call('GET', '/api/tasks/')).headers.get('etag')!
    await change(ann)
    const after = await poll(ann, '/api/tasks/', before)
    expect(after.status).toBe(200)
    expect(after.headers.get('etag')).not.toBe(before)
  })

  test('changes with the day, if a filter is relative to it', async () => {
    const ann = await server.person()
    const paths = ['/api/tasks/?due_date=today', '/api/tasks/?or=due_date:today', '/api/tasks/']
    const etags = await Promise.all(
      paths.map(async (path) => (await ann.call('GET', path)).headers.get('etag')!),
    )
    const aDay = 24 * 60 * 60 * 1000
    server.clock.advance(aDay)
    try {
      const renewed = await server.call('POST', '/api/token/refresh/', { refresh: ann.refresh })
      const headers = { authorization: `Bearer ${renewed.body.access}` }
      const replies = await Promise.all(
        paths.map((path, i) =>
          server.call('GET', path, undefined, {
            headers: { ...headers, 'if-none-match': etags[i]! },
          }),
        ),
      )
      expect(replies.map(({ status }) => status)).toEqual([200, 200, 304])
    } finally {
      server.clock.advance(-aDay)
    }
  })
})

test.each([
  ['category', 'category_id'],
  ['categoryId', 'category_id'],
  ['due', 'due_date'],
  ['due_date_lt', 'due_date__lt'],
  ['complete', 'completed'],
  ['pagesize', 'page_size'],
  // Two letters are swapped.
  ['paeg', 'page'],
  ['orderby', undefined],
  ['status', undefined],
  ['x'.repeat(61), undefined],
])('the unknown parameter %s is answered with the one that was meant: %s', async (name, meant) => {
  const ann = await server.person()
  const { body } = await ann.call('GET', query({ [name]: '1' }))
  const [[message]] = Object.values(body.errors) as [[string]]
  expect(message).toMatch(
    meant ? new RegExp(`^Did you mean ${meant}\\? Unknown parameter\\.`) : /^Unknown parameter\./,
  )
})

test.each([
  ['due', 'due_date'],
  ['-due_dat', 'due_date'],
  ['priority,tilte', 'title'],
  ['colour', undefined],
])('so is the unknown field in ordering=%s: %s', async (ordering, meant) => {
  const ann = await server.person()
  const { status, body } = await ann.call('GET', query({ ordering }))
  const guess = meant ? `Did you mean ${meant}? ` : ''
  expect([status, body.errors?.ordering]).toEqual([
    400,
    [
      expect.stringMatching(
        new RegExp(`^${guess.replace('?', '\\?')}Unknown field\\. Sort by one of: `),
      ),
    ],
  ])
})

test('so is the unknown field of a body', async () => {
  const ann = await server.person()
  const { body } = await ann.call('POST', '/api/tasks/', { title: 'Milk', dueDate: '2026-12-01' })
  expect(body.errors.dueDate[0]).toMatch(/^Did you mean due_date\? Unknown name\. Use one of: /)
})

test.each(['TODAY', 'monday', '+7', '2026-02-30', '%2B3m'])(
  'the day %s is refused, and the error names all forms of days',
  async (day) => {
    const ann = await server.person()
    for (const [name, value] of [
      ['due_date', day],
      ['due_date__in', `today,${day}`],
      ['or', `due_date:${day}`],
    ] as const) {
      const { status, body } = await ann.call('GET', `/api/tasks/?${name}=${value}`)
      expect([status, body.errors?.[name]]).toEqual([
        400,
        [expect.stringMatching(/Use a date as YYYY-MM-DD, .*or today, tomorrow, yesterday, or a/)],
      ])
    }
  },
)

describe('the order', () => {
  const FIRST = '2026-01-01T00:00:00.000Z'
  const orders: [string, Kept[], string][] = [
    [
      'priority',
      [
        { title: 'h', priority: 'high' },
        { title: 'l', priority: 'low' },
        { title: 'm', priority: 'medium' },
      ],
      'l m h',
    ],
    [
      '-priority',
      [
        { title: 'h', priority: 'high' },
        { title: 'l', priority: 'low' },
        { title: 'm', priority: 'medium' },
      ],
      'h m l',
    ],
    [
      'due_date',
      [
        { title: 'none' },
        { title: '2', due_date: '2026-02-01' },
        { title: '1', due_date: '2026-01-31' },
      ],
      '1 2 none',
    ],
    [
      '-due_date',
      [
        { title: 'none' },
        { title: '1', due_date: '2026-01-31' },
        { title: '2', due_date: '2026-02-01' },
      ],
      '2 1 none',
    ],
    [
      'due_time',
      [
        { title: 'none' },
        { title: 'late', due_time: '20:00' },
        { title: 'early', due_time: '08:00' },
      ],
      'early late none',
    ],
    [
      '-due_time',
      [
        { title: 'none' },
        { title: 'early', due_time: '08:00' },
        { title: 'late', due_time: '20:00' },
      ],
      'late early none',
    ],
    [
      '-remind_at',
      [
        { title: 'none' },
        { title: 'old', remind_at: '0001-01-01T00:00:00.000Z' },
        { title: 'new', remind_at: NOW },
      ],
      'new old none',
    ],
    ['-completed_at', [{ title: 'open' }, { title: 'done', completed: true }], 'done open'],
    ['completed_at', [{ title: 'open' }, { title: 'done', completed: true }], 'done open'],
    ['completed', [{ title: 'done', completed: true }, { title: 'open' }], 'open done'],
    ['-completed', [{ title: 'open' }, { title: 'done', completed: true }], 'done open'],
    [
      'position',
      [
        { title: '3', position: 'a1' },
        { title: '1', position: 'Zz' },
        { title: '2', position: 'a0V' },
      ],
      '1 2 3',
    ],
    [
      '-updated_at',
      [
        { title: '1', created_at: FIRST, updated_at: FIRST },
        { title: '2', created_at: FIRST, updated_at: '2026-01-02T00:00:00.000Z' },
      ],
      '2 1',
    ],
    [
      '-priority,due_date',
      [
        { title: 'l', priority: 'low', due_date: '2026-01-01' },
        { title: 'h0', priority: 'high' },
        { title: 'h2', priority: 'high', due_date: '2026-01-02' },
        { title: 'h1', priority: 'high', due_date: '2026-01-01' },
      ],
      'h1 h2 h0 l',
    ],
    [
      'due_date,-priority,title',
      [
        { title: 'c', priority: 'low' },
        { title: 'b', priority: 'high' },
        { title: 'a', priority: 'high' },
      ],
      'a b c',
    ],
    [
      'title',
      ['zoo', 'Banana', 'Émile', 'apple', 'Zoo', 'emil', '10', '9', 'Apple', 'eMile', 'émile'].map(
        (title) => ({ title }),
      ),
      '10 9 apple Apple Banana emil eMile émile Émile zoo Zoo',
    ],
    ['-title', ['Banana', 'Émile', 'apple'].map((title) => ({ title })), 'Émile Banana apple'],
  ]
  test.each(orders)('%s', async (ordering, rows, expected) => {
    const ann = await personWith(rows)
    expect(titles(await ann.call('GET', query({ ordering }))).join(' ')).toBe(expected)
    expect(titles(await ann.call('GET', query({ ordering, cursor: '' }))).join(' ')).toBe(expected)
  })

  test('sorts ties by id, ascending in both directions', async () => {
    const ids = ['1', '2', '3', '4'].map((digit) => `0190a5c2-7a4e-7cc3-98c4-dc0c0c07398${digit}`)
    const rows = [2, 0, 3, 1].map((i) => ({ id: ids[i], title: 'same', created_at: NOW }))
    const ann = await personWith(rows)
    for (const ordering of [
      'title',
      '-title',
      'due_date',
      '-due_date',
      'created_at',
      '-created_at',
    ]) {
      const { body } = await ann.call('GET', query({ ordering }))
      expect(body.results.map(({ id }: Document) => id)).toEqual(ids)
    }
  })

  test('of tasks is newest first, and of categories by position', async () => {
    const ann = await personWith(numbered(3))
    expect(titles(await ann.call('GET', '/api/tasks/'))).toEqual(['t03', 't02', 't01'])
    await keep(ann, resources.categories, [
      { name: 'second', position: 'a1' },
      { name: 'first', position: 'a0' },
    ])
    const { body } = await ann.call('GET', '/api/categories/')
    expect(body.results.map(({ name }: Document) => name)).toEqual(['first', 'second'])
  })
})

describe('the search', () => {
  const rows: Kept[] = [
    { title: 'Buy milk', description: 'two bottles' },
    { title: 'Ferry', description: 'MILK on board? 100%' },
    { title: 'snake_case', description: 'a\\b' },
    { title: 'snakeXcase', description: 'ab 100' },
    { title: 'Émile', description: 'Łódź, ÉTÉ' },
  ]
  test.each([
    ['milk', ['Buy milk', 'Ferry']],
    ['MILK', ['Buy milk', 'Ferry']],
    ['  milk \t bottles ', ['Buy milk']],
    ['bottles milk', ['Buy milk']],
    ['milk ferry', ['Ferry']],
    ['milk nothing', []],
    ['mil ottle', ['Buy milk']],
    ['%', ['Ferry']],
    ['100%', ['Ferry']],
    ['_', ['snake_case']],
    ['e_c', ['snake_case']],
    ['\\', ['snake_case']],
    ['a\\b', ['snake_case']],
    ['\\%', []],
    ["'", []],
    ['émile', ['Émile']],
    ['emile', ['Émile']],
    ['lodz', ['Émile']],
    ['"two bottles"', ['Buy milk']],
    ['"bottles two"', []],
    ['ÉMILE', ['Émile']],
    ['łódź', ['Émile']],
    ['été', ['Émile']],
    ['', ['Buy milk', 'Émile', 'Ferry', 'snake_case', 'snakeXcase']],
    ['   ', ['Buy milk', 'Émile', 'Ferry', 'snake_case', 'snakeXcase']],
  ])('for "%s"', async (search, expected) => {
    const ann = await personWith(rows)
    const page = await ann.call('GET', query({ search, ordering: 'title' }))
    expect(titles(page)).toEqual(expected)
    expect(page.body.count).toBe(expected.length)
    const slice = await ann.call('GET', query({ search, ordering: 'title', cursor: '' }))
    expect(titles(slice)).toEqual(expected)
  })

  test('finds composed and decomposed letters, on both sides', async () => {
    const texts = ['Résumé', '한국어', 'Việt']
    for (const form of ['NFC', 'NFD'])
      for (const asked of ['NFC', 'NFD']) {
        const ann = await personWith(
          texts.map((text) => ({ title: text.normalize(form), description: '' })),
        )
        for (const text of texts) {
          const found = await ann.call('GET', query({ search: text.normalize(asked) }))
          expect(titles(found)).toEqual([text.normalize(form)])
        }
      }
  })

  test('shows what has the words in its title first, and then the newest', async () => {
    const minute = (n: number) => `2026-01-01T00:0${n}:00.000Z`
    const ann = await personWith(
      [
        { title: 'Ferry to Café', description: '' },
        { title: 'ferry', description: 'cafe' },
        { title: 'Nothing', description: 'the CAFÉ of the ferry' },
        { title: 'Another ferry', description: 'café' },
        { title: 'Ferry', description: '' },
      ].map((row, i) => ({ ...row, created_at: minute(i) })),
    )
    const best = ['Ferry to Café', 'Another ferry', 'ferry', 'Nothing']
    const search = 'cafe ferry'
    expect(titles(await ann.call('GET', query({ search })))).toEqual(best)
    const pages = await walk(ann, query({ search, cursor: '', page_size: '1' }))
    expect(pages.flatMap(titles)).toEqual(best)
    const last = new URL(pages.at(-2)!.body.next)
    const back = await walk(ann, `${last.pathname}${last.search}`, 'previous')
    expect(back.reverse().flatMap(titles)).toEqual(best)
    const newest = await ann.call('GET', query({ search, ordering: '-created_at' }))
    expect(titles(newest)).toEqual(['Another ferry', 'Nothing', 'ferry', 'Ferry to Café'])
    expect(titles(await ann.call('GET', query({ search: '"of the ferry"' })))).toEqual(['Nothing'])
  })

  test('of categories looks at their names', async () => {
    const ann = await personWith([{ name: 'Travel' }, { name: 'Work' }], resources.categories)
    const { body } = await ann.call('GET', '/api/categories/?search=trav')
    expect(body.results.map(({ name }: Document) => name)).toEqual(['Travel'])
  })
})

describe('the trash', () => {
  test('lists only deleted documents, with the same filters and pages', async () => {
    const rows = numbered(7).map((row, i) => ({ ...row, deleted: i % 2 === 0 }))
    const ann = await personWith(rows)
    expect(titles(await ann.call('GET', '/api/tasks/'))).toEqual(['t06', 't04', 't02'])
    expect(titles(await ann.call('GET', query({ deleted: 'false' })))).toEqual([
      't06',
      't04',
      't02',
    ])
    const trash = { deleted: 'true', page_size: '3' }
    const expected = ['t07', 't05', 't03', 't01']
    expect((await walk(ann, query(trash))).flatMap(titles)).toEqual(expected)
    expect((await walk(ann, query({ ...trash, cursor: '' }))).flatMap(titles)).toEqual(expected)
    const [newest] = (await ann.call('GET', query({ ...trash, search: 't07' }))).body.results
    expect((await ann.call('POST', `/api/tasks/${newest.id}/restore/`)).status).toBe(200)
    expect(titles(await ann.call('GET', query(trash)))).toEqual(['t05', 't03', 't01'])
  })

  test('does not show placeholders of categories', async () => {
    const ann = await server.person()
    await server.testDatabase.db('categories').insert({
      user_id: ann.id,
      id: randomUUID(),
      name: 'to come',
      color: '#000000',
      position: 'a0',
      created_at: NOW,
      updated_at: NOW,
      deleted: true,
      seq: 0,
    })
    for (const deleted of ['true', 'false'])
      for (const rest of ['', '&cursor='])
        expect(
          (await ann.call('GET', `/api/categories/?deleted=${deleted}${rest}`)).body.results,
        ).toEqual([])
  })
})

describe('paging by cursor', () => {
  test.each([
    '-created_at',
    'title',
    'due_date',
    '-due_date',
    'due_date,-title',
    '-due_time,due_date,-priority',
  ])('ordered by %s: to the end and back to the start', async (ordering) => {
    const rows = numbered(17).map((row, i) => ({
      ...row,
      priority: ['low', 'medium', 'high'][i % 3],
      due_date: i % 4 === 0 ? null : `2026-01-0${1 + (i % 3)}`,
      due_time: i % 5 < 2 ? null : `0${i % 5}:00`,
    }))
    const ann = await personWith(rows)
    const all = await ann.call('GET', query({ ordering, page_size: '200' }))
    const pages = await walk(ann, query({ ordering, page_size: '4', cursor: '' }))
    expect(pages.map(({ body }) => body.results.length)).toEqual([4, 4, 4, 4, 1])
    expect(pages.flatMap(({ body }) => body.results)).toEqual(all.body.results)
    for (const { body } of pages) expect(body.count).toBeNull()
    expect(pages[0]!.body.previous).toBeNull()

    const last = new URL(pages.at(-2)!.body.next)
    const back = await walk(ann, `${last.pathname}${last.search}`, 'previous')
    expect(back.map(titles).reverse()).toEqual(pages.map(titles))
    expect(back.at(-1)!.body.previous).toBeNull()
    const again = await follow(ann, back.at(-1)!.body.next)
    expect(titles(again)).toEqual(titles(pages[1]!))
  })

  test('links keep the other parameters', async () => {
    const ann = await personWith(numbered(5))
    const parameters = { page_size: '2', search: 't', ordering: 'title' }
    const { body } = await ann.call('GET', query({ ...parameters, cursor: '' }))
    expect(Object.fromEntries(new URL(body.next).searchParams)).toEqual({
      ...parameters,
      cursor: expect.stringMatching(/^[\w-]+$/),
    })
  })

  test('a last page that is exactly full has no next', async () => {
    const ann = await personWith(numbered(4))
    const pages = await walk(ann, query({ page_size: '2', cursor: '' }))
    expect(pages.map(({ body }) => body.results.length)).toEqual([2, 2])
  })

  test('no remaining row is missed or repeated while others are created and deleted', async () => {
    for (const ordering of ['title', '-due_date,title']) {
      const rows = numbered(30).map((row, i) => ({
        ...row,
        id: randomUUID(),
        due_date: i % 3 === 0 ? null : `2026-01-0${1 + (i % 7)}`,
      }))
      const ann = await personWith(rows)
      const sorted = titles(await ann.call('GET', query({ ordering, page_size: '200' })))
      const idOf = (title: string) => rows.find((row) => row.title === title)!.id
      const gone = new Set<string>()
      const seen: string[] = []
      let page = await ann.call('GET', query({ ordering, page_size: '4', cursor: '' }))
      for (let round = 0; ; round++) {
        seen.push(...titles(page))
        // The row that the bookmark names goes, one before it and one after it; others come on both sides.
        const at = sorted.indexOf(seen.filter((title) => sorted.includes(title)).at(-1)!)
        for (const place of [at, at - 2, at + 2]) {
          const title = sorted[place]
          if (title === undefined || gone.has(title)) continue
          expect((await ann.call('DELETE', `/api/tasks/${idOf(title)}/`)).status).toBe(204)
          gone.add(title)
        }
        for (const title of [`t00 new ${round}`, `t99 new ${round}`, `t15 new ${round}`])
          await ann.call('POST', '/api/tasks/', { title, due_date: '2026-01-04' })
        if (round > 100 || page.body.next === null) break
        page = await follow(ann, page.body.next)
      }
      expect(new Set(seen).size).toBe(seen.length)
      const stayed = sorted.filter((title) => !gone.has(title))
      expect(stayed.length).toBeGreaterThan(5)
      expect(seen.filter((title) => stayed.includes(title))).toEqual(stayed)
    }
  })

  test('a page whose rows were all deleted still links back to the remaining ones', async () => {
    const rows = numbered(6).map((row) => ({ ...row, id: randomUUID() }))
    const ann = await personWith(rows)
    const parameters = { ordering: 'title', page_size: '2', cursor: '' }
    const [first, second, third] = await walk(ann, query(parameters))
    const remove = (page: Reply) =>
      Promise.all(
        page.body.results.map(({ id }: Document) => ann.call('DELETE', `/api/tasks/${id}/`)),
      )
    await remove(third!)
    const beyond = await follow(ann, second!.body.next)
    expect(beyond.body).toMatchObject({ results: [], next: null })
    expect(titles(await follow(ann, beyond.body.previous))).toEqual(titles(second!))
    await remove(first!)
    const before = await follow(ann, second!.body.previous)
    expect(before.body).toMatchObject({ results: [], previous: null })
    expect(titles(await follow(ann, before.body.next))).toEqual(titles(second!))
  })

  describe('refuses', () => {
    const content = (cursor: string) => JSON.parse(Buffer.from(cursor, 'base64url').toString())
    const written = (value: unknown) => Buffer.from(JSON.stringify(value)).toString('base64url')
    let ann: Person
    let good: string
    beforeAll(async () => {
      ann = await personWith(numbered(3).map((row) => ({ ...row, due_date: '2026-01-01' })))
      const { body } = await ann.call(
        'GET',
        query({ ordering: 'title,due_date', page_size: '1', cursor: '' }),
      )
      good = new URL(body.next).searchParams.get('cursor')!
    })

    const tampered: [string, (good: string) => string][] = [
      ['what is no base64', () => '!!!'],
      ['what is no JSON', () => Buffer.from('title').toString('base64url')],
      ['null', () => written(null)],
      ['an object', () => written({})],
      ['one cut short', (cursor) => cursor.slice(0, -5)],
      ['one with a value too few', (cursor) => written(content(cursor).slice(0, -1))],
      ['one with a value too many', (cursor) => written([...content(cursor), 'x'])],
      ['one with an invalid id', (cursor) => written(changed(content(cursor), 2, "x' or true"))],
      ['one with another direction', (cursor) => written(changed(content(cursor), 1, 2))],
      ['one with a value of another kind', (cursor) => written(changed(content(cursor), 3, 7))],
      ['one with an invalid day', (cursor) => written(changed(content(cursor), 4, '2026-02-30'))],
      ['one with null where none is', (cursor) => written(changed(content(cursor), 3, null))],
      ['one with a NUL', (cursor) => written(changed(content(cursor), 3, 'a\0'))],
      ['one with half a character', (cursor) => written(changed(content(cursor), 3, '\ud800'))],
      ['one of another ordering', (cursor) => written(changed(content(cursor), 0, 'title'))],
      ['one with a list for a value', (cursor) => written(changed(content(cursor), 3, ['a']))],
      ['one that is too long', (cursor) => written(changed(content(cursor), 3, 'x'.repeat(8_000)))],
    ]
    test.each(tampered)('%s', async (_what, tamper) => {
      const cursor = tamper(good)
      const reply = await ann.call('GET', query({ ordering: 'title,due_date', cursor }))
      expect(reply).toMatchObject({ status: 400, body: { code: 'invalid' } })
      expect(Object.keys(reply.body.errors)).toEqual(['cursor'])
    })

    test.each(['title', '-title,due_date', 'title,-due_date', 'due_date,title', undefined])(
      'a cursor of another ordering: %s',
      async (ordering) => {
        const reply = await ann.call('GET', query({ cursor: good, ...(ordering && { ordering }) }))
        expect(reply.status).toBe(400)
        expect(reply.body.errors.cursor[0]).toContain('Start again')
        const own = { ordering: 'title,due_date', cursor: good }
        expect(titles(await ann.call('GET', query(own)))).toEqual(['t02', 't03'])
      },
    )

    test.each(['', 'good'])('a page together with a cursor (%s)', async (which) => {
      const cursor = which && good
      const reply = await ann.call('GET', query({ ordering: 'title,due_date', cursor, page: '1' }))
      expect(reply.status).toBe(400)
      expect(reply.body.errors).toEqual({ page: ['Use either page or cursor, not both.'] })
    })

    function changed(values: unknown[], at: number, value: unknown): unknown[] {
      return values.map((before, i) => (i === at ? value : before))
    }
  })
})

describe('for any documents, any filters and any order', () => {
  const CATEGORIES = ['1', '2'].map((digit) => `0190a5c2-7a4e-7cc3-98c4-dc0c0c07398${digit}`)
  const PRIORITIES = ['low', 'medium', 'high']
  const moment = fc.integer({ min: 1, max: 4 }).map((n) => `2026-01-0${n}T08:00:00.000Z`)
  const orNull = <T>(values: fc.Arbitrary<T>) => fc.option(values, { nil: null, freq: 2 })

  const values = {
    category_id: orNull(fc.constantFrom(...CATEGORIES)),
    priority: fc.constantFrom(...PRIORITIES),
    due_date: orNull(fc.integer({ min: 1, max: 3 }).map((n) => `2026-02-0${n}`)),
    due_time: orNull(fc.constantFrom('08:00', '09:30')),
    remind_at: orNull(moment),
    completed: fc.boolean(),
    completed_at: orNull(moment),
    created_at: moment,
    updated_at: moment,
  }
  const words = [
    'milk',
    'Ferry',
    'Café',
    '100%',
    'a_b',
    'a\\b',
    'aXb',
    'Zoo',
    'Straße',
    '“zoo”',
    '書店',
  ]
  const someText = fc
    .array(fc.constantFrom(...words), { minLength: 1, maxLength: 3 })
    .map((some) => some.join(' '))
  const terms = [
    'MILK',
    'fer',
    '%',
    '_',
    '\\',
    'cafe',
    'o',
    'strasse',
    '店',
    '"milk ferry"',
    '"zoo',
    '"o 1"',
  ]
  const row = fc.record({
    ...values,
    id: fc.uuid(),
    title: someText,
    description: someText,
    position: fc.constantFrom('a0', 'a1', 'Zz', 'a0V'),
    deleted: fc.boolean(),
  })

  type Field = keyof typeof values
  interface Filter {
    field: Field
    operator: string
    value: unknown
  }
  const comparable: Field[] = [
    'priority',
    'due_date',
    'due_time',
    'remind_at',
    'completed_at',
    'created_at',
    'updated_at',
  ]
  const nullableFields: Field[] = [
    'category_id',
    'due_date',
    'due_time',
    'remind_at',
    'completed_at',
  ]
  const listable: Field[] = ['category_id', 'priority', 'due_date', 'due_time']
  const filterOn = (fields: Field[], operator: fc.Arbitrary<string>) =>
    fc.constantFrom(...fields).chain((field) =>
      fc.record({
        field: fc.constant(field),
        operator,
        value: (values[field] as fc.Arbitrary<unknown>).filter((value) => value !== null),
      }),
    )
  const filter: fc.Arbitrary<Filter> = fc.oneof(
    filterOn(Object.keys(values) as Field[], fc.constant('eq')),
    filterOn(comparable, fc.constantFrom('gt', 'gte', 'lt', 'lte')),
    fc.record({
      field: fc.constantFrom(...nullableFields),
      operator: fc.constant('isnull'),
      value: fc.boolean(),
    }),
    fc.constantFrom(...listable).chain((field) =>
      fc.record({
        field: fc.constant(field),
        operator: fc.constant('in'),
        value: fc.array(
          (values[field] as fc.Arbitrary<unknown>).filter((value) => value !== null),
          { minLength: 1, maxLength: 3 },
        ),
      }),
    ),
  )
  const order = fc.uniqueArray(
    fc.record({ field: fc.constantFrom(...resources.tasks.sortable), descending: fc.boolean() }),
    { minLength: 1, maxLength: 3, selector: ({ field }) => field },
  )
  const listing = fc.record({
    filters: fc.uniqueArray(filter, {
      maxLength: 2,
      selector: ({ field, operator }) => `${field} ${operator}`,
    }),
    words: fc.array(fc.constantFrom(...terms), { maxLength: 2 }),
    order: fc.option(order, { nil: undefined }),
    deleted: fc.boolean(),
    size: fc.integer({ min: 1, max: 7 }),
  })
  const NEWEST = [{ field: 'created_at' as const, descending: true }]
  type Listing = typeof listing extends fc.Arbitrary<infer L> ? L : never

  test('pages and cursors return the same as a list in memory', async () => {
    const rows = fc.uniqueArray(row, { maxLength: 24, selector: ({ id }) => id })
    await fc.assert(
      fc.asyncProperty(
        rows,
        fc.array(fc.record({ at: fc.nat(), title: someText, deleted: fc.boolean() }), {
          maxLength: 4,
        }),
        fc.nat({ max: 2 }),
        fc.array(listing, { minLength: 1, maxLength: 4 }),
        async (some, edits, indexed, lists) => {
          const ann = await server.person()
          await keep(
            ann,
            resources.categories,
            CATEGORIES.map((id) => ({ id, name: 'x' })),
          )
          const kept = await keep(ann, resources.tasks, some)
          const index = () => indexSearch(server.testDatabase.db, ann.id, resources.tasks)
          // What an index has may be older than what is stored.
          if (indexed > 0) await index()
          for (const { at, ...edit } of edits) {
            const nth = at % kept.length
            if (kept[nth])
              [kept[nth]] = (await keep(ann, resources.tasks, [
                { ...kept[nth].document, ...edit },
              ])) as [Row]
          }
          if (indexed > 1) await index()
          for (const list of lists) {
            const expected = plainly(kept, list)
            const path = query(parametersOf(list))
            const pages = await walk(ann, path)
            expect(pages.flatMap(idsOf)).toEqual(expected)
            expect(pages[0]!.body.count).toBe(expected.length)
            expect(pages).toHaveLength(Math.max(1, Math.ceil(expected.length / list.size)))

            const slices = await walk(ann, `${path}&cursor=`)
            expect(slices.flatMap(idsOf)).toEqual(expected)
            expect(slices).toHaveLength(pages.length)
            if (slices.length < 2) continue
            const last = new URL(slices.at(-2)!.body.next)
            const back = await walk(ann, `${last.pathname}${last.search}`, 'previous')
            expect(back.reverse().flatMap(idsOf)).toEqual(expected)
          }
        },
      ),
      { numRuns: 40 },
    )
  }, 120_000)

  const idsOf = ({ body }: Reply): string[] => body.results.map(({ id }: Document) => id)

  function parametersOf({ filters, words, order, deleted, size }: Listing): Record<string, string> {
    return {
      ...Object.fromEntries(
        filters.map(({ field, operator, value }) => [
          operator === 'eq' ? field : `${field}__${operator}`,
          String(value),
        ]),
      ),
      ...(words.length > 0 && { search: words.join(' ') }),
      ...(deleted && { deleted: 'true' }),
      ...(order && {
        ordering: order
          .map(({ field, descending }) => (descending ? `-${field}` : field))
          .join(','),
      }),
      page_size: String(size),
    }
  }

  interface Row {
    deleted: boolean
    document: Document
  }

  function plainly(
    kept: readonly Row[],
    { filters, words, order = NEWEST, deleted }: Listing,
  ): string[] {
    const passing = kept
      .filter((row) => row.deleted === deleted)
      .map(({ document }) => document)
      .filter((document) => filters.every((one) => passes(document, one)))
      .filter((document) => relevanceOf(document, words) !== undefined)
    passing.sort((a, b) => {
      const [x, y] = [a, b].map((document) => relevanceOf(document, words)!)
      if (order === NEWEST && x !== y) return y! - x!
      for (const { field, descending } of order) {
        const [x, y] = [a[field], b[field]]
        if (x === null || y === null) {
          if (x !== y) return x === null ? 1 : -1
        } else if (compare(field, x, y) !== 0)
          return descending ? -compare(field, x, y) : compare(field, x, y)
      }
      return a.id < b.id ? -1 : 1
    })
    return passing.map(({ id }) => id)
  }

  const relevanceOf = (document: Document, words: readonly string[]) =>
    searchRelevance(resources.tasks, document, searchTerms(words.join(' ')))

  function passes(document: Document, { field, operator, value }: Filter): boolean {
    const own = document[field]
    if (operator === 'isnull') return (own === null) === value
    if (own === null) return false
    if (operator === 'in') return (value as unknown[]).includes(own)
    const difference = compare(field, own, value)
    if (operator === 'gt') return difference > 0
    if (operator === 'gte') return difference >= 0
    if (operator === 'lt') return difference < 0
    if (operator === 'lte') return difference <= 0
    return difference === 0
  }

  function compare(field: string, a: unknown, b: unknown): number {
    if (field === 'priority')
      return PRIORITIES.indexOf(a as string) - PRIORITIES.indexOf(b as string)
    if (field === 'title') return human.compare(a as string, b as string)
    return a === b ? 0 : (a as string) < (b as string) ? -1 : 1
  }
  const human = new Intl.Collator('en')
})
