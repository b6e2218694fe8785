import type { WebSocket } from 'playwright-core'
import { afterAll, beforeAll, expect } from 'vitest'
import { startServer, type TestServer } from '../support/server.ts'
import { areSaved, openDevice, PHONE, photograph, signedIn, story } from './stage.ts'
import { eventually, type Tab } from './tab.ts'

let server: TestServer
beforeAll(async () => {
  server = await startServer()
})
afterAll(() => server.stop())

story(
  'a person works in two tabs and on a second device, goes offline, reloads, edits, comes back, and everything is there on all sides',
  async () => {
    const ann = await server.person()
    const phone = await openDevice(server, { viewport: PHONE, hasTouch: true })
    const one = await phone.openTab()
    await one.signIn(ann)
    await one.hasStatus('Synced')
    const two = await phone.openTab()
    await two.hasStatus('Synced')
    const { tab: laptop } = await signedIn(server, ann)
    const everywhere = [one, two, laptop]

    await one.add('Book the ferry')
    await two.add('Pack')
    await laptop.add('Call Ines')
    for (const tab of everywhere) {
      await tab.shows('Book the ferry', 'Pack', 'Call Ines')
      await tab.hasStatus('Synced')
    }
    await one.canLoadOffline()

    await phone.goOffline()
    for (const tab of [one, two]) await tab.hasStatus('Offline')
    await one.add('Water the plants')
    for (const tab of [one, two]) await tab.hasStatus('Offline · 1 pending')

    for (const tab of [one, two]) {
      await tab.page.reload()
      await tab.shows('Book the ferry', 'Pack', 'Call Ines', 'Water the plants')
      await tab.hasStatus('Offline · 1 pending')
    }
    await one.edit('Book the ferry', { Title: 'Book the night ferry' })
    await two.complete('Pack')
    await two.delete('Call Ines')
    for (const tab of [one, two]) await tab.hasStatus('Offline · 4 pending')
    expect.soft(await one.excessOfStatus()).toBe(0)
    await photograph(one, 'offline')
    await laptop.add('Feed the cat')
    await laptop.hasStatus('Synced')

    await phone.comeBack()
    for (const tab of everywhere) {
      await tab.hasStatus('Synced')
      await tab.openView('All')
      await tab.shows('Book the night ferry', 'Water the plants', 'Feed the cat', 'Pack')
      await tab.openView('Done')
      await tab.shows('Pack')
      await tab.openView('Trash')
      await tab.button('Restore Call Ines').waitFor()
    }
    await areSaved(server, ann, 'Book the night ferry', 'Pack', 'Water the plants', 'Feed the cat')
  },
  90_000,
)

story(
  'what is written in one tab shows at once in the other, though there is no network',
  async () => {
    const { device, tab: one } = await signedIn(server, await server.person())
    const two = await device.openTab()
    await two.hasStatus('Synced')
    await device.goOffline()
    await one.add('Book the ferry')
    await two.shows('Book the ferry')
    await two.edit('Book the ferry', { Title: 'Book the night ferry' })
    await one.shows('Book the night ferry')
  },
)

story('one tab syncs for both, and when it is closed the other goes on', async () => {
  const ann = await server.person()
  const device = await openDevice(server)
  const one = await device.openTab()
  const sockets = [openSockets(one)]
  await one.signIn(ann)
  await one.hasStatus('Synced')
  const two = await device.openTab()
  sockets.push(openSockets(two))
  await two.page.reload() // so that its socket is seen to open
  await eventually(() => sockets.map((open) => open.size)).toEqual([0, 1])

  await one.add('Book the ferry')
  await one.hasStatus('Synced')
  await areSaved(server, ann, 'Book the ferry')
  await two.page.close()
  await one.add('Pack')
  await areSaved(server, ann, 'Book the ferry', 'Pack')
  await eventually(() => sockets[0]!.size).toBe(1)
  await one.hasStatus('Synced')
})

story('two devices edit one task at once, and a person puts their own value back', async () => {
  const ann = await server.person()
  const { tab: phone } = await signedIn(server, ann, { viewport: PHONE, hasTouch: true })
  const { tab: laptop } = await signedIn(server, ann)
  await laptop.add('Book the ferry')
  await phone.shows('Book the ferry')

  await phone.workOffline.click()
  await phone.hasStatus('Offline')
  await phone.edit('Book the ferry', { Title: 'Book the night ferry', Description: 'With a cabin' })
  await phone.hasStatus('Offline · 1 pending')
  await laptop.edit('Book the ferry', { Title: 'Book the early ferry' })
  await areSaved(server, ann, 'Book the early ferry')
  await phone.workOffline.click()

  for (const tab of [phone, laptop]) {
    await tab.shows('Book the early ferry')
    await eventually(() => tab.notices.innerText()).toMatch(/Title was changed on two devices/i)
    expect(await tab.notices.innerText()).toContain('Book the night ferry')
    expect(await tab.notices.innerText()).toContain('Book the early ferry')
    await photograph(tab, 'conflict')
  }
  const [stored] = (await ann.call('GET', '/api/tasks/')).body.results
  expect(stored).toMatchObject({ title: 'Book the early ferry', description: 'With a cabin' })

  // The same on both, whichever of them it was whose value gave way.
  for (const tab of [phone, laptop]) await tab.button('Keep “Book the early ferry”').waitFor()
  const wanted = 'Use “Book the night ferry”'
  await phone.button(wanted).click()
  for (const tab of [phone, laptop]) {
    await tab.shows('Book the night ferry')
    await tab.button(wanted).waitFor({ state: 'detached' })
  }
  await areSaved(server, ann, 'Book the night ferry')
})

story(
  'working offline is of the device: every tab shows it, also anew, and any ends it',
  async () => {
    const ann = await server.person()
    const { device, tab: one } = await signedIn(server, ann)
    const two = await device.openTab()
    await two.hasStatus('Synced')
    await one.lookAt()
    await one.workOffline.click()
    for (const tab of [one, two]) {
      await tab.hasStatus('Offline')
      await eventually(() => tab.workOffline.isChecked()).toBe(true)
    }
    await Promise.all([one.page.reload(), two.page.reload()])
    for (const tab of [one, two]) {
      await tab.hasStatus('Offline')
      await eventually(() => tab.workOffline.isChecked()).toBe(true)
    }
    await two.lookAt()
    await two.workOffline.click()
    for (const tab of [one, two]) {
      await tab.hasStatus('Synced')
      await eventually(() => tab.workOffline.isChecked()).toBe(false)
    }
  },
)

story('a conflict that is dismissed stays away on this device, and only here', async () => {
  const ann = await server.person()
  const { tab: phone } = await signedIn(server, ann)
  const { tab: laptop } = await signedIn(server, ann)
  await laptop.add('Book the ferry')
  await phone.shows('Book the ferry')
  await phone.workOffline.click()
  await phone.edit('Book the ferry', { Title: 'Book the night ferry' })
  await laptop.edit('Book the ferry', { Title: 'Book the early ferry' })
  await areSaved(server, ann, 'Book the early ferry')
  await phone.workOffline.click()

  await phone.button('Keep “Book the early ferry”').click()
  await phone.notices.waitFor({ state: 'detached' })
  await laptop.button('Use “Book the night ferry”').waitFor()
  await phone.page.reload()
  await phone.hasStatus('Synced')
  await phone.shows('Book the early ferry')
  expect(await phone.notices.count()).toBe(0)
})

/** The sockets to the server that a tab has open at a time. */
function openSockets({ page }: Tab): Set<WebSocket> {
  const open = new Set<WebSocket>()
  // The end of a page tells nothing of its sockets.
  page.on('request', (request) => {
    if (request.isNavigationRequest()) open.clear()
  })
  page.on('websocket', (socket) => {
    open.add(socket)
    socket.on('close', () => open.delete(socket))
  })
  return open
}
