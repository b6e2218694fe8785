import { randomUUID } from 'node:crypto'
import { once } from 'node:events'
import { io, type Socket } from 'socket.io-client'
import { afterEach, describe, expect, vi } from 'vitest'
import {
  type ClientEvents,
  type Frame,
  type ServerEvents,
  streamEventSchema,
} from '../../../protocol/index.ts'
import { test } from '../../support/fixtures.ts'
import { type Person, startServer, type TestServer } from '../../support/server.ts'

type Live = Socket<ServerEvents, ClientEvents>

let server: TestServer
/** Another node on the same database. */
let other: TestServer
test.beforeAll(({ server: first, other: second }) => {
  server = first
  other = second
})

const sockets: Live[] = []
afterEach(() => {
  for (const socket of sockets.splice(0)) socket.disconnect()
})

/** A device that hears of its person's changes. */
class Device {
  readonly socket: Live
  readonly frames: Frame[] = []
  readonly ready: Promise<number>
  private wake = () => {}

  constructor(person: Pick<Person, 'access'>, at: TestServer = server) {
    this.socket = io(at.url, {
      transports: ['websocket'],
      forceNew: true,
      reconnection: false,
      auth: { token: person.access },
    })
    sockets.push(this.socket)
    this.ready = new Promise((resolve, reject) => {
      this.socket.on('ready', ({ seq }) => resolve(seq))
      this.socket.on('connect_error', reject)
    })
    this.socket.on('changes', (frame) => {
      this.frames.push(frame)
      this.wake()
    })
  }

  /** Waits until a frame has come that satisfies. */
  async until(satisfies: (frame: Frame) => boolean): Promise<Frame> {
    for (;;) {
      const found = this.frames.find(satisfies)
      if (found) return found
      await new Promise<void>((wake) => {
        this.wake = wake
      })
    }
  }

  untilTitle = (title: string) =>
    this.until(({ documents }) => documents?.tasks?.some((task) => task.title === title) ?? false)

  disconnected = () => once(this.socket as never, 'disconnect')
}

const add = (person: Person, title: string, at = server) =>
  at === server
    ? person.call('POST', '/api/tasks/', { title })
    : at.call(
        'POST',
        '/api/tasks/',
        { title },
        { headers: { authorization: `Bearer ${person.access}` } },
      )

describe('a socket', () => {
  test('receives every change, through any endpoint, in frames without gaps', async ({ ann }) => {
    const device = new Device(ann)
    let at = await device.ready
    await add(ann, 'by REST')
    const task = { id: randomUUID(), title: 'by push', _deleted: false }
    await ann.call('POST', '/replication/tasks/0/push', [{ newDocumentState: task }])
    await ann.call('POST', '/api/categories/', { name: 'Errands' })
    await device.until(({ documents }) => documents?.categories !== undefined)
    for (const { prev, seq } of device.frames) {
      expect(prev).toBe(at)
      expect(seq).toBeGreaterThan(prev)
      at = seq
    }
    const titles = device.frames.flatMap(({ documents }) => documents?.tasks ?? [])
    expect(titles.map(({ title, _deleted }) => [title, _deleted])).toEqual([
      ['by REST', false],
      ['by push', false],
    ])
  })

  test('receives the writes of another node', async ({ ann }) => {
    const device = new Device(ann)
    await device.ready
    await add(ann, 'from afar', other)
    await device.untilTitle('from afar')
  })

  test('receives changes by an administrator’s SQL, without a hint', async ({ ann }) => {
    const { body } = await add(ann, 'Milk')
    const device = new Device(ann)
    await device.ready
    await server.testDatabase.db('tasks').where({ id: body.id }).update({ title: 'by SQL' })
    await device.untilTitle('by SQL')
  })

  test('receives nothing of other users', async ({ ann, bob }) => {
    const device = new Device(bob)
    await device.ready
    await add(ann, 'known to ann alone')
    await add(bob, 'bob’s own')
    await device.untilTitle('bob’s own')
    expect(JSON.stringify(device.frames)).not.toContain('ann alone')
  })

  test('is told to pull if the changes do not fit into a frame', async ({ ann }) => {
    const device = new Device(ann)
    await device.ready
    const rows = Array.from({ length: 150 }, () => ({
      newDocumentState: { id: randomUUID(), title: 'one of many' },
    }))
    await ann.call('POST', '/replication/tasks/0/push', rows)
    const frame = await device.until(({ documents }) => documents === undefined)
    expect(frame.seq - frame.prev).toBe(150)
  })

  test('costs no read on the writing node, and one for all sockets of the user on another', async ({
    ann,
    bob,
  }) => {
    const devices = Array.from({ length: 20 }, () => new Device(ann))
    await Promise.all(devices.map(({ ready }) => ready))
    const seen: string[] = []
    const { store } = server.app
    const original = store.frame
    store.frame = (user, seq) => {
      seen.push(user)
      return original(user, seq)
    }
    try {
      await add(bob, 'nobody listens')
      const { body } = await add(ann, 'twenty do')
      await ann.call('PATCH', `/api/tasks/${body.id}/`, { title: 'twenty still do' })
      const newDocumentState = { id: randomUUID(), title: 'and of what is pushed' }
      await ann.call('POST', '/replication/tasks/0/push', [{ newDocumentState }])
      await Promise.all(devices.map((device) => device.untilTitle('and of what is pushed')))
      expect(seen).toEqual([])
      await add(bob, 'nobody listens', other)
      await add(ann, 'from another node', other)
      await Promise.all(devices.map((device) => device.untilTitle('from another node')))
    } finally {
      store.frame = original
    }
    expect(seen).toEqual([ann.id])
  })
})

test('other transports than websockets are refused: they would need sticky sessions', async () => {
  const path = '/socket.io/?EIO=4&transport=polling'
  const headers = { origin: 'https://app.example' }
  const reply = await server.call('GET', path, undefined, { headers })
  expect(reply.status).toBe(400)
  expect(reply.body).toMatchObject({
    code: 'malformed',
    detail: expect.stringContaining("transports: ['websocket']"),
  })
  expect(reply.headers.get('access-control-allow-origin')).toBe('*')
  const preflight = await server.call('OPTIONS', path, undefined, { headers })
  expect([preflight.status, preflight.headers.get('access-control-allow-origin')]).toEqual([
    204,
    '*',
  ])
})

test('a client reconnects by itself when its server stops', async () => {
  const leaving = await startServer({ DATABASE_URL: server.testDatabase.url })
  const ann = await server.person()
  const device = new Device(ann, leaving)
  await device.ready
  const end = device.disconnected()
  await leaving.stop()
  const [reason] = await end
  // Of 'io server disconnect' its library takes it that it is not wanted back.
  expect(reason).toBe('transport close')
})

describe('a socket’s token', () => {
  test.each([
    ['none', undefined],
    ['nonsense', 'nonsense'],
  ])('of %s is refused', async (_what, access) => {
    await expect(new Device({ access: access as string }).ready).rejects.toMatchObject({
      message: 'token_not_valid',
      data: { status: 401, code: 'token_not_valid' },
    })
  })

  test.each<[string, unknown]>([
    ['a number', 1],
    ['a list', [[]]],
    ['what cannot be read as text', { toString: 1 }],
    ['what pretends to be text', { toString: 'x', valueOf: 'x' }],
  ])('that is %s is refused, at the handshake and on renewal', async (_what, nonsense) => {
    const refused = new Device({ access: nonsense as string })
    await expect(refused.ready).rejects.toMatchObject({ data: { code: 'token_not_valid' } })
    const ann = await server.person()
    const device = new Device(ann)
    await device.ready
    const renewed = await device.socket.timeout(5_000).emitWithAck('renew', nonsense as string)
    expect(renewed).toEqual({ ok: false, code: 'token_not_valid' })
    await add(ann, 'still here')
    await device.untilTitle('still here')
  })

  test('in the URL is ignored: it would appear in the logs of proxies', async ({ ann }) => {
    const socket = io(server.url, {
      transports: ['websocket'],
      forceNew: true,
      reconnection: false,
      query: { token: ann.access },
      auth: {},
    })
    sockets.push(socket)
    const [error] = await once(socket as never, 'connect_error')
    expect(error.data).toMatchObject({ status: 401 })
  })

  test('that is a refresh token is refused', async ({ ann }) => {
    await expect(new Device({ access: ann.refresh }).ready).rejects.toMatchObject({
      message: 'token_not_valid',
    })
  })

  test('invalidated by a logout ends the socket, here and on another node', async ({ ann }) => {
    const devices = [new Device(ann), new Device(ann, other)]
    await Promise.all(devices.map(({ ready }) => ready))
    const ends = devices.map((device) => device.disconnected())
    await server.call('POST', '/api/logout/', { refresh: ann.refresh })
    await Promise.all(ends)
  })

  test('of a deactivated account ends the socket, without a hint', async ({ ann }) => {
    const device = new Device(ann)
    await device.ready
    const end = device.disconnected()
    await server.testDatabase.db('users').where({ id: ann.id }).update({ is_active: false })
    await end
  })

  test('ends the socket when a stolen refresh token ends its session', async ({ ann }) => {
    const devices = [new Device(ann), new Device(ann, other)]
    await Promise.all(devices.map(({ ready }) => ready))
    const ends = devices.map((device) => device.disconnected())
    let { refresh } = ann
    for (let i = 0; i < 2; i++)
      refresh = (await server.call('POST', '/api/token/refresh/', { refresh })).body.refresh
    const stolen = await server.call('POST', '/api/token/refresh/', { refresh: ann.refresh })
    expect(stolen.status).toBe(401)
    await Promise.all(ends)
  })

  test('ends the socket when it expires, without any event; renewed, the socket continues', async ({
    serverWith,
  }) => {
    const clocked = await serverWith()
    const ann = await clocked.person()
    clocked.clock.advance(15 * 60_000 - 2_000)
    const { body } = await clocked.call('POST', '/api/token/refresh/', { refresh: ann.refresh })
    const [left, renewed] = [new Device(ann, clocked), new Device(ann, clocked)]
    await Promise.all([left.ready, renewed.ready])
    const end = left.disconnected()
    expect(await renewed.socket.timeout(5_000).emitWithAck('renew', body.access)).toEqual({
      ok: true,
      expires_at: expect.any(String),
    })
    await end
    const headers = { authorization: `Bearer ${body.access}` }
    await clocked.call('POST', '/api/tasks/', { title: 'still here' }, { headers })
    await renewed.untilTitle('still here')
  })

  test('ends the socket when it expires: no event follows', async ({ serverWith }) => {
    const clocked = await serverWith()
    const ann = await clocked.person()
    const device = new Device(ann, clocked)
    await device.ready
    clocked.clock.advance(16 * 60_000)
    const end = device.disconnected()
    const { body } = await clocked.call('POST', '/api/token/', {
      username: ann.username,
      password: ann.password,
    })
    await clocked.call(
      'POST',
      '/api/tasks/',
      { title: 'too late' },
      {
        headers: { authorization: `Bearer ${body.access}` },
      },
    )
    await end
    expect(device.frames).toEqual([])
  })

  test('can be renewed in place, only by one of the same session', async ({ serverWith }) => {
    const clocked = await serverWith()
    const [ann, bob] = [await clocked.person(), await clocked.person()]
    const device = new Device(ann, clocked)
    await device.ready
    const renew = (token: string) => device.socket.timeout(5_000).emitWithAck('renew', token)
    expect(await renew(bob.access)).toEqual({ ok: false, code: 'token_not_valid' })
    expect(await renew('nonsense')).toEqual({ ok: false, code: 'token_not_valid' })
    clocked.clock.advance(10 * 60_000)
    const { body } = await clocked.call('POST', '/api/token/refresh/', { refresh: ann.refresh })
    expect(await renew(body.access)).toMatchObject({ ok: true })
    clocked.clock.advance(10 * 60_000)
    await clocked.call(
      'POST',
      '/api/tasks/',
      { title: 'still here' },
      {
        headers: { authorization: `Bearer ${body.access}` },
      },
    )
    await device.untilTitle('still here')
  })
})

describe('a pull stream', () => {
  async function openStream(person: Person, at = server) {
    const abort = new AbortController()
    const response = await fetch(`${at.url}/replication/tasks/0/pullStream`, {
      headers: { authorization: `Bearer ${person.access}` },
      signal: abort.signal,
    })
    const reader = response.body!.pipeThrough(new TextDecoderStream()).getReader()
    let text = ''
    return {
      response,
      close: () => abort.abort(),
      /** Reads until the text satisfies; answers what has come, or undefined at the end. */
      async until(satisfies: (text: string) => boolean): Promise<string | undefined> {
        while (!satisfies(text)) {
          const { value, done } = await reader.read()
          if (done) return undefined
          text += value
        }
        return text
      },
    }
  }

  test('sends changes in order, each with the checkpoint to continue from', async ({ ann }) => {
    const stream = await openStream(ann)
    expect(stream.response.headers.get('content-type')).toBe('text/event-stream; charset=utf-8')
    await add(ann, 'one')
    await ann.call('POST', '/api/categories/', { name: 'not in this stream' })
    await add(ann, 'two')
    const text = await stream.until((text) => text.includes('two'))
    stream.close()
    const events = [...text!.matchAll(/^data: (.*)$/gm)].map(([, json]) =>
      streamEventSchema.parse(JSON.parse(json!)),
    )
    expect(events.flatMap(({ documents }) => documents).map(({ title }) => title)).toEqual([
      'one',
      'two',
    ])
    const { checkpoint } = events.at(-1)!
    const after = await ann.call(
      'GET',
      `/replication/tasks/0/pull?lwt=${checkpoint.lwt}&id=${checkpoint.id}`,
    )
    expect(after.body.documents).toEqual([])
    expect(text).not.toContain('not in this stream')
  })

  test('ends on logout, and when the changes do not fit into one event', async ({ ann }) => {
    const [first, second] = [await openStream(ann), await openStream(await server.person())]
    await server.call('POST', '/api/logout/', { refresh: ann.refresh })
    expect(await first.until(() => false)).toBeUndefined()
    second.close()
    const bob = await server.person()
    const third = await openStream(bob)
    const rows = Array.from({ length: 150 }, () => ({
      newDocumentState: { id: randomUUID(), title: 'one of many' },
    }))
    await bob.call('POST', '/replication/tasks/0/push', rows)
    expect(await third.until(() => false)).toBeUndefined()
  })

  test('has a heartbeat, so that proxies keep it open', async ({ ann }) => {
    vi.useFakeTimers({ toFake: ['setInterval', 'clearInterval'] })
    try {
      const stream = await openStream(ann)
      await stream.until((text) => text.includes('open'))
      vi.advanceTimersByTime(25_000)
      expect(await stream.until((text) => text.includes('still here'))).not.toContain('data:')
      stream.close()
    } finally {
      vi.useRealTimers()
    }
  })

  test('ends when its token expires, without any event', async ({ serverWith }) => {
    const clocked = await serverWith()
    const ann = await clocked.person()
    clocked.clock.advance(15 * 60_000 - 2_000)
    const stream = await openStream(ann, clocked)
    expect(stream.response.status).toBe(200)
    expect(await stream.until(() => false)).toBeUndefined()
  })

  test('an expired token ends it, and nothing else', async ({ ann }) => {
    const stream = await openStream(ann)
    server.clock.advance(16 * 60_000)
    const bob = await server.person()
    const { body } = await server.call('POST', '/api/token/refresh/', { refresh: ann.refresh })
    await server.call(
      'POST',
      '/api/tasks/',
      { title: 'a write' },
      {
        headers: { authorization: `Bearer ${body.access}` },
      },
    )
    expect(await stream.until(() => false)).toBeUndefined()
    expect((await bob.call('GET', '/api/tasks/')).status).toBe(200)
    expect((await ann.call('GET', '/replication/tasks/0/pullStream')).status).toBe(401)
  })
})
