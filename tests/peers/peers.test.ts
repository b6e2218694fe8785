import { execFile } from 'node:child_process'
import path from 'node:path'
import { promisify } from 'node:util'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { startServer, type TestServer } from '../support/server.ts'

const run = promisify(execFile)

let server: TestServer
beforeAll(async () => {
  server = await startServer({ LOG_LEVEL: 'silent' })
})
afterAll(() => server.stop())

test('the client of rxdb-server 15.22 keeps two devices in step with this server', async () => {
  const { access, refresh } = await server.person()
  const peer = path.resolve('tests/peers/replicate-server.cjs')
  const { stdout } = await run(process.execPath, [peer, server.url, access, refresh])
  expect(
    stdout
      .trim()
      .split('\n')
      .filter((line) => /^\w+s /.test(line)),
  ).toEqual([
    'pulls 2,500 documents',
    'sends an insert to another device, and takes over what the server filled in',
    'hears of an edit by REST',
    'edits different fields at once: both stay',
    'loses none of thirty fast edits',
    'agrees after edits of all sides while offline',
    'sends 3,000 at once, in thirty pushes',
    'sends a deletion',
    'ends with the same documents on both devices',
    'is told that its session has ended',
  ])
}, 120_000)
