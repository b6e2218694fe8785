import { spawn } from 'node:child_process'
import { randomUUID } from 'node:crypto'
import { channel } from 'node:diagnostics_channel'
import http from 'node:http'
import type { Socket } from 'node:net'
import pg from 'pg'
import { afterEach, beforeAll, describe, expect, vi } from 'vitest'
import { resources } from '../../../protocol/index.ts'
import { momentOf } from '../../../server/http/accounts/icalendar.ts'
import { postgresExports } from '../../../server/store/export.ts'
import { bundledServer } from '../../support/bundled-server.ts'
import { test } from '../../support/fixtures.ts'
import {
  type Caller,
  callerTo,
  type Person,
  SECRET,
  type TestServer,
} from '../../support/server.ts'

const JSON_EXPORT = '/api/account/export/'
const CSV_EXPORT = '/api/account/export/tasks.csv'
const CALENDAR_EXPORT = '/api/account/export/tasks.ics'

let server: TestServer
test.beforeAll(({ server: started }) => {
  server = started
})
afterEach(() => vi.restoreAllMocks())

/** So many tasks, written past the API. */
async function addTasks(user: string, count: number, letters = 200, at = server) {
  await at.testDatabase.db.raw(
    `with feed as (update feeds set seq = seq + :count where user_id = :user returning seq - :count as before)
     insert into tasks (user_id, id, title, description, priority, completed, position, created_at, updated_at, seq)
     select :user, gen_random_uuid(), 'Task ' || n, repeat('A long description. ', :repeats), 'low', false, 'a0',
       now(), now(), feed.before + n
     from feed, generate_series(1, :count) n`,
    { user, count, repeats: Math.ceil(letters / 20) },
  )
}

async function addTask({ call }: Person, fields: object): Promise<{ id: string }> {
  const { status, text, body } = await call('POST', '/api/tasks/', fields)
  expect(status, text).toBe(201)
  return body
}

describe('the JSON export', () => {
  test('has all documents once, the trash included', async ({ ann, bob }) => {
    await addTask(bob, { title: 'not hers' })
    const category = (await ann.call('POST', '/api/categories/', { name: 'Travel' })).body
    const ferry = await addTask(ann, { title: 'Book the ferry', category_id: category.id })
    const milk = await addTask(ann, { title: 'Milk' })
    await ann.call('DELETE', `/api/tasks/${milk.id}/`)
    const id = randomUUID()
    for (const title of ['Bread', 'Butter'])
      await ann.call('POST', '/replication/tasks/0/push', [
        { newDocumentState: { id, title, _deleted: false } },
      ])
    // A placeholder: the task came before its category.
    await ann.call('POST', '/replication/tasks/0/push', [
      { newDocumentState: { id: randomUUID(), title: 'Early', category_id: randomUUID() } },
    ])

    const { status, headers, body } = await ann.call('GET', JSON_EXPORT)
    expect(status).toBe(200)
    expect(headers.get('content-disposition')).toBe('attachment; filename="tasktide.json"')
    expect(headers.get('cache-control')).toBe('no-store')
    expect(Object.keys(body).sort()).toEqual([
      'account',
      'categories',
      'conflicts',
      'factors',
      'passkeys',
      'profile',
      'tasks',
    ])
    const { usage: _, ...account } = (await ann.call('GET', '/api/account/')).body
    expect(body.account).toEqual(account)
    expect(body.profile).toEqual((await ann.call('GET', '/api/profile/')).body)
    expect(body.categories).toEqual([{ ...category, deleted: false }])
    expect(body.tasks).toHaveLength(4)
    const read = (await ann.call('GET', `/api/tasks/${ferry.id}/`)).body
    expect(body.tasks).toContainEqual({ ...read, deleted: false })
    expect(body.tasks).toContainEqual(expect.objectContaining({ id: milk.id, deleted: true }))
    expect(body.conflicts).toEqual([expect.objectContaining({ document_id: id, deleted: false })])
  })

  test('has each document once while others are written', async ({ ann }) => {
    await addTasks(ann.id, 2_000)
    const before = (await ann.call('GET', JSON_EXPORT)).body.tasks.map(({ id }: Named) => id)
    let done = false
    const writing = (async () => {
      for (let i = 0; !done; i++) {
        await addTask(ann, { title: `new ${i}` })
        const id = before[(i * 37) % before.length]
        await ann.call('PATCH', `/api/tasks/${id}/`, { title: `changed ${i}` })
      }
    })()
    for (let round = 0; round < 5; round++) {
      const { tasks } = (await ann.call('GET', JSON_EXPORT)).body
      const ids = tasks.map(({ id }: Named) => id)
      expect(new Set(ids).size).toBe(ids.length)
      expect(ids).toEqual(expect.arrayContaining(before))
    }
    done = true
    await writing
  })

  test('of a new account is complete as well', async () => {
    const { body } = await (await server.person()).call('GET', JSON_EXPORT)
    expect(body).toMatchObject({ tasks: [], categories: [], conflicts: [] })
  })
})

interface Named {
  id: string
}

describe('the CSV export', () => {
  test('has a header line, and a record for each task', async ({ ann }) => {
    const category = (await ann.call('POST', '/api/categories/', { name: 'Travel, abroad' })).body
    const ferry = await addTask(ann, {
      title: 'Book the "early" ferry',
      description: 'Two\r\nlines, and a comma',
      category_id: category.id,
      due_date: '2026-12-01',
      due_time: '08:30',
    })
    const evil = await addTask(ann, { title: '=HYPERLINK("http://evil.example")' })
    await ann.call('DELETE', `/api/tasks/${evil.id}/`)
    const { status, headers, text } = await ann.call('GET', CSV_EXPORT)
    expect(status).toBe(200)
    expect(headers.get('content-type')).toBe('text/csv; charset=utf-8')
    expect(headers.get('content-disposition')).toBe('attachment; filename="tasks.csv"')
    const [names, ...records] = recordsIn(text)
    const rows = records.map((record) =>
      Object.fromEntries(names!.map((name, i) => [name, record[i]])),
    )
    expect(rows).toHaveLength(2)
    expect(rows).toContainEqual({
      id: ferry.id,
      title: 'Book the "early" ferry',
      description: 'Two\r\nlines, and a comma',
      category: 'Travel, abroad',
      priority: 'medium',
      due_date: '2026-12-01',
      due_time: '08:30',
      remind_at: '',
      completed: 'false',
      completed_at: '',
      created_at: expect.stringMatching(/Z$/),
      updated_at: expect.stringMatching(/Z$/),
      deleted: 'false',
    })
    expect(rows).toContainEqual(
      expect.objectContaining({ title: `'=HYPERLINK("http://evil.example")`, deleted: 'true' }),
    )
  })

  test('begins with a byte order mark, so that Excel detects UTF-8', async ({ ann }) => {
    const headers = { authorization: `Bearer ${ann.access}` }
    const response = await fetch(server.url + CSV_EXPORT, { headers })
    const bytes = Buffer.from(await response.arrayBuffer())
    expect(bytes.subarray(0, 5).toString('latin1')).toBe('\xef\xbb\xbfid')
  })
})

/** A reader of RFC 4180 that shares nothing with the writer. */
function recordsIn(text: string): string[][] {
  const records: string[][] = []
  let record: string[] = []
  for (const [, quoted, plain, end] of text.matchAll(
    /(?:"((?:[^"]|"")*)"|([^",\r\n]*))(,|\r\n)/g,
  )) {
    record.push(quoted?.replaceAll('""', '"') ?? plain ?? '')
    if (end === ',') continue
    records.push(record)
    record = []
  }
  return records
}

describe('the calendar export', () => {
  test('has a to-do for each task, except in the trash', async ({ ann }) => {
    await ann.call('PATCH', '/api/profile/', { timezone: 'Europe/Lisbon' })
    const category = (await ann.call('POST', '/api/categories/', { name: 'Travel; abroad' })).body
    const ferry = await addTask(ann, {
      title: 'Book, or not; the \\ferry',
      description: 'Two\r\nlines',
      category_id: category.id,
      priority: 'high',
      due_date: '2026-07-01',
      due_time: '08:30',
    })
    const milk = await addTask(ann, { title: 'Milk', due_date: '2026-12-01', priority: 'low' })
    const done = await addTask(ann, { title: 'Bread', completed: true })
    const gone = await addTask(ann, { title: 'Gone' })
    await ann.call('DELETE', `/api/tasks/${gone.id}/`)
    const { status, headers, text } = await ann.call('GET', CALENDAR_EXPORT)
    expect(status).toBe(200)
    expect(headers.get('content-type')).toBe('text/calendar; charset=utf-8')
    const toDos = toDosIn(text)
    expect(toDos.map(({ UID }) => UID).sort()).toEqual([ferry.id, milk.id, done.id].sort())
    expect(toDos).toContainEqual({
      UID: ferry.id,
      DTSTAMP: expect.stringMatching(/^\d{8}T\d{6}Z$/),
      CREATED: expect.stringMatching(/^\d{8}T\d{6}Z$/),
      'LAST-MODIFIED': expect.stringMatching(/^\d{8}T\d{6}Z$/),
      SUMMARY: 'Book\\, or not\\; the \\\\ferry',
      DESCRIPTION: 'Two\\nlines',
      DUE: '20260701T073000Z',
      PRIORITY: '1',
      STATUS: 'NEEDS-ACTION',
      CATEGORIES: 'Travel\\; abroad',
    })
    expect(toDos).toContainEqual(
      expect.objectContaining({ UID: milk.id, 'DUE;VALUE=DATE': '20261201', PRIORITY: '9' }),
    )
    expect(toDos).toContainEqual(
      expect.objectContaining({
        UID: done.id,
        STATUS: 'COMPLETED',
        COMPLETED: expect.stringMatching(/^\d{8}T\d{6}Z$/),
      }),
    )
  })

  test('folds lines at 75 octets, and splits no character', async ({ ann }) => {
    const title = `${'Überfahrt nach Lissabon '.repeat(8)}${'🚢👩‍👩‍👧'.repeat(10)}`
    await addTask(ann, { title, description: 'x'.repeat(1_000) })
    const { text } = await ann.call('GET', CALENDAR_EXPORT)
    const lines = text.split('\r\n')
    expect(Math.max(...lines.map((line) => Buffer.byteLength(line)))).toBe(75)
    expect(text).not.toContain('\ufffd')
    expect(toDosIn(text)).toMatchObject([{ SUMMARY: title, DESCRIPTION: 'x'.repeat(1_000) }])
  })

  test('has an alarm for each reminder, unless the task is completed', async ({ ann }) => {
    const remind_at = '2026-12-01T07:00:00.000Z'
    await addTask(ann, { title: 'Dentist, at last', remind_at })
    await addTask(ann, { title: 'Done', remind_at, completed: true })
    const { text } = await ann.call('GET', CALENDAR_EXPORT)
    expect(text.match(/BEGIN:VALARM[\s\S]*?END:VALARM\r\nEND:VTODO/g)).toEqual([
      [
        'BEGIN:VALARM',
        'ACTION:DISPLAY',
        'TRIGGER;VALUE=DATE-TIME:20261201T070000Z',
        'DESCRIPTION:Dentist\\, at last',
        'END:VALARM',
        'END:VTODO',
      ].join('\r\n'),
    ])
  })

  test('lets no text start a new line', async ({ ann }) => {
    const title = 'Milk\r\nEND:VTODO\nBEGIN:VALARM\rX\u0007Y'
    await addTask(ann, { title })
    const { text } = await ann.call('GET', CALENDAR_EXPORT)
    expect(text.match(/^BEGIN:.*$/gm)).toEqual(['BEGIN:VCALENDAR', 'BEGIN:VTODO'])
    expect(toDosIn(text)).toMatchObject([{ SUMMARY: 'Milk\\nEND:VTODO\\nBEGIN:VALARM\\nXY' }])
  })

  test.each([
    ['in winter', '2026-01-15', '08:30', 'Europe/Lisbon', '2026-01-15T08:30:00.000Z'],
    ['in summer', '2026-07-15', '08:30', 'Europe/Lisbon', '2026-07-15T07:30:00.000Z'],
    ['skipped in spring', '2026-03-29', '01:30', 'Europe/Lisbon', '2026-03-29T01:30:00.000Z'],
    ['after it in spring', '2026-03-29', '02:00', 'Europe/Lisbon', '2026-03-29T01:00:00.000Z'],
    ['twice in autumn', '2026-10-25', '01:30', 'Europe/Lisbon', '2026-10-25T01:30:00.000Z'],
    ['before it in autumn', '2026-10-25', '00:30', 'Europe/Lisbon', '2026-10-24T23:30:00.000Z'],
    ['after it in autumn', '2026-10-25', '02:00', 'Europe/Lisbon', '2026-10-25T02:00:00.000Z'],
    [
      'skipped by half an hour',
      '2026-10-04',
      '02:15',
      'Australia/Lord_Howe',
      '2026-10-03T15:45:00.000Z',
    ],
    [
      'twice by half an hour',
      '2027-04-04',
      '01:45',
      'Australia/Lord_Howe',
      '2027-04-03T15:15:00.000Z',
    ],
    [
      'before a day that is skipped',
      '2011-12-29',
      '23:59',
      'Pacific/Apia',
      '2011-12-30T09:59:00.000Z',
    ],
    ['in a timezone of nowhere', '2026-07-15', '08:30', 'Mars/Olympus', '2026-07-15T08:30:00.000Z'],
    ['far from UTC', '2026-01-01', '00:15', 'Pacific/Kiritimati', '2025-12-31T10:15:00.000Z'],
    ['with an odd offset', '2026-01-01', '12:00', 'Asia/Kathmandu', '2026-01-01T06:15:00.000Z'],
    ['on a day that is skipped', '2011-12-30', '12:00', 'Pacific/Apia', '2011-12-30T22:00:00.000Z'],
  ])('converts a time %s like Postgres', async (_, date, time, timezone, moment) => {
    expect(momentOf(date, time, timezone).toISOString()).toBe(moment)
    const { rows } = await server.testDatabase.db.raw(
      'select (?::date + ?::time) at time zone known_timezone(?) as moment',
      [date, time, timezone],
    )
    expect(rows).toEqual([{ moment: new Date(moment) }])
  })

  test('has due times of an unknown timezone in UTC', async ({ ann }) => {
    await addTask(ann, { title: 'Land', due_date: '2026-07-15', due_time: '08:30' })
    const timezone = 'Mars/Olympus'
    await server.testDatabase.db('profiles').where({ user_id: ann.id }).update({ timezone })
    const { text } = await ann.call('GET', CALENDAR_EXPORT)
    expect(toDosIn(text)).toMatchObject([{ DUE: '20260715T083000Z' }])
  })

  test('accepts due times at the limits of the calendar', async ({ ann }) => {
    await ann.call('PATCH', '/api/profile/', { timezone: 'America/New_York' })
    await addTask(ann, { title: 'Last', due_date: '9999-12-31', due_time: '23:59' })
    await addTask(ann, { title: 'First', due_date: '0001-01-01', due_time: '00:00' })
    const { status, text } = await ann.call('GET', CALENDAR_EXPORT)
    expect(status).toBe(200)
    for (const due of text.match(/^DUE.*$/gm)!) expect(due).toMatch(/^DUE:\d{8}T\d{6}Z?$/m)
  })
})

/** The properties of each to-do, unfolded. */
function toDosIn(text: string): Record<string, string>[] {
  expect(text).toMatch(/^BEGIN:VCALENDAR\r\nVERSION:2\.0\r\nPRODID:.+\r\n/)
  expect(text).toMatch(/\r\nEND:VCALENDAR\r\n$/)
  expect(text.replaceAll('\r\n', '')).not.toMatch(/[\r\n]/)
  const unfolded = text.replaceAll('\r\n ', '')
  return [...unfolded.matchAll(/BEGIN:VTODO\r\n(.*?)END:VTODO\r\n/gs)].map(([, lines]) =>
    Object.fromEntries(
      lines!
        .trimEnd()
        .split('\r\n')
        .map((line) => [line.slice(0, line.indexOf(':')), line.slice(line.indexOf(':') + 1)]),
    ),
  )
}

/** An export that is read only when it is asked to go on. */
async function openExport(
  person: Pick<Person, 'access'>,
  path: string,
  at = server,
): Promise<http.IncomingMessage> {
  const { hostname, port } = new URL(at.url)
  const headers = { authorization: `Bearer ${person.access}` }
  return new Promise((resolve, reject) => {
    const request = http.get({ hostname, port, path, headers, agent: false }, resolve)
    request.on('error', reject)
  })
}

/** The same, of which nothing is read, and the other end of its connection. */
async function stalledExport(person: Pick<Person, 'access'>, path = JSON_EXPORT, at = server) {
  const accepted = channel('net.server.socket')
  const ends: Socket[] = []
  const accept = (message: unknown) => ends.push((message as { socket: Socket }).socket)
  accepted.subscribe(accept)
  const response = await openExport(person, path, at)
  accepted.unsubscribe(accept)
  response.pause()
  const atServer = ends.find(({ remotePort }) => remotePort === response.socket.localPort)!
  return { response, atServer, isCut: new Promise((cut) => atServer.once('close', cut)) }
}

async function readOn(response: http.IncomingMessage): Promise<void> {
  for await (const _ of response);
}

/** More than what lies on the way to a reader can take. */
const addMuch = (user: string, at = server) => addTasks(user, 600, 10_000, at)

describe('an export that its client does not read', () => {
  test.for<[string, (ann: Person, elsewhere: Caller) => Promise<unknown>]>([
    ['signs out', (ann) => ann.call('POST', '/api/logout/', { refresh: ann.refresh })],
    ['is signed out elsewhere', (_, elsewhere) => elsewhere('DELETE', '/api/account/sessions/')],
    [
      'changes the password',
      ({ password }, elsewhere) =>
        elsewhere('POST', '/api/account/change-password/', {
          current_password: password,
          new_password: 'a late train to Porto',
        }),
    ],
    [
      'deletes the account',
      ({ password }, elsewhere) => elsewhere('POST', '/api/account/delete/', { password }),
    ],
    [
      'is deactivated',
      async ({ id }) => {
        const admin = await server.staff('admin')
        return admin.call('POST', `/api/admin/accounts/${id}/deactivate/`)
      },
    ],
    [
      'is deactivated without a hint to this node',
      async ({ id }) => {
        await server.testDatabase.db('users').where({ id }).update({ is_active: false })
      },
    ],
  ])('is aborted when its owner %s', async ([_how, end], { ann }) => {
    await addMuch(ann.id)
    const { username, password } = ann
    const { body } = await server.call('POST', '/api/token/', { username, password })
    const elsewhere = callerTo(server.url, { authorization: `Bearer ${body.access}` })
    const stalled = await stalledExport(ann)
    // The one behind it has not had its turn yet.
    const waiting = await stalledExport(ann)
    await end(ann, elsewhere)
    await Promise.all([stalled.isCut, waiting.isCut])
    await expect(readOn(stalled.response)).rejects.toThrow(/aborted/)
    await expect(readOn(waiting.response)).rejects.toThrow(/aborted/)
  })

  test('is aborted when its token expires', async ({ serverWith }) => {
    const clocked = await serverWith()
    const ann = await clocked.person()
    await addMuch(ann.id, clocked)
    clocked.clock.advance((15 * 60 - 2) * 1000)
    const { response, isCut } = await stalledExport(ann, CSV_EXPORT, clocked)
    await isCut
    await expect(readOn(response)).rejects.toThrow(/aborted/)
  })

  test('is aborted after a minute', async ({ ann }) => {
    await addMuch(ann.id)
    const { atServer, isCut } = await stalledExport(ann)
    await expect.poll(() => atServer.timeout).toBe(60_000)
    atServer.emit('timeout')
    await isCut
  })

  test('loses its place to somebody who waits, and only then', async () => {
    const people: Person[] = []
    for (let i = 0; i < 20; i++) {
      people.push(await server.person())
      await addMuch(people.at(-1)!.id)
    }
    const [ann, bob] = [people[0]!, await server.person()]
    vi.useFakeTimers({ toFake: ['setInterval', 'clearInterval'] })
    try {
      const stalled = await Promise.all(people.map((person) => stalledExport(person)))
      const isCut = () => stalled.filter(({ atServer }) => atServer.destroyed).length
      const isFull = () => stalled.every(({ atServer }) => atServer.writableLength > 0)
      await expect.poll(isFull, { timeout: 20_000 }).toBe(true)
      vi.advanceTimersByTime(30_000)
      // Another one of the same person needs no place.
      const another = await stalledExport(ann)
      expect([another.response.statusCode, isCut()]).toEqual([200, 0])
      const mine = bob.call('GET', JSON_EXPORT)
      await expect.poll(isCut, { timeout: 20_000 }).toBe(1)
      expect((await mine).body.tasks).toEqual([])
      for (const { response } of [...stalled, another]) response.destroy()
    } finally {
      vi.useRealTimers()
    }
  })
})

test('a page of an export has fewer documents the longer they are', async ({ ann }) => {
  await addTasks(ann.id, 300)
  await addTasks(ann.id, 60, 10_000)
  await addTasks(ann.id, 300)
  const ids: string[] = []
  const lengths: number[] = []
  for await (const page of postgresExports(server.testDatabase.db).pages(ann.id, resources.tasks)) {
    ids.push(...page.map(({ json }) => JSON.parse(json).id))
    lengths.push(page.reduce((sum, { json }) => sum + json.length, 0))
  }
  expect(new Set(ids).size).toBe(660)
  expect(ids).toEqual([...ids].sort())
  expect(Math.max(...lengths)).toBeLessThan(256 * 1024 + 11_000)
})

test('an export does not block other requests, however fast it is read', async ({ ann }) => {
  await addMuch(ann.id)
  let turn = 0
  const written = new Map<number, number>()
  const write = vi.spyOn(http.ServerResponse.prototype, 'write')
  write.mockImplementation(function (this: http.ServerResponse, ...args: unknown[]) {
    written.set(turn, (written.get(turn) ?? 0) + String(args[0]).length)
    return Reflect.apply(http.OutgoingMessage.prototype.write, this, args)
  })
  let next = setImmediate(function count() {
    turn++
    next = setImmediate(count)
  })
  const { text } = await ann.call('GET', CALENDAR_EXPORT)
  clearImmediate(next)
  expect(text.length).toBeGreaterThan(6_000_000)
  expect(Math.max(...written.values())).toBeLessThan(2 * 64 * 1024)
})

const LARGE = 20_000

/** Counts the pages that are read of each person's tasks. */
function countingPages() {
  const query = vi.spyOn(pg.Client.prototype, 'query')
  return ({ id }: Person) =>
    query.mock.calls.filter(([statement]) => {
      const { text = '', values = [] } = statement as unknown as pg.QueryConfig<string[]>
      return /from tasks t[\s\S]+order by t\.id/.test(text) && values[0] === id
    }).length
}

describe('a large export', () => {
  let ann: Person
  beforeAll(async () => {
    ann = await server.person()
    await addTasks(ann.id, LARGE, 800)
  })

  test('is read no faster than the client reads it, and only while it is connected', async ({
    bob,
  }) => {
    await addTasks(bob.id, LARGE, 800)
    const pages = countingPages()
    const response = await openExport(ann, JSON_EXPORT)
    response.pause()
    // While all of Bob's is read, hers stops as soon as what lies on the way is full.
    await bob.call('GET', JSON_EXPORT)
    expect(pages(bob)).toBeGreaterThanOrEqual(LARGE / 200)
    const taken = pages(ann)
    expect(taken).toBeLessThan((LARGE / 200) * 0.8)
    response.destroy()
    // The next one of hers has its turn when the first has ended, and is the only one that reads.
    expect((await ann.call('GET', JSON_EXPORT)).body.tasks).toHaveLength(LARGE)
    expect(pages(ann) - taken).toBeLessThan(LARGE / 200 + 10)
  })

  test('holds no connection while it waits for its client, and runs one at a time per user', async () => {
    const pages = countingPages()
    const responses = await Promise.all(
      Array.from({ length: 20 }, () => openExport(ann, CSV_EXPORT)),
    )
    for (const response of responses) response.pause()
    const { pool } = server.database.db.client
    await expect.poll(() => pool.numUsed(), { timeout: 10_000 }).toBe(0)
    expect(pool.numPendingAcquires()).toBe(0)
    expect(pages(ann)).toBeLessThan(LARGE / 200)
    const bob = await server.person()
    expect((await bob.call('GET', CSV_EXPORT)).status).toBe(200)
    for (const response of responses) response.destroy()
    expect((await ann.call('GET', CSV_EXPORT)).status).toBe(200)
  })

  test('that fails midway cannot be mistaken for a complete one', async () => {
    const response = await openExport(ann, JSON_EXPORT)
    response.pause()
    await server.testDatabase.db.raw('alter table conflicts rename to conflicts_away')
    try {
      const reading = (async () => {
        for await (const _ of response);
      })()
      await expect(reading).rejects.toThrow(/aborted/)
    } finally {
      await server.testDatabase.db.raw('alter table conflicts_away rename to conflicts')
    }
    const lines = server.logged.filter(
      (line) => line.includes('an export was interrupted') && line.includes(ann.id),
    )
    expect(lines).toHaveLength(1)
  })

  test('is not read for HEAD', async () => {
    const { status, headers, text } = await ann.call('HEAD', JSON_EXPORT)
    expect([status, headers.get('content-type'), text]).toEqual([200, 'application/json', ''])
  })
})

test('a server exports tasks with less memory than they take', async ({ ann }) => {
  const count = 16_000
  await addTasks(ann.id, count, 5_000)
  const small = await startServerProcess(['--max-old-space-size=96'])
  try {
    const sizes: number[] = []
    for (const [path, mark, marks] of [
      [JSON_EXPORT, '{', count + 4],
      [CSV_EXPORT, '\n', count + 1],
      [CALENDAR_EXPORT, 'Z', count * 3],
    ] as const) {
      const headers = { authorization: `Bearer ${ann.access}` }
      const response = await fetch(small.url + path, { headers })
      expect(response.status).toBe(200)
      let [size, found] = [0, 0]
      for await (const chunk of response.body!) {
        size += chunk.length
        const bytes = Buffer.from(chunk)
        for (let at = bytes.indexOf(mark); at >= 0; at = bytes.indexOf(mark, at + 1)) found++
      }
      expect([path, found]).toEqual([path, marks])
      sizes.push(size)
    }
    expect(Math.min(...sizes)).toBeGreaterThan(70_000_000)
  } finally {
    small.stop()
  }
}, 180_000)

/** A server in a process of its own, on the same database. */
async function startServerProcess(options: string[]) {
  const child = spawn(process.execPath, [...options, await bundledServer('web')], {
    stdio: ['ignore', 'pipe', 'inherit'],
    env: {
      ...process.env,
      NODE_ENV: 'test',
      DATABASE_URL: server.testDatabase.url,
      SECRET_KEY: SECRET,
      PORT: '0',
      HOST: '127.0.0.1',
    },
  })
  let said = ''
  for await (const chunk of child.stdout) {
    said += chunk
    const port = /listens on http:\/\/localhost:(\d+)/.exec(said)?.[1]
    if (!port) continue
    child.stdout.resume()
    return { url: `http://127.0.0.1:${port}`, stop: () => void child.kill('SIGKILL') }
  }
  throw new Error(`It did not start: ${said}`)
}
