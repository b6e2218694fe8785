import type { Locator } from 'playwright-core'
import { afterAll, beforeAll, expect } from 'vitest'
import { startServer, type TestServer } from '../support/server.ts'
import { areSaved, openDevice, story } from './stage.ts'
import { eventually, type Tab } from './tab.ts'

let server: TestServer
beforeAll(async () => {
  server = await startServer()
})
afterAll(() => server.stop())

story(
  'with the keyboard alone: sign in, add, edit, reorder, complete, undo, delete, restore',
  async () => {
    const ann = await server.person()
    const tab = await (await openDevice(server)).openTab()
    const { page } = tab
    const { keyboard } = page

    await tabTo(tab, page.getByRole('textbox', { name: 'Username' }))
    await keyboard.type(ann.username)
    await tabTo(tab, page.getByRole('textbox', { name: 'Password' }))
    await keyboard.type(ann.password)
    await keyboard.press('Enter')
    await tab.newTask.waitFor()
    await tab.hasStatus('Synced')

    await tabTo(tab, tab.newTask)
    for (const title of ['Book the ferry', 'Pack']) {
      await keyboard.type(title)
      await keyboard.press('Enter')
      await tab.task(title).waitFor()
    }
    expect(await isFocused(tab.newTask)).toBe(true)

    await tabTo(tab, tab.button('Edit Pack'))
    await keyboard.press('Enter')
    const title = page.getByRole('dialog').getByRole('textbox', { name: 'Title' })
    await eventually(() => isFocused(title)).toBe(true)
    await keyboard.press('Escape')
    await title.waitFor({ state: 'detached' })
    await eventually(() => isFocused(tab.button('Edit Pack'))).toBe(true)
    await keyboard.press('Enter')
    await eventually(() => isFocused(title)).toBe(true)
    await keyboard.press('ControlOrMeta+a')
    await keyboard.type('Pack a bag')
    await keyboard.press('Enter')
    await tab.shows('Book the ferry', 'Pack a bag')
    await eventually(() => isFocused(tab.button('Edit Pack a bag'))).toBe(true)

    await tabTo(tab, tab.button('Move Pack a bag'))
    await keyboard.press('ArrowUp')
    await tab.shows('Pack a bag', 'Book the ferry')
    await eventually(() => isFocused(tab.button('Move Pack a bag'))).toBe(true)
    await keyboard.press('ArrowDown')
    await tab.shows('Book the ferry', 'Pack a bag')
    await keyboard.press('ArrowUp')
    await tab.shows('Pack a bag', 'Book the ferry')

    const done = page.getByRole('checkbox', { name: 'Done: Pack a bag' })
    await tabTo(tab, done)
    await keyboard.press('Space')
    await eventually(() => completedOnServer()).toEqual(['Pack a bag'])
    await tabTo(tab, tab.toast.getByRole('button', { name: 'Undo' }))
    await keyboard.press('Enter')
    await eventually(() => completedOnServer()).toEqual([])
    await tab.shows('Pack a bag', 'Book the ferry')

    await tabTo(tab, tab.button('Delete Book the ferry'))
    await keyboard.press('Enter')
    await tab.shows('Pack a bag')
    await tabTo(
      tab,
      page.getByRole('navigation', { name: 'Views' }).getByRole('button', { name: 'Trash' }),
    )
    await keyboard.press('Enter')
    await tabTo(tab, tab.button('Restore Book the ferry'))
    await keyboard.press('Enter')
    await tab.button('Restore Book the ferry').waitFor({ state: 'detached' })
    await tabTo(
      tab,
      page.getByRole('navigation', { name: 'Views' }).getByRole('button', { name: 'All' }),
    )
    await keyboard.press('Enter')
    await tab.shows('Pack a bag', 'Book the ferry')
    await tab.hasStatus('Synced')
    await areSaved(server, ann, 'Pack a bag', 'Book the ferry')

    async function completedOnServer(): Promise<string[]> {
      const { results } = (await ann.call('GET', '/api/tasks/?completed=true')).body
      return results.map(({ title }: { title: string }) => title)
    }
  },
  60_000,
)

/** Presses Tab until the focus is there: once around the page at most. */
async function tabTo({ page }: Tab, target: Locator): Promise<void> {
  await target.waitFor()
  for (let presses = 0; presses < 80; presses++) {
    if (await isFocused(target)) return
    await page.keyboard.press('Tab')
  }
  throw new Error(`The Tab key does not reach ${target}.`)
}

const isFocused = async (target: Locator) =>
  (await target.count()) > 0 &&
  target.evaluate((element) => element === element.ownerDocument.activeElement)
