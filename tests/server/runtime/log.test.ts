import { Writable } from 'node:stream'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { run } from '../../../server/database/connect.ts'
import { createLog } from '../../../server/runtime/log.ts'
import { createDatabase, type TestDatabase } from '../../support/database.ts'
import { startServer } from '../../support/server.ts'

let database: TestDatabase
beforeAll(async () => {
  database = await createDatabase()
  await database.db.raw(`
    create table notes (id int primary key, body varchar(60) not null check (body <> 'sesame'), mood account_links_purpose);
    insert into notes values (1, 'first')`)
})
afterAll(() => database.drop())

test('in development, an event is one line, and a request says first what it was', () => {
  const lines: string[] = []
  const to = new Writable({ write: (chunk, _, done) => done(void lines.push(String(chunk))) })
  const log = createLog('info', { readable: true, to })
  log.info({ request_id: 'r1', method: 'GET', path: '/healthz', status: 200, ms: 1.5 })
  log.info({ migrations: ['0001_accounts', '0002_documents'] }, 'migrated')
  log.error({ method: 'GET', path: '/api/', error: new Error('broken') }, 'request failed')
  expect(
    lines.map((line) =>
      line
        .split('\n')[0]!
        .replace(/^\[.*?\] /, '')
        .trimEnd(),
    ),
  ).toEqual([
    'INFO: GET /healthz 200 1.5 ms {"request_id":"r1"}',
    'INFO: migrated {"migrations":["0001_accounts","0002_documents"]}',
    'ERROR: GET /api/ request failed',
  ])
  expect(lines[2]).toMatch(/broken/)
})

/** What is logged of an error. */
async function logged(fail: () => PromiseLike<unknown>): Promise<string> {
  const lines: string[] = []
  const log = createLog('info', { readable: false, to: { write: (line) => void lines.push(line) } })
  await fail().then(undefined, (error) => log.error({ error }, 'failed'))
  return lines.join('')
}

const SECRET = 'sesame "open" - sesame 0xab'

test.each<[string, unknown[], RegExp]>([
  ['select ?::date', [SECRET], /invalid input syntax for type date: ..…/],
  ['select ?::uuid', [SECRET], /invalid input syntax for type uuid: ..…/],
  ['select ?::jsonb', [SECRET], /invalid input syntax for type json/],
  ['select ?::int', ['99999999999'], /value ..….. is out of range for type integer/],
  ["select convert_from(decode(?, 'hex'), 'UTF8')", ['ff5e5a'], /invalid byte sequence/],
  [
    "insert into notes values (2, 'x', ?)",
    [SECRET],
    /invalid input value for enum account_links_purpose/,
  ],
  [
    'insert into notes values (1, ?)',
    [SECRET],
    /duplicate key value violates unique constraint ..notes_pkey/,
  ],
  ['insert into notes values (2, ?)', ['sesame'], /violates check constraint ..notes_body_check/],
  ['insert into notes (id, body) values (?, null)', [99999999], /null value in column ..body/],
  ['insert into notes values (2, ?)', ['sesame '.repeat(20)], /value too long/],
  ['select * from nots where body = ?', [SECRET], /relation ..nots.. does not exist/],
])('the log has what Postgres said about `%s`, and no value', async (sql, values, message) => {
  const { db } = database
  let number = 0
  const raw = { name: '', text: sql.replaceAll('?', () => `$${++number}`) }
  for (const failing of [() => db.raw(sql, values as never), () => run(db, raw, values)]) {
    const text = await logged(failing)
    expect(text).toMatch(message)
    expect(text).not.toMatch(/sesame|open|0xab|0xff|99999999|ff5e5a/)
  }
})

test('the words of a trigger are not logged, whatever its code', async () => {
  await database.db.raw(`
    create function refuse() returns trigger language plpgsql as $$
    begin raise check_violation using message = 'refused: ' || new.body; end $$;
    create trigger refuse before update on notes for each row execute function refuse()`)
  const text = await logged(() => database.db('notes').where({ id: 1 }).update({ body: SECRET }))
  expect(text).toContain('23514')
  expect(text).not.toMatch(/refused|sesame/)
})

test('a request that fails leaves what Postgres said in the log, and not in its answer', async () => {
  const server = await startServer()
  try {
    const ann = await server.person()
    await server.testDatabase.db.raw('alter table tasks rename column title to name')
    const answer = await ann.call('GET', '/api/tasks/?search=sesame')
    expect(answer.status).toBe(500)
    expect(answer.text).not.toMatch(/column|does not exist/)
    const line = server.logged.find((line) => line.includes('request failed'))!
    expect(line).toMatch(/column t?\.?..?title..? does not exist|title.* does not exist/)
    expect(line).not.toContain('sesame')
  } finally {
    await server.stop()
  }
})
