import { randomUUID } from 'node:crypto'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { resources, settle, type WireDocument } from '../../protocol/index.ts'
import { type Person, startServer, type TestServer } from '../support/server.ts'

const { tasks } = resources
const RESULT = 'application/vnd.tasktide.push+json'

let server: TestServer
beforeAll(async () => {
  server = await startServer()
})
afterAll(() => server.stop())

const aTask = (fields: Record<string, unknown> = {}, at = server.clock.now().toISOString()) =>
  ({
    ...settle(tasks, { id: randomUUID(), title: 'Milk', ...fields }, undefined, at),
    _deleted: false,
  }) as WireDocument

type Row = { newDocumentState: object; assumedMasterState?: object }

const push = (person: Person, rows: unknown, resource = 'tasks') =>
  person.call('POST', `/replication/${resource}/0/push`, rows)

const pushed = (person: Person, rows: readonly Row[], resource = 'tasks') =>
  person.call('POST', `/replication/${resource}/0/push`, rows, { headers: { accept: RESULT } })

const pull = (person: Person, lwt = 0, limit = 100, resource = 'tasks') =>
  person.call('GET', `/replication/${resource}/0/pull?lwt=${lwt}&id=x&limit=${limit}`)

async function everything(person: Person, resource = 'tasks'): Promise<WireDocument[]> {
  return (await pull(person, 0, 2_000, resource)).body.documents
}

describe('pull', () => {
  test('gives exactly the number asked for, in the order of the feed, to the end', async () => {
    const ann = await server.person()
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
      expect(body.checkpoint).toEqual(
        body.documents.length > 0
          ? { id: seen.at(-1)!.id, lwt: expect.any(Number) }
          : { id: 'x', lwt },
      )
      lwt = body.checkpoint.lwt
      if (body.documents.length < 10) break
    }
    expect(sizes).toEqual([10, 10, 5])
    expect(seen).toEqual(all)
  })

  test('an empty page leaves the checkpoint where it was', async () => {
    const ann = await server.person()
    expect((await pull(ann, 77)).body).toEqual({ documents: [], checkpoint: { id: 'x', lwt: 77 } })
    expect((await pull(ann, 0, 0)).body.documents).toEqual([])
  })

  test.each(['lwt=abc', 'lwt=-1', 'limit=2001', 'limit=x'])('refuses %s', async (query) => {
    const ann = await server.person()
    expect((await ann.call('GET', `/replication/tasks/0/pull?${query}`)).status).toBe(400)
  })

  test('has tombstones with all their fields', async () => {
    const ann = await server.person()
    const made = await ann.call('POST', '/api/tasks/', { title: 'Milk' })
    await ann.call('DELETE', `/api/tasks/${made.body.id}/`)
    expect(await everything(ann)).toEqual([
      { ...made.body, updated_at: expect.any(String), _deleted: true },
    ])
  })
})

describe('push', () => {
  test('is there through REST, and REST is there through pull', async () => {
    const ann = await server.person()
    const task = aTask({ title: 'From a device' })
    expect((await push(ann, [{ newDocumentState: task }])).body).toEqual([])
    const read = await ann.call('GET', `/api/tasks/${task.id}/`)
    expect({ ...read.body, _deleted: false }).toEqual(task)
    await ann.call('PATCH', `/api/tasks/${task.id}/`, { priority: 'high' })
    expect((await everything(ann))[0]).toMatchObject({ id: task.id, priority: 'high' })
  })

  test('again has no second effect: no new change, no conflict', async () => {
    const ann = await server.person()
    const rows = [{ newDocumentState: aTask() }, { newDocumentState: aTask() }]
    await push(ann, rows)
    const { checkpoint } = (await pull(ann)).body
    expect((await push(ann, rows)).body).toEqual([])
    expect((await pull(ann, checkpoint.lwt)).body.documents).toEqual([])
  })

  test('thirty batches at once from one device all land', async () => {
    const ann = await server.person()
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

  test('two devices that edit different fields offline both get their way', async () => {
    const ann = await server.person()
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

  test('fast double edits of one device are not lost', async () => {
    const ann = await server.person()
    const first = aTask({ title: 'a' })
    const second = { ...first, title: 'ab' }
    const third = { ...first, title: 'abc' }
    const replies = [
      await push(ann, [{ newDocumentState: first }]),
      await push(ann, [{ newDocumentState: second, assumedMasterState: first }]),
      await push(ann, [{ newDocumentState: third, assumedMasterState: second }]),
    ]
    expect(replies.map(({ body }) => body)).toEqual([[], [], []])
    expect((await everything(ann))[0]!.title).toBe('abc')
  })

  test('makes a document anew over its tombstone', async () => {
    const ann = await server.person()
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

  test('one bad row in a thousand is told, and the others land', async () => {
    const ann = await server.person()
    const rows = Array.from({ length: 1000 }, (_, i) => ({
      newDocumentState: aTask({ title: `${i}` }),
    }))
    const bad = rows[500]!.newDocumentState
    bad.priority = 'urgent'
    const { body, headers } = await pushed(ann, rows)
    expect(headers.get('content-type')).toBe(RESULT)
    expect(body.rejected).toEqual([
      { id: bad.id, code: 'invalid', errors: { priority: [expect.stringContaining('low')] } },
    ])
    expect(body.conflicts).toEqual([{ ...bad, _deleted: true }])
    expect(await everything(ann)).toHaveLength(999)
    expect((await push(ann, [rows[500]])).body).toEqual([{ ...bad, _deleted: true }])
  })

  test('a bad edit is answered with what is stored', async () => {
    const ann = await server.person()
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

  test.each([
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
  ])('of %s is refused as JSON, and stores nothing', async (_what, body, status) => {
    const ann = await server.person()
    const reply = await push(ann, body)
    expect(reply).toMatchObject({ status, body: { status, code: expect.any(String) } })
    expect(await everything(ann)).toEqual([])
  })

  test('takes a thousand rows of five kilobytes', async () => {
    const ann = await server.person()
    const rows = Array.from({ length: 1000 }, () => ({
      newDocumentState: aTask({ description: 'x'.repeat(4_500) }),
    }))
    expect((await push(ann, rows)).body).toEqual([])
    expect(await everything(ann)).toHaveLength(1000)
  })
})

describe('what a client believes to be stored', () => {
  test.each<[string, object]>([
    ['names of what every object has', { constructor: 1, toString: 2, __proto__: null }],
    ['what no database can hold', { title: 'a\u0000b' }],
    ['half a character', { title: '\ud800' }],
    ['what no title is', { title: { a: [1] } }],
    ['far too much', { title: 'x'.repeat(300_000) }],
    ['nonsense', { nonsense: true }],
  ])('may be %s: the row lands, and none of it is kept', async (_what, assumedMasterState) => {
    const ann = await server.person()
    const task = aTask()
    await push(ann, [{ newDocumentState: task }])
    const gone = { ...task, _deleted: true }
    const { status, body } = await pushed(ann, [{ newDocumentState: gone, assumedMasterState }])
    expect([status, body.rejected]).toEqual([200, []])
    const journal = await ann.call('GET', '/api/conflicts/')
    expect(journal.text.length).toBeLessThan(1_000)
    expect((await ann.call('GET', `/api/tasks/${task.id}/`)).status).toBe(404)
  })
})

describe('what refers to something', () => {
  test('may come before it', async () => {
    const ann = await server.person()
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

  test('refers to nothing where that is deleted', async () => {
    const ann = await server.person()
    const { body: category } = await ann.call('POST', '/api/categories/', { name: 'Errands' })
    await ann.call('DELETE', `/api/categories/${category.id}/`)
    const task = aTask({ category_id: category.id })
    expect((await push(ann, [{ newDocumentState: task }])).body).toEqual([
      { ...task, category_id: null },
    ])
  })

  test('never reaches what is somebody else’s, and learns nothing of it', async () => {
    const [ann, bob] = [await server.person(), await server.person()]
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

  test('keeps what lost, to what, when and from where, once', async () => {
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

  test('puts the value back, once', async () => {
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

  test('brings a deleted document back with the edit that came too late', async () => {
    const ann = await server.person()
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

  test('is written by nobody', async () => {
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

test('a former version is told so, whoever asks; a later one is not there', async () => {
  const { refuseOutdated } = await import('../../server/http/replication.ts')
  const refuse = refuseOutdated([{ ...tasks, version: 2 }])
  const ask = (path: string) => () => refuse({ path } as never, {} as never, () => {})
  expect(ask('/tasks/0/pull')).toThrow(
    expect.objectContaining({ code: 'outdated_client', status: 426 }),
  )
  expect(ask('/tasks/1/push')).toThrow(expect.objectContaining({ status: 426 }))
  expect(ask('/tasks/2/pull')).not.toThrow()
  expect(ask('/others/0/pull')).not.toThrow()
  expect((await server.call('GET', '/replication/tasks/1/pull')).status).toBe(404)
})
