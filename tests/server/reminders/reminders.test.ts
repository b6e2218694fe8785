import { randomUUID } from 'node:crypto'
import { afterEach, beforeEach, describe, expect } from 'vitest'
import type { Profile, Task } from '../../../protocol/index.ts'
import { SEND_DIGESTS } from '../../../server/reminders/digests.ts'
import { dueReminders, SEND_REMINDERS } from '../../../server/reminders/reminders.ts'
import { mailing as test } from '../../support/fixtures.ts'
import { idle, retryNow, runJob, withoutRecurring } from '../../support/jobs.ts'
import { type Mailbox, mailingTo, openMailbox } from '../../support/mailbox.ts'
import {
  type Caller,
  callerTo,
  type Person,
  startServer,
  type TestServer,
} from '../../support/server.ts'

const MINUTE = 60_000
const HOUR = 60 * MINUTE
const DAY = 24 * HOUR

let mailbox: Mailbox
let server: TestServer
test.beforeAll(({ mailbox: opened, server: started }) => {
  mailbox = opened
  server = started
})

/** The day of the test, of which it is six in the morning in UTC when the test begins. */
let day: string
beforeEach(() => {
  const now = server.clock.now().getTime()
  server.clock.advance(DAY - (now % DAY) + 6 * HOUR)
  day = server.clock.now().toISOString().slice(0, 10)
})
afterEach(() => {
  mailbox.refuse = undefined
})

/** Moves the clock on to a time of the day of the test, and does what is due by then. */
async function become(time: string, on = day): Promise<void> {
  const moment = Date.parse(`${on}T${time}Z`)
  expect(moment).toBeGreaterThan(server.clock.now().getTime())
  server.clock.advance(moment - server.clock.now().getTime())
  await sendDue()
}

async function sendDue(): Promise<void> {
  for (const job of [SEND_REMINDERS, SEND_DIGESTS]) await runJob(server.testDatabase.db, job)
}

const at = (time: string, on = day) => `${on}T${time}:00.000Z`
const dayAfter = (days: number) => new Date(Date.parse(day) + days * DAY).toISOString().slice(0, 10)

interface Reader extends Person {
  address: string
  /** As `call`, however long ago this person signed in. */
  again: Caller
}

/** Somebody whose address is confirmed, and whose account is not new. */
async function reader(profile: Partial<Profile> = {}): Promise<Reader> {
  const person = await server.person()
  const address = `${person.username}@example.com`
  await mailbox.next(address)
  const email_verified_at = server.clock.now()
  const created_at = new Date(email_verified_at.getTime() - DAY)
  await users().where({ id: person.id }).update({ created_at, email_verified_at })
  if (Object.keys(profile).length > 0)
    expect((await person.call('PATCH', '/api/profile/', profile)).status).toBe(200)
  const again: Caller = async (...request) => {
    const { username, password } = person
    const { body } = await server.call('POST', '/api/token/', { username, password })
    return callerTo(server.url, { authorization: `Bearer ${body.access}` })(...request)
  }
  return { ...person, address, again }
}

async function addTask({ again }: Reader, task: Partial<Task>): Promise<Task> {
  const made = await again('POST', '/api/tasks/', { title: 'Book the ferry', ...task })
  expect(made.status).toBe(201)
  return made.body
}

/** The subjects of what has come to this person since the mail that asked to confirm the address. */
const subjects = ({ address }: Reader) => mailsTo(address).map(({ mail }) => mail.subject)
const mailsTo = (address: string) =>
  mailbox.delivered.filter(
    ({ recipients, mail }) =>
      recipients.includes(address) && !/^Confirm|Best.tige/.test(mail.subject!),
  )

const users = () => server.testDatabase.db('users')
const outcomes = ({ id }: Reader) =>
  server.testDatabase
    .db('mails')
    .where({ user_id: id })
    .whereIn('letter', ['reminder', 'digest'])
    .orderBy('created_at')
    .pluck('outcome')

describe('a reminder', () => {
  test('comes once, when it is time, and says what is to be done', async () => {
    const ann = await reader({ timezone: 'Europe/Lisbon' })
    const voyages = await ann.call('POST', '/api/categories/', { name: 'Voyages' })
    await addTask(ann, {
      description: 'The early one,\nwith a cabin.',
      category_id: voyages.body.id,
      due_date: '2031-12-01',
      due_time: '08:30',
      remind_at: at('09:00'),
    })
    await become('08:59')
    expect(subjects(ann)).toEqual([])
    await become('09:00')
    const { mail, recipients } = await mailbox.next(ann.address)
    expect(recipients).toEqual([ann.address])
    expect(mail.subject).toBe('Reminder: Book the ferry')
    for (const part of [mail.text, mail.html]) {
      expect(part).toContain('Book the ferry')
      expect(part).toContain('Monday, December 1, 2031, 8:30')
      expect(part).toContain('In Voyages')
      expect(part).toContain('The early one,\nwith a cabin.')
      expect(part).toContain('http://tasktide.example/')
    }
    await become('09:01')
    await become('09:00', dayAfter(1))
    expect(subjects(ann)).toEqual(['Reminder: Book the ferry'])
    expect(await outcomes(ann)).toEqual(['sent'])
  })

  test('comes of an edit that was made offline before it was due, and arrives after', async () => {
    const ann = await reader()
    const document = { id: randomUUID(), title: 'Offline', remind_at: at('08:00') }
    const made = { ...document, created_at: at('07:30'), updated_at: at('07:30'), _deleted: false }
    await become('10:00')
    const push = [{ newDocumentState: made }]
    for (const _ of ['sent', 'sent again']) {
      expect((await ann.again('POST', '/replication/tasks/0/push', push)).body).toEqual([])
      await sendDue()
    }
    expect(subjects(ann)).toEqual(['Reminder: Offline'])

    // Another device had it done before that.
    const done = { ...made, title: 'Done offline', completed: true, id: randomUUID() }
    await ann.again('POST', '/replication/tasks/0/push', [{ newDocumentState: done }])
    // And what is made after its moment has nothing to remind of.
    const late = { ...made, title: 'Late', id: randomUUID(), updated_at: at('08:00') }
    await ann.again('POST', '/replication/tasks/0/push', [{ newDocumentState: late }])
    await sendDue()
    expect(subjects(ann)).toEqual(['Reminder: Offline'])
  })

  test('does not come twice when an edit from before it arrives after it', async () => {
    const ann = await reader()
    const task = await addTask(ann, { remind_at: at('08:00'), due_date: day })
    await become('08:00')
    const edited = { ...task, due_date: dayAfter(1), updated_at: at('07:00'), _deleted: false }
    await become('09:00')
    const row = { newDocumentState: edited, assumedMasterState: { ...task, _deleted: false } }
    expect((await ann.again('POST', '/replication/tasks/0/push', [row])).body).toEqual([])
    await sendDue()
    expect(subjects(ann)).toEqual(['Reminder: Book the ferry'])
  })

  test.each<[string, (ann: Reader, path: string) => Promise<unknown>, string[]]>([
    ['done', (ann, path) => ann.call('PATCH', path, { completed: true }), []],
    ['deleted', (ann, path) => ann.call('DELETE', path), []],
    [
      'restored',
      async (ann, path) => {
        await ann.call('DELETE', path)
        await ann.call('POST', `${path}restore/`)
      },
      ['08:00'],
    ],
    ['moved on', (ann, path) => ann.call('PATCH', path, { remind_at: at('09:00') }), ['09:00']],
    [
      'moved there and back',
      async (ann, path) => {
        await ann.call('PATCH', path, { remind_at: at('09:00') })
        await ann.call('PATCH', path, { remind_at: at('08:00') })
      },
      ['08:00'],
    ],
    ['not wanted', (ann, path) => ann.call('PATCH', path, { remind_at: null }), []],
  ])('of a task that is %s comes when it should', async (_what, change, expected) => {
    const ann = await reader()
    const { id } = await addTask(ann, { remind_at: at('08:00') })
    await change(ann, `/api/tasks/${id}/`)
    const came: string[] = []
    for (const time of ['07:59', '08:00', '08:59', '09:00', '10:00']) {
      const before = subjects(ann).length
      await become(time)
      if (subjects(ann).length > before) came.push(time)
    }
    expect(came).toEqual(expected)
    expect(subjects(ann)).toHaveLength(expected.length)
  })

  test('comes by the defaults of the profile, and moves with them and with the timezone', async () => {
    const ann = await reader({ remind_minutes_before: 60, remind_all_day_at: '08:00' })
    await addTask(ann, { title: 'Timed', due_date: day, due_time: '10:00' })
    await addTask(ann, { title: 'All day', due_date: day })
    await become('07:59')
    expect(subjects(ann)).toEqual([])
    await become('08:00')
    expect(subjects(ann)).toEqual(['Reminder: All day'])
    await ann.again('PATCH', '/api/profile/', { remind_minutes_before: 30 })
    await become('09:29')
    expect(subjects(ann)).toEqual(['Reminder: All day'])
    // An hour behind: ten o'clock comes later.
    await ann.again('PATCH', '/api/profile/', { timezone: 'Atlantic/Cape_Verde' })
    await become('09:30')
    expect(subjects(ann)).toEqual(['Reminder: All day'])
    await become('10:30')
    expect(subjects(ann)).toEqual(['Reminder: All day', 'Reminder: Timed'])
  })

  test('that nobody could send for days comes late, unless its task was done meanwhile', async () => {
    const ann = await reader()
    await addTask(ann, { title: 'Open', remind_at: at('08:00') })
    const done = await addTask(ann, { title: 'Done', remind_at: at('08:00') })
    const moved = await addTask(ann, { title: 'Moved', remind_at: at('08:00') })
    await withoutRecurring(server.testDatabase.db, [SEND_REMINDERS, SEND_DIGESTS], async () => {
      server.clock.advance(3 * DAY)
      await ann.again('PATCH', `/api/tasks/${done.id}/`, { completed: true })
      await ann.again('PATCH', `/api/tasks/${moved.id}/`, { remind_at: at('09:00', dayAfter(3)) })
    })
    await sendDue()
    expect(subjects(ann)).toEqual(['Reminder: Open'])
    await become('09:00', dayAfter(3))
    expect(subjects(ann)).toEqual(['Reminder: Open', 'Reminder: Moved'])
  })

  test('of more than 30 days ago is not sent any more', async () => {
    const ann = await reader()
    await addTask(ann, { remind_at: at('08:00') })
    await become('08:01', dayAfter(30))
    expect(subjects(ann)).toEqual([])
    expect(await server.testDatabase.db('reminders').where({ user_id: ann.id })).toEqual([])
  })

  const busy = (address: string) => {
    mailbox.refuse = (recipient) =>
      recipient === address ? Object.assign(new Error('busy'), { responseCode: 451 }) : undefined
  }

  test.each<[string, (ann: Reader, path: string) => PromiseLike<unknown>, string]>([
    ['is done', (ann, path) => ann.again('PATCH', path, { completed: true }), 'unwanted'],
    ['is deleted', (ann, path) => ann.again('DELETE', path), 'unwanted'],
    ['is moved', (ann, path) => ann.again('PATCH', path, { remind_at: at('23:00') }), 'unwanted'],
    ['has another title', (ann, path) => ann.again('PATCH', path, { title: 'Other' }), 'sent'],
    [
      'is of somebody who wants no emails now',
      (ann) => ann.again('PATCH', '/api/profile/', { email_notifications: false }),
      'unwanted',
    ],
    [
      'is of an account that is deactivated now',
      ({ id }) => users().where({ id }).update({ is_active: false }),
      'unwanted',
    ],
    ['is of an account that is gone', ({ id }) => users().where({ id }).delete(), 'unwanted'],
  ])('whose task %s while the mail server is busy goes by that', async (_what, change, outcome) => {
    const ann = await reader()
    const { id } = await addTask(ann, { remind_at: at('08:00') })
    busy(ann.address)
    await become('08:00')
    expect(await outcomes(ann)).toEqual([null])
    await change(ann, `/api/tasks/${id}/`)
    mailbox.refuse = undefined
    await retryNow(server.testDatabase.db)
    expect(await outcomes(ann)).toEqual([outcome])
    expect(subjects(ann)).toHaveLength(outcome === 'sent' ? 1 : 0)
  })

  test('goes to the address that the account has when it is sent', async () => {
    const ann = await reader()
    await addTask(ann, { remind_at: at('08:00') })
    busy(ann.address)
    await become('08:00')
    const email = `new.${ann.address}`
    await users().where({ id: ann.id }).update({ email })
    mailbox.refuse = undefined
    await retryNow(server.testDatabase.db)
    expect(subjects(ann)).toEqual([])
    expect(mailsTo(email)).toHaveLength(1)
  })

  test.each<[string, (ann: Reader) => PromiseLike<unknown>]>([
    [
      'wants no emails',
      ({ call }) => call('PATCH', '/api/profile/', { email_notifications: false }),
    ],
    [
      'has not confirmed the address',
      ({ id }) => users().where({ id }).update({ email_verified_at: null }),
    ],
    ['is deactivated', ({ id }) => users().where({ id }).update({ is_active: false })],
  ])('is not even written for somebody who %s', async (_what, change) => {
    const ann = await reader({ digest_at: '08:00' })
    await addTask(ann, { remind_at: at('08:00'), due_date: day })
    await change(ann)
    await become('08:00')
    expect(await outcomes(ann)).toEqual([])
    expect(await server.testDatabase.db('reminders').where({ user_id: ann.id })).toEqual([])
  })

  test('is in the language of its reader, days included', async () => {
    const ann = await reader({ locale: 'de-AT' })
    await addTask(ann, {
      title: 'Fähre buchen',
      due_date: '2031-01-01',
      due_time: '18:30',
      remind_at: at('08:00'),
    })
    await become('08:00')
    const { mail } = mailsTo(ann.address)[0]!
    expect(mail.subject).toBe('Erinnerung: Fähre buchen')
    expect(mail.text).toContain('Fällig: Mittwoch, 1. Jänner 2031, 18:30')
    expect(mail.headers.get('content-language')).toBe('de')
  })

  test('makes neither markup nor headers of what a person has typed', async () => {
    const ann = await reader()
    const title = 'Milk\r\nBcc: eve@example.com\r\n\r\n<img src=x onerror="alert(1)">'
    const description = `</p><script>alert(2)</script>\n${'word '.repeat(1_000)}`
    await addTask(ann, { title, description, remind_at: at('08:00') })
    await become('08:00')
    const { mail, recipients, raw } = mailsTo(ann.address)[0]!
    expect(recipients).toEqual([ann.address])
    expect(mail.bcc).toBeUndefined()
    expect(mail.headers.has('bcc')).toBe(false)
    expect(mail.subject).toBe('Reminder: Milk Bcc: eve@example.com <img src=x onerror="alert(1)">')
    expect(raw.split('\r\n\r\n')[0]).not.toMatch(/^Bcc/im)
    expect(mail.html).not.toMatch(/<(img|script)/)
    expect(mail.html).toContain('&lt;script&gt;alert(2)')
    expect(mail.text).toContain('<script>alert(2)</script>')
    expect(mail.text!.length).toBeLessThan(1_500)
    expect(mail.text).toMatch(/word …\n/)
  })

  test('for each of two people is that of their own task, though both have the same id', async () => {
    const id = randomUUID()
    const [ann, bob] = [await reader(), await reader()]
    await addTask(ann, { id, title: 'Of Ann', remind_at: at('08:00') })
    await addTask(bob, { id, title: 'Of Bob', remind_at: at('08:00') })
    await become('08:00')
    expect(subjects(ann)).toEqual(['Reminder: Of Ann'])
    expect(subjects(bob)).toEqual(['Reminder: Of Bob'])
  })

  test('of which there are many at once comes for each, so many an hour', async () => {
    const ann = await reader()
    const rows = Array.from({ length: 150 }, (_, i) => ({
      newDocumentState: {
        id: randomUUID(),
        title: `Task ${i}`,
        remind_at: at('08:00'),
        _deleted: false,
      },
    }))
    expect((await ann.again('POST', '/replication/tasks/0/push', rows)).body).toHaveLength(0)
    const came: number[] = []
    for (const time of ['08:00', '08:01', '08:59', '09:01', '09:30', '10:02', '11:30']) {
      await become(time)
      came.push(subjects(ann).length)
    }
    expect(came).toEqual([60, 60, 60, 120, 120, 150, 150])
    const titles = rows.map(({ newDocumentState }) => `Reminder: ${newDocumentState.title}`)
    expect(subjects(ann).sort()).toEqual(titles.sort())
  })

  test('of a new account has no words of its user in the subject, and few come on the first day', async () => {
    const ann = await reader()
    await users().where({ id: ann.id }).update({ created_at: server.clock.now() })
    for (let i = 0; i < 7; i++)
      await addTask(ann, { title: 'Buy my pills', remind_at: at('08:00') })
    await become('08:00')
    expect(subjects(ann)).toEqual(Array(5).fill('Reminder from Tasktide'))
    await become('09:01')
    expect(subjects(ann)).toHaveLength(7)
    await addTask(ann, { title: 'Book the ferry', remind_at: at('08:00', dayAfter(1)) })
    await become('08:00', dayAfter(1))
    expect(subjects(ann)[7]).toBe('Reminder: Book the ferry')
  })

  test('waits for no more than one of everybody else', async () => {
    const quiet = await startServer()
    try {
      const busy = await Promise.all(Array.from({ length: 10 }, () => quiet.person()))
      const bob = await quiet.person()
      await confirmAll(quiet)
      for (const { id } of busy) await addDue(quiet, id, 100, '2 minutes')
      await addDue(quiet, bob.id, 1, '1 minute')
      const take = dueReminders(quiet.testDatabase.db, quiet.clock.now)
      await take()
      expect(await reminded(quiet)).toContainEqual({ user_id: bob.id, count: 1 })
      // What another worker has in hand is not waited for.
      await quiet.testDatabase.db.transaction(async (another) => {
        await another.raw('select from reminders for update')
        await take()
      })
      // Whoever takes at the same time takes others, and no more than there should be.
      for (let round = 0; round < 3; round++) await Promise.all([take(), take(), take(), take()])
      const counts = await reminded(quiet)
      expect(counts.map(({ count }) => count).sort((a, b) => a - b)).toEqual([
        1,
        ...Array(10).fill(60),
      ])
    } finally {
      await quiet.stop()
    }
  })

  test('of which nobody is to be told keeps nobody waiting, however many there are', async () => {
    const quiet = await startServer()
    try {
      const ann = await quiet.person()
      await addDue(quiet, ann.id, 400, '1 minute')
      await dueReminders(quiet.testDatabase.db, quiet.clock.now)()
      expect(await quiet.testDatabase.db('reminders').count()).toEqual([{ count: '0' }])
      expect(await reminded(quiet)).toEqual([])
    } finally {
      await quiet.stop()
    }
  })

  test('keeps no letter about an account waiting, however many there are', async () => {
    const own = await openMailbox()
    const narrow = await startServer({ ...mailingTo(own), SMTP_CONNECTIONS: '1' })
    try {
      const [ann, bob] = [await narrow.person(), await narrow.person()]
      await idle(narrow.testDatabase.db)
      await confirmAll(narrow)
      const before = own.delivered.length
      let release = () => {}
      const released = new Promise<void>((resolve) => {
        release = resolve
      })
      own.hold = (when) => (when === 'message' ? released : undefined)
      await addDue(narrow, ann.id, 60, '1 minute')
      const { db } = narrow.testDatabase
      await dueReminders(db, narrow.clock.now)()
      const email = `${bob.username}@example.com`
      await narrow.call('POST', '/api/account/forgot-password/', { email })
      await expect.poll(() => db('mails').where({ letter: 'reset_password' })).toHaveLength(1)
      release()
      await idle(db)
      const order = own.delivered.slice(before).map(({ recipients }) => recipients[0])
      expect(order).toHaveLength(61)
      // Behind those that the worker has taken already.
      expect(order.indexOf(email)).toBeLessThan(15)
    } finally {
      await narrow.stop()
      await own.close()
    }
  })
})

const confirmAll = ({ testDatabase, clock }: TestServer) =>
  testDatabase.db('users').update({
    email_verified_at: clock.now(),
    created_at: new Date(clock.now().getTime() - DAY),
  })

/** So many tasks, of which somebody was to be reminded so long ago, written past the API. */
async function addDue({ testDatabase }: TestServer, user: string, count: number, ago: string) {
  await testDatabase.db.raw(
    `with feed as (update feeds set seq = seq + :count where user_id = :user returning seq - :count as before)
     insert into tasks (user_id, id, title, description, priority, remind_at, completed, position, created_at, updated_at, seq)
     select :user, gen_random_uuid(), 'Task ' || n, '', 'low', now() - :ago::interval, false, 'a0',
       now() - interval '1 hour', now() - interval '1 hour', feed.before + n
     from feed, generate_series(1, :count) n`,
    { user, count, ago },
  )
}

async function reminded({
  testDatabase,
}: TestServer): Promise<{ user_id: string; count: number }[]> {
  const { rows } = await testDatabase.db.raw(
    `select user_id, count(*)::int from mails where letter = 'reminder' group by user_id`,
  )
  return rows
}

describe('a digest', () => {
  test('lists each day what is due and overdue, in the order of the day, and no more than fits', async () => {
    const ann = await reader({ digest_at: '07:30', timezone: 'Europe/Lisbon' })
    await addTask(ann, { title: 'Late', due_date: dayAfter(-1), due_time: '10:00' })
    await addTask(ann, { title: 'Very late', due_date: dayAfter(-60) })
    await addTask(ann, { title: 'All day', due_date: day })
    await addTask(ann, { title: 'Afternoon', due_date: day, due_time: '15:00' })
    await addTask(ann, { title: 'Morning', due_date: day, due_time: '09:00' })
    await addTask(ann, { title: 'Tomorrow', due_date: dayAfter(1) })
    await addTask(ann, { title: 'Some day' })
    const done = await addTask(ann, { title: 'Done', due_date: day })
    await ann.again('PATCH', `/api/tasks/${done.id}/`, { completed: true })
    const deleted = await addTask(ann, { title: 'Deleted', due_date: day })
    await ann.again('DELETE', `/api/tasks/${deleted.id}/`)

    const lisbonAhead = isSummerInLisbon(day) ? '06:30' : '07:30'
    await become(lisbonAhead)
    const { mail } = mailsTo(ann.address)[0]!
    expect(mail.subject).toMatch(/^Your day: \w+day, /)
    const titles = ['Morning', 'Afternoon', 'All day', 'Late', 'Very late']
    expect(listed(mail.text!)).toEqual(titles)
    expect(mail.text).toMatch(/Today\n- Morning \(09:00\)/)
    expect(mail.text).toMatch(/Overdue\n- Late \(.*10:00.*\)/)

    for (let i = 0; i < 50; i++) await addTask(ann, { title: `Task ${i}`, due_date: dayAfter(1) })
    await become('08:00', dayAfter(1))
    const next = mailsTo(ann.address)[1]!.mail
    expect(listed(next.text!)).toHaveLength(50)
    expect(next.text).toContain('Open Tasktide: 6 more')
  })

  test('comes once a day, also after downtime, and by the new time when that is changed', async () => {
    const ann = await reader({ digest_at: '07:30' })
    await addTask(ann, { due_date: day })
    await become('07:30')
    await become('07:31')
    expect(subjects(ann)).toHaveLength(1)
    // Today's has been sent, whatever time it should be at now.
    await ann.again('PATCH', '/api/profile/', { digest_at: '12:00' })
    await become('12:00')
    expect(subjects(ann)).toHaveLength(1)
    await become('12:01', dayAfter(4))
    expect(subjects(ann)).toHaveLength(2)
    // Late in the morning: today's is still to come.
    await become('11:59', dayAfter(8))
    expect(subjects(ann)).toHaveLength(2)
    await become('12:00', dayAfter(8))
    expect(subjects(ann)).toHaveLength(3)
  })

  test('does not come when nothing is due, nor when it is not wanted any more', async () => {
    const ann = await reader({ digest_at: '07:30' })
    await addTask(ann, { due_date: dayAfter(1) })
    await become('07:30')
    expect(await outcomes(ann)).toEqual(['unwanted'])
    await ann.again('PATCH', '/api/profile/', { digest_at: null })
    await become('07:30', dayAfter(1))
    expect(await outcomes(ann)).toEqual(['unwanted'])
    expect(subjects(ann)).toEqual([])
  })

  test('that could not be sent on its day is dropped for the next', async () => {
    const ann = await reader({ digest_at: '07:30' })
    await addTask(ann, { due_date: day })
    mailbox.refuse = () => Object.assign(new Error('busy'), { responseCode: 451 })
    await become('07:30')
    await become('07:30', dayAfter(1))
    expect(await outcomes(ann)).toEqual([null, null])
    mailbox.refuse = undefined
    await retryNow(server.testDatabase.db)
    await idle(server.testDatabase.db)
    expect(await outcomes(ann)).toEqual(['unwanted', 'sent'])
    expect(subjects(ann)).toHaveLength(1)
  })
})

const listed = (text: string) =>
  [...text.matchAll(/^- (.*?)(?: \(.*\))?$/gm)].map(([, title]) => title)

const isSummerInLisbon = (date: string) =>
  new Intl.DateTimeFormat('en', { timeZone: 'Europe/Lisbon', timeZoneName: 'longOffset' })
    .format(new Date(`${date}T06:00Z`))
    .includes('+01:00')
