import { randomUUID } from 'node:crypto'
import { once } from 'node:events'
import specs from '@asyncapi/specs'
import { Ajv } from 'ajv'
import ajvFormats from 'ajv-formats'
import { io, type Socket } from 'socket.io-client'
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest'
import { parse } from 'yaml'
import { type ClientEvents, resources, type ServerEvents } from '../../../protocol/index.ts'
import { closed } from '../../support/closed-schemas.ts'
import { startServer, type TestServer } from '../../support/server.ts'

interface Reference {
  $ref: string
}

interface Described {
  asyncapi: string
  servers: Record<string, Record<string, unknown>>
  channels: Record<string, { messages: Record<string, Reference> }>
  operations: Record<string, OperationNode>
  components: { messages: Record<string, MessageNode>; schemas: Record<string, object> }
}

interface OperationNode {
  action: 'send' | 'receive'
  messages: Reference[]
  reply?: { messages: Reference[] }
}

interface MessageNode {
  name: string
  summary: string
  description: string
  payload: Reference
  examples: { payload: unknown }[]
}

/** The compiler sees to it that these are all the events that there are. */
const SERVER_EVENTS: Record<keyof ServerEvents, true> = { ready: true, changes: true }
const CLIENT_EVENTS: Record<keyof ClientEvents, true> = { renew: true }

const BASE = 'https://api.example/asyncapi.json'

let server: TestServer
let described: Described
/** The same without properties that are not described. */
let exact: Described
let validator: Ajv
beforeAll(async () => {
  server = await startServer()
  described = (await server.call('GET', '/api/asyncapi/')).body
  exact = closed(described)
  validator = new Ajv({ allErrors: true, strict: true, strictTypes: false })
  ajvFormats.default(validator)
  validator.addVocabulary(Object.keys(exact))
  validator.addSchema(exact, BASE)
})
afterAll(() => server.stop())

const sockets: Socket[] = []
afterEach(() => {
  for (const socket of sockets.splice(0)) socket.disconnect()
})

describe('the document', () => {
  test('is valid AsyncAPI 3.0', () => {
    expect(described.asyncapi).toBe('3.0.0')
    // Strict mode is about how a schema is written, and this one is not ours.
    const ajv = new Ajv({ allErrors: true, strict: false })
    ajvFormats.default(ajv)
    const isValid = ajv.compile(specs.schemasWithoutId['3.0.0'])
    isValid(described)
    expect(isValid.errors).toBeNull()
    expect(isValid({ ...described, channels: { live: { adress: '/' } } })).toBe(false)
  })

  test.each(['application/yaml', 'text/yaml'])('says the same as %s', async (type) => {
    const reply = await server.call('GET', '/api/asyncapi/', undefined, {
      headers: { accept: type },
    })
    expect(reply.headers.get('content-type')).toBe(`${type}; charset=utf-8`)
    expect(reply.headers.get('vary')).toBe('Accept')
    expect(() => JSON.parse(reply.text)).toThrow()
    expect(parse(reply.text)).toEqual(described)
  })

  test('has no dangling references', () => {
    const references = [...JSON.stringify(described).matchAll(/"\$ref":"([^"]+)"/g)]
    expect(references.length).toBeGreaterThan(10)
    for (const [, reference] of references) expect(resolved(reference!), reference).toBeDefined()
  })

  test('has every event: the server’s are sent, the clients’ received', () => {
    const operations = Object.values(described.operations)
    const sent = operations.flatMap(({ action, messages, reply }) =>
      action === 'send' ? messages : (reply?.messages ?? []),
    )
    const received = operations.flatMap(({ action, messages }) =>
      action === 'receive' ? messages : [],
    )
    expect(namesOf(sent)).toEqual(
      [...Object.keys(SERVER_EVENTS), 'connect_error', 'renewed'].sort(),
    )
    expect(namesOf(received)).toEqual([...Object.keys(CLIENT_EVENTS), 'connect'].sort())
    expect(Object.keys(described.components.messages).sort()).toEqual(
      [...namesOf(sent), ...namesOf(received)].sort(),
    )
  })

  test('has the documents of every resource in a frame', () => {
    const frame = resolved('#/components/schemas/changes') as {
      properties: { documents: { properties: object } }
    }
    expect(Object.keys(frame.properties.documents.properties)).toEqual(Object.keys(resources))
  })

  test('explains each message, with examples that conform to its schema', () => {
    for (const [name, message] of Object.entries(described.components.messages)) {
      expect(message.name).toBe(name)
      expect([message.summary, message.description], name).not.toContain(undefined)
      expect(message.examples, name).not.toEqual([])
      for (const { payload } of message.examples) expect(faultsOf(name, payload)).toBeUndefined()
    }
  })

  test.each([
    ['ready', { seq: '1' }],
    ['ready', {}],
    ['changes', { prev: 1, seq: 2, documents: { tasks: [{ id: 'x' }] } }],
    ['changes', { prev: 1, seq: 2, documents: { nonsense: [] } }],
    ['changes', { seq: 2 }],
    ['renew', {}],
    ['renewed', { ok: true }],
    ['renewed', { ok: false, code: 'nonsense' }],
    ['connect', {}],
    ['connect_error', { message: 'token_not_valid', data: {} }],
  ])('does not accept as %s: %j', (name, payload) => {
    expect(faultsOf(name, payload)).toBeDefined()
  })

  test('names the public host of the server', async () => {
    expect(described.servers.live).toMatchObject({ host: '{host}', protocol: 'ws' })
    const known = await startServer({ PUBLIC_URL: 'https://tasks.example.com/' })
    try {
      const { body } = await known.call('GET', '/api/asyncapi/')
      expect(body.servers.live).toMatchObject({
        host: 'tasks.example.com',
        pathname: '/socket.io/',
        protocol: 'wss',
      })
      expect(body.servers.live.variables).toBeUndefined()
    } finally {
      await known.stop()
    }
  })
})

test('real messages match the document', async () => {
  const ann = await server.person()
  const auth = { token: ann.access }
  expect(faultsOf('connect', auth)).toBeUndefined()
  const socket = connect(auth)
  const [ready] = await once(socket as never, 'ready')
  expect(faultsOf('ready', ready)).toBeUndefined()

  const [frame] = await hearing(socket, () => ann.call('POST', '/api/tasks/', { title: 'Milk' }))
  expect(frame.documents.tasks).toMatchObject([{ title: 'Milk' }])
  expect(faultsOf('changes', frame)).toBeUndefined()

  const [deletion] = await hearing(socket, () =>
    ann.call('DELETE', `/api/tasks/${frame.documents.tasks[0].id}/`),
  )
  expect(deletion.documents.tasks).toMatchObject([{ _deleted: true }])
  expect(faultsOf('changes', deletion)).toBeUndefined()

  const rows = Array.from({ length: 150 }, () => ({
    newDocumentState: { id: randomUUID(), title: 'one of many' },
  }))
  const [withoutDocuments] = await hearing(socket, () =>
    ann.call('POST', '/replication/tasks/0/push', rows),
  )
  expect(withoutDocuments).not.toHaveProperty('documents')
  expect(faultsOf('changes', withoutDocuments)).toBeUndefined()

  const { body } = await server.call('POST', '/api/token/refresh/', { refresh: ann.refresh })
  for (const [token, ok] of [
    [body.access, true],
    ['nonsense', false],
  ]) {
    expect(faultsOf('renew', token)).toBeUndefined()
    const renewed = await socket.timeout(5_000).emitWithAck('renew', token)
    expect(renewed.ok).toBe(ok)
    expect(faultsOf('renewed', renewed)).toBeUndefined()
  }
})

test('a real refusal matches the document', async () => {
  const socket = connect({ token: 'nonsense' })
  const [{ message, data }] = await once(socket as never, 'connect_error')
  expect(data.status).toBe(401)
  expect(faultsOf('connect_error', { message, data })).toBeUndefined()
  expect(socket.active, 'it does not try again by itself').toBe(false)
})

test('real documents of each resource match the document', async () => {
  const ann = await server.person()
  const socket = connect({ token: ann.access })
  await once(socket as never, 'ready')
  const id = randomUUID()
  const sameId = (title: string) =>
    ann.call('POST', '/replication/tasks/0/push', [{ newDocumentState: { id, title } }])
  const changes: [string, () => Promise<unknown>][] = [
    ['tasks', () => sameId('Milk')],
    ['conflicts', () => sameId('Oat milk')],
    ['categories', () => ann.call('POST', '/api/categories/', { name: 'Errands' })],
    ['profile', () => ann.call('PATCH', '/api/profile/', { display_name: 'Ann' })],
  ]
  expect(changes.map(([name]) => name).sort()).toEqual(Object.keys(resources).sort())
  for (const [name, change] of changes) {
    const [frame] = await hearing(socket, change)
    expect(frame.documents, name).toHaveProperty(name)
    expect(faultsOf('changes', frame)).toBeUndefined()
  }
})

function connect(auth: object): Socket {
  const socket = io(server.url, { transports: ['websocket'], forceNew: true, auth })
  sockets.push(socket)
  return socket
}

/** The frame that comes of doing something. */
async function hearing(socket: Socket, doing: () => Promise<unknown>) {
  const frame = once(socket as never, 'changes')
  await doing()
  return await frame
}

function namesOf(references: readonly Reference[]): string[] {
  return references.map(({ $ref }) => $ref.split('/').at(-1)!).sort()
}

function resolved(reference: string): unknown {
  const names = reference.split('/').slice(1)
  return names.reduce<unknown>((at, name) => (at as Record<string, unknown>)?.[name], described)
}

/** What is wrong with a payload by the served description; undefined when nothing is. */
function faultsOf(message: string, payload: unknown): string | undefined {
  const { $ref } = described.components.messages[message]!.payload
  const isValid = validator.validate({ $ref: BASE + $ref }, payload)
  return isValid ? undefined : `${message}: ${validator.errorsText()}`
}
