import { afterAll, beforeAll, expect, test } from 'vitest'
import { openBrowser } from '../support/browser.ts'
import { startServer, type TestServer } from '../support/server.ts'

let server: TestServer
const browser = await openBrowser()
beforeAll(async () => {
  server = await startServer()
})
afterAll(async () => {
  await browser?.close()
  await server.stop()
})

test.skipIf(!browser)('Swagger UI shows the operations, and asks nobody else', async () => {
  const page = await browser!.newPage()
  const faults: string[] = []
  const asked = new Set<string>()
  page.on('console', (message) => {
    if (message.type() === 'error') faults.push(message.text())
  })
  page.on('pageerror', (error) => faults.push(error.message))
  page.on('request', (request) => asked.add(new URL(request.url()).origin))
  await page.goto(`${server.url}/api/docs`)
  await page.getByText('/api/tasks/', { exact: true }).first().waitFor()
  expect(page.url()).toBe(`${server.url}/api/docs/`)
  expect([...asked].filter((origin) => origin !== 'null')).toEqual([server.url])
  expect(faults).toEqual([])
})
