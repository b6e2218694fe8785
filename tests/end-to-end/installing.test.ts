import { afterAll, beforeAll, expect } from 'vitest'
import { startServer, type TestServer } from '../support/server.ts'
import { openDevice, PHONE, signedIn, story } from './stage.ts'

let server: TestServer
beforeAll(async () => {
  server = await startServer()
})
afterAll(() => server.stop())

story('the app can be installed: its manifest and its icons are what they say', async () => {
  const device = await openDevice(server)
  const { page } = await device.openTab()
  const href = await page.locator('link[rel=manifest]').getAttribute('href')
  const manifest = await page.request.get(new URL(href!, server.url).href)
  expect(manifest.headers()['content-type']).toMatch(/application\/manifest\+json/)
  const { name, start_url, display, icons } = await manifest.json()
  expect({ name, display }).toEqual({ name: 'Tasktide', display: 'standalone' })
  expect((await page.request.get(new URL(start_url, manifest.url()).href)).status()).toBe(200)
  const sizes = await Promise.all(
    icons.map(async ({ src, sizes }: { src: string; sizes: string }) => {
      const url = new URL(src, manifest.url()).pathname
      const size = await page.evaluate(sizeOf(url))
      if (sizes !== 'any') expect([url, size]).toEqual([url, sizes])
      return sizes
    }),
  )
  expect(sizes).toEqual(expect.arrayContaining(['192x192', '512x512']))

  const session = await device.context.newCDPSession(page)
  const { errors } = await session.send('Page.getAppManifest')
  expect(errors).toEqual([])
  const { installabilityErrors } = await session.send('Page.getInstallabilityErrors')
  // Of a browser without windows, not of the app.
  expect(installabilityErrors.filter(({ errorId }) => errorId !== 'in-incognito')).toEqual([])
})

story('the shell loads offline also for who has signed out', async () => {
  const device = await openDevice(server, { viewport: PHONE })
  const tab = await device.openTab()
  await tab.canLoadOffline()
  await device.goOffline()
  await tab.page.reload()
  await tab.page.getByRole('heading', { name: 'Tasktide' }).waitFor()
  expect(await tab.page.title()).toBe('Tasktide')
})

story('the app opens in a new tab while the server is down', async () => {
  const own = await startServer()
  const { device, tab } = await signedIn(own, await own.person())
  await tab.add('Book the ferry')
  await tab.hasStatus('Synced')
  await tab.canLoadOffline()
  await tab.page.close()
  await own.stop()
  const later = await device.openTab()
  await later.shows('Book the ferry')
  await later.hasStatus('Offline')
})

/** In the page: the true size of an image, as a manifest writes it. */
const sizeOf = (url: string) => `new Promise((resolve, reject) => {
  const image = new Image()
  image.onload = () => resolve(image.naturalWidth + 'x' + image.naturalHeight)
  image.onerror = reject
  image.src = ${JSON.stringify(url)}
})`
