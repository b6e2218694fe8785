import { afterAll, beforeEach, expect } from 'vitest'
import { createDatabase } from '../support/database.ts'
import { startServer, type TestServer } from '../support/server.ts'
import {
  areSaved,
  EVERYTHING_KEPT,
  openDevice,
  PHONE,
  photograph,
  signedIn,
  signInByRest,
  story,
  titlesOnServer,
} from './stage.ts'
import { eventually, type Tab } from './tab.ts'

const HOUR_MS = 60 * 60 * 1000
const DAY_MS = 24 * HOUR_MS

let server: TestServer
/** Moved by some tests, so each has a server of its own. */
const servers = new Set<TestServer>()
beforeEach(async () => {
  server = await startServer()
  servers.add(server)
})
afterAll(() => Promise.all([...servers].map((one) => one.stop())))

story('an account is made on the device, and what is wrong stands beside its field', async () => {
  await server.person('maria')
  const device = await openDevice(server, { viewport: PHONE })
  const tab = await device.openTab()
  await tab.page.getByText('Create an account').click()
  const field = (name: string) => tab.page.getByRole('textbox', { name })
  await field('Username').fill('maria')
  await field('Email').fill('m@example.com')
  await field('Password').fill('a ferry to Lisbon')
  await tab.button('Create account').click()
  await eventually(() => describedBy(tab, 'Username')).toMatch(/taken/)
  await photograph(tab, 'field-fault')

  await field('Username').fill('maria2')
  await field('Email').fill('m2@example.com')
  await tab.button('Create account').click()
  await tab.newTask.waitFor()
  await tab.hasStatus('Synced')
})

story('a wrong password is told in words, and the right one signs in', async () => {
  const ann = await server.person()
  const tab = await (await openDevice(server)).openTab()
  await tab.page.getByRole('textbox', { name: 'Username' }).fill(ann.username)
  await tab.page.getByRole('textbox', { name: 'Password' }).fill('a ferry to Porto')
  await tab.button('Sign in').click()
  await eventually(() => tab.page.getByRole('alert').innerText()).toMatch(
    /Wrong username or password/,
  )
  await tab.signIn(ann)
  await tab.hasStatus('Synced')
})

story('a token that expires overnight is renewed without a word', async () => {
  const ann = await server.person()
  const { device, tab } = await signedIn(server, ann, { movableClock: true })
  await tab.add('Book the ferry')
  await areSaved(server, ann, 'Book the ferry')

  server.clock.advance(12 * HOUR_MS)
  expect((await ann.call('GET', '/api/tasks/')).status).toBe(401)
  const renewed = tab.page.waitForResponse('**/api/token/refresh/')
  await device.context.clock.fastForward(12 * HOUR_MS)
  expect((await renewed).status()).toBe(200)

  await tab.add('Pack')
  // In whatever order: the Date of an answer is not moved, so the device takes its clock to be wrong.
  await eventually(() => titlesOnServer(server, ann)).toHaveLength(2)
  await tab.hasStatus('Synced')
  await (await signInByRest(server, ann))('POST', '/api/tasks/', { title: 'Call Ines' })
  await tab.task('Call Ines').waitFor()
})

story('after a month away the person signs in again, and what was unsent is sent', async () => {
  const ann = await server.person()
  const { device, tab } = await signedIn(server, ann, { movableClock: true })
  await tab.add('Book the ferry')
  await areSaved(server, ann, 'Book the ferry')
  await device.goOffline()
  await tab.add('Pack')
  await tab.hasStatus('Offline · 1 pending')

  server.clock.advance(31 * DAY_MS)
  await device.context.clock.fastForward(31 * DAY_MS)
  await device.comeBack()
  const banner = tab.page
    .getByRole('alert')
    .filter({ hasText: 'Your session has ended. Sign in to send your changes.' })
  await banner.waitFor()
  await tab.hasStatus('Sign in again')
  await tab.shows('Book the ferry', 'Pack')
  await tab.edit('Pack', { Title: 'Pack a bag' })
  await photograph(tab, 'session-ended')
  expect(await titlesOnServer(server, ann)).toEqual(['Book the ferry'])

  await tab.page.getByLabel('Password').fill(ann.password)
  await tab.page.getByLabel('Password').press('Enter')
  await banner.waitFor({ state: 'detached' })
  await tab.hasStatus('Synced')
  await tab.shows('Book the ferry', 'Pack a bag')
  await areSaved(server, ann, 'Book the ferry', 'Pack a bag')
})

story('the server may restart in the middle of the work', async () => {
  const { url, drop } = await createDatabase()
  const first = await startServer({ DATABASE_URL: url })
  const ann = await first.person()
  const { tab } = await signedIn(first, ann)
  await tab.add('Book the ferry')
  await areSaved(first, ann, 'Book the ferry')

  await first.stop()
  await tab.add('Pack')
  await tab.hasStatus('Offline · 1 pending')
  await tab.complete('Book the ferry')
  const { port } = new URL(first.url)
  const second = await startServer({ DATABASE_URL: url, PORT: port })
  try {
    await eventually(async () => {
      const { results } = (await ann.call('GET', '/api/tasks/?ordering=position')).body
      return results
    }).toMatchObject([
      { title: 'Book the ferry', completed: true },
      { title: 'Pack', completed: false },
    ])
    await tab.hasStatus('Synced')
    await ann.call('POST', '/api/tasks/', { title: 'Call Ines' })
    await tab.task('Call Ines').waitFor()
  } finally {
    await second.stop()
    await drop()
  }
})

story('the next person on a device sees nothing of the one who signed out', async () => {
  const [ann, bob] = [await server.person(), await server.person()]
  const { device, tab } = await signedIn(server, ann)
  const other = await device.openTab()
  await other.newTask.waitFor()
  await tab.lookAt()
  await tab.add('Book the ferry')
  await areSaved(server, ann, 'Book the ferry')
  await tab.signOut()
  for (const { page } of [tab, other])
    await page.getByRole('textbox', { name: 'Username' }).waitFor()
  expect(await tab.page.content()).not.toContain('Book the ferry')

  await tab.signIn(bob)
  await tab.hasStatus('Synced')
  await tab.shows()
  await tab.openView('Trash')
  expect(await tab.page.content()).not.toContain('Book the ferry')
  const all = await tab.page.evaluate<string>(EVERYTHING_KEPT)
  // The mark of the device stays: guesses of strangers must not delay whoever has signed in here before.
  const kept = all.replace(/"marks":\{[^}]*\}/, '')
  expect(kept).not.toBe(all)
  expect(kept).toContain(bob.username)
  for (const trace of ['Book the ferry', ann.username, ann.id]) expect(kept).not.toContain(trace)
})

story('signing out waits for no answer, and is not told as a session that has ended', async () => {
  const { tab } = await signedIn(server, await server.person())
  await tab.page.route('**/api/logout/', () => {})
  await tab.page.evaluate(KEEP_ALERTS)
  await tab.signOut()
  await tab.page.getByRole('textbox', { name: 'Username' }).waitFor()
  expect(await tab.page.evaluate('alerts')).toEqual([])
})

story('signing out with unsent edits asks first, and can be cancelled', async () => {
  const ann = await server.person()
  const { tab } = await signedIn(server, ann)
  await writeUnsent(tab, 'Pack')
  await tab.signOut()
  const dialog = tab.page.getByRole('dialog', { name: 'Unsent changes' })
  await dialog.waitFor()
  await photograph(tab, 'unsent-changes')
  await dialog.getByRole('button', { name: 'Cancel' }).click()
  await dialog.waitFor({ state: 'detached' })
  await tab.shows('Pack')
  await tab.hasStatus('Offline · 1 pending')
  await tab.workOffline.click()
  await tab.hasStatus('Synced')
  await areSaved(server, ann, 'Pack')
})

story('unsent edits that are kept wait for the person, whoever comes between', async () => {
  const [ann, bob] = [await server.person(), await server.person()]
  const { tab } = await signedIn(server, ann)
  await writeUnsent(tab, 'Pack')
  await tab.signOut()
  await tab.button('Keep them on this device').click()
  await tab.signIn(bob)
  await tab.hasStatus('Synced')
  await tab.shows()
  await tab.signOut()
  await tab.signIn(ann)
  await tab.shows('Pack')
  await tab.hasStatus('Synced')
  await areSaved(server, ann, 'Pack')
  expect(await titlesOnServer(server, bob)).toEqual([])
})

story('unsent edits that are discarded are gone', async () => {
  const ann = await server.person()
  const { tab } = await signedIn(server, ann)
  await tab.add('Book the ferry')
  await areSaved(server, ann, 'Book the ferry')
  await writeUnsent(tab, 'Pack')
  await tab.signOut()
  await tab.button('Discard them').click()
  await tab.signIn(ann)
  await tab.hasStatus('Synced')
  await tab.shows('Book the ferry')
  await areSaved(server, ann, 'Book the ferry')
})

async function writeUnsent(tab: Tab, title: string): Promise<void> {
  await tab.workOffline.click()
  await tab.hasStatus('Offline')
  await tab.add(title)
  await tab.hasStatus('Offline · 1 pending')
}

/** What assistive technology reads out with this textbox. */
function describedBy(tab: Tab, name: string): Promise<string> {
  return tab.page.getByRole('textbox', { name }).evaluate((field) => {
    const ids: string[] = (field.getAttribute('aria-describedby') ?? '').split(' ')
    return ids.map((id) => field.ownerDocument.getElementById(id)?.innerText ?? '').join(' ')
  })
}

/** Keeps what is cried out from now on, though it be gone in a moment. */
const KEEP_ALERTS = `
  globalThis.alerts = []
  new MutationObserver(() => {
    for (const { innerText } of document.querySelectorAll('[role=alert]')) alerts.push(innerText)
  }).observe(document, { subtree: true, childList: true })
`
