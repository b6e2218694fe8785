import { randomUUID } from 'node:crypto'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { type Document, type Resource, resources, settle } from '../../../protocol/index.ts'
import { postgresStore } from '../../../server/store/postgres.ts'
import { create, edit } from '../../../server/sync/edit.ts'
import { type Person, type Reply, startServer, type TestServer } from '../../support/server.ts'

let server: TestServer
let ann: Person
let home: string
beforeAll(async () => {
  server = await startServer()
  ann = await server.person()
  home = (await ann.call('POST', '/api/categories/', { name: 'Home' })).body.id
})
afterAll(async () => {
  await server.stop()
  expect(server.logged.filter((line) => line.includes('request failed'))).toEqual([])
})

const NO_ONE = '0190a5c2-7a4e-7cc3-98c4-dc0c0c07398f'

/** For every writable field of a resource a value that it does not start with. */
const others = {
  tasks: () => ({
    title: 'Call the harbour',
    description: 'and ask for a cabin',
    category_id: home,
    priority: 'high',
    due_date: '2026-12-01',
    due_time: '08:30',
    remind_at: '2026-11-30T18:00:00.000Z',
    completed: true,
    position: 'a0V',
  }),
  categories: () => ({ name: 'Voyages', color: '#0ea5e9', position: 'a0V' }),
  profile: () => ({
    display_name: 'Ann Lee',
    bio: 'Sails.',
    timezone: 'Europe/Lisbon',
    locale: 'pt-PT',
    email_notifications: false,
    remind_minutes_before: 30,
    remind_all_day_at: '08:00',
    digest_at: null,
  }),
}
const first = { tasks: { title: 'Milk' }, categories: { name: 'Travel' }, profile: {} }

const NAMES = ['tasks', 'categories', 'profile'] as const
type Name = (typeof NAMES)[number]
const COLLECTIONS = ['tasks', 'categories'] as const

interface Made extends Reply {
  person: Person
  path: string
}

/** A new person with a document of the resource, and its path. */
async function make(name: Name, fields: object = first[name]): Promise<Made> {
  const person = name === 'tasks' ? ann : await server.person()
  if (name === 'profile')
    return { ...(await person.call('GET', '/api/profile/')), person, path: '/api/profile/' }
  const reply = await person.call('POST', `/api/${name}/`, fields)
  expect(reply.status).toBe(201)
  return { ...reply, person, path: `/api/${name}/${reply.body.id}/` }
}

const etag = (reply: Reply) => reply.headers.get('etag')!

const without = (document: object, ...names: string[]) =>
  JSON.stringify(Object.entries(document).filter(([name]) => !names.includes(name)))

describe('the life of a document', () => {
  test.each(
    COLLECTIONS.flatMap(
      (name) =>
        [
          [name, 'with', '/'],
          [name, 'without', ''],
        ] as const,
    ),
  )('%s: made, read, written, deleted and restored %s the last slash', async (name, _, slash) => {
    const person = await server.person()
    const made = await person.call('POST', `/api/${name}${slash}`, first[name])
    expect(made.status).toBe(201)
    expect(made.body).toMatchObject(first[name])
    expect(made.headers.get('location')).toBe(`/api/${name}/${made.body.id}/`)
    const path = `/api/${name}/${made.body.id}`
    const at = `${path}${slash}`
    const same = { status: 200, text: made.text }
    expect(await person.call('GET', at)).toMatchObject(same)
    expect((await person.call('GET', `/api/${name}${slash}`)).body.results).toEqual([made.body])

    const put = await person.call('PUT', at, { ...first[name], position: 'a0' })
    expect(put).toMatchObject({ status: 200, body: { ...first[name], position: 'a0' } })
    const patched = await person.call('PATCH', at, { position: 'a1' })
    expect(patched).toMatchObject({ status: 200, body: { ...first[name], position: 'a1' } })
    expect(await person.call('GET', at)).toMatchObject({ status: 200, text: patched.text })

    expect(await person.call('DELETE', at)).toMatchObject({ status: 204, text: '' })
    expect(await person.call('GET', at)).toMatchObject({ status: 404, body: { code: 'not_found' } })
    expect(await person.call('POST', `${path}/restore${slash}`)).toMatchObject({
      status: 200,
      body: { ...patched.body, updated_at: expect.any(String) },
    })
    expect((await person.call('GET', at)).status).toBe(200)
  })

  test.each(['/', ''])('the profile exists from the start (path ending in "%s")', async (slash) => {
    const person = await server.person()
    const profile = await person.call('GET', `/api/profile${slash}`)
    expect(profile.status).toBe(200)
    expect(profile.body).toEqual({
      id: person.id,
      display_name: '',
      bio: '',
      timezone: 'UTC',
      locale: 'en',
      email_notifications: true,
      remind_minutes_before: null,
      remind_all_day_at: null,
      digest_at: null,
      created_at: expect.stringMatching(/Z$/),
      updated_at: profile.body.created_at,
    })
    const put = await person.call('PUT', `/api/profile${slash}`, { bio: 'Sails.' })
    expect(put.body).toMatchObject({ bio: 'Sails.', timezone: 'UTC' })
    const patched = await person.call('PATCH', `/api/profile${slash}`, { locale: 'pt' })
    expect(patched.body).toMatchObject({ bio: 'Sails.', locale: 'pt' })
  })

  test.each(['POST', 'DELETE'])('the profile does not support %s', async (method) => {
    const reply = await ann.call(method, '/api/profile/', {})
    expect(reply).toMatchObject({ status: 405, body: { code: 'method_not_allowed' } })
    expect(reply.headers.get('allow')).toBe('GET, PUT, PATCH, HEAD, OPTIONS')
    expect((await ann.call('GET', '/api/profile/')).status).toBe(200)
  })

  test.each(COLLECTIONS)('%s: a second DELETE finds nothing', async (name) => {
    const { person, path } = await make(name)
    expect((await person.call('DELETE', path)).status).toBe(204)
    expect(await person.call('DELETE', path)).toMatchObject({
      status: 404,
      body: { code: 'not_found' },
    })
  })

  describe.each(COLLECTIONS)('%s deleted for good', (name) => {
    const FOR_GOOD = '?for_good=true'

    test.each(['live', 'deleted'])('when %s, and again, cannot be restored', async (state) => {
      const { person, path, body } = await make(name, others[name]())
      if (state === 'deleted') await person.call('DELETE', path)
      for (let i = 0; i < 2; i++)
        expect(await person.call('DELETE', path + FOR_GOOD)).toMatchObject({
          status: 204,
          text: '',
        })
      expect((await person.call('GET', path)).status).toBe(404)
      expect((await person.call('DELETE', path)).status).toBe(404)
      expect(await person.call('POST', `${path}restore/`)).toMatchObject({
        status: 404,
        body: { code: 'not_found' },
      })
      const trash = await person.call('GET', `/api/${name}/?deleted=true&page_size=200`)
      expect(trash.text).not.toContain(body.id)
      const again = await person.call('POST', `/api/${name}/`, { ...first[name], id: body.id })
      expect(again).toMatchObject({ status: 409 })
      expect(again.body.detail).toContain('deleted for good')
    })

    test('only at the given version', async () => {
      const { person, path, ...made } = await make(name)
      const deleteAt = (tag: string) =>
        person.call('DELETE', path + FOR_GOOD, undefined, { headers: { 'if-match': tag } })
      const stale = await deleteAt('"1"')
      expect(stale).toMatchObject({ status: 412, body: { current: made.body } })
      expect((await person.call('GET', path)).text).toBe(made.text)
      expect((await deleteAt(etag(stale))).status).toBe(204)
    })

    test('only if that is what the parameter says', async () => {
      const { person, path } = await make(name)
      for (const query of ['for_good', 'for_good=maybe', 'for_good=true&for_good=false'])
        expect(await person.call('DELETE', `${path}?${query}`)).toMatchObject({
          status: 400,
          body: { code: 'invalid', errors: { for_good: [expect.any(String)] } },
        })
      expect((await person.call('DELETE', `${path}?for_good=false`)).status).toBe(204)
      expect((await person.call('POST', `${path}restore/`)).status).toBe(200)
    })

    test('only by its owner', async () => {
      const { path, person, text } = await make(name)
      const bob = await server.person()
      expect((await bob.call('DELETE', path + FOR_GOOD)).status).toBe(404)
      expect((await person.call('GET', path)).text).toBe(text)
      expect((await ann.call('DELETE', `/api/${name}/${NO_ONE}/${FOR_GOOD}`)).status).toBe(404)
    })
  })

  test.each(COLLECTIONS)('%s: restoring what is not deleted changes nothing', async (name) => {
    const made = await make(name)
    const restored = await made.person.call('POST', `${made.path}restore/`)
    expect(restored.status).toBe(200)
    expect(restored.body).toEqual(made.body)
    expect(etag(restored)).toBe(etag(made))
  })

  test.each([
    ['GET', ''],
    ['PUT', ''],
    ['PATCH', ''],
    ['DELETE', ''],
    ['POST', 'restore/'],
  ])("%s finds neither another person's document nor one that never was", async (method, rest) => {
    const made = await make('tasks')
    const bob = await server.person()
    const body = method === 'GET' ? undefined : { title: 'Mine' }
    for (const [caller, id] of [
      [bob, made.body.id],
      [ann, NO_ONE],
      [ann, 'not-a-uuid'],
    ] as const)
      expect(await caller.call(method, `/api/tasks/${id}/${rest}`, body)).toMatchObject({
        status: 404,
        body: { code: 'not_found' },
      })
    expect((await ann.call('GET', made.path)).text).toBe(made.text)
  })
})

describe('PATCH', () => {
  test.each(NAMES)('of %s: every writable field has a value to try', (name) => {
    const resource: Resource = resources[name]
    expect(Object.keys(others[name]()).sort()).toEqual([...resource.writable].sort())
  })

  test.each(NAMES)('of %s touches only what it names', async (name) => {
    for (const start of [first[name], others[name]()])
      for (const [field, value] of Object.entries(others[name]())) {
        const { person, path } = await make(name, start)
        const before = await person.call('PATCH', path, filled(name, start, field))
        const { status, body } = await person.call('PATCH', path, { [field]: value })
        expect(status).toBe(200)
        expect(body[field]).toEqual(value)
        const touched = [field, 'updated_at', ...(field === 'completed' ? ['completed_at'] : [])]
        expect(without(body, ...touched)).toBe(without(before.body, ...touched))
        expect((await person.call('GET', path)).body).toEqual(body)
      }
  })

  test('that changes nothing keeps the ETag and updated_at', async () => {
    const made = await make('tasks', others.tasks())
    server.clock.advance(1_000)
    for (const body of [{}, { title: made.body.title }, others.tasks()]) {
      const reply = await ann.call('PATCH', made.path, body)
      expect(reply.status).toBe(200)
      expect(reply.body).toEqual(made.body)
      expect(etag(reply)).toBe(etag(made))
    }
  })

  test('that changes something increases updated_at and the ETag, and keeps created_at', async () => {
    const made = await make('tasks')
    server.clock.advance(1_000)
    const reply = await ann.call('PATCH', made.path, { title: 'Oats' })
    expect(reply.body.updated_at > made.body.updated_at).toBe(true)
    expect(reply.body.created_at).toBe(made.body.created_at)
    expect(etag(reply)).not.toBe(etag(made))
  })

  test('with null clears a nullable field', async () => {
    const { path } = await make('tasks', others.tasks())
    const empty = { category_id: null, due_date: null, due_time: null, remind_at: null }
    expect((await ann.call('PATCH', path, empty)).body).toMatchObject({
      ...others.tasks(),
      ...empty,
    })
  })

  /** All the other fields given values that differ from those at the start. */
  function filled(name: Name, start: object, except: string): object {
    const rest = Object.entries(others[name]()).filter(
      ([field]) => field !== except && !(field in start),
    )
    return Object.fromEntries(rest)
  }
})

describe('PUT', () => {
  test('keeps omitted fields', async () => {
    const made = await make('tasks', others.tasks())
    const put = await ann.call('PUT', made.path, { title: 'Oats' })
    expect(put.status).toBe(200)
    expect(without(put.body, 'title', 'updated_at')).toBe(without(made.body, 'title', 'updated_at'))
    expect(put.body.title).toBe('Oats')
  })

  test.each([
    ['tasks', 'title', { priority: 'low' }],
    ['categories', 'name', { color: '#000000' }],
  ] as const)('of %s requires the %s', async (name, required, body) => {
    const { person, path, text } = await make(name)
    expect(await person.call('PUT', path, body)).toMatchObject({
      status: 400,
      body: { code: 'invalid', errors: { [required]: ['Required.'] } },
    })
    expect((await person.call('GET', path)).text).toBe(text)
  })

  test.each(NAMES)('of %s takes a document as it was read, and changes nothing', async (name) => {
    const made = await make(name, others[name]())
    server.clock.advance(1_000)
    const put = await made.person.call('PUT', made.path, made.body)
    expect(put.status).toBe(200)
    expect(put.body).toEqual(made.body)
    expect(etag(put)).toBe(etag(made))
  })

  test('ignores read-only fields of the body', async () => {
    const made = await make('tasks', { title: 'Milk', completed: true })
    const elsewhen = '2020-01-01T00:00:00.000Z'
    const put = await ann.call('PUT', made.path, {
      ...made.body,
      created_at: elsewhen,
      updated_at: elsewhen,
      completed_at: elsewhen,
    })
    expect(put.body).toEqual(made.body)
  })

  test.each(NAMES)("of %s refuses an id that is not the path's", async (name) => {
    const { person, path, text } = await make(name)
    const put = await person.call('PUT', path, { ...first[name], id: NO_ONE })
    expect(put).toMatchObject({ status: 400, body: { code: 'invalid' } })
    expect(Object.keys(put.body.errors)).toEqual(['id'])
    expect((await person.call('GET', path)).text).toBe(text)
  })

  test("takes the path's id in either case", async () => {
    const { path, body } = await make('tasks')
    const upper = { title: 'Oats', id: body.id.toUpperCase() }
    expect(await ann.call('PUT', path, upper)).toMatchObject({ status: 200, body: { id: body.id } })
    expect(
      (await ann.call('PUT', path.toUpperCase().replace('/API/TASKS', '/api/tasks'), upper)).status,
    ).toBe(200)
  })

  test('does not create', async () => {
    const id = randomUUID()
    expect((await ann.call('PUT', `/api/tasks/${id}/`, { title: 'Milk' })).status).toBe(404)
    expect((await ann.call('GET', `/api/tasks/${id}/`)).status).toBe(404)
  })
})

describe('an id chosen by the client', () => {
  test.each([
    ['version 4', randomUUID()],
    ['version 7', '0190a5c2-7a4e-7cc3-98c4-dc0c0c073990'],
    ['version 1', '6ba7b810-9dad-11d1-80b4-00c04fd430c8'],
  ])('of %s is kept', async (_version, id) => {
    const made = await ann.call('POST', '/api/tasks/', { id, title: 'Milk' })
    expect(made).toMatchObject({ status: 201, body: { id } })
    expect(made.headers.get('location')).toBe(`/api/tasks/${id}/`)
  })

  test('in upper case is the same id as in lower case', async () => {
    const id = randomUUID()
    const made = await ann.call('POST', '/api/tasks/', { id: id.toUpperCase(), title: 'Milk' })
    expect(made).toMatchObject({ status: 201, body: { id } })
    expect(made.headers.get('location')).toBe(`/api/tasks/${id}/`)
    expect((await ann.call('GET', `/api/tasks/${id.toUpperCase()}/`)).body.id).toBe(id)
    const again = await ann.call('POST', '/api/tasks/', { id, title: 'Milk' })
    expect(again.status).toBe(200)
  })

  test.each(COLLECTIONS)('%s: made again with the same body changes nothing', async (name) => {
    const body = { id: randomUUID(), ...others[name]() }
    const person = name === 'tasks' ? ann : await server.person()
    const made = await person.call('POST', `/api/${name}/`, body)
    expect(made.status).toBe(201)
    server.clock.advance(1_000)
    const again = await person.call('POST', `/api/${name}/`, body)
    expect(again.status).toBe(200)
    expect(again.body).toEqual(made.body)
    expect(etag(again)).toBe(etag(made))
  })

  test.each(COLLECTIONS)('%s: made again after the initial values took hold', async (name) => {
    const body = { id: randomUUID(), ...first[name] }
    const made = await ann.call('POST', `/api/${name}/`, body)
    server.clock.advance(1_000)
    const again = await ann.call('POST', `/api/${name}/`, body)
    expect(again).toMatchObject({ status: 200, body: made.body })
  })

  describe.each(COLLECTIONS)('%s: made again after it was edited', (name) => {
    const edits: [string, (made: Made) => Promise<unknown>][] = [
      ['by a PATCH', ({ person, path }) => person.call('PATCH', path, others[name]())],
      [
        'back and forth',
        async ({ person, path }) => {
          await person.call('PATCH', path, others[name]())
          await person.call('PATCH', path, first[name])
        },
      ],
      [
        'by a device, many times',
        async ({ person, body }) => {
          for (let i = 1; i <= 40; i++) {
            const next = { ...body, position: `a${i % 10}`, _deleted: false }
            const updated_at = new Date(Date.parse(body.updated_at) + i).toISOString()
            const row = { newDocumentState: { ...next, updated_at } }
            await person.call('POST', `/replication/${name}/0/push`, [row])
          }
        },
      ],
      [
        'deleted and restored',
        async ({ person, path }) => {
          await person.call('PATCH', path, { position: 'a7' })
          await person.call('DELETE', path)
          await person.call('POST', `${path}restore/`)
        },
      ],
    ]
    test.each(edits)('%s: answers with the current state', async (_how, edit) => {
      const given = { ...first[name], id: randomUUID() }
      const made = await make(name, given)
      await edit(made)
      const now = await made.person.call('GET', made.path)
      expect(etag(now)).not.toBe(etag(made))
      // A field that has its initial value may as well be omitted.
      for (const again of [given, { ...given, ...(name === 'tasks' && { priority: 'medium' }) }]) {
        const reply = await made.person.call('POST', `/api/${name}/`, again)
        expect(reply).toMatchObject({ status: 200, body: now.body })
        expect(etag(reply)).toBe(etag(now))
      }
      for (const other of [
        { ...others[name](), ...given, position: 'a8' },
        { ...given, [name === 'tasks' ? 'title' : 'name']: 'Another' },
      ])
        expect(await made.person.call('POST', `/api/${name}/`, other)).toMatchObject({
          status: 409,
          body: { code: 'conflict', current: now.body },
        })
      expect((await made.person.call('GET', made.path)).text).toBe(now.text)
    })
  })

  test('created again with another body is a conflict that shows the stored document', async () => {
    const id = randomUUID()
    const made = await ann.call('POST', '/api/tasks/', { id, title: 'Milk' })
    for (const body of [
      { id, title: 'Oats' },
      { id, title: 'Milk', priority: 'low' },
      { id, title: 'Milk', completed: true },
    ]) {
      const again = await ann.call('POST', '/api/tasks/', body)
      expect(again).toMatchObject({ status: 409, body: { code: 'conflict', current: made.body } })
      expect(etag(again)).toBe(etag(made))
    }
    expect((await ann.call('GET', `/api/tasks/${id}/`)).text).toBe(made.text)
  })

  test('of a deleted document is a conflict, and stays deleted', async () => {
    const { path, body } = await make('tasks')
    await ann.call('DELETE', path)
    const again = await ann.call('POST', '/api/tasks/', { id: body.id, title: 'Milk' })
    expect(again).toMatchObject({ status: 409, body: { code: 'conflict' } })
    expect(again.body.detail).toContain('restore')
    expect((await ann.call('GET', path)).status).toBe(404)
  })

  test("is each person's own", async () => {
    const bob = await server.person()
    const id = randomUUID()
    for (const [person, title] of [
      [ann, 'Milk'],
      [bob, 'Oats'],
    ] as const)
      expect((await person.call('POST', '/api/tasks/', { id, title })).status).toBe(201)
    expect((await ann.call('GET', `/api/tasks/${id}/`)).body.title).toBe('Milk')
    expect((await bob.call('GET', `/api/tasks/${id}/`)).body.title).toBe('Oats')
  })
})

describe('completed_at', () => {
  test('is set when a task is completed, kept while it is, and cleared', async () => {
    const made = await make('tasks')
    expect(made.body).toMatchObject({ completed: false, completed_at: null })
    const before = server.clock.now().toISOString()
    const done = (await ann.call('PATCH', made.path, { completed: true })).body
    expect(done.completed_at >= before).toBe(true)
    expect(done.completed_at).toBe(done.updated_at)
    server.clock.advance(1_000)
    const still = await ann.call('PATCH', made.path, { completed: true, title: 'Oats' })
    expect(still.body).toMatchObject({ title: 'Oats', completed_at: done.completed_at })
    expect(
      (await ann.call('PUT', made.path, { title: 'Rye', completed: true })).body,
    ).toMatchObject({
      title: 'Rye',
      completed_at: done.completed_at,
    })
    const open = await ann.call('PATCH', made.path, { completed: false })
    expect(open.body.completed_at).toBeNull()
    server.clock.advance(1_000)
    const again = await ann.call('PATCH', made.path, { completed: true })
    expect(again.body.completed_at > done.completed_at).toBe(true)
  })

  test('is set for a task that is created as completed', async () => {
    const { body } = await make('tasks', { title: 'Milk', completed: true })
    expect(body.completed_at).toBe(body.created_at)
  })

  test.each(['POST', 'PATCH'])('cannot be set by clients: %s', async (method) => {
    const { path } = await make('tasks')
    const body = { title: 'Milk', completed: true, completed_at: '2026-01-01T00:00:00.000Z' }
    const reply = await ann.call(method, method === 'POST' ? '/api/tasks/' : path, body)
    expect(reply.status).toBe(400)
    expect(Object.keys(reply.body.errors)).toEqual(['completed_at'])
    expect((await ann.call('GET', path)).body.completed).toBe(false)
  })
})

describe('conditional requests', () => {
  test.each<[string, (tag: string) => string, number]>([
    ['its ETag', (tag) => tag, 304],
    ['its ETag made weak by a proxy', (tag) => `W/${tag}`, 304],
    ['its ETag with the suffix of a proxy', (tag) => suffixed(tag, '-gzip'), 304],
    ['its ETag with another suffix', (tag) => suffixed(tag, '-br'), 304],
    ['its ETag with that of Caddy', (tag) => suffixed(tag, '-zstd'), 304],
    ['its ETag with that of Jetty', (tag) => suffixed(tag, '--gzip'), 304],
    ['its ETag with a suffix, made weak', (tag) => `W/${suffixed(tag, '-gzip')}`, 304],
    ['its ETag with a suffix that none gives', (tag) => suffixed(tag, '-2'), 200],
    ['a list with a comma inside a tag', (tag) => `"x,y",W/",", ${tag}`, 304],
    ['a list with its ETag', (tag) => `"1", W/"x" , ${tag}`, 304],
    ['*', () => '*', 304],
    ['another ETag', () => '"999999"', 200],
    ['a tag that is none of ours', () => '"abc"', 200],
    ['a number that no counter reaches', () => `"${'9'.repeat(40)}"`, 200],
  ])('If-None-Match with %s', async (_what, header, status) => {
    for (const name of NAMES) {
      const made = await make(name)
      const headers = { 'if-none-match': header(etag(made)) }
      const reply = await made.person.call('GET', made.path, undefined, { headers })
      expect(reply.status).toBe(status)
      expect(etag(reply)).toBe(etag(made))
      expect(reply.text).toBe(status === 304 ? '' : made.text)
    }
  })

  const writes: [string, string, (name: Name) => object | undefined, readonly Name[]][] = [
    ['PATCH', '', (name) => others[name](), NAMES],
    ['PUT', '', (name) => others[name](), NAMES],
    ['DELETE', '', () => undefined, COLLECTIONS],
    ['POST', 'restore/', () => undefined, COLLECTIONS],
  ]

  test.each(writes)('%s %s goes ahead while If-Match holds', async (method, rest, body, names) => {
    for (const name of names)
      for (const form of [
        (tag: string) => tag,
        (tag: string) => `W/${tag}`,
        (tag: string) => suffixed(tag, '-gzip'),
        (tag: string) => `W/${suffixed(tag, '-br')}`,
        (tag: string) => `"7,8", ${suffixed(tag, '-zstd')}`,
        () => '*',
      ]) {
        const made = await make(name)
        const headers = { 'if-match': form(etag(made)) }
        const reply = await made.person.call(method, `${made.path}${rest}`, body(name), { headers })
        expect(reply.status).toBe(method === 'DELETE' ? 204 : 200)
      }
  })

  test.each(writes)(
    '%s %s is refused when If-Match does not hold',
    async (method, rest, body, names) => {
      for (const name of names) {
        const made = await make(name)
        const change = { position: 'a5', bio: 'Rows.' }
        const field = name === 'profile' ? 'bio' : 'position'
        const now = await made.person.call('PATCH', made.path, { [field]: change[field] })
        for (const tag of [
          etag(made),
          suffixed(etag(made), '-gzip'),
          '"abc"',
          `"${'9'.repeat(40)}"`,
        ]) {
          const headers = { 'if-match': tag }
          const reply = await made.person.call(method, `${made.path}${rest}`, body(name), {
            headers,
          })
          expect(reply).toMatchObject({
            status: 412,
            body: { code: 'precondition_failed', current: now.body },
          })
          expect(etag(reply)).toBe(etag(now))
        }
        expect((await made.person.call('GET', made.path)).text).toBe(now.text)
      }
    },
  )

  test('a deleted document is restored only at the given version', async () => {
    const made = await make('tasks')
    await ann.call('DELETE', made.path)
    const path = `${made.path}restore/`
    const old = await ann.call('POST', path, undefined, { headers: { 'if-match': etag(made) } })
    expect(old).toMatchObject({ status: 412, body: { current: { id: made.body.id } } })
    expect((await ann.call('GET', made.path)).status).toBe(404)
    const headers = { 'if-match': etag(old) }
    expect((await ann.call('POST', path, undefined, { headers })).status).toBe(200)
  })

  test('an edit that would change nothing is refused too', async () => {
    const made = await make('tasks')
    const headers = { 'if-match': '"1"' }
    expect((await ann.call('PATCH', made.path, { title: 'Milk' }, { headers })).status).toBe(412)
    expect((await ann.call('PATCH', made.path, {}, { headers })).status).toBe(412)
  })

  test.each(writes)('%s %s of what is not there stays 404', async (method, rest, body) => {
    const reply = await ann.call(method, `/api/tasks/${NO_ONE}/${rest}`, body('tasks'), {
      headers: { 'if-match': '"1"' },
    })
    expect(reply.status).toBe(404)
  })

  test.each(['12', '"12', 'W/12', '"1" "2"', '"1",', 'w/"1"', '*, "1"', '"1" ,, "2"', ''])(
    'a malformed If-Match is refused: %s',
    async (header) => {
      const { path, text } = await make('tasks')
      for (const [method, rest, body] of writes) {
        const headers = { 'if-match': header }
        const reply = await ann.call(method, `${path}${rest}`, body('tasks'), { headers })
        expect(reply).toMatchObject({ status: 400, body: { code: 'invalid' } })
        expect(Object.keys(reply.body.errors)).toEqual(['if-match'])
      }
      expect((await ann.call('GET', path)).text).toBe(text)
    },
  )

  test('a malformed If-None-Match is refused', async () => {
    const { path } = await make('tasks')
    const headers = { 'if-none-match': '12' }
    const reply = await ann.call('GET', path, undefined, { headers })
    expect(reply).toMatchObject({ status: 400, body: { code: 'invalid' } })
    expect(Object.keys(reply.body.errors)).toEqual(['if-none-match'])
  })
})

describe('categories and their tasks', () => {
  test('deleting a category clears the reference of its tasks, each at a new version', async () => {
    const category = await make('categories')
    const person = category.person
    const task = async (fields: object) => {
      const made = await person.call('POST', '/api/tasks/', { title: 'Milk', ...fields })
      return { ...made, path: `/api/tasks/${made.body.id}/` }
    }
    const inside = [
      await task({ category_id: category.body.id }),
      await task({ category_id: category.body.id, completed: true }),
    ]
    const outside = await task({})
    const gone = await task({ category_id: category.body.id })
    await person.call('DELETE', gone.path)
    server.clock.advance(1_000)
    expect((await person.call('DELETE', category.path)).status).toBe(204)

    const tags = new Set<string>()
    for (const before of inside) {
      const after = await person.call('GET', before.path)
      expect(after.body.category_id).toBeNull()
      expect(after.body.updated_at > before.body.updated_at).toBe(true)
      expect(without(after.body, 'category_id', 'updated_at')).toBe(
        without(before.body, 'category_id', 'updated_at'),
      )
      expect(Number(etag(after).slice(1, -1))).toBeGreaterThan(Number(etag(before).slice(1, -1)))
      tags.add(etag(after))
    }
    expect(tags.size).toBe(inside.length)
    const untouched = await person.call('GET', outside.path)
    expect([untouched.text, etag(untouched)]).toEqual([outside.text, etag(outside)])
    const restored = await person.call('POST', `${gone.path}restore/`)
    expect(restored).toMatchObject({ status: 200, body: { category_id: null } })

    const back = await person.call('POST', `${category.path}restore/`)
    expect(back).toMatchObject({ status: 200, body: { name: 'Travel' } })
    expect((await person.call('GET', inside[0]!.path)).body.category_id).toBeNull()
  })

  const refusals: [string, () => Promise<string>][] = [
    ['unknown', async () => randomUUID()],
    [
      'deleted',
      async () => {
        const { body } = await ann.call('POST', '/api/categories/', { name: 'Old' })
        await ann.call('DELETE', `/api/categories/${body.id}/`)
        return body.id
      },
    ],
    ["another person's", async () => (await make('categories')).body.id],
  ]
  test.each(refusals)('a category that is %s is refused', async (_what, makeCategory) => {
    const category_id = await makeCategory()
    const { path, text } = await make('tasks')
    const id = randomUUID()
    for (const [method, at, body] of [
      ['POST', '/api/tasks/', { id, title: 'Milk', category_id }],
      ['PATCH', path, { category_id }],
      ['PATCH', path, { title: 'Oats', category_id }],
      ['PUT', path, { title: 'Oats', category_id }],
    ] as const) {
      const reply = await ann.call(method, at, body)
      expect(reply).toMatchObject({ status: 400, body: { code: 'invalid' } })
      expect(Object.keys(reply.body.errors)).toEqual(['category_id'])
    }
    expect((await ann.call('GET', path)).text).toBe(text)
    expect((await ann.call('GET', `/api/tasks/${id}/`)).status).toBe(404)
  })

  test('a category id is accepted in either case and returned in lower case', async () => {
    const { body } = await make('tasks', { title: 'Milk', category_id: home.toUpperCase() })
    expect(body.category_id).toBe(home)
  })
})

describe('values are kept as they were given', () => {
  test.each([
    ['emoji', '👩‍👩‍👧‍👦 🇵🇹 ☕️'],
    ['combining characters, composed and not', 'é é'.normalize('NFD') + 'é'.normalize('NFC')],
    ['newlines and tabs', 'one\ntwo\r\nthree\tfour\u2028five\u0085'],
    ['spaces around', '  \u00a0 milk \u3000 '],
    ['right-to-left text and marks', '\u202bחלב ו־لبن\u202c\u200f'],
    ['invisible characters', 'a\u200bb\u00adc\ufeff'],
    ['what looks like code', `<script>'"\\\\n--; drop table tasks; \${x} {{y}} %s $1`],
    ['control characters', 'a\u0001\u001b[31m\u007f'],
    ['noncharacters and the far planes', '\uffff\ufffe\u{10ffff}\u{1f9ff}'],
  ])('%s', async (_what, text) => {
    const made = await make('tasks', { title: text, description: text })
    expect([made.body.title, made.body.description]).toEqual([text, text])
    const read = (await ann.call('GET', made.path)).body
    expect([read.title, read.description]).toEqual([text, text])
    await ann.call('PATCH', made.path, { title: 'x' })
    const patched = (await ann.call('PATCH', made.path, { title: text })).body
    expect(patched.title).toBe(text)
    const listed = await ann.call('GET', '/api/tasks/?page_size=200')
    const found = listed.body.results.find(({ id }: Document) => id === made.body.id)
    expect(found).toEqual(patched)
  })

  test.each([
    ['2026-11-22T08:30:00Z', '2026-11-22T08:30:00.000Z'],
    ['2026-11-22T08:30:00.5Z', '2026-11-22T08:30:00.500Z'],
    ['2026-11-22T08:30:00.123456Z', '2026-11-22T08:30:00.123Z'],
    ['2026-11-22T08:30:00.9999+01:00', '2026-11-22T07:30:00.999Z'],
    ['2026-11-22T08:30:00+05:30', '2026-11-22T03:00:00.000Z'],
    ['2026-11-22T20:30:00-11:00', '2026-11-23T07:30:00.000Z'],
    ['0001-01-01T00:00:00Z', '0001-01-01T00:00:00.000Z'],
    ['1900-02-28T23:59:59.999Z', '1900-02-28T23:59:59.999Z'],
    ['9999-12-31T23:59:59.999Z', '9999-12-31T23:59:59.999Z'],
  ])('the instant %s is returned as %s', async (given, told) => {
    const { body, path } = await make('tasks', { title: 'Milk', remind_at: given })
    expect(body.remind_at).toBe(told)
    expect((await ann.call('PATCH', path, { remind_at: given })).body).toEqual(body)
  })

  test.each(['0001-01-01', '1582-10-10', '2024-02-29', '9999-12-31'])(
    'the day %s',
    async (due_date) => {
      expect((await make('tasks', { title: 'Milk', due_date })).body.due_date).toBe(due_date)
    },
  )

  test.each(['00:00', '08:30', '23:59'])('the time %s', async (due_time) => {
    expect((await make('tasks', { title: 'Milk', due_time })).body.due_time).toBe(due_time)
  })

  test('a colour in lower case', async () => {
    const { body } = await make('categories', { name: 'Sea', color: '#0EA5E9' })
    expect(body.color).toBe('#0ea5e9')
  })
})

describe('concurrent writes', () => {
  test('thirty parallel PATCHes of one task are all stored', async () => {
    const { path, body } = await make('tasks')
    const writable = [
      'title',
      'description',
      'priority',
      'due_date',
      'due_time',
      'remind_at',
      'position',
    ] as const
    const values: Record<(typeof writable)[number], (n: number) => string> = {
      title: (n) => `title ${n}`,
      description: (n) => `description ${n}`,
      priority: (n) => ['low', 'high', 'low', 'high', 'low'][n]!,
      due_date: (n) => `2026-12-0${n + 1}`,
      due_time: (n) => `0${n}:30`,
      remind_at: (n) => `2026-12-0${n + 1}T08:00:00.000Z`,
      position: (n) => `a${n}`,
    }
    // One node serves through HTTP, another straight through the store.
    const otherNode = postgresStore(server.testDatabase.db)
    const patches = Array.from({ length: 30 }, (_, i) => {
      const field = writable[i % writable.length]!
      return { [field]: values[field](Math.floor(i / writable.length)) }
    })
    const answers = await Promise.all(
      patches.map(async (fields, i) => {
        if (i % 3 > 0) {
          const reply = await ann.call('PATCH', path, fields)
          expect(reply.status).toBe(200)
          return { fields, seq: Number(etag(reply).slice(1, -1)), document: reply.body as Document }
        }
        const now = server.clock.now().toISOString()
        const outcome = await edit(otherNode, ann.id, resources.tasks, {
          action: 'patch',
          id: body.id,
          fields,
          now,
        })
        if (outcome.outcome === 'edited')
          return {
            fields,
            seq: outcome.encoded.seq,
            document: JSON.parse(outcome.encoded.json) as Document,
          }
        if (outcome.outcome !== 'unchanged') throw new Error(outcome.outcome)
        return { fields, seq: outcome.stored.seq, document: outcome.stored.document }
      }),
    )
    for (const { fields, document } of answers) expect(document).toMatchObject(fields)
    answers.sort((a, b) => a.seq - b.seq)
    const last = Object.assign({}, ...answers.map(({ fields }) => fields))
    const final = (await ann.call('GET', path)).body
    expect(final).toMatchObject(last)
    expect(Object.keys(last).sort()).toEqual([...writable].sort())
  })

  test('twenty parallel POSTs of one document create it once', async () => {
    for (const name of COLLECTIONS) {
      const body = {
        id: randomUUID(),
        ...others[name](),
        ...(name === 'tasks' && { category_id: null }),
      }
      const person = await server.person()
      const replies = await Promise.all(
        Array.from({ length: 20 }, () => person.call('POST', `/api/${name}/`, body)),
      )
      const statuses = replies.map(({ status }) => status).sort()
      expect(statuses).toEqual([...Array(19).fill(200), 201])
      expect(new Set(replies.map(etag)).size).toBe(1)
      for (const reply of replies) expect(reply.body).toEqual(replies[0]!.body)
      expect((await person.call('GET', `/api/${name}/`)).body.count).toBe(1)
    }
  })

  test('two nodes that create one document at the same time create it once', async () => {
    const otherNode = postgresStore(server.testDatabase.db)
    const person = await server.person()
    for (let round = 0; round < 20; round++) {
      const body = { id: randomUUID(), title: 'Milk' }
      const now = server.clock.now().toISOString()
      const [reply, outcome] = await Promise.all([
        person.call('POST', '/api/tasks/', body),
        create(otherNode, person.id, resources.tasks, body, now),
      ])
      const made = [reply.status === 201, outcome.outcome === 'created']
      expect(made.filter((first) => first)).toHaveLength(1)
      expect([200, 201]).toContain(reply.status)
      expect(['created', 'unchanged']).toContain(outcome.outcome)
    }
  })

  test('no task ever refers to a deleted category, whoever wins the race', async () => {
    const otherNode = postgresStore(server.testDatabase.db)
    const people = await Promise.all(Array.from({ length: 4 }, () => server.person()))
    const seen = { landed: 0, refused: 0 }
    await Promise.all(
      people.map(async (person) => {
        for (let round = 0; round < 15; round++) await race(person)
      }),
    )
    expect(seen.landed).toBeGreaterThan(0)
    expect(seen.refused).toBeGreaterThan(0)
    const dangling = await server.testDatabase.db.raw(`
      select t.id from tasks t join categories c on c.user_id = t.user_id and c.id = t.category_id
      where c.deleted`)
    expect(dangling.rows).toEqual([])

    async function race(person: Person): Promise<void> {
      const tasks = '/api/tasks/'
      const category_id = (await person.call('POST', '/api/categories/', { name: 'Old' })).body.id
      const task = (await person.call('POST', tasks, { title: 'Milk' })).body
      const now = server.clock.now().toISOString()
      const input = () => ({ id: randomUUID(), title: 'Milk', category_id })
      const patch = { action: 'patch', id: task.id, fields: { category_id }, now } as const
      const [deleted, ...replies] = await Promise.all([
        person.call('DELETE', `/api/categories/${category_id}/`),
        person.call('POST', tasks, input()),
        person.call('PATCH', `${tasks}${task.id}/`, { category_id }),
        create(otherNode, person.id, resources.tasks, input(), now),
        create(otherNode, person.id, resources.tasks, input(), now),
        edit(otherNode, person.id, resources.tasks, patch),
      ])
      expect(deleted.status).toBe(204)
      for (const reply of replies) {
        if ('status' in reply) {
          expect([200, 201, 400]).toContain(reply.status)
          if (reply.status === 400) expect(Object.keys(reply.body.errors)).toEqual(['category_id'])
        } else
          expect(['created', 'edited', 'unchanged', 'unknown_reference']).toContain(reply.outcome)
        const refused =
          'status' in reply ? reply.status === 400 : reply.outcome === 'unknown_reference'
        seen[refused ? 'refused' : 'landed']++
      }
    }
  })
})

test('the server normalizes a new document like `settle`', async () => {
  const { body } = await make('tasks', { title: 'Milk', completed: true })
  const given = { id: body.id, title: 'Milk', completed: true }
  expect(settle(resources.tasks, given, undefined, body.created_at)).toEqual(body)
})

const suffixed = (tag: string, suffix: string) => tag.replace(/"$/, `${suffix}"`)
