import { randomUUID } from 'node:crypto'
import fc from 'fast-check'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import {
  type Document,
  type PushRow,
  type Resource,
  settle,
  type WireDocument,
} from '../../protocol/index.ts'
import { raiseWall } from '../../server/database/wall.ts'
import type { Store } from '../../server/sync/store.ts'
import { comments } from '../added/comments.ts'
import * as commentsTable from '../added/comments-table.ts'
import { plans } from '../added/plans.ts'
import * as plansTable from '../added/plans-table.ts'
import { subtasks } from '../added/subtasks.ts'
import * as subtasksTable from '../added/subtasks-table.ts'
import { addResource } from '../peers/added-resource.ts'
import type { Person, Reply, TestServer } from '../support/server.ts'

const ADDED: readonly Resource[] = [plans, subtasks, comments]
const TABLES = [plansTable, subtasksTable, commentsTable]

let server: TestServer
let inPostgres: Store
let inMemory: Store & { addUser(user: string): void }
let push: typeof import('../../server/sync/replicate.ts').push
let pull: typeof import('../../server/sync/replicate.ts').pull
let addUser: typeof import('../support/store-contract.ts')['addUser']
let tasks: Resource
beforeAll(async () => {
  for (const resource of ADDED) addResource(resource)
  const { startServer } = await import('../support/server.ts')
  const { memoryStore } = await import('../support/memory-store.ts')
  const { postgresStore } = await import('../../server/store/postgres.ts')
  ;({ push, pull } = await import('../../server/sync/replicate.ts'))
  ;({ addUser } = await import('../support/store-contract.ts'))
  tasks = (await import('../../protocol/index.ts')).resources.tasks
  server = await startServer()
  for (const table of TABLES) await table.up(server.testDatabase.db)
  await raiseWall(server.testDatabase.db)
  inPostgres = postgresStore(server.testDatabase.db)
  inMemory = memoryStore()
})
afterAll(() => server.stop())

const RESULT = 'application/vnd.tasktide.push+json'
/** The response to a push without conflicts. */
const LANDED = { conflicts: [], rejected: [], checkpoint: expect.any(Object) }

async function send(person: Person, resource: string, rows: readonly PushRow[]): Promise<Reply> {
  const path = `/replication/${resource}/0/push`
  const reply = await person.call('POST', path, rows, { headers: { accept: RESULT } })
  expect(reply.status, reply.text).toBe(200)
  return reply
}

async function all(person: Person, resource: string): Promise<WireDocument[]> {
  const path = `/replication/${resource}/0/pull?lwt=0&id=&limit=1000`
  return (await person.call('GET', path)).body.documents
}

async function byId(person: Person, resource: string) {
  return new Map((await all(person, resource)).map((one) => [one.id, one]))
}

const journal = (person: Person) => all(person, 'conflicts')

/** Each edit of a test is made later than the one before. */
let minutes = 0
const later = () => new Date(Date.UTC(2026, 9, 1, 8, minutes++)).toISOString()

function made(resource: Resource, fields: Record<string, unknown>): WireDocument {
  return {
    ...settle(resource, { id: randomUUID(), ...fields }, undefined, later()),
    _deleted: false,
  }
}

const created = (document: WireDocument): PushRow => ({ newDocumentState: document })

function edited(resource: Resource, assumed: WireDocument, fields: object): PushRow {
  const { _deleted, ...document } = { ...assumed, ...fields }
  const { _deleted: _, ...previous } = assumed
  const now = later()
  const next = settle(resource, { ...document, updated_at: now }, previous as Document, now)
  return { newDocumentState: { ...next, _deleted }, assumedMasterState: assumed }
}

const deletion = (resource: Resource, assumed: WireDocument) =>
  edited(resource, assumed, { _deleted: true })

async function store(person: Person, resource: Resource, fields: Record<string, unknown>) {
  const document = made(resource, fields)
  expect((await send(person, resource.name, [created(document)])).body).toEqual(LANDED)
  return document
}

describe('a set, a record and a number', () => {
  const plan = {
    labels: ['b', 'a', 'b'],
    settings: { zoom: { b: 1, a: [2] }, on: true },
    estimate: 1.5,
  }
  const reordered = {
    labels: ['a', 'b'],
    settings: { on: true, zoom: { a: [2], b: 1 } },
    estimate: 1.5,
  }

  test('created twice are created once, in any order of keys', async () => {
    const ann = await server.person()
    const id = randomUUID()
    const first = await ann.call('POST', '/api/plans/', { id, ...plan })
    expect(first).toMatchObject({ status: 201, body: reordered })
    const second = await ann.call('POST', '/api/plans/', { id, ...reordered })
    expect(second).toMatchObject({ status: 200, body: reordered })
    expect(await ann.call('POST', '/api/plans/', { id, ...plan, estimate: 2 })).toMatchObject({
      status: 409,
    })
  })

  test.each(['PATCH', 'PUT'])('are not changed by a %s with the same values', async (method) => {
    const ann = await server.person()
    const { body, headers } = await ann.call('POST', '/api/plans/', plan)
    for (const same of [plan, reordered, {}]) {
      const reply = await ann.call(method, `/api/plans/${body.id}/`, same)
      expect(reply).toMatchObject({ status: 200, body })
      expect(reply.headers.get('etag')).toBe(headers.get('etag'))
    }
    const changed = await ann.call(method, `/api/plans/${body.id}/`, { settings: { on: false } })
    expect(changed).toMatchObject({
      status: 200,
      body: { ...body, settings: { on: false }, updated_at: expect.any(String) },
    })
    const [stored] = await all(ann, 'plans')
    expect(stored).toEqual({ ...changed.body, _deleted: false })
  })

  test('pushed as stored are no conflict, in any order of keys', async () => {
    const ann = await server.person()
    const document = await store(ann, plans, plan)
    const [stored] = await all(ann, 'plans')
    expect(stored).toEqual(document)
    expect(JSON.stringify(stored!.settings)).toBe(JSON.stringify(document.settings))
    for (const fields of [plan, reordered])
      for (const assumedMasterState of [stored, { ...document, ...fields }, undefined]) {
        const row = { newDocumentState: { ...document, ...fields }, assumedMasterState }
        expect((await send(ann, 'plans', [row])).body).toEqual(LANDED)
      }
    expect(await all(ann, 'plans')).toEqual([stored])
    expect(await journal(ann)).toEqual([])
  })

  test('merge: a set by element, a record as a whole, and lost values are in the journal', async () => {
    const ann = await server.person()
    const base = await store(ann, plans, plan)
    const phone = edited(plans, base, { labels: ['a', 'c'], settings: { by: 'phone' } })
    const laptop = edited(plans, base, { labels: ['a', 'b', 'd'], settings: { by: 'laptop' } })
    await send(ann, 'plans', [laptop])
    const { conflicts } = (await send(ann, 'plans', [phone])).body
    expect(conflicts).toMatchObject([{ labels: ['a', 'c', 'd'], settings: { by: 'laptop' } }])
    const [entry, ...others] = await journal(ann)
    expect(others).toEqual([])
    expect(entry).toMatchObject({
      lost: { settings: { by: 'phone' } },
      kept: { settings: { by: 'laptop' } },
    })
    expect((await ann.call('POST', `/api/conflicts/${entry!.id}/restore/`)).status).toBe(200)
    expect(await all(ann, 'plans')).toMatchObject([
      { labels: ['a', 'c', 'd'], settings: { by: 'phone' } },
    ])
  })

  test('replaced by a deletion are in the journal, and can be restored', async () => {
    const ann = await server.person()
    const base = await store(ann, plans, plan)
    await send(ann, 'plans', [deletion(plans, base)])
    await send(ann, 'plans', [edited(plans, base, { labels: ['late'], settings: { late: [{}] } })])
    const [entry] = await journal(ann)
    expect(entry).toMatchObject({
      cause: 'deletion',
      lost: { labels: ['late'], settings: { late: [{}] } },
    })
    for (let i = 0; i < 2; i++)
      expect((await ann.call('POST', `/api/conflicts/${entry!.id}/restore/`)).status).toBe(200)
    expect(await all(ann, 'plans')).toMatchObject([
      { _deleted: false, labels: ['late'], settings: { late: [{}] } },
    ])
  })

  test('rejected for a client that does not ask for rejections are in the journal, and can be restored', async () => {
    const ann = await server.person()
    const document = made(plans, { labels: ['b', 'a'], settings: { on: true } })
    const row = created({ ...document, estimate: 'much', mood: ['x'] })
    for (let i = 0; i < 2; i++)
      expect((await ann.call('POST', '/replication/plans/0/push', [row])).status).toBe(200)
    const [entry, ...others] = await journal(ann)
    expect(others).toEqual([])
    expect(entry).toMatchObject({
      lost: { labels: ['a', 'b'], settings: { on: true }, estimate: 'much' },
      lost_json: '{"mood":["x"]}',
    })
  })

  test.each<[string, object, string]>([
    ['a label that is too long', { labels: ['x'.repeat(21)] }, 'labels.0'],
    ['too many labels', { labels: [...'abcdefghijk'] }, 'labels'],
    ['no labels at all', { labels: null }, 'labels'],
    ['settings that are a list', { settings: [] }, 'settings'],
    ['settings that are too long', { settings: { text: 'x'.repeat(1_000) } }, 'settings'],
    ['a NUL', { settings: { text: '\0' } }, 'settings'],
    ['a text for a number', { estimate: '1' }, 'estimate'],
  ])('%s is a 400, and rejected by row', async (_what, fields, name) => {
    const ann = await server.person()
    const reply = await ann.call('POST', '/api/plans/', fields)
    expect(reply).toMatchObject({ status: 400, body: { errors: { [name]: expect.any(Array) } } })
    const rows = [created({ ...made(plans, {}), ...fields }), created(made(plans, plan))]
    const { rejected } = (await send(ann, 'plans', rows)).body
    expect(rejected).toMatchObject([{ errors: { [name]: expect.any(Array) } }])
    expect(await all(ann, 'plans')).toHaveLength(1)
  })

  test('are found by filters, and sorted', async () => {
    const ann = await server.person()
    for (const [labels, estimate] of [
      [['a', 'b'], 1.5],
      [['b', 'c'], -2],
      [[], 1e21],
    ] as const)
      await ann.call('POST', '/api/plans/', { labels, estimate })
    const found = async (query: string) => {
      const reply = await ann.call('GET', `/api/plans/?ordering=-estimate&${query}`)
      expect(reply.status, reply.text).toBe(200)
      return reply.body.results.map(({ estimate }: { estimate: number }) => estimate)
    }
    expect(await found('labels__contains=b')).toEqual([1.5, -2])
    expect(await found('labels__contains=b,a')).toEqual([1.5])
    expect(await found('labels__overlaps=a,c')).toEqual([1.5, -2])
    expect(await found('estimate=1.5')).toEqual([1.5])
    expect(await found('estimate__in=-2,1e21')).toEqual([1e21, -2])
    expect(await found('estimate__gte=1.5')).toEqual([1e21, 1.5])
    expect(await found('estimate__lt=0')).toEqual([-2])
    const seen: number[] = []
    for (let next = '/api/plans/?ordering=-estimate&page_size=1&cursor='; next; ) {
      const { body } = await ann.call('GET', next.replace(server.url, ''))
      seen.push(...body.results.map(({ estimate }: { estimate: number }) => estimate))
      next = body.next
    }
    expect(seen).toEqual([1e21, 1.5, -2])
    for (const query of ['estimate=much', 'labels=a', 'labels__contains=', 'settings=x'])
      expect((await ann.call('GET', `/api/plans/?${query}`)).status, query).toBe(400)
  })
})

describe('a document with references, over REST', () => {
  async function tree(person: Person) {
    const make = async (title: string, parent_id: string | null) =>
      (await person.call('POST', '/api/subtasks/', { title, parent_id })).body.id as string
    const root = await make('root', null)
    const [child, other] = [await make('child', root), await make('other', root)]
    return { root, child, other, grandchild: await make('grandchild', child) }
  }
  const live = async (person: Person, resource = 'subtasks') =>
    (await person.call('GET', `/api/${resource}/`)).body.results
      .map(({ title, body }: Record<string, string>) => title ?? body)
      .sort()

  test('is deleted and restored with its target, and nothing else is', async () => {
    const ann = await server.person()
    const { root, child, other } = await tree(ann)
    const { id: task_id } = (await ann.call('POST', '/api/tasks/', { title: 'Ferry' })).body
    for (const [body, subtask_id] of [
      ['on child', child],
      ['on task', null],
    ])
      await ann.call('POST', '/api/comments/', { body, task_id, subtask_id })
    await ann.call('DELETE', `/api/subtasks/${other}/`)
    expect((await ann.call('DELETE', `/api/subtasks/${root}/`)).status).toBe(204)
    expect(await live(ann)).toEqual([])
    expect(await live(ann, 'comments')).toEqual(['on task'])
    expect((await ann.call('POST', `/api/subtasks/${root}/restore/`)).status).toBe(200)
    expect(await live(ann)).toEqual(['child', 'grandchild', 'root'])
    expect(await live(ann, 'comments')).toEqual(['on child', 'on task'])
    const stored = [...(await all(ann, 'subtasks')), ...(await all(ann, 'comments'))]
    expect(stored.find(({ title }) => title === 'other')).toMatchObject({
      _deleted: true,
      parent_id: root,
    })
  })

  test('is not restored before its target, nor if another target is deleted by then', async () => {
    const ann = await server.person()
    const { root, child } = await tree(ann)
    const { id: task_id } = (await ann.call('POST', '/api/tasks/', { title: 'Ferry' })).body
    const { id } = (
      await ann.call('POST', '/api/comments/', { body: 'both', task_id, subtask_id: child })
    ).body
    await ann.call('DELETE', `/api/tasks/${task_id}/`)
    expect(await ann.call('POST', `/api/comments/${id}/restore/`)).toMatchObject({
      status: 400,
      body: { errors: { task_id: expect.any(Array) } },
    })
    await ann.call('DELETE', `/api/subtasks/${root}/`)
    expect(await ann.call('POST', `/api/subtasks/${child}/restore/`)).toMatchObject({
      status: 400,
      body: { errors: { parent_id: expect.any(Array) } },
    })
    await ann.call('POST', `/api/tasks/${task_id}/restore/`)
    expect(await live(ann, 'comments')).toEqual([])
    await ann.call('POST', `/api/subtasks/${root}/restore/`)
    expect(await live(ann, 'comments')).toEqual(['both'])
  })

  test.each(['itself', 'a child', 'a grandchild'])('never refers to itself: by %s', async (by) => {
    const ann = await server.person()
    const { root, child, grandchild } = await tree(ann)
    const parent_id = { itself: root, 'a child': child, 'a grandchild': grandchild }[by]
    const reply = await ann.call('PATCH', `/api/subtasks/${root}/`, { parent_id })
    expect(reply).toMatchObject({ status: 400, body: { errors: { parent_id: expect.any(Array) } } })
    const id = randomUUID()
    const self = await ann.call('POST', '/api/subtasks/', { id, parent_id: id })
    expect(self).toMatchObject({ status: 400, body: { errors: { parent_id: expect.any(Array) } } })
    expect((await byId(ann, 'subtasks')).get(root)).toMatchObject({ parent_id: null })
  })

  test('of two concurrent moves that would form a cycle, one is refused', async () => {
    const ann = await server.person()
    const { child, other } = await tree(ann)
    const replies = await Promise.all([
      ann.call('PATCH', `/api/subtasks/${child}/`, { parent_id: other }),
      ann.call('PATCH', `/api/subtasks/${other}/`, { parent_id: child }),
    ])
    expect(replies.map(({ status }) => status).sort()).toEqual([200, 400])
  })

  test('is refused if its target does not exist or is deleted', async () => {
    const ann = await server.person()
    const bob = await server.person()
    const { id: deleted } = (await ann.call('POST', '/api/tasks/', { title: 'Gone' })).body
    await ann.call('DELETE', `/api/tasks/${deleted}/`)
    const { id: bobs } = (await bob.call('POST', '/api/tasks/', { title: 'His' })).body
    for (const task_id of [randomUUID(), deleted, bobs])
      expect(await ann.call('POST', '/api/comments/', { body: 'x', task_id })).toMatchObject({
        status: 400,
        body: { errors: { task_id: expect.any(Array) } },
      })
    expect((await ann.call('POST', '/api/comments/', { body: 'x', task_id: null })).status).toBe(
      400,
    )
  })

  test('a deep tree is deleted and restored completely', async () => {
    const ann = await server.person()
    const chain = Array.from({ length: 1_000 }, () => randomUUID())
    const rows = chain.map((id, i) =>
      created(made(subtasks, { id, parent_id: chain[i - 1] ?? null })),
    )
    await send(ann, 'subtasks', rows)
    expect((await ann.call('DELETE', `/api/subtasks/${chain[0]}/`)).status).toBe(204)
    expect((await all(ann, 'subtasks')).filter(({ _deleted }) => _deleted)).toHaveLength(1_000)
    expect((await ann.call('POST', `/api/subtasks/${chain[0]}/restore/`)).status).toBe(200)
    expect((await all(ann, 'subtasks')).filter(({ _deleted }) => _deleted)).toHaveLength(0)
  })
})

describe('a document with references, pushed', () => {
  test('may arrive before its target, in one push or in two, and so may a second one', async () => {
    const ann = await server.person()
    const task = made(tasks, { title: 'Ferry' })
    for (const body of ['first', 'second']) await store(ann, comments, { body, task_id: task.id })
    const parent = made(subtasks, { title: 'parent' })
    const [one, two] = ['one', 'two'].map((title) =>
      made(subtasks, { title, parent_id: parent.id }),
    )
    expect((await send(ann, 'subtasks', [created(one!)])).body).toEqual(LANDED)
    const rows = [created(two!), created(made(subtasks, { parent_id: two!.id })), created(parent)]
    expect((await send(ann, 'subtasks', rows)).body).toEqual(LANDED)
    expect((await send(ann, 'tasks', [created(task)])).body).toEqual(LANDED)
    expect([...(await byId(ann, 'subtasks')).values()].filter(({ _deleted }) => _deleted)).toEqual(
      [],
    )
    expect((await ann.call('GET', `/api/comments/?task_id=${task.id}`)).body.count).toBe(2)
  })

  test('may arrive before a target with a required reference', async () => {
    const ann = await server.person()
    const task = made(tasks, { title: 'Ferry' })
    const seen = made(comments, { body: 'seen', task_id: task.id })
    await store(ann, comments, { body: 'see', task_id: task.id, see_id: seen.id })
    expect((await send(ann, 'comments', [created(seen)])).body).toEqual(LANDED)
    expect(await all(ann, 'tasks')).toEqual([])
    await send(ann, 'comments', [deletion(comments, seen)])
    expect(await all(ann, 'comments')).toMatchObject([{ _deleted: true }, { see_id: null }])
  })

  test.each<[string, (parent: PushRow, child: PushRow) => PushRow[]]>([
    ['the parent is deleted, then the child edited', (parent, child) => [parent, child]],
    ['the child is edited, then the parent deleted', (parent, child) => [child, parent]],
  ])('in one push in which %s', async (_what, rowsOf) => {
    const ann = await server.person()
    const parent = await store(ann, subtasks, { title: 'parent' })
    const child = await store(ann, subtasks, { title: 'child', parent_id: parent.id })
    const loose = made(subtasks, { title: 'loose' })
    const rows = rowsOf(deletion(subtasks, parent), edited(subtasks, child, { title: 'edited' }))
    const { conflicts } = (await send(ann, 'subtasks', [...rows, created(loose)])).body
    const stored = await byId(ann, 'subtasks')
    expect(stored.get(parent.id)).toMatchObject({ _deleted: true })
    expect(stored.get(child.id)).toMatchObject({ _deleted: true, parent_id: parent.id })
    expect(stored.get(loose.id)).toMatchObject({ _deleted: false })
    const isEditKept = stored.get(child.id)!.title === 'edited'
    expect(isEditKept).toBe(rows[1]!.newDocumentState.id === parent.id)
    if (isEditKept) return
    expect(conflicts).toEqual([stored.get(child.id)])
    expect(await journal(ann)).toMatchObject([{ cause: 'deletion', lost: { title: 'edited' } }])
  })

  test('a new document under a deleted one is deleted and restored with it, and is in the journal', async () => {
    const ann = await server.person()
    const task = await store(ann, tasks, { title: 'Ferry' })
    await send(ann, 'tasks', [deletion(tasks, task)])
    const comment = made(comments, { body: 'late', task_id: task.id })
    const { conflicts } = (await send(ann, 'comments', [created(comment)])).body
    expect(conflicts).toMatchObject([{ id: comment.id, body: 'late', _deleted: true }])
    const [entry] = await journal(ann)
    expect(entry).toMatchObject({ cause: 'deletion', lost: { body: 'late', task_id: task.id } })
    const restore = () => ann.call('POST', `/api/conflicts/${entry!.id}/restore/`)
    expect(await restore()).toMatchObject({
      status: 400,
      body: { errors: { task_id: expect.any(Array) } },
    })
    await ann.call('POST', `/api/tasks/${task.id}/restore/`)
    expect(await all(ann, 'comments')).toMatchObject([{ body: 'late', _deleted: false }])
    expect((await restore()).status).toBe(200)
    expect((await send(ann, 'comments', [created(comment)])).body.rejected).toEqual([])
    expect(await all(ann, 'comments')).toMatchObject([{ body: 'late', _deleted: false }])
  })

  test('restoring a document restores those deleted with it, and accepts an edit of them in the same push', async () => {
    const ann = await server.person()
    const parent = await store(ann, subtasks, { title: 'parent' })
    const child = await store(ann, subtasks, { title: 'child', parent_id: parent.id })
    await send(ann, 'subtasks', [deletion(subtasks, parent)])
    const stored = await byId(ann, 'subtasks')
    const rows = [
      edited(subtasks, stored.get(parent.id)!, { _deleted: false }),
      edited(subtasks, child, { title: 'edited' }),
    ]
    await send(ann, 'subtasks', rows)
    expect((await byId(ann, 'subtasks')).get(child.id)).toMatchObject({
      _deleted: false,
      title: 'edited',
    })
  })

  test('that is moved under another one and deleted is not restored once that is deleted', async () => {
    const ann = await server.person()
    const [old, other] = [
      await store(ann, subtasks, { title: 'parent' }),
      await store(ann, subtasks, { title: 'parent' }),
    ]
    const child = await store(ann, subtasks, { title: 'child', parent_id: old.id })
    await send(ann, 'subtasks', [deletion(subtasks, child)])
    const deleted = (await byId(ann, 'subtasks')).get(child.id)!
    const moved = edited(subtasks, child, { parent_id: other.id, _deleted: true })
    await send(ann, 'subtasks', [moved, deletion(subtasks, other)])
    const restored = edited(subtasks, deleted, { title: 'restored', _deleted: false })
    const { conflicts } = (await send(ann, 'subtasks', [restored])).body
    expect(conflicts).toMatchObject([{ title: 'child', parent_id: other.id, _deleted: true }])
    expect(await journal(ann)).toMatchObject([{ cause: 'deletion', lost: { title: 'restored' } }])
  })

  test('that was deleted and restored is not moved under a deleted one by an older deletion', async () => {
    const ann = await server.person()
    const [old, other] = [
      await store(ann, subtasks, { title: 'parent' }),
      await store(ann, subtasks, { title: 'parent' }),
    ]
    const child = await store(ann, subtasks, { title: 'child', parent_id: old.id })
    const moved = edited(subtasks, child, { parent_id: other.id, _deleted: true })
    await send(ann, 'subtasks', [deletion(subtasks, child), deletion(subtasks, other)])
    const deleted = (await byId(ann, 'subtasks')).get(child.id)!
    await send(ann, 'subtasks', [edited(subtasks, deleted, { _deleted: false })])
    const { conflicts } = (await send(ann, 'subtasks', [moved])).body
    expect(conflicts).toMatchObject([{ id: child.id, parent_id: old.id, _deleted: false }])
    expect(await journal(ann)).toMatchObject([{ cause: 'deletion', lost: { parent_id: other.id } }])
  })

  test.each([
    ['first', [0, 1]],
    ['last', [1, 0]],
  ])(
    'a cycle of two devices is broken at the newest reference, if that arrives %s',
    async (_when, order) => {
      const ann = await server.person()
      const [a, b] = [
        await store(ann, subtasks, { title: 'a' }),
        await store(ann, subtasks, { title: 'b' }),
      ]
      const moves = [
        edited(subtasks, a, { parent_id: b.id }),
        edited(subtasks, b, { parent_id: a.id }),
      ]
      for (const i of order) await send(ann, 'subtasks', [moves[i]!])
      const stored = await byId(ann, 'subtasks')
      expect(stored.get(a.id)).toMatchObject({ parent_id: b.id })
      expect(stored.get(b.id)).toMatchObject({ parent_id: null })
      expect(await journal(ann)).toMatchObject([
        { document_id: b.id, lost: { parent_id: a.id }, kept: { parent_id: null } },
      ])
      for (const i of order) await send(ann, 'subtasks', [moves[i]!])
      expect(await byId(ann, 'subtasks')).toEqual(stored)
    },
  )

  test('a cycle within one push, and a document that refers to itself, are broken too', async () => {
    const ann = await server.person()
    const [a, b, c] = [randomUUID(), randomUUID(), randomUUID()]
    const rows = [
      created(made(subtasks, { id: a, parent_id: b })),
      created(made(subtasks, { id: b, parent_id: a })),
      created(made(subtasks, { id: c, parent_id: c })),
    ]
    const { conflicts } = (await send(ann, 'subtasks', rows)).body
    expect(conflicts).toMatchObject([
      { id: b, parent_id: null },
      { id: c, parent_id: null },
    ])
    expect((await byId(ann, 'subtasks')).get(a)).toMatchObject({ parent_id: b, _deleted: false })
  })
})

describe('any push', () => {
  const idOf = (kind: number, nth: number) => `0190a5c2-7a4e-7cc3-98c4-dc0c0c07${kind}00${nth}`
  const KINDS = () => [tasks, subtasks, comments]
  const ref = (kind: number) => fc.constantFrom(...[0, 1, 2, 3].map((nth) => idOf(kind, nth)))

  interface Push {
    kind: number
    changes: { nth: number; action: string; fields: Record<string, unknown>; isStale: boolean }[]
    back: number
  }
  const fields = [
    fc.record({ title: fc.constantFrom('Milk', 'Bread') }),
    fc.record(
      { title: fc.constantFrom('a', 'b'), parent_id: fc.option(ref(1)) },
      { requiredKeys: [] },
    ),
    fc.record(
      {
        body: fc.constantFrom('x', 'y'),
        task_id: ref(0),
        subtask_id: fc.option(ref(1)),
        see_id: fc.option(ref(2)),
      },
      { requiredKeys: ['task_id'] },
    ),
  ]
  const pushOf = (kind: number): fc.Arbitrary<Push> =>
    fc.record({
      kind: fc.constant(kind),
      changes: fc.array(
        fc.record({
          nth: fc.nat(3),
          action: fc.constantFrom('edit', 'edit', 'delete', 'restore', 'create'),
          fields: fields[kind]!,
          isStale: fc.boolean(),
        }),
        { minLength: 1, maxLength: 4 },
      ),
      back: fc.nat(25),
    })
  const pushes = fc.array(fc.oneof(pushOf(0), pushOf(1), pushOf(1), pushOf(2), pushOf(2)), {
    minLength: 3,
    maxLength: 14,
  })
  const minute = (n: number) => new Date(Date.UTC(2026, 9, 1, 8, n)).toISOString()
  /** By id: in which order rows of one statement pass on a deletion is Postgres' own affair. */
  async function storedIn(store: Store, user: string): Promise<Map<string, WireDocument>> {
    const start = { id: '', lwt: 0 }
    const pages = await Promise.all(KINDS().map((one) => pull(store, user, one, start, 1_000)))
    const documents = pages.flatMap((page) => JSON.parse(page.documents) as WireDocument[])
    return new Map(documents.map((one) => [one.id, one]))
  }

  test('is stored or rejected by row, equally in both stores, and no document refers to a deleted one or to itself', async () => {
    const seen = { tombstones: 0, losses: 0, trees: 0 }
    await fc.assert(
      fc.asyncProperty(pushes, async (all) => {
        const user = await addUser(server.testDatabase.db)
        inMemory.addUser(user)
        const known = new Map<string, WireDocument[]>()
        for (const [i, { kind, changes, back }] of all.entries()) {
          const resource = KINDS()[kind]!
          const at = minute(10 * (i + 1) - back)
          const rows = changes.map(({ nth, action, fields, isStale }): PushRow => {
            const states = known.get(idOf(kind, nth)) ?? []
            const assumed = states.at(isStale ? 0 : -1)
            const given = {
              id: idOf(kind, nth),
              title: 't',
              ...(kind === 2 && { title: undefined }),
              ...fields,
            }
            if (!assumed || action === 'create')
              return {
                newDocumentState: {
                  ...settle(resource, JSON.parse(JSON.stringify(given)), undefined, at),
                },
              }
            const { _deleted, ...previous } = assumed
            const next = settle(
              resource,
              { ...previous, ...fields, updated_at: at },
              previous as Document,
              at,
            )
            const isDeleted = action === 'delete' || (action === 'edit' && _deleted)
            return {
              newDocumentState: { ...next, _deleted: isDeleted },
              assumedMasterState: assumed,
            }
          })
          const party = { user, session: user }
          const now = minute(10 * (i + 1))
          const answers = [
            await push(inMemory, party, resource, rows, now),
            await push(inPostgres, party, resource, rows, now),
          ]
          expect(answers[0]!.rejected).toEqual([])
          expect(JSON.stringify(answers[0])).toBe(JSON.stringify(answers[1]))
          const stored = await storedIn(inPostgres, user)
          expect(await storedIn(inMemory, user)).toEqual(stored)
          expect(await inMemory.heads([user])).toEqual(await inPostgres.heads([user]))
          checkReferences(stored)
          for (const document of stored.values())
            if (JSON.stringify(known.get(document.id)?.at(-1)) !== JSON.stringify(document))
              known.set(document.id, [...(known.get(document.id) ?? []).slice(-1), document])
          seen.tombstones += [...stored.values()].filter(({ _deleted }) => _deleted).length
          seen.trees += [...stored.values()].filter(({ parent_id }) => parent_id).length
        }
        const { conflicts } = (await import('../../protocol/index.ts')).resources
        const lost = await pull(inPostgres, user, conflicts, { id: '', lwt: 0 }, 1_000)
        seen.losses += JSON.parse(lost.documents).length
      }),
      { numRuns: 80, interruptAfterTimeLimit: 100_000 },
    )
    expect(Object.entries(seen).filter(([, count]) => count === 0)).toEqual([])
  }, 120_000)

  function checkReferences(stored: ReadonlyMap<string, WireDocument>): void {
    for (const document of stored.values()) {
      if (document._deleted) continue
      for (const name of ['task_id', 'subtask_id', 'parent_id', 'see_id']) {
        const target = stored.get(document[name] as string)
        expect(target?._deleted ?? false, JSON.stringify(document)).toBe(false)
      }
      const met = new Set<unknown>()
      for (let at = document; at && !met.has(at.id); at = stored.get(at.parent_id as string)!) {
        met.add(at.id)
        expect(at.parent_id).not.toBe(document.id)
      }
    }
  }
})
