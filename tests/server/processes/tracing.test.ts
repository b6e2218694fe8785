import { once } from 'node:events'
import { createRequire } from 'node:module'
import { type AddressInfo, createServer, type Socket } from 'node:net'
import { setTimeout as sleep } from 'node:timers/promises'
import { io } from 'socket.io-client'
import { expect, test, vi } from 'vitest'
import { startTracing } from '../../../server/runtime/tracing.ts'
import { atEnd } from '../../support/at-end.ts'
import { type CollectedSpan, openCollector } from '../../support/collector.ts'
import { createDatabase } from '../../support/database.ts'
import { callerTo } from '../../support/server.ts'
import { startNode } from '../../support/web-node.ts'

const TRACE = '4bf92f3577b34da6a3ce929d0e0e4736'
const CLIENT = '00f067aa0ba902b7'
const ANN = { username: 'annabel', email: 'annabel@example.com', password: 'a ferry to Lisbon' }

async function nodes(endpoint: string, count: number) {
  const { url, drop } = await createDatabase()
  atEnd(drop)
  const environment = {
    DATABASE_URL: url,
    OTEL_EXPORTER_OTLP_ENDPOINT: endpoint,
    OTEL_BSP_SCHEDULE_DELAY: '100',
    DRAIN_SECONDS: '0',
  }
  const started = await Promise.all(Array.from({ length: count }, () => startNode(environment)))
  for (const node of started) atEnd(node.close)
  return started
}

test('one trace leads from a request through SQL and the hint to the frames of both nodes, and reveals nothing', async () => {
  const collector = await openCollector()
  atEnd(collector.close)
  const [here, there] = (await nodes(collector.url, 2)) as [Node, Node]
  const call = callerTo(here.url)
  const { body: account } = await call('POST', '/api/register/', ANN)
  const { email, ...credentials } = ANN
  const { body: tokens } = await call('POST', '/api/token/', credentials)
  const sockets = [here, there].map(({ url }) =>
    io(url, { transports: ['websocket'], auth: { token: tokens.access } }),
  )
  atEnd(() => sockets.map((socket) => socket.disconnect()))
  await Promise.all(sockets.map((socket) => new Promise((ready) => socket.once('ready', ready))))

  const headers = { authorization: `Bearer ${tokens.access}` }
  const traceparent = `00-${TRACE}-${CLIENT}-01`
  const task = { title: 'Buy shiny marbles', description: 'for Bartholomew' }
  const frames = sockets.map((socket) => new Promise((arrived) => socket.once('changes', arrived)))
  const created = await call('POST', '/api/tasks/', task, {
    headers: { ...headers, traceparent, 'x-request-id': 'request-of-ann' },
  })
  await Promise.all(frames)
  await call('GET', '/api/tasks/?search=marbles', undefined, { headers })
  const changed = { title: 'Buy dull marbles' }
  const rows = [{ newDocumentState: { ...created.body, ...changed, _deleted: false } }]
  await call('POST', '/replication/tasks/0/push', rows, { headers })
  const named = (name: string) => collector.spans.filter((span) => span.name === name)
  await expect.poll(() => named('POST /replication/tasks/0/push')).toHaveLength(1)

  const traced = () => collector.spans.filter(({ traceId }) => traceId === TRACE)
  await expect.poll(() => traced().filter(({ name }) => name === 'frame')).toHaveLength(2)
  const [request] = traced().filter(({ name }) => name === 'POST /api/tasks/')
  expect(request).toMatchObject({
    parentSpanId: CLIENT,
    attributes: {
      'http.route': '/api/tasks/',
      'http.response.status_code': 201,
      'tasktide.request_id': 'request-of-ann',
    },
  })
  const below = (parent: CollectedSpan | undefined) =>
    traced().filter(({ parentSpanId }) => parentSpanId === parent?.spanId)
  const insert = below(request).find(({ name }) => name.includes('insert tasks'))
  expect(insert!.attributes['db.query.text']).toContain('select $1, $2::uuid')
  const [hint] = below(request).filter(({ name }) => name === 'hint')
  const [local] = below(hint).filter(({ name }) => name === 'frame')
  const [received] = below(hint).filter(({ name }) => name === 'hint')
  const [remote] = below(received).filter(({ name }) => name === 'frame')
  expect(local!.instance).toBe(request!.instance)
  expect([received, remote].map((span) => span!.instance === request!.instance)).toEqual([
    false,
    false,
  ])
  expect(below(remote).map(({ name }) => name)).toEqual([expect.stringContaining('select tasks')])

  const secrets = [
    email,
    ...Object.values(credentials),
    ...Object.values(tokens as Record<string, string>),
    account.id,
    created.body.id,
    ...['marbles', 'Bartholomew', 'Bearer', 'search='],
  ]
  expect(secrets.filter((secret) => collector.received().includes(secret))).toEqual([])
})

type Node = Awaited<ReturnType<typeof startNode>>

test('a node serves and stops as usual while the collector does not answer', async () => {
  const held: Socket[] = []
  const silent = createServer((socket) => void held.push(socket)).listen(0, '127.0.0.1')
  await once(silent, 'listening')
  atEnd(() => {
    for (const socket of held) socket.destroy()
    silent.close()
  })
  const { port } = silent.address() as AddressInfo
  const [node] = await nodes(`http://127.0.0.1:${port}`, 1)
  for (let i = 0; i < 20; i++)
    expect((await callerTo(node!.url)('GET', '/api/tasks/')).status).toBe(401)
  await expect.poll(() => held.length).toBeGreaterThan(0)
  node!.signal('SIGTERM')
  expect(await Promise.race([node!.exit, sleep(8_000, 'too late')])).toBe(0)
})

test('the packages for traces are loaded only with an endpoint, and a collector that is away is logged', async () => {
  const { cache } = createRequire(import.meta.url)
  const loaded = () => Object.keys(cache).some((file) => /@opentelemetry.sdk-trace/.test(file))
  vi.stubEnv('OTEL_BSP_SCHEDULE_DELAY', '100')
  atEnd(() => vi.unstubAllEnvs())
  const warned: unknown[] = []
  const log = { warn: (...entry: unknown[]) => void warned.push(entry) } as never
  await startTracing({ endpoint: undefined, version: '0', log })
  expect(loaded()).toBe(false)
  const tracing = await startTracing({ endpoint: 'http://127.0.0.1:1', version: '0', log })
  expect(loaded()).toBe(true)
  atEnd(tracing.stop)
  tracing.request(undefined).end('GET /healthz', {}, false)
  // The exporter tries for ten seconds.
  await expect
    .poll(() => warned, { timeout: 20_000 })
    .toEqual([
      [{ reason: expect.stringContaining('ECONNREFUSED') }, 'traces could not be exported'],
    ])
})
