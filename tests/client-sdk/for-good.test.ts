import sqlite from 'node-sqlite3-wasm'
import { io } from 'socket.io-client'
import { afterAll, expect } from 'vitest'
import { sqliteStorage } from '../../client-sdk/sqlite.ts'
import type { Person } from '../support/server.ts'
import { deferred } from '../support/store-contract.ts'
import { device, deviceOf, shut, tasksOf, until } from './device.ts'
import { faultyStorage } from './faulty-storage.ts'
import { test } from './fixtures.ts'
import { acceptAnyText } from './lax-rules.ts'
import { problem } from './network.ts'

afterAll(acceptAnyText())

const TITLE = 'A letter to Carla'
const NOTES = 'She left in May'
const TEXTS = /Carla|in May/

/** A disk, whose text can be read. */
function openDisk() {
  const database = new sqlite.Database(':memory:')
  const execute = async (statement: string, parameters: string[]) =>
    database.all(statement, parameters) as object[]
  const texts = () => JSON.stringify(database.all('select * from tasktide_documents'))
  return { storage: sqliteStorage({ execute }), texts }
}

/** All that the server gives its owner of a task, or has of it. */
async function traces(person: Person, db: import('knex').Knex): Promise<string> {
  const paths = ['', 'tasks.csv', 'tasks.ics'].map((name) => `/api/account/export/${name}`)
  const lists = ['/api/tasks/?deleted=true', '/api/conflicts/', '/api/conflicts/?deleted=true']
  const pulls = ['tasks', 'categories', 'conflicts'].map(
    (name) => `/replication/${name}/0/pull?limit=1000`,
  )
  const replies = []
  for (const path of [...paths, ...lists, ...pulls]) {
    const { status, text } = await person.call('GET', path)
    expect(`${path} ${status}`).toBe(`${path} 200`)
    replies.push(text)
  }
  const rows = await Promise.all(
    ['tasks', 'categories', 'conflicts'].map((table) => db(table).where({ user_id: person.id })),
  )
  return JSON.stringify([replies, rows])
}

/** Two values of a task lose, so that the journal has them. */
async function losesTwice(person: Person, task: { id: string }) {
  const { body: before } = await person.call('GET', `/api/tasks/${task.id}/`)
  const rows = [`${TITLE} and Ben`, `${TITLE}!`].map((title, i) => ({
    newDocumentState: { ...before, title, updated_at: new Date(Date.now() - 2 * i).toISOString() },
    assumedMasterState: before,
  }))
  await person.call('POST', '/replication/tasks/0/push', rows)
}

test('a task that is deleted for good leaves no text, on the server and on every device', async ({
  server,
  network,
  ann,
}) => {
  const { db } = server.testDatabase
  const [diskOfPhone, diskOfLaptop] = [openDisk(), openDisk()]
  const phone = await deviceOf(network, ann, { storage: diskOfPhone.storage })
  const laptop = await deviceOf(server, ann, { storage: diskOfLaptop.storage })
  const task = await laptop.tasks.add({ title: TITLE, description: NOTES })
  const { id } = await laptop.tasks.add({ title: 'Milk' })
  await laptop.sync.awaitInSync()
  await losesTwice(ann, task)
  await laptop.sync.awaitInSync()
  await laptop.tasks.findOne(task.id).incrementalPatch({ title: ' ' })
  await until(laptop.sync.rejected$, (rows) => rows.length === 1)
  await phone.sync.awaitInSync()
  for (const disk of [diskOfPhone, diskOfLaptop]) expect(disk.texts()).toMatch(TEXTS)
  expect(await traces(ann, db)).toMatch(TEXTS)

  network.cut()
  await phone.tasks.findOne(task.id).incrementalPatch({ description: 'She has come back' })
  const frames: string[] = []
  const socket = io(server.url, { transports: ['websocket'], auth: { token: ann.access } })
  socket.on('changes', (frame) => frames.push(JSON.stringify(frame)))
  await new Promise((resolve) => socket.once('ready', resolve))

  // Without the network, too: nothing is left on the device that deletes it.
  await laptop.sync.pause()
  await laptop.tasks.deleteForGood(task.id)
  await expect.poll(() => diskOfLaptop.texts()).not.toMatch(TEXTS)
  expect((await tasksOf(laptop)).map(({ title }) => title)).toEqual(['Milk'])
  expect(await laptop.tasks.deleted().exec()).toEqual([])
  await until(laptop.sync.rejected$, (rows) => rows.length === 0)
  await expect(laptop.tasks.restore(task.id)).rejects.toMatchObject({ code: 'not_found' })

  await laptop.sync.resume()
  await laptop.sync.awaitInSync()
  expect(diskOfLaptop.texts()).not.toMatch(TEXTS)
  expect(await traces(ann, db)).not.toMatch(TEXTS)
  expect((await ann.call('GET', '/api/account/export/')).body.tasks).toMatchObject([{ id }])
  expect((await ann.call('POST', `/api/tasks/${task.id}/restore/`)).status).toBe(404)
  await expect.poll(() => frames.some((frame) => frame.includes(task.id))).toBe(true)
  expect(frames.join()).not.toMatch(TEXTS)
  socket.disconnect()

  // What was typed on another device meanwhile is in the journal, and nothing else.
  network.mend()
  await phone.sync.awaitInSync()
  expect(diskOfPhone.texts()).not.toMatch(TEXTS)
  const [entry] = await until(phone.sync.conflicts$, (entries) => entries.length === 1)
  const cause = { cause: 'deletion', lost: { description: 'She has come back' } }
  expect(entry).toMatchObject({ document_id: task.id, ...cause, kept: { description: '' } })
  expect((await tasksOf(phone)).map((one) => one.id)).toEqual([id])

  await ann.call('DELETE', `/api/tasks/${task.id}/?for_good=true`)
  await phone.sync.awaitInSync()
  await laptop.sync.awaitInSync()
  for (const disk of [diskOfPhone, diskOfLaptop]) expect(disk.texts()).not.toMatch(/come back/)
  expect(await traces(ann, db)).not.toMatch(/come back/)
  expect(await laptop.sync.verify()).toBe(0)
})

test('a device that closes or loses its network at once erases what it has all the same', async ({
  network,
  ann,
}) => {
  const disk = openDisk()
  const faulty = faultyStorage(disk.storage)
  const options = { storage: faulty.storage, name: 'phone' }
  const phone = await deviceOf(network, ann, options)
  const task = await phone.tasks.add({ title: TITLE, description: NOTES })
  await phone.sync.awaitInSync()

  // An edit is on its way when its task is deleted, and its answer is the last that comes.
  const [answered, deleted, pushedAgain] = [deferred(), deferred(), deferred()]
  network.onAnswer = async (path) => {
    if (!path.includes('/push')) return
    answered.resolve()
    await deleted.promise
  }
  await phone.tasks.findOne(task.id).incrementalPatch({ description: `${NOTES}.` })
  await answered.promise
  await phone.tasks.deleteForGood(task.id)
  network.onRequest = (path) => {
    if (!path.includes('/push')) return 'pass'
    pushedAgain.resolve()
    return 'lose'
  }
  deleted.resolve()
  await pushedAgain.promise
  expect(disk.texts()).not.toMatch(TEXTS)

  // It was closed in between.
  await faulty.corruptKnown(task.id, { title: TITLE })
  await shut(phone)
  expect(disk.texts()).toMatch(TEXTS)
  const again = await device(network, options)
  await expect.poll(() => disk.texts()).not.toMatch(TEXTS)
  network.onRequest = () => 'pass'
  await again.sync.awaitInSync()
  expect((await ann.call('GET', '/replication/tasks/0/pull')).text).not.toMatch(TEXTS)
})

test('a self-check does not bring back what is erased and not sent yet', async ({
  network,
  ann,
}) => {
  const disk = openDisk()
  const phone = await deviceOf(network, ann, { storage: disk.storage })
  const task = await phone.tasks.add({ title: TITLE })
  await phone.sync.awaitInSync()
  network.onRequest = (path, _method, body) =>
    path.includes('/push') && body.includes(task.id) ? problem('internal') : 'pass'
  await phone.tasks.deleteForGood(task.id)
  await until(phone.sync.state$, ({ error }) => error?.code === 'server_error')
  expect(await phone.sync.verify()).toBe(0)
  expect(disk.texts()).not.toMatch(TEXTS)
})

test('categories can be deleted for good, and what only the server writes cannot', async ({
  server,
  ann,
}) => {
  const disk = openDisk()
  const phone = await deviceOf(server, ann, { storage: disk.storage })
  const { id } = await phone.categories.insert({ name: 'Carla' })
  const task = await phone.tasks.add({ title: 'Milk', category_id: id })
  await phone.sync.awaitInSync()
  await phone.categories.findOne(id).remove()
  await phone.sync.awaitInSync()
  expect(disk.texts()).toMatch(TEXTS)
  await phone.categories.deleteForGood(id)
  await phone.sync.awaitInSync()
  expect(disk.texts()).not.toMatch(TEXTS)
  expect(await traces(ann, server.testDatabase.db)).not.toMatch(TEXTS)
  expect((await tasksOf(phone))[0]).toMatchObject({ id: task.id, category_id: null })
  await expect(phone.tasks.deleteForGood(id)).rejects.toMatchObject({ code: 'not_found' })
  for (const collection of [phone.conflicts, phone.profile])
    await expect(collection.deleteForGood(ann.id)).rejects.toMatchObject({ code: 'read_only' })
})
