import { describe, expect } from 'vitest'
import { purgeTombstones } from '../../server/store/purge.ts'
import type { TestServer } from '../support/server.ts'
import { deviceOf, tasksAt, tasksOf, until } from './device.ts'
import type { Moment } from './failing-storage.ts'
import { test } from './fixtures.ts'
import { killAtEachWrite } from './kills.ts'

let server: TestServer
test.beforeAll(({ server: started }) => {
  server = started
})

describe('a device that missed deletions whose tombstones are purged', () => {
  test('deletes the documents too, and keeps what only it has', async () => {
    const { ann, phone, deleteAndPurge } = await scene()
    await phone.sync.pause()
    await edit(phone, 'Milk', { description: 'Unsweetened' })
    await phone.tasks.add({ title: 'Tea' })
    await deleteAndPurge()
    await phone.sync.resume()
    await phone.sync.awaitInSync()
    expect(await titlesOf(phone)).toEqual(['Milk', 'Tea'])
    expect(await phone.categories.find().exec()).toEqual([])
    expect(await tasksOf(phone)).toEqual(await tasksAt(ann))
    expect(await tasksAt(ann)).toMatchObject([{ description: 'Unsweetened' }, {}])
    expect((await ann.call('GET', '/api/conflicts/')).body.count).toBe(0)
  })

  test('brings no document back by an edit, which is in the journal and can be restored', async () => {
    const { ann, phone, deleteAndPurge } = await scene()
    await phone.sync.pause()
    await edit(phone, 'Bread', { description: 'Rye' })
    await deleteAndPurge()
    await phone.sync.resume()
    await phone.sync.awaitInSync()
    expect(await titlesOf(phone)).toEqual(['Milk'])
    const { results } = (await ann.call('GET', '/api/conflicts/')).body
    expect(results).toMatchObject([
      { cause: 'deletion', lost: { title: 'Bread', description: 'Rye' }, kept: {} },
    ])
    await until(phone.conflicts.find().$, (found) => found.length === 1)
    await ann.call('POST', `/api/conflicts/${results[0].id}/restore/`)
    await phone.sync.awaitInSync()
    expect(await tasksAt(ann)).toMatchObject([{ title: 'Milk' }, { description: 'Rye' }])
    expect(await tasksOf(phone)).toEqual(await tasksAt(ann))
  })

  test('deletes a document that both have deleted, without a trace', async () => {
    const { ann, phone, deleteAndPurge } = await scene()
    await phone.sync.pause()
    await (await found(phone, 'Bread')).remove()
    await deleteAndPurge()
    await phone.sync.resume()
    await phone.sync.awaitInSync()
    expect(await tasksOf(phone)).toEqual(await tasksAt(ann))
    expect((await ann.call('GET', '/api/conflicts/')).body.count).toBe(0)
  })

  test('takes a document that was created again', async () => {
    const { ann, phone, deleteAndPurge, bread } = await scene()
    await phone.sync.pause()
    await deleteAndPurge()
    await phone.sync.resume()
    await phone.sync.awaitInSync()
    await ann.call('POST', '/api/tasks/', { id: bread, title: 'Rye bread' })
    await until(phone.tasks.findOne({ selector: { title: 'Rye bread' } }).$, Boolean)
    await phone.sync.awaitInSync()
    expect(await tasksOf(phone)).toEqual(await tasksAt(ann))
  })

  test.for<Moment>(['before', 'half', 'after'])(
    'agrees in the end when it is killed at any of its writes, %s it',
    { timeout: 120_000 },
    async (moment) => {
      const begin = async (options: object) => {
        const { deleteAndPurge, ...rest } = await scene(options)
        await rest.phone.sync.pause()
        await edit(rest.phone, 'Bread', { description: 'Rye' })
        await edit(rest.phone, 'Milk', { description: 'Unsweetened' })
        await deleteAndPurge()
        return rest
      }
      await killAtEachWrite(server, moment, begin, async (again, { ann }, where) => {
        expect(await tasksAt(ann), where).toMatchObject([{ description: 'Unsweetened' }])
        expect(await tasksOf(again), where).toEqual(await tasksAt(ann))
        const { results } = (await ann.call('GET', '/api/conflicts/')).body
        expect(results, where).toMatchObject([{ lost: { description: 'Rye' } }])
      })
    },
  )
})

test('a device that has seen the deletions goes on without a snapshot', async ({ network }) => {
  const { phone, deleteAndPurge } = await scene({}, network)
  await deleteAndPurge(async () => {
    await until(phone.tasks.find().$, (tasks) => tasks.length === 1)
    await until(phone.categories.find().$, (categories) => categories.length === 0)
    await phone.sync.awaitInSync()
  })
  await phone.sync.pause()
  network.seen.length = 0
  await phone.sync.resume()
  await phone.sync.awaitInSync()
  const pulls = network.seen.filter((request) => request.includes('/pull?'))
  expect(pulls.length).toBeGreaterThan(0)
  expect(pulls.filter((request) => !request.includes('lwt='))).toEqual([])
})

test('a document that an administrator removes goes from every device', async () => {
  const { ann, phone, bread } = await scene()
  const { db } = server.testDatabase
  await db('tasks').where({ user_id: ann.id, id: bread }).delete()
  await until(phone.tasks.find().$, (tasks) => tasks.length === 2)
  await phone.sync.awaitInSync()
  expect(await tasksOf(phone)).toEqual(await tasksAt(ann))
})

/** Milk, bread and eggs in a category; the last three are deleted. */
async function scene(options: object = {}, at: Pick<TestServer, 'url'> = server) {
  const ann = await server.person()
  const phone = await deviceOf(at, ann, options)
  const { body: errands } = await ann.call('POST', '/api/categories/', { name: 'Errands' })
  const ids: string[] = []
  for (const title of ['Milk', 'Bread', 'Eggs']) {
    const { body } = await ann.call('POST', '/api/tasks/', { title, category_id: errands.id })
    ids.push(body.id)
  }
  await until(phone.tasks.find().$, (tasks) => tasks.length === 3)
  await phone.sync.awaitInSync()
  async function deleteAndPurge(isSeen?: () => Promise<unknown>) {
    for (const id of ids.slice(1)) await ann.call('DELETE', `/api/tasks/${id}/`)
    await ann.call('DELETE', `/api/categories/${errands.id}/`)
    await isSeen?.()
    await purgeTombstones(server.testDatabase.db, 0)
  }
  return { ann, phone, bread: ids[1]!, deleteAndPurge }
}

type Phone = Awaited<ReturnType<typeof deviceOf>>

const found = (phone: Phone, title: string) =>
  phone.tasks.findOne({ selector: { title } }).exec(true)

async function edit(phone: Phone, title: string, fields: { description: string }) {
  await (await found(phone, title)).incrementalPatch(fields)
}

const titlesOf = async (phone: Phone) => (await tasksOf(phone)).map(({ title }) => title).sort()
