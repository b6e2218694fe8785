import { randomUUID } from 'node:crypto'
import { once } from 'node:events'
import type { AddressInfo } from 'node:net'
import express from 'express'
import { describe, expect } from 'vitest'
import type * as z from 'zod'
import {
  type Checkpoint,
  conflictsSchema,
  PUSH_RESULT,
  pullResponseSchema,
  pushResponseSchema,
  REPLICA_HEADER,
  resources,
  settle,
  type WireDocument,
} from '../../../protocol/index.ts'
import { answerProblems } from '../../../server/http/problems.ts'
import { refuseOtherVersions } from '../../../server/http/replication/versions.ts'
import { createLog } from '../../../server/runtime/log.ts'
import { purgeTombstones } from '../../../server/store/purge.ts'
import { test } from '../../support/fixtures.ts'
import { callerTo, type Person, type Reply, type TestServer } from '../../support/server.ts'

const { tasks, conflicts } = resources

let server: TestServer
test.beforeAll(({ server: started }) => {
  server = started
})

const aTask = (fields: Record<string, unknown> = {}, at = server.clock.now().toISOString()) =>
  ({
    ...settle(tasks, { id: randomUUID(), title: 'Milk', ...fields }, undefined, at),
    _deleted: false,
  }) as WireDocument

type Row = { newDocumentState: object; assumedMasterState?: object }

const push = (person: Person, rows: unknown, resource = 'tasks') =>
  asDefined(conflictsSchema, person.call('POST', `/replication/${resource}/0/push`, rows))

const pushed = (person: Person, rows: readonly Row[], resource = 'tasks') =>
  asDefined(
    pushResponseSchema,
    person.call('POST', `/replication/${resource}/0/push`, rows, {
      headers: { accept: PUSH_RESULT },
    }),
  )

const pull = (person: Person, lwt = 0, limit = 100, resource = 'tasks') =>
  asDefined(
    pullResponseSchema,
    person.call('GET', `/replication/${resource}/0/pull?lwt=${lwt}&id=1&limit=${limit}`),
  )

/** Every answer that a test gets is as the protocol has it. */
async function asDefined(schema: z.ZodType, answer: Promise<Reply>): Promise<Reply> {
  const reply = await answer
  if (reply.status === 200) schema.parse(reply.body)
  return reply
}

async function everything(person: Person, resource = 'tasks'): Promise<WireDocument[]> {
  return (await pull(person, 0, 2_000, resource)).body.documents
}

describe('pull', () => {
  test('returns exactly the requested number in feed order, to the end', async ({ ann }) => {
    const all = Array.from({ length: 25 }, (_, i) => aTask({ title: `Task ${i}` }))
    await push(
      ann,
      all.map((newDocumentState) => ({ newDocumentState })),
    )
    const seen: WireDocument[] = []
    const sizes: number[] = []
    for (let lwt = 0; ; ) {
      const { body } = await pull(ann, lwt, 10)
      sizes.push(body.documents.length)
      seen.push(...body.documents)
      expect(body.checkpoint).toEqual({ id: '1', lwt: 1 + seen.length })
      lwt = body.checkpoint.lwt
      if (body.documents.length < 10) break
    }
    expect(sizes).toEqual([10, 10, 5])
    expect(seen).toEqual(all)
  })

  test('fills its pages even if the feed has other changes: a short page is the last one', async ({
    ann,
  }) => {
    for (let i = 0; i < 12; i++) {
      await push(ann, [{ newDocumentState: aTask({ category_id: randomUUID() }) }])
      await ann.call('POST', '/api/categories/', { name: `Category ${i}` })
    }
    const [deleted] = await everything(ann)
    await ann.call('DELETE', `/api/tasks/${deleted!.id}/`)
    const sizes: number[] = []
    for (let lwt = 0; sizes.at(-1) !== 0; ) {
      const { body } = await pull(ann, lwt, 4)
      sizes.push(body.documents.length)
      lwt = body.checkpoint.lwt
    }
    expect(sizes).toEqual([4, 4, 4, 0])
  })

  test('the last page ends where the feed does, whatever changed last', async ({ ann }) => {
    const { checkpoint } = (await pull(ann, 0)).body
    expect(checkpoint).toEqual({ id: '1', lwt: 1 })
    await ann.call('POST', '/api/categories/', { name: 'Errands' })
    expect((await pull(ann, 0)).body.checkpoint).toEqual({ id: '1', lwt: 2 })
    expect((await pull(ann, 0, 0)).body).toEqual({ documents: [], checkpoint: { id: '1', lwt: 0 } })
  })

  test.for<[what: string, query: string, status: number]>([
    ['nothing', '', 200],
    ['the start, as the first release gave it', 'id=&lwt=0', 200],
    ['a document, as the first release gave it', `id=${randomUUID()}&lwt=2`, 200],
    ['no document, as its frames did', 'id=&lwt=2', 200],
    ['the end', 'id=1&lwt=2', 200],
    ['more than there is', 'id=1&lwt=3', 410],
    ['the same, as the first release gave it', `id=${randomUUID()}&lwt=3`, 410],
    ['another epoch', 'id=2&lwt=1', 410],
    ['the start of another epoch', 'id=2&lwt=0', 410],
    ['a pull from the start', 'id=1~2~live&lwt=1', 200],
    ['no number of a pull from the start', 'id=1~1.5~live&lwt=1', 410],
    ['something else', 'id=1~2~dead&lwt=1', 410],
  ])('continues from %s: ?%s', async ([_what, query, status], { ann }) => {
    await ann.call('POST', '/api/tasks/', { title: 'Milk' })
    const pulled = await ann.call('GET', `/replication/tasks/0/pull?${query}`)
    const pushed = await ann.call('POST', `/replication/tasks/0/push?${query}`, [
      { newDocumentState: aTask() },
    ])
    const code = status === 410 ? 'checkpoint_expired' : undefined
    for (const reply of [pulled, pushed])
      expect([reply.status, reply.body.code]).toEqual([status, code])
    expect(await everything(ann)).toHaveLength(status === 410 ? 1 : 2)
  })

  test('from the start has no tombstones for a client that has nothing, and all since', async ({
    ann,
  }) => {
    const of = async (lwt: number, id: string, seen?: Checkpoint[]) => {
      const query = `lwt=${lwt}&id=${encodeURIComponent(id)}&limit=2`
      const headers = { ...(seen && { [REPLICA_HEADER]: JSON.stringify({ seen }) }) }
      const path = `/replication/tasks/0/pull?${query}`
      const { body } = await ann.call('GET', path, undefined, { headers })
      const titles = body.documents.map(
        ({ title, _deleted }: WireDocument) => `${title}${_deleted ? ' deleted' : ''}`,
      )
      return { titles, ...(body.checkpoint as Checkpoint) }
    }
    const ids: string[] = []
    for (const title of ['a', 'b', 'c', 'd', 'e'])
      ids.push((await ann.call('POST', '/api/tasks/', { title })).body.id)
    for (const i of [0, 2]) await ann.call('DELETE', `/api/tasks/${ids[i]}/`)
    const first = await of(0, '', [])
    expect(first.titles).toEqual(['b', 'd'])
    await ann.call('DELETE', `/api/tasks/${ids[1]}/`)
    const second = await of(first.lwt, first.id)
    expect(second.titles).toEqual(['e', 'b deleted'])
    const third = await of(second.lwt, second.id)
    expect(third).toEqual({ titles: [], id: '1', lwt: 9 })
    expect((await of(0, '')).titles, 'for any other').toEqual(['d', 'e'])
    expect((await of(0, '', [{ id: '1', lwt: 2 }])).titles, 'with a part').toEqual(['d', 'e'])
    expect((await of(5, '1')).titles, 'from a later one').toEqual(['e', 'a deleted'])
  })

  test('of a checkpoint from before a purge is refused, of that resource only', async ({ ann }) => {
    const { body: task } = await ann.call('POST', '/api/tasks/', { title: 'Milk' })
    await ann.call('POST', '/api/tasks/', { title: 'Bread' })
    await ann.call('DELETE', `/api/tasks/${task.id}/`)
    await ann.call('POST', '/api/tasks/', { title: 'Eggs' })
    // The profile, milk, bread, the tombstone, eggs.
    await purgeTombstones(server.testDatabase.db, 0)
    const status = async (query: string, resource = 'tasks') => {
      const path = `/replication/${resource}/0`
      const pulled = await ann.call('GET', `${path}/pull?${query}`)
      const pushed = await ann.call('POST', `${path}/push?${query}`, [])
      expect([pushed.status, pushed.body.extensions]).toEqual([
        pulled.status,
        pulled.body.extensions,
      ])
      return [pulled.status, pulled.body.extensions?.missing]
    }
    expect(await status('id=1&lwt=4')).toEqual([200, undefined])
    expect(await status('id=1&lwt=3')).toEqual([410, 'deleted'])
    expect(await status('id=2&lwt=3')).toEqual([410, 'lost'])
    expect(await status('id=1&lwt=1', 'categories')).toEqual([200, undefined])
    expect(await status('id=1~5&lwt=3'), 'in a pull from the start').toEqual([200, undefined])
    expect(await status('id=1~3&lwt=3'), 'in one that began before').toEqual([410, 'deleted'])
    expect(await status('id=1~5~live&lwt=3')).toEqual([200, undefined])
    expect(await status('id=&lwt=0')).toEqual([200, undefined])
    const headers = { [REPLICA_HEADER]: JSON.stringify({ seen: [{ id: '1~3', lwt: 1 }] }) }
    const path = '/replication/tasks/0/pull'
    const part = await ann.call('GET', path, undefined, { headers })
    expect(part.body.extensions, 'with a part of its first page').toEqual({ missing: 'deleted' })
  })

  test.for(['lwt=abc', 'lwt=-1', 'limit=2001', 'limit=x'])('refuses %s', async (query, { ann }) => {
    expect((await ann.call('GET', `/replication/tasks/0/pull?${query}`)).status).toBe(400)
  })

  test('has tombstones with all their fields', async ({ ann }) => {
    const made = await ann.call('POST', '/api/tasks/', { title: 'Milk' })
    await ann.call('DELETE', `/api/tasks/${made.body.id}/`)
    expect(await everything(ann)).toEqual([
      { ...made.body, updated_at: expect.any(String), _deleted: true },
    ])
  })
})

describe('push', () => {
  test('is visible through REST, and REST writes are visible through pull', async ({ ann }) => {
    const task = aTask({ title: 'From a device' })
    expect((await push(ann, [{ newDocumentState: task }])).body).toEqual([])
    const read = await ann.call('GET', `/api/tasks/${task.id}/`)
    expect({ ...read.body, _deleted: false }).toEqual(task)
    await ann.call('PATCH', `/api/tasks/${task.id}/`, { priority: 'high' })
    expect((await everything(ann))[0]).toMatchObject({ id: task.id, priority: 'high' })
  })

  test('repeated has no second effect: no new change, no conflict', async ({ ann }) => {
    const rows = [{ newDocumentState: aTask() }, { newDocumentState: aTask() }]
    await push(ann, rows)
    const { checkpoint } = (await pull(ann)).body
    expect((await push(ann, rows)).body).toEqual([])
    expect((await pull(ann, checkpoint.lwt)).body.documents).toEqual([])
  })

  test('of an insert whose response was lost, edited since, stores the edit', async ({ ann }) => {
    const task = aTask()
    await push(ann, [{ newDocumentState: task }])
    server.clock.advance(10)
    const edited = { ...task, title: 'Oat milk', updated_at: server.clock.now().toISOString() }
    expect((await push(ann, [{ newDocumentState: edited }])).body).toEqual([])
    expect(await everything(ann)).toEqual([edited])
  })

  test('repeated after others have undone it does not apply again', async ({ ann }) => {
    const task = aTask()
    const path = `/api/tasks/${task.id}/`
    await push(ann, [{ newDocumentState: task }])
    server.clock.advance(10)
    const edited = { ...task, title: 'Oat milk', updated_at: server.clock.now().toISOString() }
    const rows = [{ newDocumentState: edited, assumedMasterState: task }]
    expect((await push(ann, rows)).body).toEqual([])
    await ann.call('PATCH', path, { title: task.title })
    const undone = await pull(ann)
    expect((await push(ann, rows)).body).toEqual(undone.body.documents)
    expect((await pull(ann)).body).toEqual(undone.body)

    await ann.call('DELETE', path)
    await ann.call('POST', `${path}restore/`)
    const restored = await pull(ann)
    const answer = await push(ann, [{ newDocumentState: task }, ...rows])
    expect(answer.body).toEqual(restored.body.documents)
    expect((await pull(ann)).body).toEqual(restored.body)
    expect(await everything(ann, 'conflicts')).toEqual([])
  })

  test('that lost takes a number once, and always gets the same response', async ({ ann }) => {
    const task = aTask()
    await push(ann, [{ newDocumentState: task }])
    server.clock.advance(10)
    await ann.call('PATCH', `/api/tasks/${task.id}/`, { title: 'Soy milk' })
    const stored = await everything(ann)
    const { lwt } = (await pull(ann)).body.checkpoint
    const updated_at = new Date(Date.parse(task.updated_at) + 1).toISOString()
    const rows = [
      {
        newDocumentState: { ...task, title: 'Oat milk', updated_at },
        assumedMasterState: task,
      },
    ]
    expect((await push(ann, rows)).body).toEqual(stored)
    const once = await pull(ann)
    // The task, which remembers the edit, and the journal entry.
    expect(once.body).toMatchObject({ documents: stored, checkpoint: { lwt: lwt + 2 } })
    expect((await push(ann, rows)).body).toEqual(stored)
    expect((await pull(ann)).body).toEqual(once.body)
  })

  test('thirty concurrent batches, each sent twice, are stored once', async ({ ann }) => {
    const batches = Array.from({ length: 30 }, () => [{ newDocumentState: aTask() }])
    const replies = await Promise.all([...batches, ...batches].map((batch) => push(ann, batch)))
    expect(replies.map(({ status, body }) => [status, body])).toEqual(replies.map(() => [200, []]))
    const { checkpoint } = (await pull(ann)).body
    expect(await everything(ann)).toHaveLength(30)
    expect(checkpoint.lwt, 'thirty changes, and the profile').toBe(31)
  })

  test('thirty concurrent batches of one device are all stored', async ({ ann }) => {
    const batches = Array.from({ length: 30 }, () => Array.from({ length: 20 }, () => aTask()))
    const replies = await Promise.all(
      batches.map((batch) =>
        push(
          ann,
          batch.map((newDocumentState) => ({ newDocumentState })),
        ),
      ),
    )
    expect(replies.map(({ status, body }) => [status, body])).toEqual(replies.map(() => [200, []]))
    expect(new Set((await everything(ann)).map(({ id }) => id)).size).toBe(600)
  })

  test('edits of different fields by two offline devices are both stored', async ({ ann }) => {
    const task = aTask()
    await push(ann, [{ newDocumentState: task }])
    server.clock.advance(10)
    const later = server.clock.now().toISOString()
    const phone = { ...task, title: 'Oat milk', updated_at: later }
    const laptop = { ...task, priority: 'high', updated_at: later }
    expect((await push(ann, [{ newDocumentState: phone, assumedMasterState: task }])).body).toEqual(
      [],
    )
    const { body } = await push(ann, [{ newDocumentState: laptop, assumedMasterState: task }])
    expect(body).toEqual([expect.objectContaining({ title: 'Oat milk', priority: 'high' })])
    expect(await everything(ann)).toEqual(body)
  })

  test('fast double edits of one device are not lost', async ({ ann }) => {
    const first = aTask({ title: 'a' })
    const edited = (previous: WireDocument, title: string) =>
      settle(tasks, { ...previous, title }, previous, first.updated_at) as WireDocument
    const second = edited(first, 'ab')
    const third = edited(second, 'abc')
    server.clock.advance(10)
    const replies = [
      await push(ann, [{ newDocumentState: first }]),
      await push(ann, [{ newDocumentState: second, assumedMasterState: first }]),
      await push(ann, [{ newDocumentState: third, assumedMasterState: second }]),
    ]
    expect(replies.map(({ body }) => body)).toEqual([[], [], []])
    expect(await everything(ann)).toEqual([third])
  })

  test('nor are those of a client that does not normalize its documents', async ({ ann }) => {
    const first = aTask({ title: 'a' })
    const second = { ...first, title: 'ab' }
    const third = { ...first, title: 'abc' }
    await push(ann, [{ newDocumentState: first }])
    await push(ann, [{ newDocumentState: second, assumedMasterState: first }])
    await push(ann, [{ newDocumentState: third, assumedMasterState: second }])
    expect((await everything(ann))[0]!.title).toBe('abc')
  })

  test('creates a document again on its tombstone', async ({ ann }) => {
    const task = aTask()
    await push(ann, [{ newDocumentState: task }])
    await ann.call('DELETE', `/api/tasks/${task.id}/`)
    const again = aTask(
      { id: task.id, title: 'Bread' },
      new Date(server.clock.now().getTime() + 9).toISOString(),
    )
    server.clock.advance(20)
    expect((await push(ann, [{ newDocumentState: again }])).body).toEqual([])
    expect((await ann.call('GET', `/api/tasks/${task.id}/`)).body.title).toBe('Bread')
  })

  test('creates it later than its tombstone, whatever its creation date', async ({ ann }) => {
    const task = aTask()
    await push(ann, [{ newDocumentState: task }])
    server.clock.advance(20)
    await ann.call('DELETE', `/api/tasks/${task.id}/`)
    const [tombstone] = await everything(ann)
    const before = new Date(Date.parse(task.created_at) + 9).toISOString()
    const again = aTask({ id: task.id, title: 'Bread' }, before)
    const updated_at = new Date(Date.parse(tombstone!.updated_at) + 1).toISOString()
    const { body } = await push(ann, [{ newDocumentState: again }])
    expect(body).toEqual([{ ...again, updated_at }])
    expect(await everything(ann)).toEqual(body)
  })

  test('restores a tombstone whose category was deleted meanwhile', async ({ ann }) => {
    const { body: category } = await ann.call('POST', '/api/categories/', { name: 'Errands' })
    const task = aTask({ category_id: category.id })
    await push(ann, [{ newDocumentState: task }])
    await ann.call('DELETE', `/api/tasks/${task.id}/`)
    const [tombstone] = await everything(ann)
    await ann.call('DELETE', `/api/categories/${category.id}/`)
    server.clock.advance(10)
    const updated_at = server.clock.now().toISOString()
    const back = { ...tombstone, _deleted: false, updated_at }
    const row = { newDocumentState: back, assumedMasterState: tombstone! }
    expect((await push(ann, [row])).body).toEqual([
      { ...task, category_id: null, updated_at: expect.any(String) },
    ])
    expect((await ann.call('GET', `/api/tasks/${task.id}/`)).status).toBe(200)
    expect(await everything(ann, 'conflicts')).toEqual([])
  })

  test('one invalid row in a thousand is reported, and the others are stored', async ({ ann }) => {
    const rows = Array.from({ length: 1000 }, (_, i) => ({
      newDocumentState: aTask({ title: `${i}` }),
    }))
    const bad = rows[500]!.newDocumentState
    bad.priority = 'urgent'
    const { body, headers } = await pushed(ann, rows)
    expect(headers.get('content-type')).toBe(PUSH_RESULT)
    expect(body.rejected).toEqual([
      { id: bad.id, code: 'invalid', errors: { priority: [expect.stringContaining('low')] } },
    ])
    expect(body.conflicts).toEqual([{ ...bad, _deleted: true }])
    expect(await everything(ann)).toHaveLength(999)
    expect((await push(ann, [rows[500]])).body).toEqual([{ ...bad, _deleted: true }])
  })

  test('a row whose only fault are unknown fields has a code of its own: its client may be newer', async ({
    ann,
  }) => {
    const faulty = [{ title: '' }, { _deleted: 'no' }].map((fields) => ({
      mood: 'calm',
      ...fields,
    }))
    const rows = [{ mood: 'calm' }, ...faulty, {}].map((fields) => ({
      newDocumentState: { ...aTask(), ...fields },
    }))
    const { body } = await pushed(ann, rows)
    expect(body.rejected).toEqual([
      {
        id: rows[0]!.newDocumentState.id,
        code: 'unknown_field',
        errors: { '': [expect.stringContaining('mood')] },
        unknown_fields: ['mood'],
      },
      { id: rows[1]!.newDocumentState.id, code: 'invalid', errors: expect.anything() },
      { id: rows[2]!.newDocumentState.id, code: 'invalid', errors: expect.anything() },
    ])
    expect(await everything(ann)).toHaveLength(1)
  })

  test('an invalid edit is answered with the stored state', async ({ ann }) => {
    const task = aTask()
    await push(ann, [{ newDocumentState: task }])
    const { body } = await pushed(ann, [
      { newDocumentState: { ...task, title: '' }, assumedMasterState: task },
      { newDocumentState: { id: randomUUID() } },
      { newDocumentState: { id: 'no id', title: 'x' } },
      { newDocumentState: aTask({ mood: 'bad' }) },
    ])
    expect(body.conflicts[0]).toEqual(task)
    expect(body.rejected.map(({ errors }: { errors: object }) => Object.keys(errors))).toEqual([
      ['title'],
      ['id'],
      [''],
      ['title'],
    ])
  })

  test.for([
    ['what is no list', { id: 1 }, 400],
    ['rows without ids', [{ newDocumentState: { title: 'x' } }], 400],
    ['rows without states', [{}], 400],
    ['nulls', [null], 400],
    ['too many rows', Array.from({ length: 1001 }, () => ({ newDocumentState: { id: 'x' } })), 400],
    [
      'too large a body',
      [{ newDocumentState: { id: 'x', title: 'x'.repeat(5.5 * 1024 * 1024) } }],
      413,
    ],
  ] as const)(
    'of %s is refused as JSON, and stores nothing',
    async ([_what, body, status], { ann }) => {
      const reply = await push(ann, body)
      expect(reply).toMatchObject({ status, body: { status, code: expect.any(String) } })
      expect(await everything(ann)).toEqual([])
    },
  )

  test.each(['title', 'mood'])(
    'a row whose %s is nested too deeply does not block others',
    async (name) => {
      const deep = `${'{"a":'.repeat(100_000)}1${'}'.repeat(100_000)}`
      for (const accept of [PUSH_RESULT, '*/*']) {
        const ann = await server.person()
        const [good, bad] = [aTask(), aTask()]
        const rows = JSON.stringify([
          { newDocumentState: good },
          { newDocumentState: { ...bad, [name]: 0 } },
        ])
        const headers = { accept, 'content-type': 'application/json' }
        const raw = rows.replace(`"${name}":0`, `"${name}":${deep}`)
        const { status, body } = await ann.call('POST', '/replication/tasks/0/push', undefined, {
          raw,
          headers,
        })
        expect(status).toBe(200)
        expect(body.conflicts ?? body).toEqual([{ id: bad.id, _deleted: true }])
        expect(await everything(ann)).toEqual([good])
      }
    },
  )

  test('accepts a thousand rows of five kilobytes', async ({ ann }) => {
    const rows = Array.from({ length: 1000 }, () => ({
      newDocumentState: aTask({ description: 'x'.repeat(4_500) }),
    }))
    expect((await push(ann, rows)).body).toEqual([])
    expect(await everything(ann)).toHaveLength(1000)
  })
})

describe('the assumed state of a client', () => {
  test.for<[string, object]>([
    ['names of what every object has', { constructor: 1, toString: 2, __proto__: null }],
    ['what no database can hold', { title: 'a\u0000b' }],
    ['half a character', { title: '\ud800' }],
    ['what no title is', { title: { a: [1] } }],
    ['far too much', { title: 'x'.repeat(300_000) }],
    ['nonsense', { nonsense: true }],
  ])(
    'may be %s: the row is stored, and the assumed state is not',
    async ([_what, assumedMasterState], { ann }) => {
      const task = aTask()
      await push(ann, [{ newDocumentState: task }])
      const gone = { ...task, _deleted: true }
      const { status, body } = await pushed(ann, [{ newDocumentState: gone, assumedMasterState }])
      expect([status, body.rejected]).toEqual([200, []])
      const journal = await ann.call('GET', '/api/conflicts/')
      expect(journal.text.length).toBeLessThan(1_000)
      expect((await ann.call('GET', `/api/tasks/${task.id}/`)).status).toBe(404)
    },
  )
})

describe('a reference', () => {
  test('may arrive before its target', async ({ ann }) => {
    const category = randomUUID()
    const task = aTask({ category_id: category })
    expect((await push(ann, [{ newDocumentState: task }])).body).toEqual([])
    expect(await everything(ann, 'categories')).toEqual([])
    expect((await ann.call('GET', `/api/categories/${category}/`)).status).toBe(404)
    const name = { id: category, name: 'Errands', _deleted: false }
    await push(ann, [{ newDocumentState: name }], 'categories')
    expect((await ann.call('GET', `/api/categories/${category}/`)).body.name).toBe('Errands')
    expect((await everything(ann))[0]!.category_id).toBe(category)
  })

  test('is cleared if its target is deleted', async ({ ann }) => {
    const { body: category } = await ann.call('POST', '/api/categories/', { name: 'Errands' })
    await ann.call('DELETE', `/api/categories/${category.id}/`)
    const task = aTask({ category_id: category.id })
    expect((await push(ann, [{ newDocumentState: task }])).body).toEqual([
      { ...task, category_id: null },
    ])
  })

  test('never reaches a document of another user, and reveals nothing about it', async ({
    ann,
    bob,
  }) => {
    const secret = aTask({ title: 'known to ann alone' })
    await push(ann, [{ newDocumentState: secret }])
    const own = aTask({ id: secret.id, title: 'from bob' })
    const reply = await pushed(bob, [{ newDocumentState: own, assumedMasterState: secret }])
    expect(reply.text).not.toContain('ann alone')
    expect((await everything(bob)).map(({ title }) => title)).toEqual(['from bob'])
    expect(await everything(ann)).toEqual([secret])
    const other = { id: ann.id, display_name: 'bob was here', _deleted: false }
    const profile = await pushed(bob, [{ newDocumentState: other }], 'profile')
    expect(profile.body.rejected).toMatchObject([{ id: ann.id, errors: { id: expect.anything() } }])
    expect((await ann.call('GET', '/api/profile/')).body.display_name).toBe('')
  })
})

describe('the conflict journal', () => {
  async function conflict() {
    const ann = await server.person()
    const task = aTask()
    await push(ann, [{ newDocumentState: task }])
    server.clock.advance(10)
    await ann.call('PATCH', `/api/tasks/${task.id}/`, { title: 'Soy milk' })
    const early = {
      ...task,
      title: 'Oat milk',
      updated_at: new Date(Date.parse(task.updated_at) + 1).toISOString(),
    }
    const row = { newDocumentState: early, assumedMasterState: task }
    return { ann, task, row, reply: await push(ann, [row]) }
  }

  test('keeps each lost value once, with the new value, the time and the session', async () => {
    const { ann, task, row, reply } = await conflict()
    expect(reply.body).toEqual([expect.objectContaining({ title: 'Soy milk' })])
    await push(ann, [row])
    const { results } = (await ann.call('GET', '/api/conflicts/')).body
    expect(results).toEqual([
      {
        id: expect.any(String),
        resource: 'tasks',
        document_id: task.id,
        cause: 'edit',
        lost: { title: 'Oat milk' },
        lost_json: null,
        errors: {},
        kept: { title: 'Soy milk' },
        lost_at: row.newDocumentState.updated_at,
        session_id: expect.any(String),
        restored_at: null,
        created_at: expect.any(String),
        updated_at: expect.any(String),
      },
    ])
    expect(await everything(ann, 'conflicts')).toEqual([{ ...results[0], _deleted: false }])
  })

  test('restores the value once', async () => {
    const { ann, task } = await conflict()
    const [entry] = (await ann.call('GET', '/api/conflicts/')).body.results
    const restored = await ann.call('POST', `/api/conflicts/${entry.id}/restore/`)
    expect(restored).toMatchObject({ status: 200, body: { restored_at: expect.any(String) } })
    const path = `/api/tasks/${task.id}/`
    expect((await ann.call('GET', path)).body.title).toBe('Oat milk')
    await ann.call('PATCH', path, { title: 'Water' })
    expect((await ann.call('POST', `/api/conflicts/${entry.id}/restore/`)).body).toEqual(
      restored.body,
    )
    expect((await ann.call('GET', path)).body.title).toBe('Water')
  })

  test('keeps the values that a restore replaces', async () => {
    const { ann, task } = await conflict()
    const [entry] = (await ann.call('GET', '/api/conflicts/')).body.results
    const path = `/api/tasks/${task.id}/`
    server.clock.advance(10)
    const water = (await ann.call('PATCH', path, { title: 'Water', priority: 'high' })).body
    server.clock.advance(10)
    await ann.call('POST', `/api/conflicts/${entry.id}/restore/`)
    expect((await ann.call('GET', path)).body).toMatchObject({
      title: 'Oat milk',
      priority: 'high',
    })

    const { results } = (await ann.call('GET', '/api/conflicts/?restored_at__isnull=true')).body
    expect(results).toEqual([
      {
        ...entry,
        id: expect.any(String),
        lost: { title: 'Water' },
        kept: { title: 'Oat milk' },
        lost_at: water.updated_at,
        created_at: expect.any(String),
        updated_at: expect.any(String),
      },
    ])
    expect(results[0].id).not.toBe(entry.id)
    await ann.call('POST', `/api/conflicts/${results[0].id}/restore/`)
    expect((await ann.call('GET', path)).body.title).toBe('Water')
    expect(await everything(ann, 'conflicts')).toHaveLength(2)
  })

  test('restores a value whose edit is still recognized as a retry', async () => {
    const { ann, row } = await conflict()
    const [entry] = (await ann.call('GET', '/api/conflicts/')).body.results
    await ann.call('POST', `/api/conflicts/${entry.id}/restore/`)
    const restored = (await pull(ann)).body
    expect((await push(ann, [row])).body).toEqual(restored.documents)
    expect((await pull(ann)).body).toEqual(restored)
  })

  test.each([
    ['what it gave way to is there still', undefined],
    ['somebody has put it back by hand', { title: 'Oat milk' }],
    ['only other fields have changed', { priority: 'high' }],
  ])('needs no new entry to restore a value if %s', async (_when, change) => {
    const { ann } = await conflict()
    const [entry] = (await ann.call('GET', '/api/conflicts/')).body.results
    if (change) await ann.call('PATCH', `/api/tasks/${entry.document_id}/`, change)
    await ann.call('POST', `/api/conflicts/${entry.id}/restore/`)
    expect(await everything(ann, 'conflicts')).toMatchObject([
      { id: entry.id, restored_at: expect.any(String) },
    ])
  })

  test('names the session that restored the value', async () => {
    const { ann, task } = await conflict()
    const [entry] = (await ann.call('GET', '/api/conflicts/')).body.results
    await ann.call('PATCH', `/api/tasks/${task.id}/`, { title: 'Water' })
    const other = await server.call('POST', '/api/token/', {
      username: ann.username,
      password: ann.password,
    })
    const authorization = `Bearer ${other.body.access}`
    await callerTo(server.url, { authorization })('POST', `/api/conflicts/${entry.id}/restore/`)
    const sessions = (await everything(ann, 'conflicts')).map(({ session_id }) => session_id)
    expect(new Set(sessions).size).toBe(2)
  })

  test('keeps the edits that a deletion replaces, even if their response was lost', async ({
    ann,
  }) => {
    const task = aTask()
    await push(ann, [{ newDocumentState: task }])
    await ann.call('PATCH', `/api/tasks/${task.id}/`, { title: 'Soy milk' })
    server.clock.advance(10)
    const gone = { ...task, _deleted: true, updated_at: server.clock.now().toISOString() }
    await push(ann, [{ newDocumentState: gone }])
    const { results } = (await ann.call('GET', '/api/conflicts/?cause=deletion')).body
    expect(results).toMatchObject([{ lost: { title: 'Soy milk' }, kept: { title: 'Milk' } }])
    expect((await ann.call('GET', `/api/tasks/${task.id}/`)).status).toBe(404)
  })

  test('restores a deleted document with the late edit', async ({ ann }) => {
    const task = aTask()
    await push(ann, [{ newDocumentState: task }])
    await ann.call('DELETE', `/api/tasks/${task.id}/`)
    const late = { ...task, title: 'Oat milk', updated_at: server.clock.now().toISOString() }
    const { body } = await push(ann, [{ newDocumentState: late, assumedMasterState: task }])
    expect(body).toEqual([expect.objectContaining({ _deleted: true })])
    const [entry] = (await ann.call('GET', '/api/conflicts/?cause=deletion')).body.results
    expect(entry.lost).toEqual({ title: 'Oat milk' })
    await ann.call('POST', `/api/conflicts/${entry.id}/restore/`)
    expect((await ann.call('GET', `/api/tasks/${task.id}/`)).body.title).toBe('Oat milk')
  })

  test('cannot be written by clients', async () => {
    const { ann } = await conflict()
    const [entry] = await everything(ann, 'conflicts')
    const changed = { ...entry, lost: { title: 'forged' } }
    const { body } = await pushed(
      ann,
      [{ newDocumentState: changed, assumedMasterState: entry! }],
      'conflicts',
    )
    expect(body).toMatchObject({ conflicts: [entry], rejected: [{ id: entry!.id }] })
    expect(await everything(ann, 'conflicts')).toEqual([entry])
    expect((await ann.call('DELETE', `/api/conflicts/${entry!.id}/`)).status).toBe(405)
  })
})

describe('a rejected row of a client that does not ask for rejections', () => {
  const TOO_LONG = 'x'.repeat(501)
  const journal = async (person: Person) =>
    (await person.call('GET', '/api/conflicts/?cause=refused')).body.results
  const restore = (person: Person, { id }: { id: string }) =>
    person.call('POST', `/api/conflicts/${id}/restore/`)

  test('is in the journal, with the reason, once', async ({ ann }) => {
    const task = aTask({ title: TOO_LONG, description: 'three hours of work' })
    const rows = [{ newDocumentState: task }]
    expect((await push(ann, rows)).body).toEqual([{ ...task, _deleted: true }])
    const [entry, ...others] = await journal(ann)
    expect(others).toEqual([])
    expect(entry).toMatchObject({
      resource: 'tasks',
      document_id: task.id,
      lost: { title: TOO_LONG, description: 'three hours of work', position: task.position },
      lost_json: null,
      errors: { title: 'Use at most 500 characters.' },
      kept: {},
      lost_at: task.updated_at,
      session_id: expect.any(String),
    })
    server.clock.advance(5)
    const dated = { ...task, updated_at: server.clock.now().toISOString() }
    for (const again of [rows, [{ newDocumentState: dated }], [...rows, ...rows]])
      await push(ann, again)
    expect(await journal(ann)).toEqual([entry])
    const device = await everything(ann, 'conflicts')
    expect(device).toEqual([{ ...entry, _deleted: false }])
  })

  test('contains the typed values of an edit, and the current ones', async ({ ann }) => {
    const task = aTask({ description: 'one' })
    await push(ann, [{ newDocumentState: task }])
    await ann.call('PATCH', `/api/tasks/${task.id}/`, { priority: 'high' })
    const edited = { ...task, title: ' ', description: 'two' }
    await push(ann, [{ newDocumentState: edited, assumedMasterState: task }])
    expect(await journal(ann)).toMatchObject([
      { lost: { title: ' ', description: 'two' }, kept: { title: 'Milk', description: 'one' } },
    ])
  })

  test('is kept whatever its values are', async ({ ann }) => {
    const nowhere = { ...aTask(), id: 'no id', description: 'with a \0 in it' }
    const odd = aTask({ title: 'half \ud83d', mood: { good: ['very'] }, priority: 7 })
    const none = { id: randomUUID(), description: 'no title' }
    await push(
      ann,
      [nowhere, odd, none].map((newDocumentState) => ({ newDocumentState })),
    )
    const entries = await journal(ann)
    const of = (word: string) =>
      entries.find((one: object) => JSON.stringify(one).includes(word)) as Record<string, string>
    expect(of('no title')).toMatchObject({ lost: { description: 'no title' }, lost_json: null })
    expect(of('very').lost).toMatchObject({ priority: 7 })
    expect(JSON.parse(of('very').lost_json!)).toEqual({
      title: 'half \ud83d',
      mood: { good: ['very'] },
    })
    expect(of('with a')).toMatchObject({
      lost: { title: 'Milk' },
      errors: { id: expect.stringContaining('UUID') },
    })
    expect(JSON.parse(of('with a').lost_json!)).toEqual({ description: 'with a \0 in it' })
  })

  test.for<[string, (task: WireDocument) => object]>([
    ['a deletion', (task) => ({ ...task, title: TOO_LONG, _deleted: true })],
    ['nothing typed', (task) => ({ ...task, updated_at: 'yesterday' })],
  ])('is not journaled if it is %s', async ([_what, change], { ann }) => {
    const task = aTask()
    await push(ann, [{ newDocumentState: task }])
    await push(ann, [{ newDocumentState: change(task), assumedMasterState: task }])
    expect(await everything(ann, 'conflicts')).toEqual([])
  })

  test('is not journaled for a client that asks for rejections', async ({ ann }) => {
    const { body } = await pushed(ann, [{ newDocumentState: aTask({ title: TOO_LONG }) }])
    expect(body.rejected).toHaveLength(1)
    expect(await everything(ann, 'conflicts')).toEqual([])
  })

  test('is restored if it is valid; otherwise the response says why not', async ({ ann }) => {
    const tooLong = aTask({ title: TOO_LONG })
    const unknown = aTask({ title: 'Ferry', mood: 'good' })
    await push(ann, [{ newDocumentState: tooLong }, { newDocumentState: unknown }])
    const entries = await journal(ann)
    const entryOf = ({ id }: WireDocument) =>
      entries.find((one: { document_id: string }) => one.document_id === id)
    expect(await restore(ann, entryOf(tooLong))).toMatchObject({
      status: 400,
      body: { code: 'invalid', errors: { title: ['Use at most 500 characters.'] } },
    })
    expect(await restore(ann, entryOf(unknown))).toMatchObject({
      status: 200,
      body: { restored_at: expect.any(String), lost_json: '{"mood":"good"}' },
    })
    const [task, ...others] = (await ann.call('GET', '/api/tasks/')).body.results
    expect([task, others]).toMatchObject([{ id: unknown.id, title: 'Ferry' }, []])
    expect(await journal(ann)).toContainEqual(entryOf(tooLong))
  })

  test('is restored only into the own profile', async ({ ann }) => {
    const state = { id: randomUUID(), bio: 'Likes ferries.' }
    await push(ann, [{ newDocumentState: state }], 'profile')
    const [entry] = await journal(ann)
    expect(entry).toMatchObject({ resource: 'profile', lost: { bio: 'Likes ferries.' } })
    expect(await restore(ann, entry)).toMatchObject({ status: 400, body: { code: 'invalid' } })
  })
})

describe('a refusal tells the client what to do', () => {
  const paths = ['pull', 'push', 'pullStream'] as const
  const methodOf = (path: string) => (path === 'push' ? 'POST' : 'GET')

  /** RxDB's clients stop for good at a 403: nobody who should go on may get one. */
  test.each(paths)('at %s: 401, renew the token and go on; never 403', async (path) => {
    const bare = (token?: string) =>
      server.call(
        methodOf(path),
        `/replication/tasks/0/${path}`,
        path === 'push' ? [] : undefined,
        {
          headers: { ...(token && { authorization: `Bearer ${token}` }) },
        },
      )
    const [expired, loggedOut, deactivated] = [
      await server.person(),
      await server.person(),
      await server.person(),
    ]
    server.clock.advance(16 * 60_000)
    const [first, second] = [await renewed(loggedOut), await renewed(deactivated)]
    await server.call('POST', '/api/logout/', { refresh: first.refresh })
    await server.testDatabase.db('users').where({ id: deactivated.id }).update({ is_active: false })
    const tokens = [undefined, 'nonsense', expired.refresh, expired.access, first.access]
    for (const token of [...tokens, second.access]) {
      const reply = await bare(token)
      expect(reply).toMatchObject({ status: 401, body: { status: 401, code: expect.any(String) } })
      expect(reply.headers.get('content-type')).toBe('application/problem+json')
    }
  })

  test('an invisible title is rejected by row', async ({ ann }) => {
    const task = aTask({ title: '\u200b' })
    const { body } = await pushed(ann, [{ newDocumentState: task }])
    expect(body.rejected).toMatchObject([{ id: task.id, errors: { title: [/blank/] } }])
    expect(await everything(ann)).toEqual([])
  })

  test('rows that a user may not write are rejected one by one', async ({ ann, bob }) => {
    const [profile] = await everything(bob, 'profile')
    const entry = { ...exampleConflict, id: randomUUID() }
    const replies = [
      await pushed(ann, [{ newDocumentState: profile! }], 'profile'),
      await pushed(ann, [{ newDocumentState: entry }], 'conflicts'),
      await pushed(ann, [{ newDocumentState: { ...aTask(), user_id: bob.id } }]),
    ]
    for (const { status, body } of replies) {
      expect(status).toBe(200)
      expect(body.rejected).toHaveLength(1)
      expect(body.conflicts).toHaveLength(1)
    }
    expect(await everything(bob, 'profile')).toEqual([profile])
  })

  test.for([
    ['GET', '/replication/tasks/0/push', 405],
    ['POST', '/replication/tasks/0/pull', 405],
    ['GET', '/replication/nonsense/0/pull', 404],
    ['GET', '/replication/tasks/7/pull', 404],
    ['GET', '/replication/tasks/x/pull', 404],
    ['GET', '/replication/tasks/0', 404],
    ['GET', '/replication/tasks/0/pull?since=1', 400],
    ['GET', '/replication/tasks/0/pullStream?lwt=1', 400],
    ['POST', '/replication/tasks/0/push', 400],
  ] as const)('as JSON, always: %s %s', async ([method, path, status], { ann }) => {
    const reply = await ann.call(method, path)
    expect(reply).toMatchObject({ status, body: { status, code: expect.any(String) } })
    expect(reply.headers.get('content-type')).toBe('application/problem+json')
  })

  test.each(['GET', 'POST', 'DELETE'])(
    '426, update the app, before it asks who; 404 for a later version: %s',
    async (method) => {
      const log = createLog('silent', { readable: false, to: { write() {} } })
      const app = express()
        .use('/replication', refuseOtherVersions([{ ...tasks, version: 2 }]))
        .use(answerProblems(log))
      const later = app.listen(0, '127.0.0.1')
      await once(later, 'listening')
      try {
        const call = callerTo(`http://127.0.0.1:${(later.address() as AddressInfo).port}`)
        for (const path of [...paths.map((path) => `1/${path}`), '0/pull', '1', '1/']) {
          const reply = await call(method, `/replication/tasks/${path}`)
          expect(reply).toMatchObject({ status: 426, body: { code: 'outdated_client' } })
        }
        for (const path of ['tasks/2/pull', 'others/0/pull'])
          expect((await call(method, `/replication/${path}`)).status).toBe(404)
        expect((await server.call(method, '/replication/tasks/1/pull')).status).toBe(404)
      } finally {
        later.close()
      }
    },
  )

  test.each([
    ['tasks/7/pull', 'This server has version 0 of tasks, not 7'],
    ['tasks/x/pull', 'This server has version 0 of tasks, not x'],
    ['tasks', 'This server has version 0 of tasks, not none'],
    ['nonsense/0/pull', 'There is no resource nonsense. GET /replication/ lists'],
    ['tasks/0/pulls', 'There is no /replication/tasks/0/pulls: use pull, push'],
  ])('%s says what is wrong with the path', async (path, detail) => {
    const { status, body } = await server.call('GET', `/replication/${path}`)
    expect([status, body.detail]).toEqual([404, expect.stringContaining(detail)])
  })

  async function renewed({ refresh }: Person) {
    const { body } = await server.call('POST', '/api/token/refresh/', { refresh })
    return body as { access: string; refresh: string }
  }

  const exampleConflict = { ...conflicts.example, created_at: '2026-11-22T08:30:00.000Z' }
})
