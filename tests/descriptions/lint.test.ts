import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { startServer, type TestServer } from '../support/server.ts'
import { runTool, writeDescriptions } from './described.ts'

let server: TestServer
let folder: string

beforeAll(async () => {
  server = await startServer({ SECURITY_CONTACT: 'security@example.com' })
  folder = await mkdtemp(path.join(tmpdir(), 'descriptions-'))
  await writeDescriptions(server, folder)
}, 120_000)
afterAll(async () => {
  await server.stop()
  await rm(folder, { recursive: true })
})

// spectral.yaml and redocly.yaml have the exceptions, with their reasons.
test.each([
  ['spectral', ['lint', '--ruleset', 'spectral.yaml', '--fail-severity', 'hint']],
  ['redocly', ['lint', '--config', 'redocly.yaml']],
])('%s finds no fault in the descriptions', { timeout: 120_000 }, async (linter, parameters) => {
  for (const name of ['openapi', 'asyncapi'])
    await expect(
      runTool(linter, [...parameters, path.join(folder, `${name}.json`)]),
    ).resolves.toBeDefined()
})
