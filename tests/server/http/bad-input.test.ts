import { once } from 'node:events'
import http from 'node:http'
import net from 'node:net'
import { gzipSync } from 'node:zlib'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { PROBLEMS, type ProblemCode, problemSchema } from '../../../protocol/index.ts'
import { type Person, type Reply, startServer, type TestServer } from '../../support/server.ts'

let server: TestServer
let ann: Person
/** Paths of documents of hers that every request below leaves alone. */
let paths: Record<'task' | 'category', string>
beforeAll(async () => {
  server = await startServer()
  ann = await server.staff('admin') // whom no operation refuses for her role
  const task = await ann.call('POST', '/api/tasks/', { title: 'Milk' })
  const category = await ann.call('POST', '/api/categories/', { name: 'Travel' })
  paths = {
    task: `/api/tasks/${task.body.id}/`,
    category: `/api/categories/${category.body.id}/`,
  }
})
afterAll(async () => {
  await server.stop()
  expect(server.logged.filter((line) => line.includes('request failed'))).toEqual([])
})

interface Refusal {
  code: ProblemCode
  /** A part of the message about each field that is at fault, and no other. */
  errors?: Record<string, RegExp>
}

/** Makes a request that must be refused in this way and leave no trace. */
async function expectRefused(request: () => Promise<Reply>, { code, errors }: Refusal) {
  const before = await everythingStored()
  const reply = await request()
  expect(await everythingStored()).toBe(before)
  expect({ status: reply.status, code: reply.body?.code, detail: reply.body?.detail }).toEqual({
    status: PROBLEMS[code].status,
    code,
    detail: expect.stringMatching(/\S/),
  })
  expect(reply.headers.get('content-type')).toBe('application/problem+json')
  expect(problemSchema.strict().safeParse(reply.body).error).toBeUndefined()
  expect(reply.body).toMatchObject({
    type: `urn:tasktide:problem:${code}`,
    title: PROBLEMS[code].title,
    status: reply.status,
  })
  if (errors) {
    expect(Object.keys(reply.body.errors).sort()).toEqual(Object.keys(errors).sort())
    for (const [name, message] of Object.entries(errors))
      expect(
        Object.entries<string[]>(reply.body.errors)
          .find(([key]) => key === name)![1]
          .join(' '),
      ).toMatch(message)
  }
  expect(Object.keys(Object.prototype)).toEqual([])
  expect('polluted' in {}).toBe(false)
  return reply
}

async function everythingStored(): Promise<string> {
  const tables = ['users', 'feeds', 'profiles', 'categories', 'tasks']
  const digests = tables.map(
    (table) =>
      `(select coalesce(md5(string_agg(t::text, ',' order by t::text)), '') from ${table} t)`,
  )
  const { rows } = await server.testDatabase.db.raw(
    `select concat_ws(' ', ${digests.join(', ')}) as all`,
  )
  return rows[0].all
}

const long = (length: number) => 'x'.repeat(length)
const LONE = '\ud800'

describe('a field of a task', () => {
  test.each<[string, unknown, RegExp]>([
    ['title', 7, /^Use text\.$/],
    ['title', null, /^Use text\.$/],
    ['title', ['Milk'], /^Use text\.$/],
    ['title', { text: 'Milk' }, /^Use text\.$/],
    ['title', '', /Enter some text; this is blank/],
    ['title', ' \n\t\u00a0\u3000', /Enter some text; this is blank/],
    ['title', '\u200b\u2060\ufe0f', /Enter some text; this is blank/],
    ['title', long(501), /at most 500 characters/],
    ['title', 'a\0b', /Remove NUL/],
    ['title', `a${LONE}b`, /unpaired surrogate/],
    ['title', '\udc00\ud800', /unpaired surrogate/],
    ['description', 7, /^Use text\.$/],
    ['description', null, /^Use text\.$/],
    ['description', long(10_001), /at most 10000 characters/],
    ['description', '\0', /Remove NUL/],
    ['description', LONE, /unpaired surrogate/],
    ['category_id', 'home', /Use a UUID/],
    ['category_id', '', /Use a UUID/],
    ['category_id', 7, /Use a UUID/],
    ['category_id', '0190a5c2-7a4e-7cc3-98c4-dc0c0c07398f\0', /Use a UUID/],
    ['category_id', '{0190a5c2-7a4e-7cc3-98c4-dc0c0c07398f}', /Use a UUID/],
    ['priority', 'urgent', /^Use one of low, medium, high\.$/],
    ['priority', 'High', /^Use one of low, medium, high\.$/],
    ['priority', 2, /^Use one of low, medium, high\.$/],
    ['priority', null, /^Use one of low, medium, high\.$/],
    ['priority', 'toString', /^Use one of low, medium, high\.$/],
    ['due_date', '2026-02-30', /YYYY-MM-DD/],
    ['due_date', '2025-02-29', /YYYY-MM-DD/],
    ['due_date', '2026-13-01', /YYYY-MM-DD/],
    ['due_date', '2026-1-1', /YYYY-MM-DD/],
    ['due_date', '0000-01-01', /Use a year from 0001 to 9999/],
    ['due_date', '10000-01-01', /YYYY-MM-DD/],
    ['due_date', '-0001-01-01', /YYYY-MM-DD/],
    ['due_date', '2026-11-22T08:30:00Z', /YYYY-MM-DD/],
    ['due_date', 'infinity', /YYYY-MM-DD/],
    ['due_date', 'today', /YYYY-MM-DD/],
    ['due_date', '', /YYYY-MM-DD/],
    ['due_date', 20261122, /YYYY-MM-DD/],
    ['due_date', '2026-01-01\0', /YYYY-MM-DD/],
    ['due_time', '24:00', /HH:MM/],
    ['due_time', '8:30', /HH:MM/],
    ['due_time', '08:60', /HH:MM/],
    ['due_time', '08:30:00', /HH:MM/],
    ['due_time', '08:30\n', /HH:MM/],
    ['due_time', '', /HH:MM/],
    ['due_time', 830, /HH:MM/],
    ['remind_at', '2026-11-22T08:30:00', /ISO 8601 with an offset/],
    ['remind_at', '2026-02-30T08:30:00Z', /ISO 8601 with an offset/],
    ['remind_at', '2026-11-22T24:00:00Z', /ISO 8601 with an offset/],
    ['remind_at', '2026-11-22T08:30:60Z', /ISO 8601 with an offset/],
    ['remind_at', '2026-11-22 08:30:00Z', /ISO 8601 with an offset/],
    ['remind_at', '2026-11-22', /ISO 8601 with an offset/],
    ['remind_at', 'now', /ISO 8601 with an offset/],
    ['remind_at', 1_800_000_000, /ISO 8601 with an offset/],
    ['remind_at', '0000-06-01T00:00:00Z', /Use a year from 0001 to 9999/],
    ['remind_at', '0001-01-01T00:00:00+14:00', /Use a year from 0001 to 9999/],
    ['remind_at', '9999-12-31T23:59:59-14:00', /Use a year from 0001 to 9999/],
    ['remind_at', '10000-01-01T00:00:00Z', /ISO 8601 with an offset/],
    ['remind_at', '+010000-01-01T00:00:00Z', /ISO 8601 with an offset/],
    ['completed', 'true', /^Use true or false\.$/],
    ['completed', 1, /^Use true or false\.$/],
    ['completed', null, /^Use true or false\.$/],
    ['position', 'a', /fractional-indexing/],
    ['position', 'a00', /fractional-indexing/],
    ['position', '', /fractional-indexing/],
    ['position', 'a0\0', /fractional-indexing/],
    ['position', `a0${long(199)}`, /grown too long/],
    ['position', 1, /fractional-indexing/],
    ['position', null, /fractional-indexing/],
    ['completed_at', '2026-11-22T08:30:00.000Z', /Unknown name\. Use one of: title, /],
    ['created_at', '2026-11-22T08:30:00.000Z', /Unknown name\. Use one of: title, /],
    ['user_id', '0190a5c2-7a4e-7cc3-98c4-dc0c0c07398f', /Unknown name\. Use one of: title, /],
    ['seq', 1, /Unknown name\. Use one of: title, /],
    ['deleted', true, /Unknown name\. Use one of: title, /],
    ['_deleted', true, /Unknown name\. Use one of: title, /],
    ['Title', 'Milk', /Unknown name\. Use one of: title, /],
    ['', 'Milk', /Unknown name\. Use one of: title, /],
    ['constructor', { prototype: { polluted: 1 } }, /Unknown name\. Use one of: title, /],
    ['prototype', { polluted: 1 }, /Unknown name\. Use one of: title, /],
    ['hasOwnProperty', 1, /Unknown name\. Use one of: title, /],
    ['toString', 1, /Unknown name\. Use one of: title, /],
  ])('%s: %j is refused', async (field, value, message) => {
    const body = { title: 'Milk', [field]: value }
    const refusal = { code: 'invalid', errors: { [field]: message } } as const
    await expectRefused(() => ann.call('POST', '/api/tasks/', body), refusal)
    await expectRefused(() => ann.call('PATCH', paths.task, { [field]: value }), refusal)
  })

  test.each([
    ['', /Use a UUID/],
    ['x', /Use a UUID/],
    [7, /Use a UUID/],
    [null, /Use a UUID/],
    ['0190a5c27a4e7cc398c4dc0c0c07398f', /Use a UUID/],
    ['0190a5c2-7a4e-0cc3-18c4-dc0c0c07398f', /Use a UUID/],
  ])('id: %j is refused', async (id, message) => {
    await expectRefused(() => ann.call('POST', '/api/tasks/', { title: 'Milk', id }), {
      code: 'invalid',
      errors: { id: message },
    })
  })

  test.each(['PUT', 'POST'])('title is required: %s', async (method) => {
    await expectRefused(() => ann.call(method, method === 'PUT' ? paths.task : '/api/tasks/', {}), {
      code: 'invalid',
      errors: { title: /^Required\.$/ },
    })
  })

  test('several errors are reported at once, each under its field', async () => {
    await expectRefused(
      () =>
        ann.call('POST', '/api/tasks/', { priority: 'urgent', due_time: '8', colour: 1, size: 2 }),
      {
        code: 'invalid',
        errors: {
          title: /Required/,
          priority: /^Use one of low, medium, high\.$/,
          due_time: /HH:MM/,
          colour: /Unknown/,
          size: /Unknown/,
        },
      },
    )
  })

  test('a name that is very long is not repeated in full', async () => {
    const reply = await expectRefused(() => ann.call('PATCH', paths.task, { [long(100_000)]: 1 }), {
      code: 'invalid',
    })
    expect(reply.text.length).toBeLessThan(2_000)
  })

  test('thousands of unknown fields are refused', async () => {
    await expectRefused(
      () =>
        ann.call(
          'PATCH',
          paths.task,
          Object.fromEntries(Array.from({ length: 5_000 }, (_, i) => [`field${i}`, i])),
        ),
      { code: 'invalid' },
    )
  })
})

test.each<[string, unknown, RegExp]>([
  ['name', '', /blank/],
  ['name', '\u3164', /blank/],
  ['name', long(101), /at most 100 characters/],
  ['name', 'a\0', /Remove NUL/],
  ['color', 'red', /six hexadecimal digits/],
  ['color', '#fff', /six hexadecimal digits/],
  ['color', '#0ea5e9 ', /six hexadecimal digits/],
  ['color', '#0ea5e9\n', /six hexadecimal digits/],
  ['color', '#gggggg', /six hexadecimal digits/],
  ['color', null, /^Use text\.$/],
  ['position', 'first', /fractional-indexing/],
])('the %s %j of a category is refused', async (field, value, message) => {
  const refusal = { code: 'invalid', errors: { [field]: message } } as const
  const body = { name: 'Travel', [field]: value }
  await expectRefused(() => ann.call('POST', '/api/categories/', body), refusal)
  await expectRefused(() => ann.call('PATCH', paths.category, { [field]: value }), refusal)
})

test.each<[string, unknown, RegExp]>([
  ['display_name', long(151), /at most 150 characters/],
  ['display_name', LONE, /unpaired surrogate/],
  ['bio', long(2_001), /at most 2000 characters/],
  ['bio', 'a\0', /Remove NUL/],
  ['timezone', 'Europe/Lisboa', /IANA timezone/],
  ['timezone', '+02:00', /IANA timezone/],
  ['timezone', '', /IANA timezone/],
  ['timezone', 'UTC\0', /IANA timezone/],
  ['timezone', '../../etc/passwd', /IANA timezone/],
  ['timezone', 'x'.repeat(65), /IANA timezone/],
  ['timezone', null, /^Use text\.$/],
  ['locale', 'english please', /BCP 47/],
  ['locale', '', /BCP 47/],
  ['locale', 'en_US', /BCP 47/],
  ['locale', 'en\0', /BCP 47/],
  ['locale', `en${'-aaaaaaaa'.repeat(4)}`, /35|BCP 47/],
  ['email_notifications', 'yes', /^Use true or false\.$/],
  ['remind_minutes_before', -1, /whole number from 0 to 40320/],
  ['remind_minutes_before', 40_321, /whole number from 0 to 40320/],
  ['remind_minutes_before', 1.5, /whole number from 0 to 40320/],
  ['remind_minutes_before', 1e300, /whole number from 0 to 40320/],
  ['remind_minutes_before', '30', /whole number from 0 to 40320/],
  ['remind_all_day_at', '24:00', /HH:MM/],
  ['digest_at', '7:30', /HH:MM/],
  ['id', '0190a5c2-7a4e-7cc3-98c4-dc0c0c07398f', /Unknown/],
  ['email', 'ann@example.com', /Unknown/],
])('the %s %j of a profile is refused', async (field, value, message) => {
  await expectRefused(() => ann.call('PATCH', '/api/profile/', { [field]: value }), {
    code: 'invalid',
    errors: { [field]: message },
  })
})

describe('a body', () => {
  const json = { 'content-type': 'application/json' }
  const deep = (open: string, close: string, levels: number) =>
    open.repeat(levels) + close.repeat(levels)
  const bytes = (...parts: (string | number[])[]) =>
    Uint8Array.from(parts.flatMap((part) => [...Buffer.from(part as string)]))

  test.each<[string, string | Uint8Array<ArrayBuffer>, Refusal, Record<string, string>?]>([
    ['of nothing, as JSON', '', { code: 'invalid' }],
    ['of spaces', '  ', { code: 'malformed' }],
    ['cut short', '{"title": "Mil', { code: 'malformed' }],
    ['with a comma too many', '{"title": "Milk",}', { code: 'malformed' }],
    ['in single quotes', "{'title': 'Milk'}", { code: 'malformed' }],
    ['with NaN', '{"title": NaN}', { code: 'malformed' }],
    ['with a bare control character', '{"title": "a\u0001"}', { code: 'malformed' }],
    ['with something after it', '{"title": "Milk"} {}', { code: 'malformed' }],
    ['that is a form', 'title=Milk', { code: 'malformed' }],
    ['that is null', 'null', { code: 'invalid', errors: { '': /^Use an object\.$/ } }],
    ['that is a number', '1', { code: 'invalid', errors: { '': /^Use an object\.$/ } }],
    ['that is text', '"x"', { code: 'invalid', errors: { '': /^Use an object\.$/ } }],
    ['that is true', 'true', { code: 'invalid', errors: { '': /^Use an object\.$/ } }],
    ['that is a list', '[]', { code: 'invalid', errors: { '': /^Use an object\.$/ } }],
    [
      'that is a list of tasks',
      '[{"title": "Milk"}]',
      { code: 'invalid', errors: { '': /^Use an object\.$/ } },
    ],
    [
      'with __proto__',
      '{"title": "Milk", "__proto__": {"polluted": 1}}',
      { code: 'invalid', errors: { ['__proto__']: /Unknown/ } },
    ],
    [
      'with __proto__ deep inside',
      '{"title": {"__proto__": {"polluted": 1}}}',
      { code: 'invalid', errors: { title: /^Use text\.$/ } },
    ],
    [
      'with a constructor',
      '{"title": "Milk", "constructor": {"prototype": {"polluted": 1}}}',
      { code: 'invalid', errors: { constructor: /Unknown/ } },
    ],
    [
      'with 2,000 levels in a field',
      `{"title": ${deep('[', ']', 2_000)}}`,
      { code: 'invalid', errors: { title: /^Use text\.$/ } },
    ],
    [
      'with deep levels in a field that is unknown',
      `{"title": "x", "deep": ${deep('[', ']', 2_000)}}`,
      { code: 'invalid', errors: { deep: /Unknown/ } },
    ],
    ['of 100,000 levels of lists', deep('[', ']', 100_000), { code: 'too_large' }],
    [
      'with 100,000 levels in a field',
      `{"title": ${deep('[', ']', 100_000)}}`,
      { code: 'too_large' },
    ],
    [
      'with 30,000 levels of objects',
      `{"title": ${'{"a":'.repeat(30_000)}1${'}'.repeat(30_000)}}`,
      { code: 'too_large' },
    ],
    [
      'with deep levels in an unknown field',
      `{"title": "x", "deep": ${deep('[', ']', 100_000)}}`,
      { code: 'too_large' },
    ],
    [
      'with bytes that are not UTF-8',
      bytes('{"title": "a', [0xff, 0xfe], '"}'),
      { code: 'malformed' },
    ],
    [
      'with half a character in bytes',
      bytes('{"title": "a', [0xed, 0xa0, 0x80], '"}'),
      { code: 'malformed' },
    ],
    ['larger than is taken', JSON.stringify({ title: long(300_000) }), { code: 'too_large' }],
    ['of 10 MB', JSON.stringify({ title: long(10 * 1024 * 1024) }), { code: 'too_large' }],
    [
      'of 10 MB, packed small',
      gzipped(JSON.stringify({ title: long(10 * 1024 * 1024) })),
      { code: 'too_large' },
      { 'content-encoding': 'gzip' },
    ],
    ['said to be gzip', '{"title": "Milk"}', { code: 'malformed' }, { 'content-encoding': 'gzip' }],
    [
      'of gzip cut short',
      gzipped('{"title": "Milk"}').slice(0, 20),
      { code: 'malformed' },
      { 'content-encoding': 'gzip' },
    ],
    [
      'said to be deflate',
      '{"title": "Milk"}',
      { code: 'malformed' },
      { 'content-encoding': 'deflate' },
    ],
    ['said to be brotli', '{"title": "Milk"}', { code: 'malformed' }, { 'content-encoding': 'br' }],
    [
      'in an unknown encoding',
      '{"title": "Milk"}',
      { code: 'unsupported_media_type' },
      { 'content-encoding': 'compress' },
    ],
    [
      'in Latin-1',
      '{"title": "Milk"}',
      { code: 'unsupported_media_type' },
      { 'content-type': 'application/json; charset=iso-8859-1' },
    ],
    [
      'in no known charset',
      '{"title": "Milk"}',
      { code: 'unsupported_media_type' },
      { 'content-type': 'application/json; charset=klingon' },
    ],
    [
      'as plain text',
      '{"title": "Milk"}',
      { code: 'unsupported_media_type' },
      { 'content-type': 'text/plain' },
    ],
    [
      'as a form',
      'title=Milk',
      { code: 'unsupported_media_type' },
      { 'content-type': 'application/x-www-form-urlencoded' },
    ],
    [
      'as a multipart form',
      '--x\r\n\r\n--x--',
      { code: 'unsupported_media_type' },
      { 'content-type': 'multipart/form-data; boundary=x' },
    ],
    [
      'with an invalid media type',
      '{"title": "Milk"}',
      { code: 'unsupported_media_type' },
      { 'content-type': 'json' },
    ],
  ])('%s is refused', async (_what, raw, refusal, headers = {}) => {
    const options = { raw, headers: { ...json, ...headers } }
    for (const [method, path] of [
      ['POST', '/api/tasks/'],
      ['PATCH', paths.task],
      ['PUT', paths.task],
    ] as const)
      await expectRefused(() => ann.call(method, path, undefined, options), refusal)
  })

  test('a body without a media type is refused', async () => {
    const options = { raw: bytes('{"title": "Milk"}') }
    await expectRefused(() => ann.call('POST', '/api/tasks/', undefined, options), {
      code: 'unsupported_media_type',
    })
  })

  describe.each<[string, string, () => string]>([
    ['for a new task', 'POST', () => '/api/tasks/'],
    ['for the whole of a task', 'PUT', () => paths.task],
    ['for a change of a task', 'PATCH', () => paths.task],
    ['for a change of the profile', 'PATCH', () => '/api/profile/'],
    ['for a token', 'POST', () => '/api/token/'],
  ])('that is missing is refused %s', (_what, method, path) => {
    test.each<[string, () => Promise<Reply>]>([
      ['with no media type', () => ann.call(method, path())],
      ['as JSON', () => ann.call(method, path(), undefined, { headers: json })],
      ['with no media type and no length', () => spoken(method, path())],
      ['as JSON and with no length', () => spoken(method, path(), json)],
    ])('%s', async (_how, request) => {
      await expectRefused(request, { code: 'invalid', errors: { '': /missing/ } })
    })
  })
})

describe('a path', () => {
  test.each([
    '/api/tasks/%zz/',
    '/api/tasks/%',
    '/api/tasks/%ff/',
    '/api/tasks/%c3%28/',
    '/api/tasks/%ed%a0%80/',
    '/api/tasks/%zz/restore/',
    '/api/categories/%e0%a4%a/',
  ])('with bad escapes is malformed: %s', async (path) => {
    for (const method of ['GET', 'DELETE'])
      if (!path.includes('restore'))
        await expectRefused(() => ann.call(method, path), { code: 'malformed' })
    if (path.includes('restore'))
      await expectRefused(() => ann.call('POST', path), { code: 'malformed' })
  })

  test.each([
    '/api/tasks/%00/',
    '/api/tasks/0190a5c2-7a4e-7cc3-98c4-dc0c0c07398f%00/',
    '/api/tasks/0190a5c2-7a4e-7cc3-98c4-dc0c0c07398f%0a/',
    '/api/tasks/1/',
    '/api/tasks/__proto__/',
    "/api/tasks/'%20or%20true--/",
    '/api/tasks/..%2fprofile/',
    `/api/tasks/${long(5_000)}/`,
  ])('with an invalid id finds nothing: %s', async (path) => {
    for (const method of ['GET', 'DELETE', 'PATCH', 'PUT'])
      await expectRefused(
        () => ann.call(method, path, method.startsWith('P') ? { title: 'x' } : undefined),
        { code: 'not_found' },
      )
  })

  test.each([
    '/api/task/',
    '/api/tasks/0190a5c2-7a4e-7cc3-98c4-dc0c0c07398f/restore/again/',
    '/api/tasks/0190a5c2-7a4e-7cc3-98c4-dc0c0c07398f/archive/',
    '/api/profile/restore/',
    '/api//tasks/',
    '/api/tasks//',
    '/constructor',
    '/__proto__',
    '/api/docs/../../package.json',
    '/api/docs/%2e%2e/package.json',
    '/favicon.ico',
    '/%00',
    `/${long(8_000)}`,
  ])('that is unknown is not found, in any way: %s', async (path) => {
    for (const method of ['GET', 'POST', 'PUT', 'PATCH', 'DELETE']) {
      const reply = await expectRefused(() => ann.call(method, path), { code: 'not_found' })
      expect(reply.text.length).toBeLessThan(1_000)
    }
  })

  test.each([
    ['GET', '/couch/unknown', 404, 'not_found'],
    ['GET', '/couch/tasks/_local/x', 404, 'not_found'],
    ['GET', '/couch/tasks/_design/x/_view/y', 404, 'not_found'],
    ['PUT', '/couch/tasks/x/attachment', 403, 'forbidden'],
    ['POST', '/couch/tasks/_revs_diff', 400, 'bad_request'],
  ])(
    'that is one of CouchDB is refused as CouchDB does: %s %s',
    async (method, path, status, error) => {
      const reply = await ann.call(method, path)
      expect(reply).toMatchObject({ status, body: { error, reason: expect.any(String) } })
      expect(await server.call(method, path)).toMatchObject({
        body: { reason: expect.any(String) },
      })
    },
  )

  test.each([
    '/api/docs/package.json',
    '/api/docs/%2e%2e%2fpackage.json',
    '/api/docs/nothing/here',
  ])('that is not a file of the API page is not found: %s', async (path) => {
    await expectRefused(() => ann.call('GET', path), { code: 'not_found' })
  })

  test('that is longer than a request line may be is refused', async () => {
    await expectRefused(() => spoken('GET', `/api/tasks/?search=${long(100_000)}`), {
      code: 'headers_too_large',
    })
  })

  test('a header that is too long is refused', async () => {
    await expectRefused(() => spoken('GET', '/api/tasks/', { 'x-long': long(100_000) }), {
      code: 'headers_too_large',
    })
  })

  test('input that is not HTTP is refused', async () => {
    await expectRefused(() => said('HELO example.com\r\n\r\n'), { code: 'malformed' })
  })

  test.each([
    ['a length that is none', 'Content-Length: x'],
    ['two lengths', 'Content-Length: 2\r\nContent-Length: 3'],
    ['a length and chunks', 'Content-Length: 2\r\nTransfer-Encoding: chunked'],
  ])('a body with %s is refused', async (_what, headers) => {
    await expectRefused(
      () =>
        said(
          `POST /api/tasks/ HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer ${ann.access}\r\nContent-Type: application/json\r\n${headers}\r\n\r\n{}`,
        ),
      { code: 'malformed' },
    )
  })
})

describe('a query', () => {
  test.each<[string, Record<string, RegExp>]>([
    ['page=0', { page: /whole number from 1/ }],
    ['page=1000001', { page: /whole number from 1/ }],
    ['page=99999999999999999999999999', { page: /whole number from 1/ }],
    ['page=1e9', { page: /whole number from 1/ }],
    ['page_size=201', { page_size: /whole number from 0 to 200/ }],
    ['page_size=9007199254740993', { page_size: /whole number from 0 to 200/ }],
    ['search=a%00b', { search: /NUL/ }],
    ['due_date=2026-02-30', { due_date: /YYYY-MM-DD/ }],
    ['due_date__gt=0000-01-01', { due_date__gt: /0001 to 9999/ }],
    ['due_date__lt=10000-01-01', { due_date__lt: /YYYY-MM-DD/ }],
    ['created_at__gt=now', { created_at__gt: /ISO 8601/ }],
    ['category_id=%00', { category_id: /UUID/ }],
    ['priority=%00', { priority: /^Use one of low, medium, high\.$/ }],
    ['ordering=%00', { ordering: /Sort by one of/ }],
    ['cursor=%00', { cursor: /Start again/ }],
    ['__proto__=x', { ['__proto__']: /Unknown/ }],
    ['__proto__[polluted]=1', { '__proto__[polluted]': /Unknown/ }],
    ['constructor=x', { constructor: /Unknown/ }],
    ['prototype=x', { prototype: /Unknown/ }],
    ['priority[]=low', { 'priority[]': /Unknown/ }],
    ['=x', { '': /Unknown/ }],
    ['%00=x', { '\0': /Unknown/ }],
    ['page=1&page=2', { page: /once/ }],
  ])('%s is refused', async (query, errors) => {
    await expectRefused(() => ann.call('GET', `/api/tasks/?${query}`), { code: 'invalid', errors })
  })

  test('every operation rejects unknown parameters', async () => {
    const own = server.app.operations.filter(({ ignoresOthers }) => !ignoresOthers)
    for (const { id, method, path, access, body } of own) {
      const sent = body && Object.values(body.examples)[0]
      const at = path.replace('{id}', paths.task.split('/')[3]!)
      const caller = access === 'bearer' ? ann.call : server.call
      const reply = await expectRefused(
        () => caller(method.toUpperCase(), `${at}?colour=red`, sent),
        {
          code: 'invalid',
        },
      )
      expect([id, Object.keys(reply.body.errors)]).toEqual([id, ['colour']])
    }
  })

  test.each(['%ed%a0%80', '%zz', '%'])(
    'a search for special characters finds nothing, and does no harm: %s',
    async (search) => {
      const bob = await server.person()
      const reply = await bob.call('GET', `/api/tasks/?search=${search}`)
      expect(reply).toMatchObject({ status: 200, body: { count: 0 } })
    },
  )
})

test.each([
  'application/json; charset=utf8',
  'application/json;charset=UTF8',
  'application/json; charset="utf8"; odata=verbose',
  'application/json; charset=utf-8',
  'application/merge-patch+json',
])('a body may be %s', async (type) => {
  const options = { raw: '{"title": "Milch für Łukasz"}', headers: { 'content-type': type } }
  const reply = await ann.call('POST', '/api/tasks/', undefined, options)
  expect(reply).toMatchObject({ status: 201, body: { title: 'Milch für Łukasz' } })
})

test('the response to an unsupported method names the supported ones', async () => {
  const { body: description } = await server.call('GET', '/api/schema/')
  const isOwn = (item: object) => JSON.stringify(item).includes('application/problem+json')
  const everyMethod = ['GET', 'POST', 'PUT', 'PATCH', 'DELETE', 'TRACE', 'PROPFIND']
  for (const [path, item] of Object.entries<object>(description.paths)) {
    if (!isOwn(item)) continue
    const taken = Object.keys(item).map((method) => method.toUpperCase())
    const allow = [...taken, ...(taken.includes('GET') ? ['HEAD'] : []), 'OPTIONS']
    for (const slash of ['/', ''])
      for (const method of everyMethod.filter((one) => !taken.includes(one))) {
        const at = path.replace('{id}', paths.task.split('/')[3]!).replace(/\/?$/, slash)
        const reply = await expectRefused(() => spoken(method, at), { code: 'method_not_allowed' })
        expect([at, reply.headers.get('allow')!.split(', ').sort()]).toEqual([
          at,
          [...allow].sort(),
        ])
        for (const one of taken) expect(reply.body.detail).toContain(one)
      }
    const options = await spoken('OPTIONS', path.replace('{id}', 'x'))
    expect(options.status).toBe(204)
    expect(options.headers.get('allow')!.split(', ').sort()).toEqual([...allow].sort())
  }
}, 120_000)

test('the server still works afterwards', async () => {
  expect(await ann.call('GET', paths.task)).toMatchObject({ status: 200, body: { title: 'Milk' } })
  expect((await server.call('GET', '/healthz')).status).toBe(200)
})

function gzipped(text: string): Uint8Array<ArrayBuffer> {
  return new Uint8Array(gzipSync(text))
}

/** Sends ann's request through node:http, which takes methods and paths that fetch does not. */
async function spoken(method: string, path: string, headers: object = {}): Promise<Reply> {
  const { hostname, port } = new URL(server.url)
  const request = http.request({
    hostname,
    port,
    method,
    path,
    agent: false,
    headers: { authorization: `Bearer ${ann.access}`, ...headers },
  })
  // Without a body and without a word about one: node would announce an empty one.
  request.useChunkedEncodingByDefault = false
  request.end()
  const [response] = (await once(request, 'response')) as [http.IncomingMessage]
  let text = ''
  for await (const chunk of response.setEncoding('utf8')) text += chunk
  return replyOf(response.statusCode!, response.headers as Record<string, string>, text)
}

/** Writes these bytes to the server and reads what comes back until it hangs up. */
async function said(bytes: string): Promise<Reply> {
  const { port } = new URL(server.url)
  const socket = net.connect(Number(port), '127.0.0.1')
  socket.end(bytes)
  let answer = ''
  for await (const chunk of socket.setEncoding('utf8')) answer += chunk
  const [head = '', text = ''] = answer.split('\r\n\r\n')
  const [status = '', ...lines] = head.split('\r\n')
  const headers = Object.fromEntries(lines.map((line) => line.split(': ') as [string, string]))
  return replyOf(Number(status.split(' ')[1]), headers, text)
}

function replyOf(status: number, headers: Record<string, string>, text: string): Reply {
  return {
    status,
    headers: new Headers(headers),
    text,
    body: text === '' ? undefined : JSON.parse(text),
  }
}

test('a body whose Content-Length is too large is refused before it arrives', async () => {
  const socket = net.connect(Number(new URL(server.url).port), '127.0.0.1')
  socket.write(
    'POST /api/token/ HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: 999999999\r\n\r\n{',
  )
  let answer = ''
  for await (const chunk of socket) answer += chunk
  expect(answer).toMatch(/^HTTP\/1.1 413 .*"code":"too_large"/s)
})
