import { randomUUID } from 'node:crypto'
import { mkdir, rm } from 'node:fs/promises'
import path from 'node:path'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { startServer, type TestServer } from '../support/server.ts'
import { runTool, writeDescriptions } from './described.ts'
import type { Journey } from './journey.ts'

const folder = import.meta.dirname
/** Generated code resolves its imports from here. */
const generated = path.join(folder, 'generated')
const compiler = path.join(folder, '../../node_modules/.bin/tsc')

let server: TestServer

beforeAll(async () => {
  server = await startServer()
  await rm(generated, { recursive: true, force: true })
  await mkdir(generated)
  await writeDescriptions(server, generated)
  const input = './generated/openapi.json'
  await runTool('openapi-typescript', [input, '-o', './generated/openapi-typescript.ts'])
  await runTool('openapi-ts', ['-i', input, '-o', './generated/hey-api'])
  await runTool('orval', ['--config', 'orval.config.cjs'], { SERVER_URL: server.url })
}, 180_000)
afterAll(async () => {
  await server.stop()
  await rm(generated, { recursive: true, force: true })
})

test('what is written with generated clients compiles', { timeout: 180_000 }, async () => {
  await runTool(compiler, ['-p', 'clients'])
})

test.each(['openapi-typescript', 'hey-api', 'orval'])(
  'a client of %s registers, signs in, writes, reads and pulls',
  async (generator) => {
    const { journey } = await import(path.join(folder, 'clients', `${generator}.ts`))
    const username = `ann.${randomUUID().slice(0, 8)}`
    const email = `${username}@example.com`
    const person = { username, email, password: 'a ferry to Lisbon' }
    expect(await (journey as Journey)(server.url, person)).toEqual({
      done: true,
      listed: [['Book the ferry', 'high']],
      pulled: [['Book the ferry', false]],
      deleted: 204,
      problem: 'not_found',
      batch: [
        [200, undefined],
        [404, 'not_found'],
      ],
    })
  },
)
