import { randomUUID } from 'node:crypto'
import pg from 'pg'
import { io } from 'socket.io-client'
import { afterAll, beforeAll, expect, test, vi } from 'vitest'
import { type Resource, resources } from '../../protocol/index.ts'
import { createSeal } from '../../server/accounts/seal.ts'
import { renewSeals } from '../../server/accounts/totp.ts'
import { FOR_FORMER_NODES } from '../../server/database/distribute.ts'
import type { RowsOf } from '../../server/database/walled-query.ts'
import { addJob } from '../../server/jobs/queue.ts'
import { SEND_MAIL } from '../../server/mail/outbox.ts'
import { deleteExpired } from '../../server/processes/retention.ts'
import { dueDigests } from '../../server/reminders/digests.ts'
import { dueReminders, oldestDue } from '../../server/reminders/reminders.ts'
import { beginEpoch } from '../../server/store/epoch.ts'
import { pruneJournal } from '../../server/store/journal.ts'
import { purgeTombstones } from '../../server/store/purge.ts'
import { forgetSearches, indexSearch } from '../../server/store/search-index.ts'
import { proofBy, withApp, withPasskey } from '../support/factors.ts'
import { idle, runJob } from '../support/jobs.ts'
import { type Mailbox, mailingTo, openMailbox } from '../support/mailbox.ts'
import { type Person, SECRET, startServer, type TestServer } from '../support/server.ts'

/**
 * What a statement must be like so that a distributed database runs it on the node of its user, or at
 * all (docs/decisions/0029-keys-by-user.md), checked in all statements that the server sends in a story.
 */

/** Statements on the rows of many people, and why there is no other way. None of them locks rows. */
const OF_MANY: Readonly<Record<string, RegExp>> = {
  'second factors that a former key has encrypted':
    /^select user_id, secret, key_id from totp_secrets where not key_id =/,
  'administrators list accounts':
    /^select (count\(\*\)|.* as last_seen_at) from users(?! where id = )/,
  'who has a due reminder': /^select user_id from \( select user_id, min\(due_at\)/,
  'who has a due digest': /^select user_id from digests where due_at <=/,
  'the age of the oldest due reminder': /^with waiting as \( select user_id, min\(due_at\)/,
  'which of many sessions are active': /^select s\.id from unnest\(/,
  'where many feeds are': /^select f\.user_id, .* from feeds f where f\.user_id = any/,
  'who has to confirm an address for long':
    /^select u\.id, u\.created_at from users u where \(u\.must_confirm/,
  'whose tombstones are old':
    /^select user_id, array_agg\(id\), .* from \( select user_id, id from \w+ where deleted/,
  'whose entries of the journal are old, or of a document with too many':
    /^select user_id, array_agg\(\w+\) from \( select user_id, \w+ from conflicts where not deleted/,
  'answers that were kept long enough': /^delete from idempotency_keys where created_at <\s/,
  'contents that were followed by others long ago':
    /^delete from couch_revisions where not is_leaf and changed_at <\s/,
  'checkpoints that nobody has used for long': /^delete from couch_locals where changed_at <\s/,
  'whose search index is old':
    /^select user_id, array_agg\(distinct resource\) from search_parts where indexed_at </,
  'expired mails': /^delete from mails where created_at <\s/,
  'expired links': /^delete from account_links where expires_at <\s/,
  'names of expired links': /^delete from names where kind = \$1 and name = any/,
  'old events': /^delete from account_events where last_at <\s/,
  'events of all accounts, for administrators':
    /^select user_id, .* from account_events where \(last_at, id\) >/,
  'accounts that were deleted long ago': /^delete from deleted_accounts where deleted_at <\s/,
  'another epoch of all feeds': /^update feeds set epoch =/,
  'all names of a user who is erased': /^delete from names where user_id = \$1$/,
  'the user of a mail that a node of the release before has queued':
    /^select user_id from mails where id = \$1/,
}

let mailbox: Mailbox
let server: TestServer
let tables: string[]
let mutable: Set<string>
beforeAll(async () => {
  mailbox = await openMailbox()
  server = await startServer(mailingTo(mailbox))
  const { db } = server.testDatabase
  for (const statement of FOR_FORMER_NODES) await db.raw(statement)
  tables = await db('information_schema.columns')
    .where({ table_schema: 'public', column_name: 'user_id' })
    .pluck('table_name')
  tables.push('users')
  const { rows } = await db.raw(
    `select proname from pg_proc group by proname having min(provolatile::text) <> 'i'`,
  )
  mutable = new Set(rows.map(({ proname }: { proname: string }) => proname))
})
afterAll(async () => {
  await server.stop()
  await mailbox.close()
})

test('every statement is for one user, or among those that are for many', {
  timeout: 60_000,
}, async () => {
  const seen = await recorded(story)
  const faults = seen.flatMap((statement) =>
    faultsOf(statement).map((fault) => `${fault}: ${statement}`),
  )
  expect(faults).toEqual([])
  const documents = Object.values<Resource>(resources).map(({ table }) => table)
  const blind = [...nameless].filter((text) =>
    referencesTo(text).some((table) => [...documents, 'reminder_moments'].includes(table)),
  )
  expect(blind).toEqual([])
  // Nothing is left out, and nothing is allowed that is not there any more.
  for (const [what, statement] of Object.entries(OF_MANY))
    expect(
      seen.some((text) => statement.test(text)),
      what,
    ).toBe(true)
  for (const table of tables)
    expect(
      seen.some((text) => referencesTo(text).includes(table)),
      table,
    ).toBe(true)
})

test('no trigger writes what is not immutable into the rows of a user', async () => {
  const { rows } = await server.testDatabase.db.raw(
    `select proname, prosrc from pg_proc where pronamespace = 'public'::regnamespace`,
  )
  const faults = rows.flatMap(({ proname, prosrc }: { proname: string; prosrc: string }) =>
    mutableIn(plain(prosrc.replaceAll("''", "'"))).map((fault) => `${proname}: ${fault}`),
  )
  expect(faults).toEqual([])
})

test.each([
  ['select * from tasks where id = $1', 'tasks without their user'],
  [
    'select * from tasks t join categories c on c.id = t.category_id where t.user_id = $1',
    'tasks, categories without their user',
  ],
  [
    'with feed as (update feeds set seq = seq + 1 where user_id = $1 returning seq) update tasks t set seq = feed.seq from feed where t.id = $2',
    'feeds, tasks without their user',
  ],
  ['insert into mails (id, cause) values ($1, $2)', 'mails without their user'],
  ['select * from users where lower(email) = lower($1)', 'users without their user'],
  ['select * from names where user_id = $1', 'a name without itself'],
  ['select id, at as last_seen_at from users order by id for update', 'locks the rows of many'],
  [
    'select user_id from digests where due_at <= $1 for update skip locked',
    'locks the rows of many',
  ],
  [
    'select user_id from digests where due_at <= $1 and row_number() over (order by due_at) < 3',
    'a window over the rows of many',
  ],
  [
    'insert into mails (user_id, cause) values ($1, $2) on conflict (cause) do nothing',
    'on conflict (cause)',
  ],
  [
    "update tasks set updated_at = updated_at + interval '1 second' where user_id = $1",
    'sets + interval',
  ],
  [
    "update tasks set changed = changed || jsonb_build_object('title', seq) where user_id = $1",
    'sets jsonb_build_object',
  ],
  [
    'insert into mails (user_id, cause) values ($1, $2) on conflict (user_id, cause) do update set created_at = now()',
    'sets now',
  ],
  [
    'delete from tasks where user_id = $1 and case when deleted_at < now() then true else false end',
    'chooses by now',
  ],
])('a fault is found: %s', (statement, fault) => {
  expect(faultsOf(plain(statement))).toEqual([fault])
})

const sent = new Set<string>()
/** Those that name nobody: behind the wall they see no document. */
const nameless = new Set<string>()

/** The distinct statements that this process sends meanwhile, in the form that `plain` gives them. */
async function recorded(work: () => Promise<void>): Promise<string[]> {
  const query = pg.Client.prototype.query as (...values: unknown[]) => unknown
  const spy = vi.spyOn(pg.Client.prototype, 'query')
  spy.mockImplementation(function (this: pg.Client, ...values: unknown[]) {
    const [first] = values as [string | { text?: string; rowsOf?: RowsOf }]
    const { text, rowsOf } = typeof first === 'string' ? { text: first } : first
    if (text) sent.add(plain(text))
    if (text && rowsOf === undefined) nameless.add(plain(text))
    return query.apply(this, values)
  } as never)
  try {
    await work()
    return [...sent]
  } finally {
    spy.mockRestore()
  }
}

const plain = (sql: string) =>
  sql
    .replace(/--.*$/gm, '')
    .replaceAll('"', '')
    .replace(/\s+/g, ' ')
    .replace(/^begin; /i, '')
    .trim()
    .toLowerCase()

function referencesTo(statement: string): string[] {
  const known = [...tables, 'reminder_moments'].join('|')
  const references = statement.matchAll(
    new RegExp(`\\b(?:from|join|into|update|using) (${known})\\b(?! set_)`, 'g'),
  )
  return [...references].map(([, table]) => table!)
}

function faultsOf(statement: string): string[] {
  const references = referencesTo(statement)
  if (references.length === 0) return []
  const isOfMany = Object.values(OF_MANY).some((one) => one.test(statement))
  return [
    ...(isOfMany ? ofManyFaults(statement) : ofOneFaults(statement, references)),
    ...[...statement.matchAll(/on conflict \(([^)]*)\)/g)]
      .filter(([, key]) => !/\buser_id\b|^kind, name$/.test(key!))
      .map(([conflict]) => conflict),
    ...mutableIn(statement),
    ...mutableChoicesIn(statement),
  ]
}

function ofManyFaults(statement: string): string[] {
  return [
    ...(/\bfor (no key )?(update|share)\b/.test(statement) ? ['locks the rows of many'] : []),
    ...(/\bover \(/.test(statement) ? ['a window over the rows of many'] : []),
  ]
}

/** Each table that it names needs a comparison with the user, or the user in what is inserted. */
function ofOneFaults(statement: string, references: readonly string[]): string[] {
  if (references.includes('names'))
    return /\bname = lower\(\$\d+\)|^insert into names \(kind, name, user_id\)/.test(statement)
      ? []
      : ['a name without itself']
  const users = statement.match(
    /\buser_id = (\$\d+|\w+\.(user_)?id\b|'[-0-9a-f]{36}')|\b(u|users)\.id = (\$\d+|\w+\.user_id\b)|\bfrom users where (is_active = \$1 and )?id = \$\d|^update users set .* where id = \$\d|\binto \w+( as t)? \([^)]*\buser_id\b/g,
  )
  const isInsertOfUser = /^insert into users \([^)]*\bid\b/.test(statement)
  if (isInsertOfUser || (users?.length ?? 0) >= references.length) return []
  return [`${[...new Set(references)].join(', ')} without their user`]
}

/** What an update sets that is not immutable. `now()` is the same for all rows, but may not follow `on conflict`. */
function mutableIn(sql: string): string[] {
  const parts = sql.matchAll(
    /\bupdate [\w%$]+( as)?( \w+)? set (.*?)( from \(| from \w+ where| where | returning |$)/g,
  )
  const onConflict = sql.matchAll(/\bdo update set (.*?)( where | returning | \)|$)/g)
  const changes = [
    ...[...parts].map(([, , , set]) => ({ set: set!, isUpdate: true })),
    ...[...onConflict].map(([, set]) => ({ set: set!, isUpdate: false })),
  ]
  return changes.flatMap(({ set, isUpdate }) => [
    ...[...set.matchAll(/\b(\w+)\(/g)]
      .map(([, name]) => name!)
      .filter((name) => mutable.has(name) && !(name === 'now' && isUpdate))
      .map((name) => `sets ${name}`),
    ...(/(?<!at time zone 'utc') \+ interval/.test(set) ? ['sets + interval'] : []),
  ])
}

/** In a statement that writes, what a `case` or `coalesce` computes is immutable, `now()` included. */
function mutableChoicesIn(sql: string): string[] {
  if (!/\b(delete from|insert into|update \w+( as)?( \w+)? set)\b/.test(sql)) return []
  const found: string[] = []
  // Innermost first, each replaced by something plain.
  const INNERMOST = /\bcase ((?!\bcase\b|\bend\b).)* end\b|\bcoalesce\((?:[^()]|\([^()]*\))*\)/
  for (let rest = sql, match = INNERMOST.exec(rest); match; match = INNERMOST.exec(rest)) {
    // The index of a search has it in what is read before it is inserted, which was tried.
    for (const [, name] of match[0].matchAll(/\b(\w+)\(/g))
      if (mutable.has(name!) && name !== 'convert_to') found.push(`chooses by ${name}`)
    rest = rest.replace(match[0], () => 'plain')
  }
  return found
}

const isSent = (what: string) => [...sent].some((text) => OF_MANY[what]!.test(text))

/** Everything that the server does with people and their rows. */
async function story(): Promise<void> {
  const { call, clock, testDatabase } = server
  const { db } = testDatabase
  const ann = await server.person()
  const bob = await server.person()
  const account = (person: Person, path: string, body?: unknown) =>
    person.call('POST', `/api/account/${path}/`, body)
  const expectOk = async (...requests: (() => Promise<{ status: number; text: string }>)[]) => {
    for (const request of requests) {
      const { status, text } = await request()
      expect(status, text).toBeLessThan(300)
    }
  }

  // Accounts and sessions.
  const taken = { username: ann.username, email: 'another@example.com', password: ann.password }
  expect((await call('POST', '/api/register/', taken)).status).toBe(400)
  const linkIn = ({ mail }: { mail: { text?: string } }, name: string) =>
    new RegExp(`#${name}=(\\S+)`).exec(mail.text!)![1]!
  const confirm = async (address: string) => {
    const token = linkIn(await mailbox.next(address), 'confirm_email')
    await expectOk(() => call('POST', '/api/account/confirm-email/', { token }))
  }
  for (const { username } of [ann, bob]) await confirm(`${username}@example.com`)
  await expectOk(() =>
    account(ann, 'change-email', {
      email: `new.${ann.username}@example.com`,
      password: ann.password,
    }),
  )
  await mailbox.next(`${ann.username}@example.com`)
  await expectOk(() => account(ann, 'resend-confirmation'))
  await confirm(`new.${ann.username}@example.com`)
  await expectOk(() =>
    call('POST', '/api/account/forgot-password/', { email: `${bob.username}@example.com` }),
  )
  const token = linkIn(await mailbox.next(`${bob.username}@example.com`), 'reset_password')
  await expectOk(() =>
    call('POST', '/api/account/reset-password/', { token, password: 'a ferry to Porto' }),
  )
  const next = { current_password: ann.password, new_password: 'a ferry to Faro' }
  await expectOk(() => account(ann, 'change-password', next))
  const signIn = (username: string, password: string) =>
    call('POST', '/api/token/', { username, password })
  const again = (await signIn(bob.username, 'a ferry to Porto')).body
  await expectOk(
    () => call('POST', '/api/token/refresh/', { refresh: again.refresh }),
    () => call('POST', '/api/token/refresh/', { refresh: again.refresh }),
    () => call('POST', '/api/token/verify/', { token: again.refresh }),
    () => ann.call('GET', '/api/account/sessions/'),
    () => ann.call('GET', '/api/account/'),
    () => ann.call('GET', '/api/account/events/'),
  )
  const other = (await signIn(ann.username, next.new_password)).body
  const { results } = (await ann.call('GET', '/api/account/sessions/')).body
  const apart = results.find(({ current }: { current: boolean }) => !current)
  await expectOk(() => ann.call('DELETE', `/api/account/sessions/${apart.id}/`))
  expect((await call('POST', '/api/token/refresh/', { refresh: other.refresh })).status).toBe(401)
  const third = (await signIn(ann.username, next.new_password)).body
  await expectOk(
    () =>
      call('POST', '/api/logout/', {
        refresh: third.refresh,
      }),
    () => ann.call('DELETE', '/api/account/sessions/'),
  )

  // Second factors: on Carol's account, with each of them, and with a key that has been changed.
  const carol = await server.person()
  const { app, codes } = await withApp(server, carol)
  const required = async () => (await signIn(carol.username, carol.password)).body.factor
  const confirmed = async (proof: object) => {
    const { ticket } = await required()
    return call('POST', '/api/token/factor/', { ticket, ...proof })
  }
  clock.advance(30_000)
  await confirmed({ totp: app.wrongCode() })
  const [, , last] = codes
  const begun = await account(carol, 'passkeys/begin', { password: carol.password })
  const factor = proofBy(begun, { recovery_code: last! })
  const { PUBLIC_URL: origin } = mailingTo(mailbox)
  const { passkey } = await withPasskey(carol.call, { factor, origin })
  const { ticket, public_key } = await required()
  const answer = passkey.get(public_key, { origin })
  await expectOk(
    () => confirmed({ totp: app.code() }),
    () => confirmed({ recovery_code: codes[0] }),
    () => call('POST', '/api/token/factor/', { ticket, passkey: answer }),
    () => carol.call('GET', '/api/account/factors/'),
  )
  const [{ id: key }] = (await carol.call('GET', '/api/account/passkeys/')).body.results
  await expectOk(() => carol.call('PATCH', `/api/account/passkeys/${key}/`, { name: 'Spare' }))
  const stepUp = async (path: string, code: string) => {
    const ask = (more = {}) => account(carol, path, { password: carol.password, ...more })
    const proof = proofBy(await ask(), { recovery_code: code })
    await expectOk(() => ask(proof))
  }
  await stepUp(`passkeys/${key}/remove`, codes[1]!)
  await stepUp('recovery-codes', codes[3]!)
  await renewSeals(db, createSeal(['another secret: 0123456789 abcdefghij', SECRET]))
  const named = (await server.app.administration.named(carol.username))!
  await server.app.administration.removeFactors(named)

  // Documents over all faces.
  const category = (await ann.call('POST', '/api/categories/', { name: 'Travel' })).body
  const soon = new Date(clock.now().getTime() + 60_000).toISOString()
  const task = (
    await ann.call('POST', '/api/tasks/', {
      title: 'Ferry',
      category_id: category.id,
      remind_at: soon,
    })
  ).body
  const path = `/api/tasks/${task.id}/`
  const live = {
    newDocumentState: {
      id: randomUUID(),
      title: 'Pushed',
      category_id: randomUUID(),
      _deleted: false,
    },
  }
  await expectOk(
    () =>
      ann.call('PATCH', '/api/profile/', {
        digest_at: '00:00',
        remind_minutes_before: 10,
        timezone: 'Europe/Lisbon',
      }),
    () => ann.call('PATCH', path, { completed: true, title: 'Ferries' }),
    () => ann.call('PATCH', path, { completed: false, due_date: '2020-01-01' }),
    () => ann.call('PUT', path, { title: 'Ferry', remind_at: soon }),
    () => ann.call('GET', path),
    () => ann.call('GET', '/api/tasks/?search=ferry&page=1&ordering=-due_date'),
    () => ann.call('GET', '/api/tasks/?cursor=&priority__in=low,high'),
    () => ann.call('POST', '/replication/tasks/0/push', [live]),
    () =>
      ann.call('POST', '/replication/tasks/0/push', [
        {
          newDocumentState: { ...task, title: 'Boat', _deleted: false },
          assumedMasterState: { ...task, title: 'Fairy', _deleted: false },
        },
      ]),
    () => ann.call('GET', '/replication/tasks/0/pull?limit=10'),
    () => ann.call('GET', '/api/conflicts/'),
    () => ann.call('GET', '/api/account/export/'),
    () => ann.call('GET', '/api/account/export/tasks.csv'),
  )
  const keyed = { headers: { 'idempotency-key': 'gone' } }
  const { id: gone } = (await ann.call('POST', '/api/tasks/', { title: 'Gone' }, keyed)).body
  await expectOk(
    () => ann.call('DELETE', `/api/tasks/${gone}/`),
    () => ann.call('POST', `/api/tasks/${gone}/restore/`),
    () => ann.call('DELETE', `/api/tasks/${gone}/?for_good=true`),
    () => ann.call('DELETE', `/api/categories/${category.id}/`),
  )

  // Replicas that speak CouchDB's protocol.
  const couch = (method: string, path: string, body?: unknown) => () =>
    ann.call(method, `/couch/all/${path}`, body)
  const inCouch = `task:${randomUUID()}`
  const revision = { _id: inCouch, _rev: '1-a', title: 'Milk' }
  await expectOk(
    couch('POST', '_bulk_docs', { docs: [revision], new_edits: false }),
    couch('POST', '_bulk_docs', { docs: [{ ...revision, _rev: '1-b' }], new_edits: false }),
    couch('POST', '_bulk_docs', { docs: [{ _id: `task:${randomUUID()}`, title: '' }] }),
    couch('GET', '_changes?include_docs=true'),
    () => ann.call('GET', '/couch/tasks/_changes?descending=true'),
    couch('GET', '_all_docs'),
    couch('GET', '_all_docs?descending=true'),
    couch('GET', ''),
    couch('PUT', '_local/x', {}),
    couch('PUT', '_local/x', { _rev: '0-1' }),
    couch('GET', '_local/x'),
    couch('DELETE', '_local/x?rev=0-2'),
  )

  // Sockets, until sessions and feeds have been looked at.
  const socket = io(server.url, { transports: ['websocket'], auth: { token: ann.access } })
  await new Promise((ready) => socket.once('ready', ready))
  await expect
    .poll(() => isSent('which of many sessions are active'), { timeout: 10_000 })
    .toBe(true)
  socket.disconnect()

  // Administrators.
  const admin = await server.person()
  await db('users').where({ id: admin.id }).update({ role: 'admin' })
  clock.advance(2_000)
  await expectOk(
    () => admin.call('GET', '/api/admin/accounts/?search=p&is_active=true&role=user'),
    () => admin.call('GET', `/api/admin/accounts/${bob.id}/`),
    () => admin.call('PUT', `/api/admin/accounts/${bob.id}/role/`, { role: 'support' }),
    () => admin.call('POST', `/api/admin/accounts/${bob.id}/end-sessions/`),
    () => admin.call('POST', `/api/admin/accounts/${bob.id}/deactivate/`),
    () => admin.call('POST', `/api/admin/accounts/${bob.id}/reactivate/`),
    () => admin.call('GET', '/api/admin/events/export.jsonl'),
  )
  expect((await admin.call('GET', '/api/admin/accounts/?search=zzz')).body.count).toBe(0)
  await server.app.administration.named(bob.username)

  // Jobs.
  clock.advance(24 * 60 * 60 * 1000)
  await dueReminders(db, clock.now)()
  await dueDigests(db, clock.now)()
  await oldestDue(db)
  await idle(db)
  const [mail] = await db('mails').where({ user_id: ann.id }).limit(1)
  await addJob(db, SEND_MAIL, { id: mail.id })
  await idle(db)
  await purgeTombstones(db, 0)
  await indexSearch(db, ann.id, resources.tasks)
  await ann.call('GET', '/api/tasks/?search=ferry&cursor=')
  await forgetSearches(db, 0)
  await pruneJournal(db, server.app.store, { days: 1, entries: 1 }, clock.now)
  const password = 'a ferry to Porto'
  const { access } = (await signIn(bob.username, password)).body
  const headers = { authorization: `Bearer ${access}` }
  await expectOk(() => call('POST', '/api/account/delete/', { password }, { headers }))
  await expect.poll(() => db('users').where({ id: bob.id }), { timeout: 10_000 }).toEqual([])
  await idle(db)
  const dave = await server.person()
  for (const days of [8, 8]) {
    clock.advance(days * 24 * 60 * 60 * 1000)
    await runJob(db, 'check_unconfirmed')
  }
  expect(await db('users').where({ id: dave.id })).toEqual([])
  await deleteExpired(db, clock.now(), 180)
  await beginEpoch(db)
}
