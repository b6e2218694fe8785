import { randomUUID } from 'node:crypto'
import { setTimeout as pause } from 'node:timers/promises'
import { getRxStorageMemory, type RxStorageMemory } from 'rxdb/plugins/storage-memory'
import { filter, firstValueFrom, switchMap } from 'rxjs'
import { afterAll, describe, expect } from 'vitest'
import type { SyncStatus } from '../../client-sdk/index.ts'
import { device, deviceOf, shut, tasksOf, until } from './device.ts'
import { test } from './fixtures.ts'
import { acceptAnyText } from './lax-rules.ts'
import { type Fate, problem } from './network.ts'

afterAll(acceptAnyText())

test('a failed push between frames leaves no document unsynced', async ({ network, ann }) => {
  const phone = await deviceOf(network, ann)
  await phone.sync.awaitInSync()
  let isLost = false
  network.onRequest = (path) => {
    if (isLost || !path.includes('/push')) return 'pass'
    isLost = true
    return 'lose'
  }
  const wasOffline = until(phone.sync.status$, (status) => status === 'offline')
  await phone.tasks.add({ title: 'Ferry' })
  await wasOffline
  await until(phone.sync.status$, (status) => status === 'synced')
})

describe('two devices', () => {
  test("see each other's tasks and completions", async ({ server, network, ann }) => {
    const phone = await deviceOf(network, ann)
    const laptop = await deviceOf(server, ann)
    const task = await phone.tasks.add({ title: 'Book the ferry' })
    await phone.sync.awaitInSync()
    await laptop.sync.awaitInSync()
    expect(await tasksOf(laptop)).toEqual([task.toJSON()])

    await laptop.tasks.complete(task.id)
    const done = await until(phone.tasks.findOne(task.id).$, (task) => task?.completed === true)
    await laptop.sync.awaitInSync()
    expect(done!.toJSON()).toEqual((await tasksOf(laptop))[0])
    const { body } = await ann.call('GET', `/api/tasks/${task.id}/`)
    expect(body).toEqual(done!.toJSON())
  })

  test('agree on an id that was rejected on one, however early the other has written it', async ({
    network,
    ann,
  }) => {
    const phone = await deviceOf(network, ann)
    const id = randomUUID()
    await phone.tasks.insert({ id, title: ' ' } as never)
    await until(phone.sync.rejected$, (rows) => rows.length === 1)
    const before = '2020-01-01T00:00:00.000Z'
    const newDocumentState = { id, title: 'Ferry', created_at: before, updated_at: before }
    await ann.call('POST', '/replication/tasks/0/push', [{ newDocumentState }])
    await until(phone.tasks.findOne(id).$, (task) => task?.title === 'Ferry')
  })

  test('agree on what both edited offline, and lost values can be restored', async ({
    server,
    network,
    ann,
  }) => {
    const phone = await deviceOf(network, ann)
    const laptop = await deviceOf(server, ann)
    const { id } = await phone.tasks.add({ title: 'Ferry', description: 'Early' })
    await phone.sync.awaitInSync()
    await laptop.sync.awaitInSync()

    network.cut()
    await until(phone.sync.status$, (status) => status === 'offline')
    await (await phone.tasks.findOne(id).exec(true)).patch({
      title: 'Night ferry',
      priority: 'low',
    })
    await (await laptop.tasks.findOne(id).exec(true)).patch({ title: 'Day ferry' })
    await (await laptop.tasks.findOne(id).exec(true)).patch({ description: 'Late' })
    await laptop.sync.awaitInSync()
    network.mend()
    phone.sync.resume()
    await phone.sync.awaitInSync()
    await laptop.sync.awaitInSync()

    expect(await tasksOf(phone)).toEqual(await tasksOf(laptop))
    const [agreed] = await tasksOf(phone)
    expect(agreed).toMatchObject({ title: 'Day ferry', description: 'Late', priority: 'low' })

    const [gaveWay] = await until(laptop.sync.conflicts$, (rows) => rows.length === 1)
    expect(gaveWay).toMatchObject({
      document_id: id,
      lost: { title: 'Night ferry' },
      kept: { title: 'Day ferry' },
    })
    await gaveWay!.restore()
    await until(phone.tasks.findOne(id).$, (task) => task?.title === 'Night ferry')
    await until(laptop.sync.conflicts$, (rows) => rows.length === 0)
  })

  test('lose none of two fast edits of one task', async ({ network, ann }) => {
    const phone = await deviceOf(network, ann)
    const task = await phone.tasks.add({ title: 'Ferry' })
    for (let round = 0; round < 20; round++) {
      await task.incrementalPatch({ title: `Ferry ${round}` })
      await task.incrementalPatch({ description: `Edit ${round}` })
    }
    await phone.sync.awaitInSync()
    const { body } = await ann.call('GET', `/api/tasks/${task.id}/`)
    expect(body).toMatchObject({ title: 'Ferry 19', description: 'Edit 19' })
    expect(await tasksOf(phone)).toEqual([body])
    expect((await ann.call('GET', '/api/conflicts/')).body.count).toBe(0)
  })

  test('both have a thousand tasks that one adds at once, more than fit into a frame', async ({
    server,
    network,
    ann,
  }) => {
    const phone = await deviceOf(network, ann)
    const laptop = await deviceOf(server, ann)
    await phone.sync.awaitInSync()
    const titles = Array.from({ length: 1_000 }, (_, i) => ({ title: `Task ${i}` }))
    await laptop.tasks.bulkInsert(titles as never)
    await laptop.sync.awaitInSync()
    await until(phone.tasks.count().$, (count) => count === 1_000)
    expect(await tasksOf(phone)).toEqual(await tasksOf(laptop))
  })
})

test('an edit that is pulled while a push of the same task is answered is not lost', async ({
  server,
  network,
  ann,
}) => {
  const name = `between-${ann.id}`
  const laptop = await deviceOf(server, ann)
  const before = await deviceOf(network, ann, { name })
  const { id } = await before.tasks.add({ title: 'Ferry' })
  await before.sync.awaitInSync()
  network.cut()
  await (await before.tasks.findOne(id).exec(true)).patch({ title: 'Night ferry' })
  await shut(before)
  network.mend()

  // The push is done, but before its answer is there the laptop edits that task too. What is pulled
  // in that time has both edits, if anything is pulled.
  network.websockets = false
  let isEdited = false
  network.onRequest = async (path, method): Promise<Fate> => {
    const isPull = method === 'GET' && path.includes('/tasks/')
    for (let turn = 0; isPull && !isEdited && turn < 300; turn++) await oneTurn()
    return 'pass'
  }
  network.onAnswer = async (path, method) => {
    if (method !== 'POST' || !path.includes('/tasks/')) return
    await laptop.sync.awaitInSync()
    await laptop.tasks.complete(id)
    await laptop.sync.awaitInSync()
    isEdited = true
    for (let turn = 0; turn < 100; turn++) await oneTurn()
  }
  const phone = await device(network, { name })
  await phone.sync.awaitInSync()
  expect(await tasksOf(phone)).toEqual(await tasksOf(laptop))
  expect(await tasksOf(phone)).toMatchObject([{ title: 'Night ferry', completed: true }])
})

test('an edit on a later page, fetched while a push of the same task is answered, is not lost', async ({
  server,
  network,
  ann,
}) => {
  const name = `pages-${ann.id}`
  const laptop = await deviceOf(server, ann)
  const before = await deviceOf(network, ann, { name })
  const { id } = await before.tasks.add({ title: 'Ferry' })
  await before.sync.awaitInSync()
  network.cut()
  await (await before.tasks.findOne(id).exec(true)).patch({ title: 'Night ferry' })
  await shut(before)
  network.mend()
  // More than a page has.
  for (let i = 0; i < 2_100; i += 700) {
    const others = Array.from({ length: 700 }, (_, n) => ({
      newDocumentState: { id: randomUUID(), title: `Task ${i + n}` },
    }))
    await ann.call('POST', '/replication/tasks/0/push', others)
  }

  // Between two pages the push is sent. Before its answer is there, the laptop edits that task too.
  network.websockets = false
  let pages = 0
  let isEdited = false
  network.onRequest = async (path, method): Promise<Fate> => {
    const isLater = method === 'GET' && path.includes('/tasks/') && ++pages > 1
    for (let turn = 0; isLater && !isEdited && turn < 300; turn++) await oneTurn()
    return 'pass'
  }
  network.onAnswer = async (path, method) => {
    if (method !== 'POST' || !path.includes('/tasks/')) return
    await laptop.tasks.complete(id)
    await laptop.sync.awaitInSync()
    isEdited = true
    for (let turn = 0; turn < 100; turn++) await oneTurn()
  }
  const phone = await device(network, { name })
  await phone.sync.awaitInSync()
  expect(await tasksOf(phone)).toEqual(await tasksOf(laptop))
  expect(await phone.tasks.findOne(id).exec()).toMatchObject({
    title: 'Night ferry',
    completed: true,
  })
})

test('the changes of a lost frame are pulled, even while others wait to be stored', async ({
  network,
  ann,
}) => {
  const phone = await deviceOf(network, ann, { storage: slowStorage() })
  await phone.sync.awaitInSync()
  for (const title of ['First', 'Second']) await ann.call('POST', '/api/tasks/', { title })
  network.losesFrames = 1
  await ann.call('POST', '/api/tasks/', { title: 'Lost' })
  await expect.poll(() => network.losesFrames).toBe(0)
  for (const title of ['Next', 'Last']) await ann.call('POST', '/api/tasks/', { title })
  const shown = await until(phone.tasks.find().$, (tasks) => tasks.length === 5)
  expect(shown.map(({ title }) => title).sort()).toEqual([
    'First',
    'Last',
    'Lost',
    'Next',
    'Second',
  ])
})

test('an older state pulled during a push does not replace its result', async ({
  network,
  ann,
}) => {
  const phone = await deviceOf(network, ann)
  const { id } = await phone.tasks.add({ title: 'Ferry' })
  await phone.sync.awaitInSync()

  // Before the server gets the push, it sends frames with what others have done. The frame with the
  // outcome of the push is lost, so that nothing mends what these do.
  network.onRequest = async (path, method): Promise<Fate> => {
    if (method !== 'POST' || !path.includes('/tasks/')) return 'pass'
    network.onRequest = () => 'pass'
    await ann.call('PATCH', `/api/tasks/${id}/`, { description: 'With a cabin' })
    await ann.call('POST', '/api/tasks/', { title: 'Train' })
    await ann.call('POST', '/api/categories/', { name: 'Travel' })
    await until(phone.categories.count().$, (count) => count === 1)
    network.losesFrames = 1
    return 'pass'
  }
  await (await phone.tasks.findOne(id).exec(true)).patch({ title: 'Night ferry' })
  await until(phone.tasks.count().$, (count) => count === 2)
  const outcome = { title: 'Night ferry', description: 'With a cabin' }
  expect(await phone.tasks.findOne(id).exec()).toMatchObject(outcome)
  await phone.sync.awaitInSync()
  expect(await phone.tasks.findOne(id).exec()).toMatchObject(outcome)
})

describe('a device whose clock is off', () => {
  const HOUR = 3_600_000

  test('by an hour ahead, does not get its edits back as conflicts', async ({ network, ann }) => {
    const conflicts: unknown[][] = []
    const recording: typeof fetch = async (input, init) => {
      const response = await fetch(input, init)
      if (!String(input).includes('/push')) return response
      const answer = (await response.clone().json()) as { conflicts: unknown[] }
      conflicts.push(answer.conflicts)
      return response
    }
    const now = () => Date.now() + HOUR
    const phone = await deviceOf(network, ann, { now, fetch: recording })
    const task = await phone.tasks.add({ title: 'Ferry' })
    await phone.sync.awaitInSync()
    await task.incrementalPatch({ title: 'Night ferry' })
    await phone.sync.awaitInSync()
    expect(conflicts).toEqual([[], []])
    expect((await ann.call('GET', '/api/tasks/')).body.results).toEqual(await tasksOf(phone))
  })

  test('by an hour behind, wins a merge against an earlier edit', async ({
    server,
    network,
    ann,
  }) => {
    let time = Date.now() - HOUR
    const phone = await deviceOf(network, ann, { now: () => time })
    const { id } = await phone.tasks.add({ title: 'Ferry' })
    await phone.sync.awaitInSync()
    network.cut()
    await ann.call('PATCH', `/api/tasks/${id}/`, { title: 'Day ferry' })
    server.clock.advance(60_000)
    time += 60_000
    await (await phone.tasks.findOne(id).exec(true)).patch({ title: 'Night ferry' })
    network.mend()
    phone.sync.resume()
    await phone.sync.awaitInSync()
    expect(await tasksOf(phone)).toMatchObject([{ title: 'Night ferry' }])
    expect((await ann.call('GET', '/api/tasks/')).body.results).toEqual(await tasksOf(phone))
  })

  test('remembers its clock error after a restart without a network', async ({
    server,
    network,
    ann,
  }) => {
    const name = `restarted-${ann.id}`
    const now = () => Date.now() + HOUR
    await shut(await deviceOf(network, ann, { name, now }))
    network.cut()
    const phone = await device(network, { name, now })
    const { created_at } = await phone.tasks.add({ title: 'Ferry' })
    expect(Date.parse(created_at)).toBeLessThanOrEqual(server.clock.now().getTime())
  })

  test('learns its clock error in a tab that sends no requests', async ({
    server,
    network,
    ann,
  }) => {
    const tab = (number: number) => ({
      name: `clock-${ann.id}`,
      multiInstance: true,
      now: () => Date.now() + HOUR,
      // RxDB refuses to open a database twice on what it takes for one storage.
      storage: { ...getRxStorageMemory(), name: `memory-${number}` },
    })
    await shut(await deviceOf(network, ann, tab(1)))
    network.cut()
    const first = await device(network, tab(1))
    const second = await device(network, tab(2))
    network.mend()
    second.sync.resume()
    await until(first.sync.status$, (status) => status === 'synced')
    const { created_at } = await first.tasks.add({ title: 'Ferry' })
    expect(Date.parse(created_at)).toBeLessThanOrEqual(server.clock.now().getTime())
  })
})

describe('one invalid row among a thousand', () => {
  test('is rejected alone, and can be corrected', async ({ network, ann }) => {
    const name = `poisoned-${ann.id}`
    network.cut()
    const phone = await device(network, { name })
    network.mend()
    await phone.session.signIn(ann)
    await phone.sync.awaitInSync()
    network.cut()
    const rows = Array.from({ length: 1_000 }, (_, i) => ({ title: i === 500 ? ' ' : `Task ${i}` }))
    await phone.tasks.bulkInsert(rows as never)
    await until(phone.sync.pending$, (pending) => pending === 1_000)
    network.mend()
    phone.sync.resume()
    await phone.sync.awaitInSync()
    expect((await ann.call('GET', '/api/tasks/?page_size=1')).body.count).toBe(999)
    expect(await phone.tasks.count().exec()).toBe(999)

    await shut(phone)
    const again = await device(network, { name })
    const [rejected] = await until(again.sync.rejected$, (rows) => rows.length === 1)
    expect(rejected).toMatchObject({ resource: 'tasks', code: 'invalid', document: { title: ' ' } })
    expect(rejected!.errors.title).toEqual(['Enter some text; this is blank.'])

    await rejected!.retry()
    await again.sync.awaitInSync()
    const [still] = await until(again.sync.rejected$, (rows) => rows.length === 1)
    await still!.retry({ title: 'Task 500' })
    await again.sync.awaitInSync()
    await until(again.sync.rejected$, (rows) => rows.length === 0)
    expect((await ann.call('GET', '/api/tasks/?page_size=1')).body.count).toBe(1_000)
  })

  test('that the server rejects as a whole batch is found by halving', async ({ network, ann }) => {
    const phone = await deviceOf(network, ann)
    await phone.sync.awaitInSync()
    phone.sync.pause()
    const rows = Array.from({ length: 200 }, (_, i) =>
      i === 70 ? { title: 'Huge', description: 'x'.repeat(6_000_000) } : { title: `Task ${i}` },
    )
    await phone.tasks.bulkInsert(rows as never)
    phone.sync.resume()
    await phone.sync.awaitInSync()
    const [rejected] = await until(phone.sync.rejected$, (rows) => rows.length === 1)
    expect(rejected).toMatchObject({ code: 'too_large', document: { title: 'Huge' } })
    expect((await ann.call('GET', '/api/tasks/?page_size=1')).body.count).toBe(199)
    await rejected!.discard()
    await until(phone.sync.rejected$, (rows) => rows.length === 0)
  })

  test("that was an edit is rolled back to the server's state", async ({ network, ann }) => {
    const phone = await deviceOf(network, ann)
    const task = await phone.tasks.add({ title: 'Ferry' })
    await phone.sync.awaitInSync()
    await task.incrementalPatch({ title: '', priority: 'high' })
    await until(phone.tasks.findOne(task.id).$, (task) => task?.title === 'Ferry')
    const [rejected] = await until(phone.sync.rejected$, (rows) => rows.length === 1)
    await task.incrementalPatch({ description: 'Later edits stay' })
    await phone.sync.awaitInSync()
    await until(phone.sync.rejected$, (rows) => rows.length === 1)
    await rejected!.retry({ title: 'Night ferry' })
    await phone.sync.awaitInSync()
    const { body } = await ann.call('GET', `/api/tasks/${task.id}/`)
    expect(body).toMatchObject({
      title: 'Night ferry',
      priority: 'high',
      description: 'Later edits stay',
    })
  })
})

describe('the status', () => {
  test('follows the sync', async ({ network, ann }) => {
    const phone = await device(network)
    const seen: SyncStatus[] = []
    phone.sync.status$.subscribe((status) => seen.push(status))
    await phone.session.signIn(ann)
    await until(phone.sync.status$, (status) => status === 'synced')
    network.cut()
    await until(phone.sync.status$, (status) => status === 'offline')
    await phone.tasks.add({ title: 'Ferry' })
    await until(phone.sync.pending$, (pending) => pending === 1)
    network.mend()
    phone.sync.resume()
    await until(phone.sync.status$, (status) => status === 'synced')
    await until(phone.sync.pending$, (pending) => pending === 0)
    network.onRequest = () => problem('internal')
    await phone.tasks.add({ title: 'Train' })
    await until(phone.sync.status$, (status) => status === 'error')
    network.onRequest = () => 'pass'
    phone.sync.resume()
    await until(phone.sync.status$, (status) => status === 'synced')
    network.onRequest = () => problem('outdated_client')
    await phone.tasks.add({ title: 'Bus' })
    await until(phone.sync.status$, (status) => status === 'outdated')
    await until(phone.sync.pending$, (pending) => pending === 1)
    await phone.session.signOut({ keepData: true })
    await until(phone.sync.status$, (status) => status === 'signed_out')
    const passing: SyncStatus[] = ['connecting', 'syncing']
    expect(seen.filter((status) => !passing.includes(status))).toEqual([
      'signed_out',
      'synced',
      'offline',
      'synced',
      'error',
      'synced',
      'outdated',
      'signed_out',
    ])
  })

  test('has progress for the first sync', async ({ server, network, ann }) => {
    const laptop = await deviceOf(server, ann)
    const rows = Array.from({ length: 2_100 }, (_, i) => ({ title: `Task ${i}` }))
    await laptop.tasks.bulkInsert(rows as never)
    await laptop.sync.awaitInSync()
    const phone = await device(network)
    const bar: string[] = []
    phone.sync.progress$.subscribe((at) => bar.push(at ? `${at.done}/${at.total}` : ''))
    await phone.session.signIn(ann)
    await until(phone.sync.status$, (status) => status === 'synced')
    expect(bar.at(0)).toBe('')
    expect(bar).toEqual(expect.arrayContaining([expect.stringMatching(/^2000\/21\d\d$/)]))
    expect(bar.at(-1)).toBe('')
    expect(await phone.tasks.count().exec()).toBe(2_100)
  })
})

test('a device is not synced before received changes are stored', async ({ network, ann }) => {
  const rows = Array.from({ length: 900 }, (_, i) => ({
    newDocumentState: { id: randomUUID(), title: `Task ${i}` },
  }))
  await ann.call('POST', '/replication/tasks/0/push', rows)
  const phone = await device(network, { storage: slowStorage() })
  const counted = firstValueFrom(
    phone.sync.status$.pipe(
      filter((status) => status === 'synced'),
      switchMap(() => phone.tasks.count().exec()),
    ),
  )
  await phone.session.signIn(ann)
  expect(await counted).toBe(900)
})

describe('without websockets', () => {
  test('a device polls', async ({ network, ann }) => {
    network.websockets = false
    const phone = await deviceOf(network, ann, { pollInterval: 50 })
    await phone.sync.awaitInSync()
    await ann.call('POST', '/api/tasks/', { title: 'Ferry' })
    await until(phone.tasks.count().$, (count) => count === 1)
    await until(phone.sync.status$, (status) => status === 'synced')
  })
})

test('a lost frame is detected by the next one, and its changes are pulled', async ({
  network,
  ann,
}) => {
  const phone = await deviceOf(network, ann)
  await phone.tasks.add({ title: 'Ferry' })
  await phone.sync.awaitInSync()
  network.losesFrames = 1
  await ann.call('POST', '/api/tasks/', { title: 'Lost' })
  await expect.poll(() => network.losesFrames).toBe(0)
  network.seen.length = 0
  await ann.call('POST', '/api/tasks/', { title: 'Next' })
  await until(phone.tasks.count().$, (count) => count === 3)
  expect(network.seen).toContainEqual(expect.stringContaining('GET /replication/tasks/'))
})

test('with a live connection, a device does not pull what frames contain', async ({
  network,
  ann,
}) => {
  const phone = await deviceOf(network, ann)
  await phone.sync.awaitInSync()
  await phone.tasks.add({ title: 'Ferry' })
  await phone.sync.awaitInSync()
  network.seen.length = 0
  for (let i = 0; i < 5; i++) {
    await ann.call('POST', '/api/tasks/', { title: `Task ${i}` })
    await until(phone.tasks.count().$, (count) => count === i + 2)
  }
  expect(network.seen).toEqual([])
})

const oneTurn = () => new Promise((resolve) => setTimeout(resolve, 1))

/** Takes its time over each write, as a phone does. */
function slowStorage(): RxStorageMemory {
  const storage = getRxStorageMemory()
  return {
    ...storage,
    async createStorageInstance(params) {
      const instance = await storage.createStorageInstance(params)
      const bulkWrite = instance.bulkWrite.bind(instance)
      instance.bulkWrite = async (...args) => {
        await pause(50)
        return bulkWrite(...args)
      }
      return instance
    },
  }
}
