import { randomUUID } from 'node:crypto'
import fc from 'fast-check'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { LINKED, tokenByMail } from '../../support/links.ts'
import {
  type Api,
  bodyOf,
  type DescribedOperation,
  readApi,
  revisionFacts,
  type Schema,
  targetOf,
} from '../../support/openapi-walk.ts'
import { type Person, type Reply, startServer, type TestServer } from '../../support/server.ts'

/** For each operation of the API. More of them find rarer faults: `FUZZ_RUNS=1000 npx vitest …`. */
const RUNS = Number(process.env.FUZZ_RUNS ?? 10)

/** A request that is as described, save what is spoiled in it. */
interface Attempt {
  /** In the place of the caller's own document. */
  readonly id?: string
  /** As it stands in the URL. */
  readonly query: readonly string[]
  readonly headers: Readonly<Record<string, string>>
  /** Fields in the place of the example's, each as JSON text. */
  readonly fields: Readonly<Record<string, string>>
  readonly left_out?: string
  /** The body as it is sent, in the place of all the fields. */
  readonly body?: string
}

type Spoil = (attempt: Attempt) => Attempt

let server: TestServer
let api: Api
let checksumSql: string

beforeAll(async () => {
  server = await startServer()
  api = await readApi(server.call)
  checksumSql = await checksumOfTables()
})
afterAll(() => server.stop())

test(
  'every request gets a documented response, and a refused one stores nothing',
  async () => {
    const failures: string[] = []
    const statuses: number[] = []
    for (const operation of api.operations) {
      // With their documents, so that the checksums do not take longer and longer.
      await server.testDatabase.db('users').delete()
      // What needs no token may end the session that it names: somebody new each time.
      let owner = operation.bearer ? await server.staff('admin') : undefined
      // The newest account, for an admin to act on: nobody may do such things to themselves.
      await server.person()
      const examples = worstTexts(operation).map((attempt): [Attempt] => [attempt])
      const property = fc.asyncProperty(attempts(operation), async (attempt) => {
        // Nor is what needs one always survived by it.
        if (owner && (await owner.call('GET', '/api/account/')).status === 401)
          owner = await server.staff('admin')
        const person = owner ?? (await server.person())
        const { reply, stored } = await make(operation, attempt, person)
        statuses.push(reply.status)
        expect(api.complaints(operation, reply)).toEqual([])
        expect(reply.status).toBeLessThan(500)
        if (reply.status >= 400 && !operation.foreign) expect(reply.body.status).toBe(reply.status)
        if (reply.status >= 400 || operation.method === 'GET') expect(await stored()).toBe(false)
        if (operation.bearer && attempt.headers.authorization !== undefined)
          expect(reply.status).toBe(401)
      })
      await fc
        .assert(property, { numRuns: RUNS + examples.length, examples })
        .catch((error: Error) => failures.push(`${operation.id}: ${error.message} ${error.cause}`))
    }
    expect(failures).toEqual([])
    // Neither is everything refused at the door nor everything taken.
    const taken = statuses.filter((status) => status < 400)
    expect(taken.length).toBeGreaterThan(statuses.length / 5)
    expect(taken.length).toBeLessThan((statuses.length * 4) / 5)
  },
  120_000 + RUNS * 5_000,
)

async function make(operation: DescribedOperation, attempt: Attempt, person: Person) {
  const { path } = await targetOf(api, operation, person.call)
  const purpose = LINKED[operation.id]
  const token = purpose ? await tokenByMail(server, person, purpose) : person.access
  const revision = await revisionFacts(operation, path, person.call)
  const before = await checksum()
  const own = path.split('/')
  const at = operation.path.split('/').findLastIndex((part) => part.startsWith('{'))
  if (at >= 0 && attempt.id !== undefined) own[at] = attempt.id
  const query = attempt.query.length > 0 ? `?${attempt.query.join('&')}` : ''
  const username = `n${randomUUID().slice(0, 8)}`
  const facts = {
    username: operation.id === 'register' ? username : person.username,
    email: `${username}@example.com`,
    refresh: person.refresh,
    token,
    ...revision,
  }
  const call = operation.bearer ? person.call : server.call
  const reply: Reply = await call(operation.method, own.join('/') + query, undefined, {
    headers: {
      ...(operation.body && { 'content-type': 'application/json' }),
      ...attempt.headers,
    },
    ...(operation.body && { raw: attempt.body ?? jsonOf(bodyOf(operation, facts), attempt) }),
  })
  return { reply, stored: async () => (await checksum()) !== before }
}

function jsonOf(example: unknown, { fields, left_out }: Attempt): string {
  const own = Object.entries(example as object)
    .filter(([name]) => !Object.hasOwn(fields, name))
    .map(([name, value]): [string, string] => [name, JSON.stringify(value)])
  const all = [...own, ...Object.entries(fields)].filter(([name]) => name !== left_out)
  return `{${all.map(([name, json]) => `${JSON.stringify(name)}:${json}`).join(',')}}`
}

/** Requests that are as described, and requests that are so but for one thing. */
function attempts(operation: DescribedOperation): fc.Arbitrary<Attempt> {
  const properties = propertiesOf(operation)
  // A feed that waits for news would outlast the test.
  const query = operation.parameters.filter(
    ({ in: where, schema }) => where === 'query' && !schema.enum?.includes('longpoll'),
  )
  const conforming = fc.record({
    query: upToThree(query).chain((some) => {
      const written = some.map(({ name, schema }) => queryValues(schema).map((v) => `${name}=${v}`))
      return fc.tuple(...written)
    }),
    headers: fc.constant({}),
    fields: someOf(properties),
  })
  const names = Object.keys(properties)
  const spoils: fc.WeightedArbitrary<Spoil>[] = [
    { weight: 4, arbitrary: fc.constant((attempt) => attempt) },
    {
      weight: 2,
      arbitrary: fc
        .tuple(
          fc.oneof(fc.constantFrom(...UNKNOWN, ...query.map(({ name }) => name))),
          HOSTILE_QUERY,
        )
        .map(([name, value]) => (attempt) => ({
          ...attempt,
          query: [...attempt.query, `${name}=${value}`],
        })),
    },
    {
      weight: 2,
      arbitrary: HOSTILE_HEADERS.map((headers) => (attempt) => ({ ...attempt, headers })),
    },
  ]
  if (operation.path.includes('{'))
    spoils.push({
      weight: 2,
      arbitrary: HOSTILE_ID.map((id) => (attempt) => ({ ...attempt, id })),
    })
  if (names.length > 0)
    spoils.push(
      {
        weight: 6,
        arbitrary: fc
          .tuple(fc.constantFrom(...names, ...names, ...UNKNOWN), HOSTILE_JSON)
          .map(([name, json]) => (attempt) => ({
            ...attempt,
            // Not a literal: `__proto__` is to be a field like any other.
            fields: Object.fromEntries([...Object.entries(attempt.fields), [name, json]]),
          })),
      },
      {
        weight: 1,
        arbitrary: fc
          .constantFrom(...names)
          .map((left_out) => (attempt) => ({ ...attempt, left_out })),
      },
      {
        weight: 2,
        arbitrary: HOSTILE_BODY.map((body) => (attempt) => ({ ...attempt, body })),
      },
    )
  return fc.tuple(conforming, fc.oneof(...spoils)).map(([attempt, spoil]) => spoil(attempt))
}

/** In each text in turn: what no Postgres text can hold. */
function worstTexts({ body }: DescribedOperation): Attempt[] {
  const { properties = {} } = body ? api.resolve(body.schema) : {}
  return Object.entries(properties)
    .filter(([, { type, format, enum: words }]) => type === 'string' && !format && !words)
    .flatMap(([name]) =>
      ['a\0b', 'a\ud800'].map((text) => ({
        query: [],
        headers: {},
        fields: { [name]: JSON.stringify(text) },
      })),
    )
}

/** The fields that a body may have, with values of the kind that is described. */
function propertiesOf({ body }: DescribedOperation): Record<string, fc.Arbitrary<string>> {
  const { properties = {} } = body ? api.resolve(body.schema) : {}
  return Object.fromEntries(
    Object.entries(properties).map(([name, schema]) => [
      name,
      valuesOf(schema).map((value) => JSON.stringify(value)),
    ]),
  )
}

function someOf(properties: Record<string, fc.Arbitrary<string>>) {
  return upToThree(Object.entries(properties)).chain((some) => fc.record(Object.fromEntries(some)))
}

const upToThree = <T>(items: readonly T[]) =>
  fc.subarray([...items], { maxLength: Math.min(3, items.length) })

function queryValues(schema: Schema): fc.Arbitrary<string> {
  return valuesOf(schema).map((value) =>
    (Array.isArray(value) ? value : [value]).map((one) => encoded(String(one))).join(','),
  )
}

function valuesOf(schema: Schema): fc.Arbitrary<unknown> {
  const { type, enum: words, anyOf, format, pattern, items } = api.resolve(schema)
  if (words) return fc.constantFrom(...words)
  if (anyOf) return fc.oneof(...anyOf.map(valuesOf))
  if (items) return fc.array(valuesOf(items), { minLength: 1, maxLength: 4 })
  if (type === 'null') return fc.constant(null)
  if (type === 'boolean') return fc.boolean()
  if (type === 'integer' || type === 'number') return numbersOf(schema)
  if (format === 'uuid') return fc.uuid()
  if (format === 'email') return fc.emailAddress()
  if (format === 'date') return fc.oneof(MOMENTS.map((moment) => moment.slice(0, 10)))
  if (format === 'date-time') return fc.oneof(MOMENTS, fc.constantFrom(...EDGES_OF_TIME))
  if (pattern !== undefined) return matching(pattern, schema.maxLength)
  return fc.string({ unit: 'grapheme', maxLength: Math.min(schema.maxLength ?? 40, 40) })
}

function numbersOf({ minimum = -10, maximum = 10 }: Schema): fc.Arbitrary<number> {
  return fc.oneof(fc.constantFrom(minimum, maximum), fc.integer({ min: minimum, max: maximum }))
}

function matching(pattern: string, maxLength = 1_000): fc.Arbitrary<string> {
  try {
    // What is written for people who read a pattern, fast-check cannot write from.
    const positive = pattern.replaceAll(/\(\?!.*?\)/g, '')
    return fc.stringMatching(new RegExp(positive, 'u')).filter((text) => text.length <= maxLength)
  } catch {
    return fc.string({ unit: fc.constantFrom(...'abcXYZ012'), minLength: 3, maxLength: 20 })
  }
}

const MOMENTS = fc
  .date({ min: new Date('0001-01-02'), max: new Date('9999-12-30'), noInvalidDate: true })
  .map((moment) => moment.toISOString())

const EDGES_OF_TIME = [
  '0001-01-01T00:00:00+14:00',
  '9999-12-31T23:59:59.999-14:00',
  '2026-11-22T08:30:00.123456789Z',
  '2026-06-30T23:59:60Z',
]

const UNKNOWN = ['__proto__', 'constructor', 'toString', 'user_id', 'seq', '_deleted', 'a.b', '$ne']

const LONG = 'x'.repeat(8_001)

const HOSTILE_TEXT = fc.oneof(
  fc.constantFrom(
    '',
    ' ',
    '\0',
    '\ud800',
    'a\udc00',
    '\u202e\ufeff',
    '👩‍👩‍👧',
    "'; drop table tasks --",
  ),
  fc.constantFrom('infinity', 'now', 'NaN', '24:00', '0000-01-01', '2026-02-30', '-1', '1e9', LONG),
  fc.string({ unit: 'binary', maxLength: 30 }),
)

const HOSTILE_JSON = fc.oneof(
  fc.constantFrom('null', 'true', '[]', '{}', '{"__proto__":{"a":1}}', '[[[[1]]]]'),
  fc.constantFrom('0', '-0', '-1', '1.5', '1e400', '9007199254740993', '1e-400'),
  fc.constantFrom(`${'['.repeat(2_000)}${']'.repeat(2_000)}`, `"${'x'.repeat(20_000)}"`),
  HOSTILE_TEXT.map((text) => JSON.stringify(text)),
  fc.json({ maxDepth: 3 }),
)

const HOSTILE_BODY = fc.oneof(
  fc.constantFrom(
    '',
    ' ',
    'null',
    '1',
    '"a"',
    '{',
    '{"a":}',
    '[{}]',
    '\ufeff{}',
    '{}{}',
    "{'a':1}",
  ),
  fc.constantFrom('{"__proto__":null}', `"${'x'.repeat(300_000)}"`, '['.repeat(50_000)),
  fc.json(),
)

const HOSTILE_QUERY = fc.oneof(
  fc.constantFrom('', '%', '%00', '%ed%a0%80', '%c0%80', '%zz', '+', ',', ',,', 'a=b', '[]'),
  fc.constantFrom('null', '*', '%25', '99999999999999999999', '0', '-created_at,-created_at'),
  HOSTILE_TEXT.map(encoded),
)

/** Never empty nor dots alone, which would be another path. */
const HOSTILE_ID = fc.oneof(
  fc.constantFrom('%', '%00', '%ed%a0%80', '%2f', '%2e%2e%2f', 'null', '0', 'a b', '{id}', LONG),
  fc.uuid().map((id) => id.toUpperCase()),
  fc.uuid().map((id) => `{${id}}`),
  fc.string({ unit: 'binary', minLength: 1, maxLength: 30 }).map((text) => `a${encoded(text)}`),
)

/** What a header can hold. */
const HEADER_TEXT = fc
  .string({
    unit: fc.integer({ min: 0x21, max: 0xff }).map((code) => String.fromCharCode(code)),
    maxLength: 40,
  })
  .filter((text) => !text.includes('\x7f'))

const ETAGS = fc.oneof(
  fc.constantFrom(
    '*',
    '""',
    'W/"1"',
    '"1',
    '1',
    '"1","2"',
    '"1",',
    '"9999999999999999999999"',
    '"-1"',
  ),
  HEADER_TEXT,
)

const HOSTILE_HEADERS = fc.oneof(
  fc
    .oneof(
      fc.constantFrom('', 'Bearer', 'Basic YTpi', 'Bearer a b', 'Bearer eyJhbGciOiJub25lIn0.e30.'),
      fc.constantFrom(`Bearer ${LONG}`, 'Bearer null'),
      HEADER_TEXT.map((text) => `Bearer ${text}`),
    )
    .map((authorization): Record<string, string> => ({ authorization })),
  ETAGS.map((tags) => ({ 'if-match': tags })),
  ETAGS.map((tags) => ({ 'if-none-match': tags })),
  fc
    .oneof(
      fc.constantFrom('text/plain', '*/*', 'application/jsonx', 'application/json; charset=utf-16'),
      fc.constantFrom('application/json;;;', 'application/json; charset="', 'APPLICATION/JSON', ''),
      HEADER_TEXT,
    )
    .map((type) => ({ 'content-type': type })),
  fc
    .oneof(fc.constantFrom('text/html', '*/*;q=0', 'application/yaml', 'a/b;q=x'), HEADER_TEXT)
    .map((accept) => ({ accept })),
  fc.constantFrom('gzip', 'br', 'nonsense', 'identity').map((coding) => ({
    'content-encoding': coding,
  })),
  HEADER_TEXT.map((text) => ({
    'x-request-id': text,
    'x-forwarded-for': text,
    'user-agent': text,
  })),
)

/** Percent-encoded; halves of surrogate pairs, which have no UTF-8, as what stands for them. */
function encoded(text: string): string {
  return encodeURIComponent(Buffer.from(text).toString())
}

async function checksum(): Promise<string> {
  const { rows } = await server.testDatabase.db.raw<{ rows: { sum: string }[] }>(checksumSql)
  return rows[0]!.sum
}

/**
 * The counters of feeds may skip numbers, rows get revisions when a replica first asks, what was tried is recorded and counted, and when a device was last
 * heard of moves on by itself; all else stays as it is when nothing is stored.
 */
async function checksumOfTables(): Promise<string> {
  const { rows } = await server.testDatabase.db.raw<{ rows: { name: string; columns: string }[] }>(`
    select table_name as name, string_agg(quote_ident(column_name), ', ') as columns
    from information_schema.columns join information_schema.tables using (table_schema, table_name)
    where table_schema = 'public' and table_type = 'BASE TABLE' and table_name not in ('feeds', 'couch_documents', 'couch_feeds', 'couch_revisions', 'account_events', 'rate_limits')
      and column_name not in ('last_seen_at', 'seen_generation', 'feed_positions')
    group by table_name`)
  const sums = rows.map(
    ({ name, columns }) => `(select sum(hashtextextended(row(${columns})::text, 0)) from ${name})`,
  )
  return `select concat_ws(',', ${sums.join(', ')}) as sum`
}
