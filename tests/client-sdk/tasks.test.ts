import { afterAll, beforeAll, describe, expect, test, vi } from 'vitest'
import type { Client, NewTask } from '../../client-sdk/index.ts'
import { startServer, type TestServer } from '../support/server.ts'
import { deviceOf, until } from './device.ts'

let server: TestServer
beforeAll(async () => {
  server = await startServer()
})
afterAll(() => server.stop())

const AT = '2026-11-22T08:30:00.000Z'
const offlineAt = async (moment = AT) => {
  const clock = { now: Date.now() }
  const ann = await server.person()
  const phone = await deviceOf(server, ann, { now: () => clock.now })
  await phone.sync.awaitInSync()
  phone.sync.pause()
  clock.now = Date.parse(moment)
  return { phone, clock }
}

test('a new task has all fields that the server would set', async () => {
  const { phone } = await offlineAt()
  const task = await phone.tasks.add({ title: 'Ferry', completed: true })
  expect(task.toJSON()).toEqual({
    id: expect.stringMatching(
      /^[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/,
    ),
    title: 'Ferry',
    description: '',
    category_id: null,
    priority: 'medium',
    due_date: null,
    due_time: null,
    remind_at: null,
    completed: true,
    completed_at: AT,
    position: expect.stringMatching(/^g/),
    created_at: AT,
    updated_at: AT,
  })
})

describe('values that the server would reject', () => {
  const blank = 'Enter some text; this is blank.'
  test.each<[string, object, Record<string, string>]>([
    ['no title', {}, { title: 'Enter a value; this field is required.' }],
    ['a blank title', { title: ' ' }, { title: blank }],
    ['a long title', { title: 'x'.repeat(501) }, { title: 'Use at most 500 characters.' }],
    [
      'another priority and a Date',
      { title: 'Ferry', priority: 'urgent', due_date: new Date() },
      { priority: 'Use one of low, medium, high.', due_date: 'Use a date as YYYY-MM-DD.' },
    ],
    ['no UUID', { title: 'Ferry', id: '1' }, { id: expect.stringMatching(/^Use a UUID/) }],
    ['another field', { title: 'Ferry', due: null }, { due: expect.stringMatching(/^Remove it/) }],
  ])('%s: nothing is stored, and the error says what to do', async (_what, task, faults) => {
    const { phone } = await offlineAt()
    const { id } = await phone.tasks.add({ title: 'Train' })
    const errors = Object.fromEntries(Object.entries(faults).map(([name, one]) => [name, [one]]))
    const refused = { name: 'ClientError', code: 'invalid', errors }
    await expect(phone.tasks.add(task as NewTask)).rejects.toMatchObject(refused)
    await expect(phone.tasks.bulkInsert([{ title: 'Bus' }, task] as never)).rejects.toMatchObject(
      refused,
    )
    expect(await phone.tasks.count().exec()).toBe(1)
    const [[field, value] = []] = Object.entries(task).filter(([name]) => name in errors)
    if (!field || field === 'id') return
    const train = await phone.tasks.findOne(id).exec()
    await expect(train!.incrementalPatch({ [field]: value })).rejects.toThrow(`${field}: `)
    expect(train!.getLatest().toJSON()).toEqual(train!.toJSON())
  })

  test('do not block edits of other fields, nor the deletion, where they are stored already', async () => {
    const { phone, clock } = await offlineAt()
    const { storageInstance } = phone.tasks
    const task = await phone.tasks.add({ title: 'Train' })
    const [previous] = await storageInstance.findDocumentsById([task.id], false)
    const document = { ...previous!, title: ' ' }
    await storageInstance.bulkWrite([{ previous: previous!, document }], 'replication-newer-server')
    clock.now += 1_000
    await task.getLatest().incrementalPatch({ priority: 'high' })
    await phone.tasks.softDelete(task.id)
    expect(await phone.tasks.count().exec()).toBe(0)
  })
})

test('completing sets completed_at, and reopening clears it', async () => {
  const { phone, clock } = await offlineAt()
  const { id } = await phone.tasks.add({ title: 'Ferry' })
  clock.now += 1_000
  const done = await phone.tasks.complete(id)
  expect(done.completed_at).toBe('2026-11-22T08:30:01.000Z')
  expect(done.updated_at).toBe('2026-11-22T08:30:01.000Z')
  clock.now += 1_000
  await done.incrementalPatch({ title: 'Night ferry' })
  expect(done.getLatest().completed_at).toBe('2026-11-22T08:30:01.000Z')
  expect((await phone.tasks.complete(id, false)).completed_at).toBeNull()
})

const order = async ({ tasks }: Client) =>
  (await tasks.inCategory(null).exec()).map(({ title }) => title).join('')

test('a task moves to any place', async () => {
  const { phone, clock } = await offlineAt()
  const ids: Record<string, string> = {}
  for (const title of 'abcd') {
    ids[title] = (await phone.tasks.add({ title })).id
    clock.now += 1
  }
  expect(await order(phone)).toBe('abcd')
  await phone.tasks.move(ids.d!, { before: ids.a! })
  expect(await order(phone)).toBe('dabc')
  await phone.tasks.move(ids.a!, { after: ids.c! })
  expect(await order(phone)).toBe('dbca')
  await phone.tasks.move(ids.a!, { after: ids.d! })
  expect(await order(phone)).toBe('dabc')
  await phone.tasks.move(ids.c!, { before: ids.a! })
  expect(await order(phone)).toBe('dcab')
  await expect(phone.tasks.move(ids.c!, { before: 'gone' })).rejects.toMatchObject({
    code: 'not_found',
  })
})

test('a task moves between tasks with equal positions of two devices', async () => {
  const { phone } = await offlineAt()
  // More than are looked at first. Among equals, ids decide.
  for (let i = 0; i < 20; i++) await phone.tasks.add({ title: '-', position: 'a1' })
  const ids = async () => (await phone.tasks.inCategory(null).exec()).map(({ id }) => id)
  const { id } = await phone.tasks.add({ title: 'x' })
  const equals = (await ids()).filter((one) => one !== id)
  for (const [place, index] of [
    [{ after: equals[9]! }, 10],
    [{ before: equals[5]! }, 5],
    [{ after: equals[9]! }, 10],
    [{ before: equals[0]! }, 0],
    [{ after: equals[19]! }, 20],
    [{ after: id }, 20],
  ] as const) {
    await phone.tasks.move(id, place)
    expect(await ids()).toEqual(equals.toSpliced(index, 0, id))
  }
})

test('a deleted task is restored unchanged, on every device', async () => {
  const ann = await server.person()
  const phone = await deviceOf(server, ann)
  const laptop = await deviceOf(server, ann)
  const task = await phone.tasks.add({ title: 'Ferry', due_date: '2026-12-01' })
  const { updated_at, ...was } = task.toJSON()
  await phone.sync.awaitInSync()
  await laptop.sync.awaitInSync()
  await phone.tasks.softDelete(task.id)
  await phone.sync.awaitInSync()
  await laptop.sync.awaitInSync()
  expect(await laptop.tasks.count().exec()).toBe(0)
  await laptop.tasks.restore(task.id)
  await laptop.sync.awaitInSync()
  await phone.sync.awaitInSync()
  const { body } = await ann.call('GET', `/api/tasks/${task.id}/`)
  expect(body).toMatchObject(was)
  const [restored] = await phone.tasks.find().exec()
  expect(restored!.toJSON()).toEqual(body)
  await expect(phone.tasks.restore('gone')).rejects.toMatchObject({ code: 'not_found' })
})

test('deleted tasks are in the trash, the latest first, until they are restored', async () => {
  const { phone, clock } = await offlineAt()
  const ids = []
  for (const title of ['Ferry', 'Train', 'Bus']) ids.push((await phone.tasks.add({ title })).id)
  expect(await phone.tasks.deleted().exec()).toEqual([])
  const both = until(phone.tasks.deleted().$, (tasks) => tasks.length === 2)
  for (const id of [ids[1]!, ids[0]!]) {
    clock.now += 1_000
    await phone.tasks.softDelete(id)
  }
  const [latest, first] = await both
  expect([latest!.title, first!.title]).toEqual(['Ferry', 'Train'])
  const [bus] = await phone.tasks.find().exec()
  expect(Object.keys(latest!).sort()).toEqual(Object.keys(bus!.toJSON()).sort())
  const one = until(phone.tasks.deleted().$, (tasks) => tasks.length === 1)
  await phone.tasks.restore(latest!.id)
  expect(await one).toEqual([first])
})

test('tasks created and deleted elsewhere appear in the trash by themselves', async () => {
  const ann = await server.person()
  const phone = await deviceOf(server, ann)
  await phone.sync.awaitInSync()
  await phone.sync.pause()
  const arrived = until(phone.tasks.deleted().$, (tasks) => tasks.length === 1)
  const { id } = (await ann.call('POST', '/api/tasks/', { title: 'Ferry' })).body
  await ann.call('DELETE', `/api/tasks/${id}/`)
  await phone.sync.resume()
  expect(await arrived).toMatchObject([{ id, title: 'Ferry' }])
})

test.each([
  ['Pacific/Auckland', '2026-11-22', 'aucklandToday'],
  ['America/Los_Angeles', '2026-11-21', 'losAngelesToday'],
])('in %s, today is %s', async (zone, day, title) => {
  vi.stubEnv('TZ', zone)
  vi.setSystemTime('2026-11-22T03:00:00.000Z')
  try {
    const { phone } = await offlineAt('2026-11-22T03:00:00.000Z')
    await phone.tasks.add({ title, due_date: day })
    await phone.tasks.add({ title: 'done', due_date: day, completed: true })
    await phone.tasks.add({ title: 'long ago', due_date: '2026-01-31' })
    await phone.tasks.add({ title: 'a while ago', due_date: '2026-11-01' })
    await phone.tasks.add({ title: 'later', due_date: '2026-11-23' })
    await phone.tasks.add({ title: 'some day' })
    const titles = async (query: { exec(): Promise<{ title: string }[]> }) =>
      (await query.exec()).map(({ title }) => title)
    expect(await titles(phone.tasks.today())).toEqual([title])
    expect(await titles(phone.tasks.overdue())).toEqual(['long ago', 'a while ago'])
    expect(await titles(phone.tasks.today('2026-11-23'))).toEqual(['later'])
  } finally {
    vi.unstubAllEnvs()
    vi.useRealTimers()
  }
})

test('tasks are listed by category', async () => {
  const { phone } = await offlineAt()
  const travel = await phone.categories.insert({ name: 'Travel' })
  await phone.tasks.add({ title: 'Ferry', category_id: travel.id })
  await phone.tasks.add({ title: 'Bread' })
  const inTravel = await phone.tasks.inCategory(travel.id).exec()
  expect(inTravel.map(({ title }) => title)).toEqual(['Ferry'])
  expect(await order(phone)).toBe('Bread')
})

test('the journal cannot be written on a device', async () => {
  const { phone } = await offlineAt()
  await expect(phone.conflicts.insert({ id: 'a' } as never)).rejects.toMatchObject({
    code: 'read_only',
  })
})
