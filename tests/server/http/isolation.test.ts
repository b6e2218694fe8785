import { randomUUID } from 'node:crypto'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { FACTOR_FACTS } from '../../support/factors.ts'
import {
  type Api,
  bodyOf,
  collectionAt,
  type DescribedOperation,
  hasFormat,
  makers,
  NEVER_EMPTY,
  PROVOKED,
  propertiesOf,
  readApi,
  targetOf,
} from '../../support/openapi-walk.ts'
import { type Person, type Reply, startServer, type TestServer } from '../../support/server.ts'

/** Ann owns documents of every kind that the API's description knows; Bob has all their ids. */

/** In every text that Ann wrote. */
const MARK = 'known to ann alone'

interface Owned {
  /** The path that it was made at. */
  readonly collection: string
  readonly id: string
  readonly etag: string
  readonly body: Record<string, unknown>
  readonly deleted: boolean
}

let server: TestServer
let api: Api
let ann: Person
let owned: Owned[]
/** Where Ann's own lists lead on to. */
let links: string[]

beforeAll(async () => {
  server = await startServer()
  api = await readApi(server.call)
  ann = await server.person()
  owned = await ownEverything()
  links = await linksOfLists()
})
afterAll(() => server.stop())

test('ann owns documents of every resource, a deleted one included, all with her own text', async () => {
  const collections = makers(api).map(({ path }) => path)
  expect(collections).not.toEqual([])
  for (const deleted of [false, true])
    for (const collection of collections)
      expect(owned).toContainEqual(expect.objectContaining({ collection, deleted }))
  for (const { body } of madeByAnn()) expect(JSON.stringify(body)).toContain(MARK)
  const reached = new Set(pointedAtHers().map(([{ id }]) => id))
  expect(withParameter().filter(({ id }) => !reached.has(id))).toEqual([])
  for (const { path } of singletons()) expect((await ann.call('GET', path)).text).toContain(MARK)
  expect(links).not.toEqual([])
})

describe('for other users', () => {
  const conditions = [
    { when: 'plainly', headers: () => ({}) },
    { when: 'at its version', headers: ({ etag }: Owned) => ({ 'if-match': etag }) },
    { when: 'at any version', headers: () => ({ 'if-match': '*' }) },
    { when: 'unless at its version', headers: ({ etag }: Owned) => ({ 'if-none-match': etag }) },
    { when: 'unless at any version', headers: () => ({ 'if-none-match': '*' }) },
  ]

  test.each(conditions)('her documents are not there: asked $when', async ({ headers }) => {
    const bob = await server.person()
    const faults: string[] = []
    await leavingAnnAlone(async () => {
      for (const [operation, document, path] of pointedAtHers()) {
        const options = { headers: headers(document) }
        const ask = (id: string) =>
          bob.call(operation.method, path.replace('{id}', id), bodyOf(operation), options)
        const [hers, nobodys] = [await ask(document.id), await ask(randomUUID())]
        if (hers.status !== 404) faults.push(`${operation.id}: ${hers.status} ${hers.text}`)
        faults.push(...differences(operation, hers, nobodys), ...revealed(operation, hers))
      }
    })
    expect(faults).toEqual([])
  })

  test('lists and single documents contain nothing of hers, with any parameters', async () => {
    const bob = await server.person()
    const faults: string[] = []
    let answered = 0
    await leavingAnnAlone(async () => {
      for (const operation of withoutParameter().filter(({ method }) => method === 'GET'))
        for (const query of queriesFor(operation)) {
          const reply = await bob.call('GET', operation.path + query)
          if (![200, 400, 404, 410].includes(reply.status))
            faults.push(`${operation.id}: ${reply.text}`)
          const finds = reply.body?.count || reply.body?.results?.length
          if (finds && !NEVER_EMPTY.has(operation.path))
            faults.push(`${operation.id}${query} finds what is not theirs: ${reply.text}`)
          faults.push(...revealed(operation, reply))
          answered += reply.status === 200 ? 1 : 0
        }
    })
    expect(faults).toEqual([])
    expect(answered).toBeGreaterThan(30)
  })

  test('her ids in a body are unknown ids', async () => {
    const bob = await server.person()
    const faults: string[] = []
    let asked = 0
    await leavingAnnAlone(async () => {
      for (const operation of bearers().filter(({ body }) => body))
        for (const property of propertiesOf(api, operation.body!.schema, 'uuid')) {
          if (property === 'id' && isMaker(operation)) continue
          for (const { id } of [...owned, { id: ann.id }]) {
            const ask = async (given: string) => {
              const { path } = await targetOf(api, operation, bob.call)
              const body = { ...(bodyOf(operation) as object), [property]: given }
              return bob.call(operation.method, path, body)
            }
            const [hers, nobodys] = [await ask(id), await ask(randomUUID())]
            if (hers.status !== 400) faults.push(`${operation.id}: ${hers.status} ${hers.text}`)
            faults.push(...differences(operation, hers, nobodys), ...revealed(operation, hers))
            asked++
          }
        }
    })
    expect(faults).toEqual([])
    expect(asked).toBeGreaterThan(10)
  })

  test('an id of hers is free, and then names their own document', async () => {
    const carol = await server.person()
    const faults: string[] = []
    await leavingAnnAlone(async () => {
      // In the order in which Ann made them: what others refer to came first.
      for (const { collection, id, body } of withOwnIds()) {
        const maker = makers(api).find(({ path }) => path === collection)!
        const references = propertiesOf(api, maker.body!.schema, 'uuid').map((name) => [
          name,
          body[name],
        ])
        const made = await carol.call('POST', collection, {
          ...(bodyOf(maker) as object),
          ...Object.fromEntries(references),
          id,
        })
        if (made.status !== 201) faults.push(`${maker.id}: ${made.status} ${made.text}`)
        faults.push(...revealed(maker, made, { ids: false }))
      }
      for (const [maker, property, id] of referencesToHers()) {
        const body = { ...(bodyOf(maker) as object), [property]: id }
        const made = await carol.call('POST', maker.path, body)
        if (made.status !== 201) faults.push(`${maker.id}: ${made.status} ${made.text}`)
        faults.push(...revealed(maker, made, { ids: false }))
      }
      // Deleting comes last of all, so that everything else meets the document.
      const all = pointedAtHers().filter(([, one]) => withOwnIds().includes(one) && !one.deleted)
      for (const [operation, { id }, path] of [
        ...all.filter(([{ method }]) => method !== 'DELETE'),
        ...all.filter(([{ method }]) => method === 'DELETE'),
      ]) {
        const reply = await carol.call(
          operation.method,
          path.replace('{id}', id),
          bodyOf(operation),
        )
        if (reply.status >= 300) faults.push(`${operation.id}: ${reply.status} ${reply.text}`)
        faults.push(...revealed(operation, reply, { ids: false }))
      }
    })
    expect(faults).toEqual([])
  })

  test('operations that need a permission are refused, also to Ann for herself', async () => {
    const bob = await server.person()
    const faults: string[] = []
    expect(guarded()).not.toEqual([])
    await leavingAnnAlone(async () => {
      for (const operation of guarded())
        for (const { call } of [ann, bob])
          for (const id of [ann.id, bob.id, randomUUID()]) {
            const path = operation.path.replace('{id}', id)
            const reply = await call(operation.method, path, bodyOf(operation))
            if (reply.status !== 403) faults.push(`${operation.id}: ${reply.status} ${reply.text}`)
            faults.push(...revealed(operation, reply))
          }
    })
    expect(faults).toEqual([])
  })

  test('writes to a singleton change their own document', async () => {
    const faults: string[] = []
    await leavingAnnAlone(async () => {
      for (const operation of withoutParameter().filter(({ method }) => method !== 'GET')) {
        // Somebody new each time: it may be the last that they do.
        const bob = await server.person()
        const factor = await FACTOR_FACTS[operation.id]?.(server, bob)
        const body = factor ? { ...Object(bodyOf(operation)), ...factor } : bodyOf(operation)
        const reply = await bob.call(operation.method, operation.path, body)
        if (reply.status >= 300) faults.push(`${operation.id}: ${reply.status} ${reply.text}`)
        faults.push(...revealed(operation, reply))
      }
    })
    expect(faults).toEqual([])
  })
})

/**
 * Those about what is one's own. Others take a permission, which neither Ann nor Bob has. Of another protocol, an id of
 * hers may be free to create: couch-attacks.test.ts asks for all of it.
 */
const bearers = () =>
  api.operations.filter(({ bearer, guarded, foreign }) => bearer && !guarded && !foreign)

const guarded = () => api.operations.filter(({ guarded }) => guarded)

const withoutParameter = () => bearers().filter(({ path }) => !path.includes('{'))

const withParameter = () => bearers().filter(({ path }) => path.includes('{'))

/** What Ann made, as opposed to what she has without: her sessions, say. */
const madeByAnn = () =>
  owned.filter(({ collection }) => makers(api).some(({ path }) => path === collection))

/** Those of kinds whose ids their maker chooses. */
const withOwnIds = () =>
  madeByAnn().filter(({ collection }) => {
    const maker = makers(api).find(({ path }) => path === collection)!
    return propertiesOf(api, maker.body!.schema, 'uuid').includes('id')
  })

const isMaker = (operation: DescribedOperation) => makers(api).includes(operation)

/** Operations that change the one document that a person has of a kind. */
const singletons = () => withoutParameter().filter(({ method }) => method === 'PATCH')

/** Every operation on one document, with each document of Ann's that it could be asked for. */
function pointedAtHers(): [DescribedOperation, Owned, path: string][] {
  return withParameter().flatMap((operation) =>
    owned
      .filter(({ collection }) => collectionAt(operation.path).startsWith(`${collection}{id}`))
      .map((document): [DescribedOperation, Owned, string] => [
        operation,
        document,
        operation.path,
      ]),
  )
}

/** Every way to refer to one of Ann's documents, the deleted ones too, where she refers to one. */
function referencesToHers(): [DescribedOperation, property: string, id: string][] {
  return makers(api).flatMap((maker) =>
    propertiesOf(api, maker.body!.schema, 'uuid').flatMap((property) => {
      const hers = owned.find(({ body, collection }) => collection === maker.path && body[property])
      const referred = owned.find(({ id }) => property !== 'id' && id === hers?.body[property])
      return owned
        .filter(({ collection }) => collection === referred?.collection)
        .map(({ id }): [DescribedOperation, string, string] => [maker, property, id])
    }),
  )
}

/** Two documents of each kind, one of them deleted, that refer to each other where they can. */
async function ownEverything(): Promise<Owned[]> {
  const documents: Owned[] = []
  for (const operation of singletons()) await writeMarked(operation, {})
  // What refers to others waits until those are made.
  for (let waiting = makers(api); waiting.length > 0; ) {
    const later: DescribedOperation[] = []
    for (const operation of waiting) {
      const references = await referencesOf(operation, documents)
      if (!references) later.push(operation)
      else
        for (const deleted of [true, false])
          documents.push(await own(operation, references, deleted))
    }
    expect(later.length, `nothing to refer to: ${later.map(({ id }) => id)}`).toBeLessThan(
      waiting.length,
    )
    waiting = later
  }
  for (const provoke of Object.values(PROVOKED)) await provoke(ann.call, MARK)
  return [...documents, ...(await ownedUnmade())]
}

async function own(
  operation: DescribedOperation,
  references: object,
  deleted: boolean,
): Promise<Owned> {
  const { body, headers } = await writeMarked(operation, references)
  const { path: collection } = operation
  if (deleted) expect((await ann.call('DELETE', `${collection}${body.id}/`)).status).toBe(204)
  return { collection, id: body.id, etag: headers.get('etag')!, body, deleted }
}

/** What stands in Ann's lists of kinds that nobody can make. */
async function ownedUnmade(): Promise<Owned[]> {
  const found: Owned[] = []
  for (const { path: collection, method } of withoutParameter()) {
    const leads = withParameter().some(({ path }) => path.startsWith(`${collection}{`))
    if (method !== 'GET' || !leads || makers(api).some(({ path }) => path === collection)) continue
    const { results } = (await ann.call('GET', collection)).body
    for (const body of results)
      found.push({ collection, id: body.id, etag: '"1"', body, deleted: false })
  }
  return found
}

/**
 * Sends the operation's example with Ann's mark in each of its texts, save those that the server
 * refuses to take it in.
 */
async function writeMarked(operation: DescribedOperation, references: object): Promise<Reply> {
  const example = bodyOf(operation) as Record<string, unknown>
  const texts = Object.entries(api.resolve(operation.body!.schema).properties ?? {})
    .filter(([, { type, enum: values, format }]) => type === 'string' && !values && !format)
    .map(([name]) => name)
  const write = (names: readonly string[]) => {
    const marked = names.map((name) => [name, `${example[name] ?? ''} ${MARK}`])
    const body = { ...example, ...references, ...Object.fromEntries(marked) }
    return ann.call(operation.method, operation.path, body)
  }
  let reply = await write(texts)
  if (reply.status === 400)
    reply = await write(texts.filter((name) => !(name in reply.body.errors)))
  expect(reply.status, reply.text).toBeLessThan(300)
  return reply
}

/** For each property that refers to a document: the first of Ann's that the server takes there. */
async function referencesOf(operation: DescribedOperation, documents: readonly Owned[]) {
  const references: Record<string, string> = {}
  for (const property of propertiesOf(api, operation.body!.schema, 'uuid')) {
    if (property === 'id') continue
    for (const { id } of documents) {
      const body = { ...(bodyOf(operation) as object), [property]: id }
      const tried = await ann.call(operation.method, operation.path, body)
      if (tried.status !== 201) continue
      references[property] = id
      break
    }
    if (!(property in references)) return undefined
  }
  return references
}

async function linksOfLists(): Promise<string[]> {
  const found: string[] = []
  for (const { method, path, parameters } of withoutParameter()) {
    const names = parameters.map(({ name }) => name)
    if (method !== 'GET' || !names.includes('page_size')) continue
    const maker = makers(api).find((maker) => maker.path === path)
    if (maker) await ann.call('POST', path, bodyOf(maker))
    else if (!NEVER_EMPTY.has(path)) await PROVOKED[path]!(ann.call, MARK)
    for (const start of names.includes('cursor') ? ['?page_size=1', '?page_size=1&cursor='] : []) {
      const { next } = (await ann.call('GET', path + start)).body
      found.push(new URL(next).pathname + new URL(next).search)
    }
  }
  return found
}

/** Ways to ask a list for what is Ann's: by her ids, her words, her cursors. */
function queriesFor({ path, parameters }: DescribedOperation): string[] {
  const query = parameters.filter(({ in: where }) => where === 'query')
  const ids = owned.map(({ id }) => id)
  const isText = ({ type, enum: values, format }: (typeof query)[number]['schema']) =>
    type === 'string' && !values && !format
  return [
    '',
    ...links.filter((link) => link.startsWith(`${path}?`)).map((link) => link.slice(path.length)),
    ...query.flatMap(({ name, schema }) => {
      if (hasFormat(schema, 'uuid')) return ids.map((id) => `?${name}=${id}`)
      if (schema.type === 'boolean') return [`?${name}=true`, `?${name}=false`]
      return isText(schema) ? [`?${name}=${encodeURIComponent(MARK.split(' ')[0]!)}`] : []
    }),
  ]
}

/** What of Ann's stands in a reply. */
function revealed({ id }: DescribedOperation, reply: Reply, { ids = true } = {}): string[] {
  const text = JSON.stringify([...reply.headers]) + reply.text
  const secrets = [MARK, ann.id, ann.username, ...(ids ? owned.map((document) => document.id) : [])]
  return secrets.flatMap((secret) => (text.includes(secret) ? [`${id} tells ${secret}`] : []))
}

/** Whether a reply tells an id of Ann's from one that nothing has. */
function differences({ id }: DescribedOperation, hers: Reply, nobodys: Reply): string[] {
  const [left, right] = [comparable(hers), comparable(nobodys)]
  return left === right ? [] : [`${id} tells them apart: ${left} and ${right}`]
}

/** All of a reply but what names the request, its moment, how long it is kept, and how many more may follow. */
function comparable({ status, headers, body }: Reply): string {
  const passing = ['date', 'x-request-id', 'keep-alive', 'connection', 'ratelimit']
  const lasting = [...headers].filter(([name]) => !passing.includes(name))
  const { request_id: _, ...rest } = body ?? {}
  return JSON.stringify([status, lasting, rest])
}

/** Runs `work` and compares all that Ann has, to the byte, as she reads it and as it is stored. */
async function leavingAnnAlone(work: () => Promise<void>): Promise<void> {
  const before = await everythingOfAnns()
  await work()
  expect(await everythingOfAnns()).toEqual(before)
}

/** Her reading adds to it: exports are security events. So only the others are compared, in their table. */
const EVENTS = '/api/account/events/'

async function everythingOfAnns(): Promise<string[]> {
  const read: string[] = []
  const reading = bearers().filter(({ method, path }) => method === 'GET' && path !== EVENTS)
  for (const { method, path } of reading)
    for (const address of path.includes('{id}') ? pathsOf(path) : [path, `${path}?deleted=true`]) {
      const { status, text, headers } = await ann.call(method, address)
      read.push(`${address} ${status} ${headers.get('etag')} ${withoutPassing(text)}`)
    }
  return [...read, ...(await rowsOfAnns())]
}

/** When a device was last heard of moves on by itself, and her pulls move it on in the feed. */
const withoutPassing = (text: string) =>
  text
    .replace(/"request_id".*/, '')
    .replaceAll(/"(last_seen_at|pulled_at)":("[^"]*"|null)|"document":"\w+"/g, '')

const pathsOf = (template: string) =>
  owned
    .filter(({ collection }) => collectionAt(template).startsWith(`${collection}{id}`))
    .map(({ id }) => template.replace('{id}', id))

async function rowsOfAnns(): Promise<string[]> {
  const { db } = server.testDatabase
  const { rows: tables } = await db.raw<{ rows: { name: string }[] }>(`
    select table_name as name from information_schema.columns
    where table_schema = 'public' and column_name = 'user_id' order by 1`)
  expect(tables.length).toBeGreaterThan(3)
  const stored: string[] = []
  for (const { name } of tables) {
    const found = await db.raw<{ rows: { row: string }[] }>(
      `select (to_jsonb(t) - 'last_seen_at' - 'feed_positions')::text as row from ${name} t
       where user_id = ? ${name === 'account_events' ? "and kind <> 'export'" : ''} order by 1`,
      [ann.id],
    )
    stored.push(...found.rows.map(({ row }) => `${name} ${row}`))
  }
  return stored
}
