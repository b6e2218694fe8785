import { randomUUID } from 'node:crypto'
import type { Knex } from 'knex'
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from 'vitest'
import * as migration from '../../../migrations/0007_reminders.ts'
import { type Profile, resources, settle, type Task } from '../../../protocol/index.ts'
import { createDatabase, type TestDatabase } from '../../support/database.ts'

let database: TestDatabase
/** Rolled back after each test. */
let trx: Knex.Transaction
beforeAll(async () => {
  database = await createDatabase()
})
afterAll(() => database.drop())
beforeEach(async () => {
  trx = await database.db.transaction()
})
afterEach(() => trx.rollback())

const EDITED = '2026-11-01T12:00:00.000Z'
const DUE = { due_date: '2026-12-01', due_time: '08:30' }
const HOUR_BEFORE = { remind_minutes_before: 60 }
const AT_EIGHT = { remind_all_day_at: '08:00' }

describe('a task has a reminder', () => {
  test.each<[string, Partial<Profile>, Partial<Task>, string | undefined]>([
    ['not at all without dates', { ...HOUR_BEFORE, ...AT_EIGHT }, {}, undefined],
    ['at its own time', {}, { remind_at: '2026-12-01T07:00:00.000Z' }, '2026-12-01T07:00:00.000Z'],
    [
      'at its own time instead of the default',
      HOUR_BEFORE,
      { ...DUE, remind_at: '2026-11-30T07:00:00.000Z' },
      '2026-11-30T07:00:00.000Z',
    ],
    ['not at all without defaults', {}, DUE, undefined],
    ['so long before its due time', HOUR_BEFORE, DUE, '2026-12-01T07:30:00.000Z'],
    ['at its due time', { remind_minutes_before: 0 }, DUE, '2026-12-01T08:30:00.000Z'],
    [
      'up to four weeks before it',
      { remind_minutes_before: 40_320 },
      DUE,
      '2026-11-03T08:30:00.000Z',
    ],
    ['not at an hour of the day when it has a time', AT_EIGHT, DUE, undefined],
    [
      'at an hour of its due day when it has no time',
      AT_EIGHT,
      { due_date: '2026-12-01' },
      '2026-12-01T08:00:00.000Z',
    ],
    ['not before a time that it has not', HOUR_BEFORE, { due_date: '2026-12-01' }, undefined],
    [
      'in the timezone of its owner',
      { ...HOUR_BEFORE, timezone: 'Asia/Tokyo' },
      DUE,
      '2026-11-30T22:30:00.000Z',
    ],
    ['not when it is done', HOUR_BEFORE, { ...DUE, completed: true }, undefined],
    [
      'not when that has passed at the edit',
      HOUR_BEFORE,
      { ...DUE, due_date: '2026-11-01' },
      undefined,
    ],
    ['not at the very moment of the edit', {}, { remind_at: EDITED }, undefined],
  ])('%s', async (_what, profile, task, moment) => {
    const user = await addPerson(profile)
    await addTask(user, task)
    expect(await planned(user)).toEqual(moment ? [moment] : [])
  })
})

describe('clock changes', () => {
  test.each([
    // [zone, day, time on the clock, moment, what is the matter]
    [
      'Europe/Lisbon',
      '2027-03-28',
      '00:59',
      '2027-03-28T00:59:00.000Z',
      'the last minute of winter',
    ],
    ['Europe/Lisbon', '2027-03-28', '01:30', '2027-03-28T01:30:00.000Z', 'is skipped: 02:30'],
    ['Europe/Lisbon', '2027-03-28', '02:00', '2027-03-28T01:00:00.000Z', 'the first of summer'],
    ['Europe/Lisbon', '2026-10-25', '00:59', '2026-10-24T23:59:00.000Z', 'comes once'],
    ['Europe/Lisbon', '2026-10-25', '01:30', '2026-10-25T01:30:00.000Z', 'comes twice: the second'],
    ['Europe/Lisbon', '2026-10-25', '02:00', '2026-10-25T02:00:00.000Z', 'the first of winter'],
    ['America/New_York', '2027-03-14', '01:59', '2027-03-14T06:59:00.000Z', 'the last of winter'],
    ['America/New_York', '2027-03-14', '02:30', '2027-03-14T07:30:00.000Z', 'is skipped: 03:30'],
    ['America/New_York', '2027-03-14', '03:00', '2027-03-14T07:00:00.000Z', 'the first of summer'],
    ['America/New_York', '2026-11-01', '01:30', '2026-11-01T06:30:00.000Z', 'twice: the second'],
    ['America/New_York', '2026-11-01', '00:30', '2026-11-01T04:30:00.000Z', 'comes once'],
    ['Australia/Lord_Howe', '2026-10-04', '01:45', '2026-10-03T15:15:00.000Z', 'winter'],
    ['Australia/Lord_Howe', '2026-10-04', '02:15', '2026-10-03T15:45:00.000Z', 'skipped: 02:45'],
    ['Australia/Lord_Howe', '2026-10-04', '02:30', '2026-10-03T15:30:00.000Z', 'summer'],
    ['Australia/Lord_Howe', '2027-04-04', '01:45', '2027-04-03T15:15:00.000Z', 'twice: the second'],
    ['Australia/Lord_Howe', '2027-04-04', '02:00', '2027-04-03T15:30:00.000Z', 'winter'],
  ])('%s, %s %s is %s (%s)', async (timezone, due_date, at, moment) => {
    const before = '2026-09-01T00:00:00.000Z'
    const user = await addPerson({ timezone, remind_minutes_before: 0, remind_all_day_at: at })
    await addTask(user, { due_date, due_time: at }, before)
    await addTask(user, { due_date }, before)
    expect(await planned(user)).toEqual([moment, moment])
  })

  test.each([
    ['Europe/Lisbon', '07:30', '2027-03-27T07:30:00Z', '2027-03-28T06:30:00.000Z'],
    ['Europe/Lisbon', '01:30', '2027-03-27T01:30:00Z', '2027-03-28T01:30:00.000Z'],
    ['Europe/Lisbon', '01:30', '2027-03-28T01:30:00Z', '2027-03-29T00:30:00.000Z'],
    ['Europe/Lisbon', '01:30', '2026-10-25T00:30:00Z', '2026-10-25T01:30:00.000Z'],
    ['Europe/Lisbon', '01:30', '2026-10-25T01:30:00Z', '2026-10-26T01:30:00.000Z'],
    ['America/New_York', '02:30', '2027-03-13T07:30:00Z', '2027-03-14T07:30:00.000Z'],
    ['America/New_York', '02:30', '2027-03-14T07:30:00Z', '2027-03-15T06:30:00.000Z'],
    ['Australia/Lord_Howe', '02:15', '2026-10-03T15:45:00Z', '2026-10-04T15:15:00.000Z'],
    ['Pacific/Kiritimati', '00:00', '2026-11-01T12:00:00Z', '2026-11-02T10:00:00.000Z'],
    ['Pacific/Pago_Pago', '23:59', '2026-11-01T10:58:59Z', '2026-11-01T10:59:00.000Z'],
  ])('in %s the digest of %s after that of %s is at %s', async (timezone, at, edited, moment) => {
    const user = await addPerson({ timezone, digest_at: at }, edited)
    expect(await trx('digests').where({ user_id: user })).toMatchObject([
      { due_at: new Date(moment) },
    ])
  })
})

describe('a timezone', () => {
  test('that Postgres does not know counts as UTC, and causes no error', async () => {
    const user = await addPerson({ ...HOUR_BEFORE, timezone: 'Mars/Olympus', digest_at: '07:00' })
    await addTask(user, DUE)
    await trx('profiles').where({ user_id: user }).update({ timezone: 'Mars/Elysium' })
    expect(await planned(user)).toEqual(['2026-12-01T07:30:00.000Z'])
    expect(await trx('digests').where({ user_id: user })).toMatchObject([
      { due_at: new Date('2026-11-02T07:00:00Z') },
    ])
  })

  test('may be any that devices support', async () => {
    const user = await addPerson({ remind_minutes_before: 0 })
    await addTask(user, DUE)
    const names = [...Intl.supportedValuesOf('timeZone'), 'GMT', 'EST5EDT', 'PST', 'europe/lisbon']
    expect(names.length).toBeGreaterThan(400)
    for (const timezone of names) {
      await trx('profiles').where({ user_id: user }).update({ timezone })
      expect(await planned(user)).toHaveLength(1)
    }
  })
})

describe('a reminder', () => {
  let user: string
  let id: string
  const own = () => trx('tasks').where({ user_id: user, id })
  const ownProfile = () => trx('profiles').where({ user_id: user })
  beforeEach(async () => {
    user = await addPerson({ ...HOUR_BEFORE, ...AT_EIGHT })
    id = await addTask(user, DUE)
    await addTask(await addPerson(HOUR_BEFORE), DUE)
  })

  test.each<[string, () => PromiseLike<unknown>, string[]]>([
    ['stays when something else changes', () => own().update({ title: 'Other' }), ['07:30']],
    ['moves with the time', () => own().update({ due_time: '10:00' }), ['09:00']],
    ['moves to the hour of the day', () => own().update({ due_time: null }), ['08:00']],
    ['moves to a moment', () => own().update({ remind_at: '2026-12-01T05:00Z' }), ['05:00']],
    ['goes with its day', () => own().update({ due_date: null }), []],
    ['goes when the task is done', () => own().update({ completed: true }), []],
    ['goes when the task is deleted', () => own().update({ deleted: true }), []],
    ['goes with the row', () => own().delete(), []],
    ['goes with the person', () => trx('users').where({ id: user }).delete(), []],
    [
      'comes back with the task',
      async () => {
        await own().update({ deleted: true })
        await own().update({ deleted: false })
      },
      ['07:30'],
    ],
    [
      'comes back when the task is not done after all',
      async () => {
        await own().update({ completed: true })
        await own().update({ completed: false })
      },
      ['07:30'],
    ],
    [
      'does not come back when its moment has passed',
      async () => {
        await own().update({ completed: true })
        await own().update({ completed: false, updated_at: '2026-12-01T07:30Z' })
      },
      [],
    ],
    [
      'that is late stays when its day is given a time',
      async () => {
        await own().update({ remind_at: '2026-12-01T05:00Z' })
        await own().update({ due_time: '11:00', updated_at: '2026-12-01T06:00Z' })
      },
      ['05:00'],
    ],
    ['moves with the default', () => ownProfile().update({ remind_minutes_before: 5 }), ['08:25']],
    ['goes with the default', () => ownProfile().update({ remind_minutes_before: null }), []],
    ['moves with the timezone', () => ownProfile().update({ timezone: 'Asia/Dubai' }), ['03:30']],
    ['stays whatever the name', () => ownProfile().update({ display_name: 'Ann' }), ['07:30']],
    [
      'goes when a timezone puts it into the past',
      () => ownProfile().update({ timezone: 'Asia/Tokyo', updated_at: '2026-12-01T00:00Z' }),
      [],
    ],
    [
      'that is late stays when another default changes',
      () => ownProfile().update({ remind_all_day_at: '09:00', updated_at: '2026-12-01T08:00Z' }),
      ['07:30'],
    ],
  ])('%s', async (_what, change, times) => {
    await change()
    expect(await planned(user)).toEqual(times.map((time) => `2026-12-01T${time}:00.000Z`))
    expect(await trx('reminders').whereNot({ user_id: user })).toHaveLength(1)
  })

  test('of a task whose category is deleted stays', async () => {
    const category = randomUUID()
    const document = settle(
      resources.categories,
      { id: category, name: 'Voyages' },
      undefined,
      EDITED,
    )
    await trx('categories').insert({ user_id: user, ...document })
    await own().update({ category_id: category })
    await trx('categories').where({ id: category }).update({ deleted: true })
    expect(await own().first('category_id')).toEqual({ category_id: null })
    expect(await planned(user)).toEqual(['2026-12-01T07:30:00.000Z'])
  })

  test('costs nothing for tasks without dates', async () => {
    await trx.raw(`
      create or replace function plan_reminder() returns trigger language plpgsql as $$
      begin raise 'looked'; end $$`)
    const plain = await addTask(user, {})
    const ofPlain = () => trx('tasks').where({ user_id: user, id: plain })
    await ofPlain().update({ title: 'Other' })
    await ofPlain().update({ completed: true })
    await ofPlain().update({ deleted: true })
    await own().update({ title: 'Other' })
    await expect(ofPlain().update({ due_date: '2026-12-01', deleted: false })).rejects.toThrow(
      'looked',
    )
  })
})

describe('a digest', () => {
  test.each<[string, Partial<Profile>, string[]]>([
    ['is at another time', { digest_at: '09:15' }, ['2026-11-02T09:15:00.000Z']],
    ['is by another clock', { timezone: 'Asia/Tokyo' }, ['2026-11-01T22:00:00.000Z']],
    ['is not wanted any more', { digest_at: null }, []],
    ['stays with another name', { display_name: 'Ann' }, ['2026-11-02T07:00:00.000Z']],
  ])('%s', async (_what, change, moments) => {
    const user = await addPerson({ digest_at: '07:00' })
    await trx('profiles').where({ user_id: user }).update(change)
    const found = await trx('digests').where({ user_id: user }).pluck('due_at')
    expect(found).toEqual(moments.map((moment) => new Date(moment)))
  })
})

test('tasks from before the migration have reminders if these are in the future', async () => {
  const ahead = new Date(Date.now() + 60_000).toISOString()
  const user = await addPerson({})
  const tasks = [
    { remind_at: ahead },
    { remind_at: ahead, completed: true },
    { remind_at: '2020-01-01T00:00:00.000Z' },
    DUE,
  ]
  for (const task of tasks) await addTask(user, task, '2019-01-01T00:00:00.000Z')
  await migration.down(trx)
  await migration.up(trx)
  expect(await planned(user)).toEqual([ahead])
  expect(await trx('profiles').where({ user_id: user })).toMatchObject([
    { remind_minutes_before: null, remind_all_day_at: null, digest_at: null },
  ])
})

async function addPerson(profile: Partial<Profile>, edited = EDITED): Promise<string> {
  const id = randomUUID()
  await trx('users').insert({ id, username: id, email: `${id}@example.com`, password_hash: '' })
  const document = settle(resources.profile, { ...profile, id }, undefined, edited)
  await trx('profiles').insert({ user_id: id, ...document })
  return id
}

async function addTask(user: string, task: Partial<Task>, edited = EDITED): Promise<string> {
  const id = randomUUID()
  const document = settle(resources.tasks, { title: 'Ferry', ...task, id }, undefined, edited)
  await trx('tasks').insert({ user_id: user, ...document })
  return id
}

async function planned(user: string): Promise<string[]> {
  const moments: Date[] = await trx('reminders').where({ user_id: user }).pluck('due_at')
  return moments.map((moment) => moment.toISOString()).sort()
}
