import { randomUUID } from 'node:crypto'
import path from 'node:path'
import { build } from 'esbuild'
import type { Page } from 'playwright-core'
import { afterAll, beforeAll, expect } from 'vitest'
// @ts-expect-error: a script without types
import { resourcesAsData } from '../../client-sdk/build/resources-as-data.mjs'
import { type Person, startServer, type TestServer } from '../support/server.ts'
import { areSaved, openDevice, story } from './stage.ts'
import { eventually } from './tab.ts'

const PAGE = '<!doctype html><div id="app"></div><script src="/react-app.js"></script>'

let server: TestServer
let app: string
beforeAll(async () => {
  server = await startServer()
  app = await bundleApp()
})
afterAll(() => server.stop())

story(
  'an app in StrictMode is reloaded and mounted again while somebody is signed in',
  async () => {
    const ann = await server.person()
    const { page, warnings } = await openApp()
    await page.getByText('Sign in').waitFor()
    expect(await seen(page)).toEqual(new Set(['Opening…', 'Sign in']))
    await signIn(page, ann)
    await page.getByText('No tasks yet').waitFor()
    await add(page, 'Ferry')
    await areSaved(server, ann, 'Ferry')
    await ann.call('POST', '/api/categories/', { name: 'Travel' })
    await eventually(() => page.getByLabel('Counts').innerText()).toBe('1 0 0 UTC')

    await page.reload()
    await shows(page, 'Ferry')
    // Neither the form nor the empty list has flashed.
    expect(await seen(page)).toEqual(new Set(['Opening…', 'Reading…', 'Ferry']))

    for (const title of ['Train', 'Bus']) {
      await page.evaluate('remount()')
      await add(page, title)
    }
    await areSaved(server, ann, 'Ferry', 'Train', 'Bus')
    await eventually(() => page.getByLabel('Sync').innerText()).toBe('synced 0')
    expect(await seen(page)).not.toContain('Sign in')

    // What arrives of the next task is not valid, nor is that of another client.
    await page.route('**/replication/tasks/*/push*', (route) =>
      route.continue({ postData: route.request().postData()!.replace('"Tram"', '" "') }),
    )
    await add(page, 'Tram')
    const blank = { id: randomUUID(), title: ' ', _deleted: false }
    await ann.call('POST', '/replication/tasks/0/push', [{ newDocumentState: blank }])
    await eventually(() => page.getByLabel('Counts').innerText()).toBe('1 1 1 UTC')
    expect(warnings).toEqual([])
  },
)

async function openApp() {
  const device = await openDevice(server)
  const warnings: string[] = []
  device.context.on('console', (message) => {
    if (message.type() === 'warning') warnings.push(message.text())
  })
  const serve = (file: string, contentType: string, body: string) =>
    device.context.route(`${server.url}/${file}`, (route) => route.fulfill({ contentType, body }))
  await serve('react-app', 'text/html', PAGE)
  await serve('react-app.js', 'text/javascript', app)
  const page = await device.context.newPage()
  await page.goto(`${server.url}/react-app`)
  return { page, warnings }
}

async function signIn(page: Page, { username, password }: Person): Promise<void> {
  await page.getByLabel('Username').fill(username)
  await page.getByLabel('Password').fill(password)
  await page.getByRole('button', { name: 'Sign in' }).click()
}

async function add(page: Page, title: string): Promise<void> {
  await page.getByLabel('Title').fill(title)
  await page.getByRole('button', { name: 'Add' }).click()
  await shows(page, title)
}

const shows = (page: Page, title: string) =>
  page.getByRole('listitem').filter({ hasText: title }).waitFor()

const seen = async (page: Page) => new Set(await page.evaluate<string[]>('seen'))

/** In React's development mode, which mounts everything twice. */
async function bundleApp(): Promise<string> {
  const sdk = path.join(import.meta.dirname, '../../client-sdk')
  const { outputFiles } = await build({
    entryPoints: [path.join(import.meta.dirname, 'react-app.jsx')],
    bundle: true,
    write: false,
    jsx: 'automatic',
    target: 'es2022',
    define: { 'process.env.NODE_ENV': '"development"' },
    alias: {
      '@tasktide/client/dexie': path.join(sdk, 'dexie.ts'),
      '@tasktide/client/react': path.join(sdk, 'react.ts'),
      '@tasktide/client': path.join(sdk, 'index.ts'),
    },
    plugins: [resourcesAsData],
  })
  return outputFiles[0]!.text
}
