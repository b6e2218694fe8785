import { randomUUID } from 'node:crypto'
import { describe, expect } from 'vitest'
import { test as served } from '../../support/fixtures.ts'
import type { Caller } from '../../support/server.ts'

const test = served
  .extend('environment', { COUCH_TEST_MODE: '1' })
  .extend('database', async ({ server }) => {
    const path = `/couch-test/d${randomUUID()}`
    await server.call('PUT', path)
    return databaseAt(server.call, path)
  })

function databaseAt(call: Caller, path: string) {
  const of =
    (method: string) =>
    async (rest: string, body?: unknown, headers: Record<string, string> = {}) =>
      call(method, `${path}/${rest}`, body, { headers })
  return {
    path,
    get: of('GET'),
    put: of('PUT'),
    post: of('POST'),
    delete: of('DELETE'),
    /** Stores revisions that were made elsewhere. */
    replicate: (...docs: object[]) =>
      call('POST', `${path}/_bulk_docs`, { docs, new_edits: false }),
  }
}

/** A revision with its ancestors: `3-c.b.a`. */
function at(id: string, path: string, fields: object = {}) {
  const [start, hashes] = path.split('-')
  const ids = hashes!.split('.')
  return {
    _id: id,
    _rev: `${start}-${ids[0]}`,
    _revisions: { start: Number(start), ids },
    ...fields,
  }
}

describe('a database', () => {
  test('is created, described and deleted', async ({ server: { call } }) => {
    const path = `/couch-test/d${randomUUID()}`
    const missing = { error: 'not_found', reason: 'Database does not exist.' }
    expect(await call('GET', path)).toMatchObject({ status: 404, body: missing })
    expect(await call('PUT', path)).toMatchObject({ status: 201, body: { ok: true } })
    const exists = { status: 412, body: { error: 'file_exists' } }
    expect(await call('PUT', path)).toMatchObject(exists)
    await call('PUT', `${path}/x`, { a: 1 })
    const body = { doc_count: 1, doc_del_count: 0, update_seq: expect.stringMatching(/^1-/) }
    expect(await call('GET', path)).toMatchObject({ status: 200, body })
    expect((await call('HEAD', path)).status).toBe(200)
    expect((await call('DELETE', path)).status).toBe(200)
    expect((await call('GET', `${path}/x`)).status).toBe(404)
    await call('PUT', path)
    expect((await call('GET', path)).body).toMatchObject({ doc_count: 0 })
  })

  test('welcomes even those with a malformed Authorization header', async ({ server }) => {
    const headers = { authorization: 'Basic: x' }
    const { status, body } = await server.call('GET', '/couch-test/', undefined, { headers })
    expect([status, body.couchdb, body.uuid]).toEqual([200, 'Welcome', expect.any(String)])
  })

  test.for([
    ['GET', '_session', 200],
    ['GET', '_security', 200],
    ['GET', '_revs_limit', 200],
    ['POST', '_compact', 202],
    ['POST', '_ensure_full_commit', 201],
    ['POST', '_find', 404],
    ['GET', '_design/a/_view/b', 404],
    ['GET', 'a/attachment.txt', 404],
    ['PUT', 'a/attachment.txt', 403],
    ['PATCH', '_changes', 405],
    ['POST', '_all_dbs/x/y/z', 404],
  ] as const)('%s %s is answered with %i', async ([method, rest, status], { database, server }) => {
    const path = rest === '_session' ? '/couch-test/_session' : `${database.path}/${rest}`
    const reply = await server.call(method, path)
    expect(reply.status).toBe(status)
    if (status >= 400)
      expect(reply.body).toEqual({ error: expect.any(String), reason: expect.any(String) })
  })

  test('reads the validators of its design documents, and runs none', async ({ database }) => {
    const rule = (error: string) => `if (newDoc.kind === 'bad') { throw {${error}: 'no'} }`
    const designs = {
      a: `function (newDoc) { ${rule('unauthorized')} }`,
      b: `function () { process.exit(1); throw { forbidden: 'never' } }`,
    }
    for (const [name, validate_doc_update] of Object.entries(designs))
      await database.put(`_design/${name}`, { validate_doc_update })
    const docs = [
      { _id: 'good', kind: 'good' },
      { _id: 'bad', kind: 'bad' },
    ]
    const { body } = await database.post('_bulk_docs', { docs })
    expect(body).toMatchObject([{ ok: true }, { id: 'bad', error: 'unauthorized', reason: 'no' }])
    expect((await database.get('bad')).status).toBe(404)
    const { _rev } = (await database.get('_design/a')).body
    await database.delete(`_design/a?rev=${_rev}`)
    expect((await database.put('bad', { kind: 'bad' })).status).toBe(201)
  })

  test('of a person is neither created nor deleted, and is theirs by name', async ({ ann }) => {
    const forbidden = { status: 403, body: { error: 'forbidden', reason: expect.any(String) } }
    expect(await ann.call('PUT', '/couch/tasks/')).toMatchObject({ status: 412 })
    expect(await ann.call('DELETE', '/couch/tasks/')).toMatchObject(forbidden)
    expect(await ann.call('PUT', '/couch/other/')).toMatchObject(forbidden)
    expect(await ann.call('DELETE', '/couch/other/')).toMatchObject({ status: 404 })
    const { body } = await ann.call('GET', '/couch/_session')
    expect(body).toMatchObject({ ok: true, userCtx: { name: ann.username } })
  })

  test.for([
    ['all', 'Send category:<lowercase UUID> or profile:me or task:<lowercase UUID>.'],
    ['tasks', 'Send a lowercase UUID.'],
    ['profile', 'Send the id of the user.'],
  ])('of a person says which ids %s has', async ([name, which], { ann }) => {
    const { status, body } = await ann.call('PUT', `/couch/${name}/note:1`, { title: 'Soap' })
    expect([status, body.error, body.reason]).toEqual([
      403,
      'forbidden',
      `No document here has this id. ${which}`,
    ])
  })

  test('of a person tells a stranger both ways to sign in', async ({ server }) => {
    const { status, body } = await server.call('GET', '/couch/all/')
    expect([status, body.error, body.reason]).toEqual([
      401,
      'unauthorized',
      expect.stringMatching(/Bearer <access token>, or Basic/),
    ])
  })

  test('is not there unless the mode is on, nor in production', async ({ serverWith }) => {
    const server = await serverWith()
    expect((await server.call('GET', '/couch-test/')).status).toBe(404)
    const production = { NODE_ENV: 'production', COUCH_TEST_MODE: '1' }
    await expect(serverWith(production)).rejects.toThrow(/COUCH_TEST_MODE/)
  })
})

describe('a document', () => {
  test('is created, changed, deleted and created again', async ({ database }) => {
    const first = await database.put('a', { n: 1 })
    expect(first).toMatchObject({ status: 201, body: { ok: true, id: 'a' } })
    const { rev } = first.body
    expect((await database.get('a')).body).toEqual({ _id: 'a', _rev: rev, n: 1 })
    expect((await database.put('a', { n: 2 })).body.error).toBe('conflict')
    const second = await database.put('a', { _rev: rev, n: 2 })
    expect((await database.put('a', { _rev: rev, n: 3 })).status).toBe(409)
    expect((await database.delete(`a?rev=${rev}`)).status).toBe(409)
    const gone = await database.delete(`a?rev=${second.body.rev}`)
    expect([gone.status, gone.body.rev.slice(0, 2)]).toEqual([200, '3-'])
    expect((await database.get('a')).body).toEqual({ error: 'not_found', reason: 'deleted' })
    expect((await database.delete('a')).status).toBe(404)
    const again = await database.put('a', { n: 4 })
    expect(again.body.rev).toMatch(/^4-/)
    const { body } = await database.get('a?revs=true&revs_info=true')
    expect(body._revisions.ids).toHaveLength(4)
    expect(body._revs_info.map(({ status }: { status: string }) => status)).toEqual([
      'available',
      'deleted',
      'available',
      'available',
    ])
    const old = await database.get(`a?rev=${rev}`)
    expect(old.body).toEqual({ _id: 'a', _rev: rev, n: 1 })
  })

  test('gets the same revision for the same change, whoever makes it', async ({
    database,
    server,
  }) => {
    const other = `/couch-test/d${randomUUID()}`
    await server.call('PUT', other)
    const one = await database.put('a', { x: 1, y: { p: 1, q: 2 } })
    const two = await server.call('PUT', `${other}/b`, { y: { q: 2, p: 1 }, x: 1 })
    expect(two.body.rev).toBe(one.body.rev)
  })

  test('has a winner and conflicts', async ({ database }) => {
    await database.replicate(at('a', '2-b.r', { n: 'b' }), at('a', '2-c.r', { n: 'c' }))
    await database.replicate(at('a', '3-z.d.r', { _deleted: true, n: 'z' }))
    const shown = await database.get('a?conflicts=true&deleted_conflicts=true')
    expect(shown.body).toEqual({
      _id: 'a',
      _rev: '2-c',
      n: 'c',
      _conflicts: ['2-b'],
      _deleted_conflicts: ['3-z'],
    })
    const leaves = await database.get('a?open_revs=all')
    expect(leaves.body.map(({ ok }: { ok: { _rev: string } }) => ok._rev)).toEqual([
      '2-c',
      '2-b',
      '3-z',
    ])
    const some = await database.get('a?revs=true&open_revs=["2-b","9-x"]')
    expect(some.body).toEqual([
      { ok: { _id: 'a', _rev: '2-b', n: 'b', _revisions: { start: 2, ids: ['b', 'r'] } } },
      { missing: '9-x' },
    ])
    await database.delete('a?rev=2-c')
    expect((await database.get('a')).body._rev).toBe('2-b')
    const latest = await database.get('a?rev=1-r&latest=true')
    expect(latest.body._rev).toBe('2-b')
    // Each once, of however many it is the latest.
    const open = await database.get('a?open_revs=["2-b","1-r"]&latest=true')
    const revs = open.body.map(({ ok }: { ok: { _rev: string } }) => ok._rev)
    expect(revs.filter((rev: string) => rev === '2-b')).toHaveLength(1)
  })

  test('that follows several revisions at once is refused', async ({ database }) => {
    const { rev } = (await database.put('a', { n: 1 })).body
    const refused = { status: 400, body: { error: 'bad_request', reason: expect.any(String) } }
    const ifMatch = { 'if-match': `"${rev}"` }
    expect(await database.put(`a?rev=${rev}`, { _rev: '1-x' })).toMatchObject(refused)
    expect(await database.put('a', { _rev: '1-x' }, ifMatch)).toMatchObject(refused)
    expect(await database.delete('a?rev=1-x', undefined, ifMatch)).toMatchObject(refused)
    expect(await database.put(`a?rev=${rev}`, { _rev: rev, n: 2 }, ifMatch)).toMatchObject({
      status: 201,
    })
  })

  test.for([
    ['null', 'Use an object.'],
    ['[1]', 'Use an object.'],
    ['', 'The body is missing.'],
  ])('that is %j is refused', async ([raw, reason], { server, database }) => {
    const headers = { 'content-type': 'application/json' }
    const reply = await server.call('PUT', `${database.path}/a`, undefined, { raw, headers })
    expect(reply).toMatchObject({ status: 400, body: { error: 'bad_request', reason } })
  })

  test.for([
    ['with an attachment', { _attachments: { a: { data: '' } } }, 403, 'forbidden'],
    ['with a field that begins with an underscore', { _x: 1 }, 400, 'doc_validation'],
    ['with a revision that is none', { _rev: 'x' }, 400, 'bad_request'],
  ] as const)('%s is refused', async ([, fields, status, error], { database }) => {
    expect(await database.put('a', fields)).toMatchObject({ status, body: { error } })
  })
})

describe('a batch', () => {
  test('says of each document what became of it', async ({ database }) => {
    const docs = [
      { _id: 'a', n: 1 },
      { _id: 'a', n: 2 },
      { n: 3 },
      { _id: 'b', _attachments: { x: {} } },
      { _id: `c\0` },
      { _id: 'd', text: 'NUL \0 and \ud800', __proto__: null },
      { _id: '_local/e', n: 4 },
      [{ n: 5 }],
      'f',
      null,
    ]
    const { status, body } = await database.post('_bulk_docs', { docs })
    expect(status).toBe(201)
    expect(body.map((row: { ok?: true; error?: string }) => row.error ?? row.ok)).toEqual([
      true,
      'conflict',
      true,
      'forbidden',
      'forbidden',
      true,
      true,
      'bad_request',
      'bad_request',
      'bad_request',
    ])
    const stored = await database.get('d')
    expect(stored.body.text).toBe('NUL \0 and \ud800')
    expect((await database.get('_local/e')).body).toEqual({ _id: '_local/e', _rev: '0-1', n: 4 })
  })

  test('of another replica refuses in rows that PouchDB gives up, and keeps the others', async ({
    database,
  }) => {
    const nested = (levels: number) => JSON.parse('['.repeat(levels) + ']'.repeat(levels))
    const deep = nested(16)
    const bad = [
      at('attached', '1-a', { _attachments: { x: {} } }),
      at('special', '1-a', { _zing: 1 }),
      { ...at('path', '2-b.a'), _revisions: { start: 2, ids: ['b', 'a', 'r'] } },
      { ...at('none', '2-b.a'), _revisions: null },
      { ...at('hashes', '1-a'), _revisions: { start: 1, ids: ['\0'] } },
      { ...at('rev', '1-a'), _rev: '1' },
      at('_private', '1-a'),
      // What is nested more deeply does not arrive whole.
      at('deep', '1-a', { deep: nested(17) }),
      at('deeper', '1-a', { deep: nested(40) }),
      'text' as never,
      null as never,
    ]
    const { status, body } = await database.replicate(at('good', '1-a', { deep }), ...bad)
    expect(status, JSON.stringify(body)).toBe(201)
    expect(body).toHaveLength(bad.length)
    for (const row of body) expect(row.error, JSON.stringify(row)).toBe('forbidden')
    expect((await database.get('good')).body.deep).toEqual(deep)
    // PouchDB mistakes revisions with the same hash for each other.
    const mistaken = { ...at('mistaken', '2-a'), _revisions: { start: 1, ids: ['a'] } }
    expect((await database.replicate(mistaken)).body).toEqual([])
    expect((await database.get('mistaken')).body._rev).toBe('2-a')
    // What it has already is no error.
    expect((await database.replicate(at('good', '1-a'))).body).toEqual([])
  })

  test('may have 8 MB', async ({ database }) => {
    const docs = Array.from({ length: 70 }, (_, n) => ({ _id: `${n}`, text: 'x'.repeat(100_000) }))
    expect((await database.post('_bulk_docs', { docs })).status).toBe(201)
    const { body } = await database.get('_all_docs?include_docs=true')
    expect(body.rows).toHaveLength(70)
    expect(body.rows[69].doc.text).toHaveLength(100_000)
    const { status, body: refused } = await database.post('_bulk_docs', {
      docs: [...docs, ...docs],
    })
    expect([status, refused.error]).toEqual([413, 'too_large'])
  })

  test('of revisions is compared and read', async ({ database }) => {
    await database.replicate(at('a', '3-c.b.a', { n: 3 }), at('b', '1-x', { _deleted: true }))
    const asked = { a: ['3-c', '1-a', '4-d', '3-e'], b: ['1-x'], new: ['1-y'], _odd: ['1-z'] }
    expect((await database.post('_revs_diff', asked)).body).toEqual({
      a: { missing: ['4-d', '3-e'], possible_ancestors: ['3-c'] },
      new: { missing: ['1-y'] },
      _odd: { missing: ['1-z'] },
    })
    const docs = [
      { id: 'a', rev: '1-a' },
      { id: 'b', rev: '1-x' },
      { id: 'new', rev: '1-y' },
    ]
    const newest = await database.post('_bulk_get?latest=true&revs=true', { docs })
    expect(newest.body.results).toEqual([
      {
        id: 'a',
        docs: [
          { ok: { _id: 'a', _rev: '3-c', n: 3, _revisions: { start: 3, ids: ['c', 'b', 'a'] } } },
        ],
      },
      {
        id: 'b',
        docs: [
          { ok: { _id: 'b', _rev: '1-x', _deleted: true, _revisions: { start: 1, ids: ['x'] } } },
        ],
      },
      // An error would make a replicating PouchDB ask for the whole batch again, for ever.
      { id: 'new', docs: [] },
    ])
    const exact = await database.post('_bulk_get', { docs })
    expect(exact.body.results[0].docs).toEqual([
      { error: { id: 'a', rev: '1-a', error: 'not_found', reason: 'missing' } },
    ])
  })
})

describe('a checkpoint', () => {
  test('has one revision, and a writer who has another one is refused', async ({ database }) => {
    expect((await database.get('_local/x')).status).toBe(404)
    expect((await database.put('_local/x', { last_seq: 1 })).body).toEqual({
      ok: true,
      id: '_local/x',
      rev: '0-1',
    })
    expect((await database.put('_local/x', { last_seq: 2 })).status).toBe(409)
    const { body } = await database.put('_local/x', { _rev: '0-1', last_seq: 2 })
    expect(body.rev).toBe('0-2')
    expect((await database.get('_local/x')).body).toEqual({
      _id: '_local/x',
      _rev: '0-2',
      last_seq: 2,
    })
    expect((await database.delete('_local/x?rev=0-1')).status).toBe(409)
    expect((await database.delete('_local/x?rev=0-2')).status).toBe(200)
    expect((await database.delete('_local/x?rev=0-2')).status).toBe(404)
    expect((await database.get('_changes')).body.results).toEqual([])
  })
})

describe('a list', () => {
  const ids = ({ body }: { body: { rows: { id?: string; error?: string }[] } }) =>
    body.rows.map(({ id, error }) => id ?? error)

  test.for([
    ['', ['a', 'b', 'd', 'é']],
    ['startkey="b"', ['b', 'd', 'é']],
    ['startkey="aa"&endkey="d"', ['b', 'd']],
    ['endkey="d"&inclusive_end=false', ['a', 'b']],
    ['startkey="d"&endkey="b"', []],
    ['startkey="d"&endkey="b"&descending=true', ['d', 'b']],
    ['descending=true&limit=2&skip=1', ['d', 'b']],
    ['key="b"', ['b']],
    ['key="c"', []],
    ['startkey=7', ['a', 'b', 'd', 'é']],
    ['endkey=7', []],
    ['endkey={}', ['a', 'b', 'd', 'é']],
    ['limit=0', []],
    ['keys=["d","c","x",7]', ['d', 'c', 'not_found', 'not_found']],
    ['keys=["d","b","a"]&skip=1&limit=1', ['b']],
  ] as const)('%s', async ([query, expected], { database }) => {
    const docs = ['a', 'b', 'd', 'é'].map((_id) => ({ _id }))
    await database.post('_bulk_docs', { docs: [...docs, { _id: 'c', _deleted: true }] })
    const reply = await database.get(`_all_docs?${query}`)
    expect(reply.status, reply.text).toBe(200)
    expect(ids(reply as never)).toEqual(expected)
    expect(reply.body.total_rows).toBe(4)
  })

  test.for([['keys=7'], ['keys=[]&key="a"'], ['key=a'], ['limit=x'], ['include_docs=1']] as const)(
    '%s is refused',
    async ([query], { database }) => {
      const { status, body } = await database.get(`_all_docs?${query}`)
      expect([status, body.error]).toEqual([400, 'bad_request'])
    },
  )

  test.for([
    [{ keys: 7 }],
    [{ keys: [], key: 'a' }],
    [{ limit: 'x' }],
    [{ skip: -1 }],
    [{ descending: 'false' }],
    [{ keys: ['a'], include_docs: 1 }],
  ])('by POST with %j is refused', async ([query], { database }) => {
    const { status, body } = await database.post('_all_docs', query)
    expect([status, body.error]).toEqual([400, 'bad_request'])
  })

  test('of keys has deleted documents, with their content if that is asked for', async ({
    database,
  }) => {
    await database.replicate(at('a', '2-b.a', { _deleted: true, n: 1 }))
    const row = { id: 'a', key: 'a', value: { rev: '2-b', deleted: true } }
    const keys = { keys: ['a'], include_docs: true }
    expect((await database.post('_all_docs', keys)).body.rows).toEqual([{ ...row, doc: null }])
    expect((await database.post('_all_docs', { ...keys, deleted: 'ok' })).body.rows).toEqual([
      { ...row, doc: { _id: 'a', _rev: '2-b', _deleted: true, n: 1 } },
    ])
  })

  test('longer than a page is whole', async ({ database }) => {
    const docs = Array.from({ length: 250 }, (_, n) => ({ _id: `${1000 + n}` }))
    await database.post('_bulk_docs', { docs })
    const all = docs.map(({ _id }) => _id)
    for (const [query, expected] of [
      ['', all],
      ['&descending=true', all.toReversed()],
      ['&skip=120&limit=110', all.slice(120, 230)],
    ] as const)
      expect(ids((await database.get(`_all_docs?include_docs=true${query}`)) as never)).toEqual(
        expected,
      )
  })
})
