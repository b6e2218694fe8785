import { randomUUID } from 'node:crypto'
import { setTimeout as pause } from 'node:timers/promises'
import { afterAll, describe, expect } from 'vitest'
import type { Client } from '../../client-sdk/index.ts'
import { backupOf } from '../support/backup.ts'
import type { Person, TestServer } from '../support/server.ts'
import { justAfter } from '../support/store-contract.ts'
import { deviceOf, tasksAt, tasksOf, until } from './device.ts'
import type { Moment } from './failing-storage.ts'
import { test } from './fixtures.ts'
import { killAtEachWrite } from './kills.ts'
import { acceptAnyText } from './lax-rules.ts'

afterAll(acceptAnyText())

let server: TestServer
test.beforeAll(({ server: started }) => {
  server = started
})

test('a device that has pulled nothing pushes nothing: it could not detect a restored server', async ({
  network,
  ann,
}) => {
  let letPass = () => {}
  network.onAnswer = (path) =>
    path.includes('/tasks/0/pull') ? new Promise<void>((pass) => (letPass = pass)) : undefined
  const phone = await deviceOf(network, ann)
  await phone.tasks.add({ title: 'Ferry' })
  await phone.categories.insert({ name: 'Travel' } as never)
  await expect.poll(() => network.seen.join()).toContain('/categories/0/push')
  expect(network.seen.join()).not.toContain('/tasks/0/push')
  network.onAnswer = () => {}
  letPass()
  await phone.sync.awaitInSync()
  expect(await titlesAt(ann)).toEqual(['Ferry'])
})

describe('a device whose server was restored to an earlier state', () => {
  test('detects that while connected, and restores what only it has', async () => {
    const { ann, phone, restore } = await scene()
    await restore()
    await expect.poll(() => titlesAt(ann), { timeout: 15_000 }).toEqual(LATEST)
    await phone.sync.awaitInSync()
    expect(await titlesOf(phone)).toEqual(LATEST)
  })

  test('detects that on reconnecting, even if the feed has the same number', async ({
    network,
  }) => {
    const { ann, phone } = await scene(network, { pollInterval: 3_600_000 })
    network.websockets = false
    network.cut()
    await until(phone.sync.status$, (status) => status === 'offline')
    network.mend()
    await phone.sync.awaitInSync()
    const { db } = server.testDatabase
    const own = { user_id: ann.id }
    await db('tasks')
      .where({ ...own, title: 'Tea' })
      .delete()
    await db('feeds').where(own).update({ epoch: 'another' })
    network.websockets = true
    await expect.poll(() => titlesAt(ann), { timeout: 25_000 }).toEqual(LATEST)
    await phone.sync.awaitInSync()
  })

  test('changes its status at once, not after the delay for short syncs', async ({ network }) => {
    const { phone, restore } = await scene(network)
    let letPass = () => {}
    const held = new Promise<void>((isHeld) => {
      network.onAnswer = (path) => {
        if (!path.includes('/tasks/0/pull?limit=')) return
        isHeld()
        return new Promise<void>((pass) => {
          letPass = pass
        })
      }
    })
    await restore()
    await held
    const isSeen = until(phone.sync.status$, (status) => status !== 'synced').then(() => true)
    const isLate = pause(500).then(() => false)
    expect(await Promise.race([isSeen, isLate])).toBe(true)
    network.onAnswer = () => {}
    letPass()
    await phone.sync.awaitInSync()
  })

  test('is not synced, and refuses to delete its data, until the snapshot is complete', async ({
    network,
  }) => {
    const { ann, phone, restore } = await scene(network)
    await phone.sync.pause()
    await restore()
    network.seen.length = 0
    const statuses: string[] = []
    let letPass = () => {}
    const held = new Promise<void>((isHeld) => {
      network.onAnswer = (path) => {
        if (!path.includes('/tasks/0/pull?limit=')) return
        isHeld()
        return new Promise<void>((pass) => {
          letPass = pass
        })
      }
    })
    await phone.sync.resume()
    const watching = phone.sync.status$.subscribe((status) => statuses.push(status))
    await held
    // As much as passes meanwhile, and an edit.
    await ann.call('POST', '/api/tasks/', { title: 'Made since' })
    await phone.tasks.add({ title: 'Unsent' })
    await until(phone.sync.status$, (status) => status === 'syncing')
    await expect(phone.session.signOut()).rejects.toMatchObject({ code: 'unsent_edits' })
    expect(statuses.at(-1)).toBe('syncing')
    expect(network.seen.filter((request) => request.includes('/tasks/0/push'))).toEqual([])
    network.onAnswer = () => {}
    letPass()
    await phone.sync.awaitInSync()
    watching.unsubscribe()
    expect(statuses.slice(0, statuses.indexOf('syncing'))).not.toContain('synced')
    expect(await titlesAt(ann)).toEqual([...LATEST, 'Made since', 'Unsent'].sort())
    expect(await titlesOf(phone)).toEqual(await titlesAt(ann))
  })

  test('pushes nothing until the snapshot is complete, not even a started batch', async ({
    network,
  }) => {
    const { ann, phone, restore } = await scene(network)
    await phone.sync.pause()
    const milk = await phone.tasks.findOne({ selector: { title: 'Oat milk' } }).exec(true)
    await milk.incrementalPatch({ description: 'Unsweetened' })
    await restore()
    // A push without rows only asks whether others pass.
    const pushes: string[] = []
    const isPush = (path: string, body: string) => {
      if (!path.includes('/tasks/0/push')) return false
      if (body !== '[]') pushes.push(body)
      return true
    }
    let lose = () => {}
    const lost = new Promise<void>((isLost) => {
      lose = isLost
    })
    let letPass = () => {}
    const held = new Promise<void>((isHeld) => {
      network.onRequest = async (path, _method, body) => {
        if (isPush(path, body)) {
          lose()
          return 'lose'
        }
        if (path.includes('/tasks/0/pull')) await lost
        return 'pass'
      }
      network.onAnswer = (path) => {
        if (!path.includes('/tasks/0/pull?limit=')) return
        isHeld()
        return new Promise<void>((pass) => {
          letPass = pass
        })
      }
    })
    await phone.sync.resume()
    await held
    network.seen.length = 0
    network.onRequest = (path, _method, body) => {
      isPush(path, body)
      return 'pass'
    }
    phone.sync.wake()
    await phone.categories.insert({ name: 'Travel' } as never)
    await expect.poll(() => network.seen.join()).toContain('/categories/0/push')
    expect(pushes).toHaveLength(1)
    network.onAnswer = () => {}
    letPass()
    await phone.sync.awaitInSync()
    expect(await titlesAt(ann)).toEqual(LATEST)
    expect((await ann.call('GET', `/api/tasks/${milk.id}/`)).body.description).toBe('Unsweetened')
  })

  test('accepts later writes on the server', async () => {
    const { ann, phone, restore } = await scene()
    await phone.sync.pause()
    await restore()
    const [milk] = (await ann.call('GET', '/api/tasks/?search=milk')).body.results
    await ann.call('PATCH', `/api/tasks/${milk.id}/`, { title: 'Soy milk' })
    await phone.sync.resume()
    await phone.sync.awaitInSync()
    const titles = LATEST.map((title) => (title === 'Oat milk' ? 'Soy milk' : title)).sort()
    expect(await titlesAt(ann)).toEqual(titles)
    expect(await titlesOf(phone)).toEqual(titles)
    const { results } = (await ann.call('GET', '/api/conflicts/')).body
    expect(results).toMatchObject([{ lost: { title: 'Oat milk' }, kept: { title: 'Soy milk' } }])
  })

  test('does not send rejected and discarded edits again', async () => {
    const { phone, restore } = await scene()
    await phone.tasks.insert({ id: randomUUID(), title: ' ' } as never)
    const [row] = await until(phone.sync.rejected$, (rows) => rows.length === 1)
    await row!.discard()
    await phone.sync.awaitInSync()
    await restore()
    const rejected: number[] = []
    phone.sync.rejected$.subscribe((rows) => rejected.push(rows.length))
    await phone.sync.awaitInSync()
    expect(Math.max(...rejected)).toBe(0)
  })

  test('keeps conflicts that the server no longer has, and accepts new ones', async ({ ann }) => {
    const phone = await deviceOf(server, ann)
    const early = await aConflict(ann)
    await phone.sync.awaitInSync()
    const restore = await backupOf(server.testDatabase, ann)
    await ann.call('POST', `/api/conflicts/${early}/restore/`)
    const late = await aConflict(ann)
    await phone.sync.awaitInSync()
    await restore()
    await phone.sync.awaitInSync()
    expect(await phone.conflicts.count().exec()).toBe(2)
    expect((await phone.conflicts.findOne(early).exec(true)).restored_at).toBeNull()
    expect((await ann.call('GET', '/api/conflicts/')).body.count).toBe(1)
    const rows = await until(phone.sync.conflicts$, (rows) => rows.some(({ id }) => id === late))
    const row = rows.find(({ id }) => id === late)!
    await expect(row.restore()).rejects.toMatchObject({ code: 'not_found' })
  })

  test.each<Moment>(['before', 'half', 'after'])(
    'loses nothing when it is killed at any of its writes, %s it',
    { timeout: 120_000 },
    async (moment) => {
      // Unsent, over what the server has not, and over what it has in a former state.
      const descriptions = { Tea: 'Green', 'Oat milk': 'Unsweetened' }
      const begin = async (options: object) => {
        const { restore, ...rest } = await scene(server, options)
        const { sync, tasks } = rest.phone
        await sync.pause()
        for (const [title, description] of Object.entries(descriptions))
          await (await tasks.findOne({ selector: { title } }).exec(true)).patch({ description })
        await restore()
        return rest
      }
      await killAtEachWrite(server, moment, begin, async (again, { ann }, where) => {
        const tasks: { title: string; description: string }[] = await tasksAt(ann)
        const described = Object.fromEntries(
          tasks.map(({ title, description }) => [title, description]),
        )
        const all = Object.fromEntries(LATEST.map((title) => [title, '']))
        expect(described, where).toEqual({ ...all, ...descriptions })
        expect(await tasksOf(again), where).toEqual(tasks)
      })
    },
  )
})

describe('a device whose server failed over to a standby without the last commits', () => {
  test('finds out while it is connected, and pushes again what the server has lost', async () => {
    const { ann, phone, restore } = await scene()
    await restore('failover')
    await expect.poll(() => titlesAt(ann), { timeout: 15_000 }).toEqual(LATEST)
    await phone.sync.awaitInSync()
    expect(await titlesOf(phone)).toEqual(LATEST)
    expect((await ann.call('GET', '/api/conflicts/')).body.count).toBe(0)
  })

  test('pushes again what was accepted and not yet pulled', async ({ network }) => {
    const { ann, phone } = await scene(network, { pollInterval: 3_600_000 })
    network.websockets = false
    network.cut()
    await until(phone.sync.status$, (status) => status === 'offline')
    network.mend()
    await phone.sync.awaitInSync()
    const failOver = await backupOf(server.testDatabase, ann)
    await phone.tasks.add({ title: 'Coffee' })
    await until(phone.sync.pending$, (pending) => pending === 0)
    expect(await titlesAt(ann)).toContain('Coffee')
    await failOver('failover')
    await ann.call('POST', '/api/tasks/', { title: 'Made since' })
    phone.sync.wake()
    await expect.poll(() => titlesAt(ann), { timeout: 15_000 }).toContain('Coffee')
    await phone.sync.awaitInSync()
    expect(await titlesOf(phone)).toEqual([...LATEST, 'Coffee', 'Made since'].sort())
  })

  test('leaves nothing silently of two edits that did not know of each other', async () => {
    const { ann, phone, restore } = await scene()
    await phone.sync.pause()
    await restore('failover')
    const [milk] = (await ann.call('GET', '/api/tasks/?search=milk')).body.results
    // Made offline by another device, before the one that was lost.
    const { _deleted: _, ...assumed } = { ...milk, _deleted: false }
    const next = { ...assumed, title: 'Soy milk', updated_at: justAfter(milk.updated_at) }
    await ann.call('POST', '/replication/tasks/0/push', [
      {
        newDocumentState: { ...next, _deleted: false },
        assumedMasterState: { ...assumed, _deleted: false },
      },
    ])
    await phone.sync.resume()
    await phone.sync.awaitInSync()
    expect(await titlesAt(ann)).toEqual(LATEST)
    expect(await titlesOf(phone)).toEqual(LATEST)
    const { results } = (await ann.call('GET', '/api/conflicts/')).body
    expect(results).toMatchObject([{ lost: { title: 'Soy milk' }, kept: { title: 'Oat milk' } }])
  })

  test('reads nothing again if all that it knows is still there', async ({ network }) => {
    const { ann, phone } = await scene(network)
    const failOver = await backupOf(server.testDatabase, ann)
    network.seen.length = 0
    await failOver('failover')
    await ann.call('POST', '/api/tasks/', { title: 'Made since' })
    await until(phone.tasks.findOne({ selector: { title: 'Made since' } }).$, Boolean)
    await phone.tasks.add({ title: 'Coffee' })
    await phone.sync.awaitInSync()
    expect(await titlesOf(phone)).toEqual(await titlesAt(ann))
    expect(network.seen.filter((request) => request.includes('/pull?limit='))).toEqual([])
  })
})

/** What there is in the end of `scene`. */
const LATEST = ['Duck eggs', 'Jam', 'Oat milk', 'Tea']

/**
 * Bread, milk and eggs, and a backup of them. Then bread is deleted, the others are edited, and tea and jam
 * are new: half of it here, and half of it elsewhere.
 */
async function scene(at: Pick<TestServer, 'url'> = server, options: object = {}) {
  const ann = await server.person()
  const phone = await deviceOf(at, ann, options)
  const [milk, bread] = [
    await phone.tasks.add({ title: 'Milk' }),
    await phone.tasks.add({ title: 'Bread' }),
  ]
  const { body: eggs } = await ann.call('POST', '/api/tasks/', { title: 'Eggs' })
  await phone.sync.awaitInSync()
  const restore = await backupOf(server.testDatabase, ann)
  await milk.incrementalPatch({ title: 'Oat milk' })
  await bread.incrementalRemove()
  await phone.tasks.add({ title: 'Tea' })
  await ann.call('PATCH', `/api/tasks/${eggs.id}/`, { title: 'Duck eggs' })
  await ann.call('POST', '/api/tasks/', { title: 'Jam' })
  await phone.sync.awaitInSync()
  return { ann, phone, restore }
}

/** @returns the id of its entry in the journal */
async function aConflict(person: Person): Promise<string> {
  const { body: task } = await person.call('POST', '/api/tasks/', { title: 'Ferry' })
  await person.call('PATCH', `/api/tasks/${task.id}/`, { title: 'Day ferry' })
  const assumedMasterState = { ...task, _deleted: false }
  const newDocumentState = { ...assumedMasterState, title: 'Night ferry' }
  await person.call('POST', '/replication/tasks/0/push', [{ newDocumentState, assumedMasterState }])
  return (await person.call('GET', '/api/conflicts/')).body.results[0].id
}

const titlesAt = async (person: Person) => titlesIn(await tasksAt(person))
const titlesOf = async (client: Client) => titlesIn(await tasksOf(client))
const titlesIn = (tasks: { title: string }[]) => tasks.map(({ title }) => title).sort()
