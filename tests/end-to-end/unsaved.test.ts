import type { Locator } from 'playwright-core'
import { afterAll, beforeAll, expect } from 'vitest'
import { startServer, type TestServer } from '../support/server.ts'
import {
  areSaved,
  EVERYTHING_KEPT,
  openDevice,
  PHONE,
  photograph,
  signedIn,
  story,
  titlesOnServer,
} from './stage.ts'
import { eventually } from './tab.ts'

let server: TestServer
beforeAll(async () => {
  server = await startServer()
})
afterAll(() => server.stop())

story(
  'whatever this device cannot keep is announced, stays where it was typed, and is not shown as done',
  async () => {
    const ann = await server.person()
    const { device, tab } = await signedIn(server, ann)
    for (const title of ['Book the ferry', 'Pack', 'Call Ines']) await tab.add(title)
    await tab.delete('Call Ines')
    await tab.hasStatus('Synced')
    await device.context.addInitScript(MAY_BE_FULL)
    await tab.page.reload()
    await tab.shows('Book the ferry', 'Pack')
    await tab.hasStatus('Synced')
    await tab.page.evaluate('isFull = true')
    const alert = tab.page.getByRole('alert').filter({ hasText: 'storage of this device is full' })

    await tab.newTask.fill('Water the plants')
    await tab.newTask.press('Enter')
    await alert.waitFor()
    await tab.hasStatus('Not saved')
    expect(await tab.newTask.inputValue()).toBe('Water the plants')
    await photograph(tab, 'not-saved')

    const isRefused = async (attempt: () => Promise<unknown>) => {
      await tab.button('Dismiss this alert').click()
      await attempt()
      await alert.waitFor()
    }
    const done = tab.page.getByRole('checkbox', { name: 'Done: Pack', exact: true })
    await isRefused(() => done.click())
    await eventually(() => done.isChecked()).toBe(false)
    await isRefused(() => tab.button('Delete Pack').click())
    await isRefused(() => tab.button('Move Pack').press('ArrowUp'))
    await tab.shows('Book the ferry', 'Pack')
    await tab.openView('Trash')
    await isRefused(() => tab.button('Restore Call Ines').click())
    expect(await tab.toast.count()).toBe(0)
    await tab.openView('All')
    expect(await tab.newTask.inputValue()).toBe('Water the plants')

    const editor = await tab.openEditor('Pack')
    await editor.getByLabel('Title').fill('Pack a bag')
    await editor.getByRole('button', { name: 'Save' }).click()
    await editor.getByRole('alert').filter({ hasText: 'storage of this device is full' }).waitFor()
    await photograph(tab, 'not-saved-dialog')
    expect(await editor.getByLabel('Title').inputValue()).toBe('Pack a bag')
    await editor.getByRole('button', { name: 'Cancel' }).click()
    await tab.button('New category').click()
    const category = tab.page.getByRole('dialog', { name: 'New category' })
    await category.getByLabel('Name').fill('Travel')
    await category.getByRole('button', { name: 'Save' }).click()
    await category
      .getByRole('alert')
      .filter({ hasText: 'storage of this device is full' })
      .waitFor()
    expect(await category.getByLabel('Name').inputValue()).toBe('Travel')

    await tab.page.evaluate('isFull = false')
    await category.getByRole('button', { name: 'Save' }).click()
    await category.waitFor({ state: 'detached' })
    await tab.hasStatus('Synced')
    await tab.page.evaluate('isFull = true')
    await tab.openAccount()
    const name = tab.page.getByRole('textbox', { name: 'Display name' })
    await name.fill('Ann Lee')
    await name.press('Tab')
    await alert.waitFor()
    expect(await name.inputValue()).toBe('Ann Lee')
    const language = tab.page.getByRole('combobox', { name: 'Language of mails' })
    await isRefused(() => language.selectOption('Deutsch'))
    await eventually(() => language.inputValue()).toBe('en')

    await tab.page.evaluate('isFull = false')
    await tab.openView('All')
    await tab.newTask.press('Enter')
    await tab.shows('Book the ferry', 'Pack', 'Water the plants')
    await tab.hasStatus('Synced')
    await areSaved(server, ann, 'Book the ferry', 'Pack', 'Water the plants')
  },
  90_000,
)

story(
  "a device on which the browser's own quota is used up says so, and keeps the text",
  async () => {
    const ann = await server.person()
    const device = await openDevice(server)
    const { page } = await device.openTab()
    const session = await device.context.newCDPSession(page)
    const { origin } = new URL(server.url)
    await session.send('Storage.overrideQuotaForOrigin', { origin, quotaSize: 20_000_000 })
    const tab = await device.openTab()
    await tab.signIn(ann)
    await tab.add('Book the ferry')
    await tab.hasStatus('Synced')
    await tab.page.evaluate(USE_UP)
    await tab.newTask.fill('Pack')
    await tab.newTask.press('Enter')
    await tab.page
      .getByRole('alert')
      .filter({ hasText: 'storage of this device is full' })
      .waitFor()
    await tab.hasStatus('Not saved')
    expect(await tab.newTask.inputValue()).toBe('Pack')
    await session.send('Storage.overrideQuotaForOrigin', { origin, quotaSize: 200_000_000 })
    await tab.page.evaluate(`indexedDB.deleteDatabase('filler')`)
    await eventually(async () => {
      await tab.newTask.press('Enter')
      return tab.task('Pack').count()
    }).toBe(1)
  },
  60_000,
)

story('a tab under which a newer release has taken over says so, and keeps the text', async () => {
  const { tab } = await signedIn(server, await server.person())
  await tab.add('Book the ferry')
  await tab.hasStatus('Synced')
  await tab.page.evaluate(TAKE_OVER)
  const editor = await tab.openEditor('Book the ferry')
  await editor.getByLabel('Title').fill('Book the night ferry')
  await editor.getByRole('button', { name: 'Save' }).click()
  await editor.getByRole('alert').filter({ hasText: 'newer version of the app' }).waitFor()
  expect(await editor.getByLabel('Title').inputValue()).toBe('Book the night ferry')
})

story('an open edit outlives the deletion of its task on another device', async () => {
  const ann = await server.person()
  const { tab } = await signedIn(server, ann, { viewport: PHONE, hasTouch: true })
  await tab.add('Book the ferry')
  await areSaved(server, ann, 'Book the ferry')
  const [task] = (await ann.call('GET', '/api/tasks/')).body.results
  const editor = await tab.openEditor('Book the ferry')
  await editor.getByLabel('Description').fill('With a cabin')
  await ann.call('DELETE', `/api/tasks/${task.id}/`)
  await editor.getByRole('alert').filter({ hasText: 'deleted in the meantime' }).waitFor()
  await photograph(tab, 'deleted-meanwhile')
  expect(await editor.getByLabel('Description').inputValue()).toBe('With a cabin')
  await editor.getByRole('button', { name: 'Restore and save' }).click()
  await editor.waitFor({ state: 'detached' })
  await tab.shows('Book the ferry')
  await eventually(
    async () => (await ann.call('GET', `/api/tasks/${task.id}/`)).body.description,
  ).toBe('With a cabin')

  // What another device restores opens no dialog here.
  await tab.openEditor('Book the ferry')
  await ann.call('DELETE', `/api/tasks/${task.id}/`)
  await editor.getByRole('alert').waitFor()
  await editor.getByRole('button', { name: 'Cancel' }).click()
  await ann.call('POST', `/api/tasks/${task.id}/restore/`)
  await tab.shows('Book the ferry')
  expect(await editor.count()).toBe(0)
})

story(
  'an edit that was open does not overwrite what another device changed meanwhile',
  async () => {
    const ann = await server.person()
    const { tab } = await signedIn(server, ann)
    await tab.add('Book the ferry')
    await areSaved(server, ann, 'Book the ferry')
    const [task] = (await ann.call('GET', '/api/tasks/')).body.results
    const editor = await tab.openEditor('Book the ferry')
    await editor.getByLabel('Description').fill('With a cabin')
    await ann.call('PATCH', `/api/tasks/${task.id}/`, { title: 'Book the night ferry' })
    await tab.task('Book the night ferry').waitFor({ state: 'attached' })
    await editor.getByRole('button', { name: 'Save' }).click()
    await editor.waitFor({ state: 'detached' })
    await eventually(
      async () => (await ann.call('GET', `/api/tasks/${task.id}/`)).body,
    ).toMatchObject({ title: 'Book the night ferry', description: 'With a cabin' })
  },
)

story(
  'Escape, the back button and a reload leave a draft, which is offered',
  async () => {
    const ann = await server.person()
    const { device, tab } = await signedIn(server, ann)
    await tab.add('Book the ferry')
    await tab.openView('Today')
    await tab.openView('All')
    const editor = await tab.openEditor('Book the ferry')
    const title = editor.getByLabel('Title')
    const drafts = tab.page.getByRole('region', { name: 'Drafts' })

    await title.fill('Book the night ferry')
    await tab.page.keyboard.press('Escape')
    await editor.waitFor({ state: 'detached' })
    await photograph(tab, 'draft')
    const toast = tab.page.getByRole('status').filter({ hasText: 'Kept as a draft' })
    await toast.getByRole('button', { name: 'Continue' }).click()
    await hasText(title, 'Book the night ferry')
    await photograph(tab, 'draft-dialog')

    await editor.getByRole('button', { name: 'Tomorrow morning' }).click()
    await tab.page.goBack()
    await editor.waitFor({ state: 'detached' })
    await tab.page.reload()
    await drafts.getByRole('button', { name: 'Continue editing Book the ferry' }).click()
    await hasText(title, 'Book the night ferry')
    await editor.getByRole('button', { name: 'Save' }).click()
    await editor.waitFor({ state: 'detached' })
    expect(await drafts.count()).toBe(0)
    await areSaved(server, ann, 'Book the night ferry')
    const [task] = (await ann.call('GET', '/api/tasks/')).body.results
    expect(task.remind_at).not.toBeNull()

    // A draft that is declined or cancelled is not offered again.
    await tab.openView('All')
    await tab.openEditor('Book the night ferry')
    await title.fill('Book the early ferry')
    await tab.page.keyboard.press('Escape')
    await tab.openEditor('Book the night ferry')
    await editor.getByRole('button', { name: 'Discard draft' }).click()
    await hasText(title, 'Book the night ferry')
    await title.fill('Book the early ferry')
    await editor.getByRole('button', { name: 'Cancel' }).click()
    expect(await drafts.count()).toBe(0)

    // In the browser's own storage they leave with the person, in every tab.
    const other = await device.openTab()
    await other.task('Book the night ferry').waitFor()
    await tab.lookAt()
    await tab.openEditor('Book the night ferry')
    await title.fill('Book the early ferry')
    await tab.page.keyboard.press('Escape')
    await tab.newTask.fill('Half a thought')
    expect(await tab.page.evaluate(EVERYTHING_KEPT)).toContain('Book the early ferry')
    await tab.hasStatus('Synced')
    await tab.signOut()
    for (const { page } of [tab, other])
      await page.getByRole('textbox', { name: 'Username' }).waitFor()
    const kept = await tab.page.evaluate(EVERYTHING_KEPT)
    for (const trace of ['Book the early ferry', 'Half a thought', 'tasktide drafts'])
      expect(kept).not.toContain(trace)
  },
  60_000,
)

story('what is typed for a new task stays in the field, whatever view is opened', async () => {
  const ann = await server.person()
  const { tab } = await signedIn(server, ann)
  await tab.newTask.fill('Book the ferry')
  for (const view of ['Today', 'Overdue', 'All']) await tab.openView(view)
  await hasText(tab.newTask, 'Book the ferry')
  await tab.page.reload()
  await hasText(tab.newTask, 'Book the ferry')
  await tab.newTask.press('Enter')
  await tab.shows('Book the ferry')
  await tab.openView('Today')
  await hasText(tab.newTask, '')
})

story('what is typed while the view changes is in the field', async () => {
  const { tab } = await signedIn(server, await server.person())
  await tab.newTask.fill('Book the ')
  // As soon as the field of the former view is gone.
  const focused = await tab.page.evaluate(`new Promise((resolve) => {
    const former = document.getElementById('new-task')
    const look = () => former.isConnected || resolve(document.activeElement.id)
    new MutationObserver(look).observe(document.body, { childList: true, subtree: true })
    location.hash = '#today'
  })`)
  expect(focused).toBe('new-task')
  await tab.page.keyboard.type('ferry')
  expect(await tab.newTask.inputValue()).toBe('Book the ferry')
})

story('a text that the server would refuse stays in its field, which says why', async () => {
  const ann = await server.person()
  const { tab } = await signedIn(server, ann)
  const long = 'Book the ferry '.repeat(40).trim()
  await tab.newTask.fill(long)
  await tab.newTask.press('Enter')
  await eventually(() => describedBy(tab.newTask)).toContain('at most 500 characters')
  await photograph(tab, 'too-long')
  await hasText(tab.newTask, long)
  await tab.newTask.fill('Book the ferry')
  await tab.newTask.press('Enter')
  await tab.shows('Book the ferry')
  const editor = await tab.openEditor('Book the ferry')
  const title = editor.getByLabel('Title')
  for (const [text, reason] of [
    [long, /at most 500 characters/],
    ['   ', /this is blank/],
  ] as const) {
    await title.fill(text)
    await editor.getByRole('button', { name: 'Save' }).click()
    await eventually(() => describedBy(title)).toMatch(reason)
  }
  await editor.getByLabel('Description').fill('x'.repeat(10_001))
  await eventually(() => describedBy(editor.getByLabel('Description'))).toContain('at most 10,000')
  await editor.getByRole('button', { name: 'Cancel' }).click()
  await tab.hasStatus('Synced')
  expect(await titlesOnServer(server, ann)).toEqual(['Book the ferry'])
})

story('the browser is asked to keep what only this device has, and not before', async () => {
  const ann = await server.person()
  const { device, tab } = await signedIn(server, ann)
  await device.context.addInitScript(REFUSES_TO_KEEP)
  await tab.page.reload()
  await tab.add('Book the ferry')
  await tab.hasStatus('Synced')
  await tab.openSyncPanel()
  expect(await tab.page.evaluate('asked')).toBe(0)
  await tab.page.keyboard.press('Escape')

  await tab.workOffline.click()
  await tab.add('Pack')
  await tab.hasStatus('Offline · 1 pending')
  await eventually(() => tab.page.evaluate('asked')).toBe(1)
  await tab.openSyncPanel()
  await tab.syncPanel.getByText('may delete unsent changes').waitFor()
  await photograph(tab, 'may-be-deleted')
  await tab.page.keyboard.press('Escape')
  await tab.workOffline.click()
  await tab.hasStatus('Synced')
  await tab.openSyncPanel()
  expect(await tab.syncPanel.innerText()).not.toContain('may delete')
})

story('site data that is cleared under an open tab takes no text along', async () => {
  const ann = await server.person()
  const { device, tab } = await signedIn(server, ann)
  await tab.add('Book the ferry')
  await tab.hasStatus('Synced')
  const session = await device.context.newCDPSession(tab.page)
  const { origin } = new URL(server.url)
  await session.send('Storage.clearDataForOrigin', { origin, storageTypes: 'all' })
  const alert = tab.page.getByRole('alert').filter({ hasText: 'closed the storage of this app' })
  await tab.newTask.fill('Pack')
  await tab.newTask.press('Enter')
  await alert.waitFor()
  await tab.hasStatus('Not saved')
  await hasText(tab.newTask, 'Pack')
  await tab.page.reload()
  await tab.signIn(ann)
  await tab.shows('Book the ferry')
  await hasText(tab.newTask, 'Pack')
  await tab.newTask.press('Enter')
  await tab.shows('Book the ferry', 'Pack')
})

story('an open category outlives its deletion on another device, too', async () => {
  const ann = await server.person()
  const travel = await ann.call('POST', '/api/categories/', { name: 'Travel', color: '#0ea5e9' })
  const { tab } = await signedIn(server, ann)
  await tab.openView('Travel')
  await tab.button('Edit category').click()
  const editor = tab.page.getByRole('dialog', { name: 'Edit category' })
  await editor.getByLabel('Name').fill('Travels')
  await ann.call('DELETE', `/api/categories/${travel.body.id}/`)
  await editor.getByRole('alert').filter({ hasText: 'deleted in the meantime' }).waitFor()
  await hasText(editor.getByLabel('Name'), 'Travels')
  await editor.getByRole('button', { name: 'Restore and save' }).click()
  await editor.waitFor({ state: 'detached' })
  await eventually(
    async () => (await ann.call('GET', '/api/categories/')).body.results,
  ).toMatchObject([{ id: travel.body.id, name: 'Travels', color: '#0ea5e9' }])
})

story(
  'a device that cannot keep a session says so, and asks for nothing to be typed again',
  async () => {
    const ann = await server.person()
    const device = await openDevice(server)
    await device.context.addInitScript(MAY_BE_FULL)
    const tab = await device.openTab()
    await tab.page.evaluate('isFull = true')
    const field = (name: string) => tab.page.getByRole('textbox', { name })
    await field('Username').fill(ann.username)
    await field('Password').fill(ann.password)
    await tab.button('Sign in').click()
    await tab.page
      .getByRole('alert')
      .filter({ hasText: 'storage of this device is full' })
      .waitFor()
    await tab.page.evaluate('isFull = false')
    await hasText(field('Username'), ann.username)
    await tab.button('Sign in').click()
    await tab.hasStatus('Synced')
  },
)

const hasText = (field: Locator, text: string) => eventually(() => field.inputValue()).toBe(text)

/** What assistive technology reads out with a field. */
function describedBy(field: Locator): Promise<string> {
  return field.evaluate((element) => {
    const id = element.getAttribute('aria-describedby')
    return (id && element.ownerDocument.getElementById(id)?.innerText) || ''
  })
}

/** While `isFull`, IndexedDB takes nothing, as when the quota is used up. */
const MAY_BE_FULL = `
  globalThis.isFull = false
  for (const method of ['put', 'add']) {
    const write = IDBObjectStore.prototype[method]
    IDBObjectStore.prototype[method] = function (...args) {
      if (isFull) throw new DOMException('Quota exceeded', 'QuotaExceededError')
      return write.apply(this, args)
    }
  }
`

/** Fills what room there is, to the last hundred characters. */
const USE_UP = `new Promise((resolve, reject) => {
  const opening = indexedDB.open('filler')
  opening.onupgradeneeded = () => opening.result.createObjectStore('all', { autoIncrement: true })
  opening.onerror = () => reject(opening.error)
  opening.onsuccess = () => {
    const fill = (size) => {
      if (size < 100) {
        opening.result.close()
        return resolve()
      }
      const writing = opening.result.transaction('all', 'readwrite')
      writing.objectStore('all').add('x'.repeat(size))
      writing.oncomplete = () => fill(size)
      writing.onabort = () => fill(size / 2)
    }
    fill(4_000_000)
  }
})`

/** As a newer release does in another tab: see `client-sdk/tabs/takeover.ts`. */
const TAKE_OVER = `(async () => {
  const answered = (request) =>
    new Promise((resolve, reject) => {
      request.onsuccess = () => resolve(request.result)
      request.onerror = () => reject(request.error)
    })
  for (const { name } of await indexedDB.databases()) {
    if (!name.includes('_rxdb_internal')) continue
    const database = await answered(indexedDB.open(name))
    for (const store of database.objectStoreNames) {
      const documents = database.transaction(store, 'readwrite').objectStore(store)
      for (const document of await answered(documents.getAll()))
        if (document.context === 'collection') await answered(documents.delete(document.id))
    }
    database.close()
  }
})()`

const REFUSES_TO_KEEP = `
  globalThis.asked = 0
  navigator.storage.persist = async () => {
    asked++
    return false
  }
`
