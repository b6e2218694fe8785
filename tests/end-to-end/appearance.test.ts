import { readFileSync } from 'node:fs'
import { createRequire } from 'node:module'
import type { AxeResults } from 'axe-core'
import { afterAll, beforeAll, describe, expect } from 'vitest'
import { type Person, startServer, type TestServer } from '../support/server.ts'
import { DESKTOP, openDevice, PHONE, photograph, refuse, story } from './stage.ts'
import type { Tab } from './tab.ts'

const AXE = readFileSync(createRequire(import.meta.url).resolve('axe-core/axe.min.js'), 'utf8')

let server: TestServer
beforeAll(async () => {
  server = await startServer()
})
afterAll(() => server.stop())

describe.each([
  ['a phone', PHONE],
  ['a desktop', DESKTOP],
])('on %s', (_, viewport) => {
  story(
    'nothing stands in the way of anybody, in light and in dark, and nothing sticks out',
    async () => {
      const ann = await someoneBusy()
      const device = await openDevice(server, { viewport, reducedMotion: 'reduce' })
      await device.context.addInitScript(AXE)
      const tab = await device.openTab()
      await tab.button('Sign in').waitFor()
      await inspect(tab, 'sign-in')
      await tab.page.getByText('Create an account').click()
      await tab.button('Create account').waitFor()
      await inspect(tab, 'create-account')
      await tab.page.reload()
      await tab.button('Forgot your password?').click()
      await tab.button('Send the link').waitFor()
      await inspect(tab, 'forgotten-password')
      for (const link of ['reset_password=0', 'confirm_email=0']) {
        await tab.page.evaluate(`location.hash = '${link}'`)
        await tab.button('Go to sign-in').waitFor()
        await inspect(tab, link.replace(/_.*/, '-link'))
      }
      await tab.button('Go to sign-in').click()
      await tab.signIn(ann)
      await tab.hasStatus('Synced')
      await tab.notices.waitFor()
      await inspect(tab, 'list-with-notice')

      await tab.page.getByRole('region', { name: 'Email address' }).waitFor()
      await tab.openEditor('Book the ferry')
      await inspect(tab, 'edit-task')
      await tab.page.keyboard.press('Escape')
      await tab.button('Keep “Buy a door lock”').click()
      await tab.notices.waitFor({ state: 'detached' })
      await inspect(tab, 'list')
      await tab.delete('Call Ines')
      await tab.toast.waitFor()
      await inspect(tab, 'undo')
      for (const view of ['Overdue', 'Trash', 'Travel']) {
        await tab.openView(view)
        await inspect(tab, view.toLowerCase())
      }
      await tab.button('New category').click()
      await tab.page.getByRole('dialog', { name: 'New category' }).waitFor()
      await inspect(tab, 'new-category')
      await tab.page.keyboard.press('Escape')
      await tab.button('Account').click()
      await tab.button('Sign out').waitFor()
      await inspect(tab, 'account')
      await tab.button('Account settings').click()
      await tab.page.getByText('This device', { exact: true }).waitFor()
      await tab.page.getByText(/^Tasks and categories: \d+ of 100,000$/).waitFor()
      for (const summary of ['Change the address', 'Change the password'])
        await tab.page.locator('summary', { hasText: summary }).click()
      await inspect(tab, 'account-page')
      await tab.button('Delete my account').click()
      await tab.button('Delete everything').waitFor()
      await inspect(tab, 'delete-account')
    },
    90_000,
  )

  story(
    'neither do drafts, alerts and what the server refused',
    async () => {
      const ann = await server.person()
      const device = await openDevice(server, { viewport, reducedMotion: 'reduce' })
      await device.context.addInitScript(AXE)
      const tab = await device.openTab()
      await tab.signIn(ann)
      for (const title of ['Book the ferry', 'Pack']) await tab.add(title)
      await tab.hasStatus('Synced')
      await refuse(tab, 'heavy')
      await tab.edit('Pack', { Title: 'Pack a heavy bag' })
      await tab.hasStatus('1 rejected')
      const editor = await tab.openEditor('Book the ferry')
      await editor.getByLabel('Title').fill('Book the ferry '.repeat(40))
      await inspect(tab, 'too-long')
      await tab.page.keyboard.press('Escape')
      await tab.page.getByRole('region', { name: 'Drafts' }).waitFor()
      await inspect(tab, 'alert-and-draft')
      await tab.openSyncPanel()
      await inspect(tab, 'sync-panel')
      await tab.page.keyboard.press('Escape')
      await tab.button('Continue editing Book the ferry').click()
      const { results } = (await ann.call('GET', '/api/tasks/?search=ferry')).body
      await ann.call('DELETE', `/api/tasks/${results[0].id}/`)
      await tab.button('Restore and save').waitFor()
      await inspect(tab, 'deleted-draft')
    },
    60_000,
  )
})

async function inspect(tab: Tab, name: string): Promise<void> {
  for (const colorScheme of ['light', 'dark'] as const) {
    await tab.page.emulateMedia({ colorScheme })
    await photograph(tab, `${name}-${colorScheme}`, { fullPage: name === 'account-page' })
    const { violations } = await tab.page.evaluate<AxeResults>('axe.run()')
    const serious = violations
      .filter(({ impact }) => impact === 'serious' || impact === 'critical')
      .flatMap(({ id, nodes }) =>
        nodes.map(({ html }) => `${name}, ${colorScheme}: ${id}: ${html}`),
      )
    expect.soft(serious).toEqual([])
  }
  expect.soft(await tab.page.evaluate(OVERLAPS), name).toEqual([])
  const excess = await tab.page.evaluate('document.documentElement.scrollWidth - innerWidth')
  expect.soft(excess, name).toBeLessThanOrEqual(0)
}

/** The fields and buttons of a dialog that lie over one another. */
const OVERLAPS = `(() => {
  const controls = [...document.querySelectorAll('dialog :is(input, select, textarea, button)')]
  const name = (control) => control.name || control.innerText
  return controls.flatMap((one, index) => {
    const a = one.getBoundingClientRect()
    return controls.slice(index + 1).flatMap((other) => {
      const b = other.getBoundingClientRect()
      const across = Math.min(a.right, b.right) - Math.max(a.left, b.left)
      const down = Math.min(a.bottom, b.bottom) - Math.max(a.top, b.top)
      return across > 0 && down > 0 ? [name(one) + ' and ' + name(other)] : []
    })
  })
})()`

/** With a bit of everything: dates, priorities, a category, something done, a conflict. */
async function someoneBusy(): Promise<Person> {
  const ann = await server.person()
  const travel = await ann.call('POST', '/api/categories/', { name: 'Travel', color: '#0ea5e9' })
  const tasks = [
    {
      title: 'Book the ferry',
      description: 'The early one, with a cabin.',
      priority: 'high',
      due_date: '2020-02-29',
      due_time: '08:30',
      remind_at: '2099-12-01T08:00:00.000Z',
      category_id: travel.body.id,
    },
    { title: 'Pack', priority: 'low', due_date: '2099-12-01' },
    { title: 'Call Ines' },
    { title: 'Water the plants', completed: true },
    { title: `Read ${'Llanfairpwllgwyngyllgogerychwyrndrobwllllantysiliogogogoch'.repeat(3)}` },
    { title: 'Write down all that has to be thought of before the house is left for a month' },
  ]
  for (const task of tasks) expect((await ann.call('POST', '/api/tasks/', task)).status).toBe(201)
  await makeConflict(ann)
  return ann
}

/** What two devices write when neither knows of the other's edit. */
async function makeConflict(person: Person): Promise<void> {
  const base = (await person.call('POST', '/api/tasks/', { title: 'Buy a lock' })).body
  for (const title of ['Buy a bicycle lock', 'Buy a door lock']) {
    const row = {
      newDocumentState: { ...base, title, updated_at: new Date().toISOString(), _deleted: false },
      assumedMasterState: { ...base, _deleted: false },
    }
    await person.call('POST', '/replication/tasks/0/push', [row])
  }
  expect((await person.call('GET', '/api/conflicts/')).body.count).toBe(1)
}
