import type { AddressInfo } from 'node:net'
import express from 'express'
import pino from 'pino'
import { expect, onTestFinished, test } from 'vitest'
import { refuseOverload } from '../../../server/http/overload.ts'
import { answerProblems } from '../../../server/http/problems.ts'

const cases: readonly [path: string, isRefused: boolean][] = [
  ['/api/tasks/', true],
  ['/api/account/export/', true],
  ['/replication/v1/tasks/pull', true],
  ['/couch/', true],
  ['/couch/all/_bulk_docs', true],
  ['/api/docs/', false],
  ['/api/schema/', false],
  ['/api/asyncapi/', false],
  ['/healthz', false],
  ['/readyz', false],
  ['/metrics', false],
  ['/', false],
]

test.each(cases)('an overloaded node refuses %s at the door: %s', async (path, isRefused) => {
  const app = express()
    .use(refuseOverload({ isClosed: () => true }))
    .use((_req, res) => void res.json('served'))
    .use(answerProblems(pino({ enabled: false })))
  const server = app.listen()
  onTestFinished(() => void server.close())
  const { port } = server.address() as AddressInfo

  const answer = await fetch(`http://localhost:${port}${path}`)

  expect(answer.status).toBe(isRefused ? 503 : 200)
  if (isRefused) expect(['1', '2', '3']).toContain(answer.headers.get('retry-after'))
})
