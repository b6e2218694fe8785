import { once } from 'node:events'
import type { AddressInfo } from 'node:net'
import { PassThrough } from 'node:stream'
import express from 'express'
import pino from 'pino'
import { expect, onTestFinished, test, vi } from 'vitest'
import { createListener } from '../../../server/http/listener.ts'
import { createDoor, refuseOverload } from '../../../server/http/overload.ts'
import { answerProblems } from '../../../server/http/problems.ts'
import { securityHeaders } from '../../../server/http/security.ts'
import { createMetrics } from '../../../server/runtime/metrics.ts'

const NOW = new Date('2026-03-01T12:00:00Z')

/** A node that is overloaded, until it is told otherwise. */
async function overloaded() {
  let isClosed = true
  const pool = { isClosed: () => isClosed }
  const lines = new PassThrough({ encoding: 'utf8' })
  const log = pino(lines)
  const metrics = createMetrics()
  const app = express()
    .use((_req, res, next) => {
      res.setHeader('X-Seen-By', 'the app')
      next()
    })
    .use(refuseOverload(pool))
    .use((_req, res) => void res.json('served'))
    .use(answerProblems(log))
  const headers = securityHeaders({ https: false, subdomains: false })
  const door = createDoor({ pool, headers, metrics, log, now: () => NOW })
  const { server } = createListener(app, door)
  await once(server.listen(0), 'listening')
  onTestFinished(() => void server.close())
  const { port } = server.address() as AddressInfo
  return {
    lines,
    metrics,
    open: () => {
      isClosed = false
    },
    ask: (path: string, init?: RequestInit) => fetch(`http://localhost:${port}${path}`, init),
  }
}

test.each<[path: string, refusedBy: 'the door' | 'the app' | 'nobody', init?: RequestInit]>([
  ['/api/tasks/?search=milk', 'the door'],
  ['/api/tasks/', 'the door', { method: 'POST', body: '{"title":"Milk"}' }],
  ['/api/account/export/', 'the door'],
  ['/replication/tasks/0/pull', 'the door'],
  ['/api/tasks/', 'the app', { headers: { origin: 'https://app.example.com' } }],
  ['/couch/', 'the app'],
  ['/couch/all/_bulk_docs', 'the app'],
  ['/api/docs/', 'nobody'],
  ['/api/schema/', 'nobody'],
  ['/api/asyncapi/', 'nobody'],
  ['/healthz', 'nobody'],
  ['/readyz', 'nobody'],
  ['/metrics', 'nobody'],
  ['/', 'nobody'],
])('an overloaded node: %s is refused by %s', async (path, refusedBy, init) => {
  const { ask, open } = await overloaded()
  const answer = await ask(path, init)
  expect(answer.status).toBe(refusedBy === 'nobody' ? 200 : 503)
  expect(answer.headers.has('x-seen-by')).toBe(refusedBy !== 'the door')
  if (refusedBy !== 'nobody') expect(['1', '2', '3']).toContain(answer.headers.get('retry-after'))
  open()
  expect((await ask(path, init)).status).toBe(200)
})

test('a refusal at the door is a problem with the headers of every response', async () => {
  const { ask } = await overloaded()
  const [api, replication] = [await ask('/api/tasks/'), await ask('/replication/tasks/0/pull')]
  const problem = {
    type: 'urn:tasktide:problem:unavailable',
    title: expect.any(String),
    status: 503,
    code: 'unavailable',
    detail: 'The server is overloaded; try again later.',
  }
  expect(await api.json()).toEqual(problem)
  expect(await replication.json()).toEqual({ ...problem, error: true })
  expect(Object.fromEntries(api.headers)).toMatchObject({
    'content-type': 'application/problem+json',
    'x-content-type-options': 'nosniff',
    date: NOW.toUTCString(),
  })
})

test('each refusal is counted, and the log has their number once a second', async () => {
  vi.useFakeTimers({ toFake: ['setTimeout'] })
  onTestFinished(() => void vi.useRealTimers())
  const { ask, lines, metrics } = await overloaded()
  for (let n = 0; n < 3; n++) await (await ask('/api/tasks/')).arrayBuffer()
  expect(lines.read()).toBeNull()
  vi.advanceTimersByTime(1_000)
  expect(JSON.parse(lines.read())).toMatchObject({ level: 40, refused: 3 })
  await (await ask('/api/tasks/')).arrayBuffer()
  vi.advanceTimersByTime(1_000)
  expect(JSON.parse(lines.read())).toMatchObject({ refused: 1 })
  vi.advanceTimersByTime(5_000)
  expect(lines.read()).toBeNull()
  expect(await metrics.text()).toMatch(/_count\{operation="none",method="GET",status="503"\} 4/)
})
