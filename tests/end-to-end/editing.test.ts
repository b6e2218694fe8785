import { afterAll, beforeAll, expect } from 'vitest'
import { startServer, type TestServer } from '../support/server.ts'
import { areSaved, PHONE, photograph, refuse, signedIn, story } from './stage.ts'
import { eventually } from './tab.ts'

let server: TestServer
beforeAll(async () => {
  server = await startServer()
})
afterAll(() => server.stop())

story('completing and deleting can be undone, and the trash restores', async () => {
  const ann = await server.person()
  const { tab } = await signedIn(server, ann, { viewport: PHONE, hasTouch: true })
  await tab.add('Book the ferry')
  await tab.add('Pack')
  await tab.complete('Pack')
  await tab.toast.getByRole('button', { name: 'Undo' }).click()
  await eventually(() => completedOnServer('Pack')).toBe(false)
  await tab.delete('Book the ferry')
  await photograph(tab, 'undo')
  await tab.toast.getByRole('button', { name: 'Undo' }).click()
  await tab.shows('Book the ferry', 'Pack')
  await tab.delete('Pack')
  await tab.openView('Trash')
  await tab.button('Restore Pack').click()
  await tab.openView('All')
  await tab.shows('Book the ferry', 'Pack')
  await tab.hasStatus('Synced')
  await areSaved(server, ann, 'Book the ferry', 'Pack')

  async function completedOnServer(title: string): Promise<boolean> {
    const { results } = (await ann.call('GET', '/api/tasks/')).body
    return results.find((task: { title: string }) => task.title === title)?.completed
  }
})

story('a task in the trash is deleted for good, with what was drafted for it', async () => {
  const ann = await server.person()
  const { tab } = await signedIn(server, ann)
  await tab.add('Pack')
  await tab.add('A letter to Carla')
  const editor = await tab.openEditor('A letter to Carla')
  await editor.getByLabel('Description').fill('Dear Carla')
  await tab.page.keyboard.press('Escape')
  await tab.hasStatus('Synced')
  const { results } = (await ann.call('GET', '/api/tasks/')).body
  const { id } = results.find(({ title }: { title: string }) => title.includes('Carla'))
  await tab.delete('A letter to Carla')
  await tab.openView('Trash')
  const open = () => tab.button('Delete A letter to Carla for good').click()
  const dialog = tab.page.getByRole('dialog', { name: 'Delete for good' })
  await open()
  await dialog.getByText('It cannot be restored.').waitFor()
  await photograph(tab, 'for-good')
  await dialog.getByRole('button', { name: 'Cancel' }).click()
  await tab.button('Restore A letter to Carla').waitFor()
  await open()
  await dialog.getByRole('button', { name: 'Delete for good' }).click()
  await dialog.waitFor({ state: 'detached' })
  await tab.button('Restore A letter to Carla').waitFor({ state: 'detached' })
  await eventually(() => tab.page.evaluate('JSON.stringify(localStorage)')).not.toMatch(/Carla/)
  await tab.hasStatus('Synced')
  expect((await ann.call('POST', `/api/tasks/${id}/restore/`)).status).toBe(404)
  expect((await ann.call('GET', '/replication/tasks/0/pull')).text).not.toContain('Carla')
})

story('tasks are found by view, category, priority and words', async () => {
  const ann = await server.person()
  const { tab } = await signedIn(server, ann)
  await tab.button('New category').click()
  const dialog = tab.page.getByRole('dialog', { name: 'New category' })
  await dialog.getByRole('textbox', { name: 'Name' }).fill('Travel')
  await dialog.getByRole('button', { name: 'Save' }).click()
  await dialog.waitFor({ state: 'detached' })

  await tab.openView('All')
  for (const title of ['Book the ferry', 'Pack', 'Call Ines']) await tab.add(title)
  const editor = await tab.openEditor('Book the ferry')
  await editor.getByRole('combobox', { name: 'Priority' }).selectOption({ label: 'High' })
  await editor.getByRole('combobox', { name: 'Category' }).selectOption({ label: 'Travel' })
  await editor.getByLabel('Due date').fill(localDay())
  await editor.getByLabel('Due time').fill('08:30')
  await editor.getByRole('button', { name: 'Save' }).click()
  await tab.edit('Pack', { 'Due date': '2020-02-29', Description: 'the warm socks' })

  await tab.openView('Today')
  await tab.shows('Book the ferry')
  await tab.openView('Overdue')
  await tab.shows('Pack')
  await tab.openView('Travel')
  await tab.shows('Book the ferry')
  expect(await tab.page.getByTestId('task-count').innerText()).toMatch(/^1\b/)
  await tab.openView('All')
  await tab.shows('Book the ferry', 'Pack', 'Call Ines')
  const priority = tab.page.getByRole('combobox', { name: 'Filter priority' })
  await priority.selectOption({ label: 'High' })
  await tab.shows('Book the ferry')
  await priority.selectOption({ label: 'Any priority' })
  await tab.page.getByRole('searchbox', { name: 'Search tasks' }).fill('SOCKS')
  await tab.shows('Pack')
  await tab.page.getByRole('searchbox', { name: 'Search tasks' }).fill('')
  await tab.shows('Book the ferry', 'Pack', 'Call Ines')
  await tab.hasStatus('Synced')
  await eventually(async () => (await ann.call('GET', '/api/categories/')).body.count).toBe(1)
  const { results } = (await ann.call('GET', '/api/tasks/?due_time=08:30')).body
  const [travel] = (await ann.call('GET', '/api/categories/')).body.results
  expect(travel.name).toBe('Travel')
  expect(results).toMatchObject([
    { title: 'Book the ferry', priority: 'high', due_date: localDay(), category_id: travel.id },
  ])
})

story('a task is dragged to another place', async () => {
  const ann = await server.person()
  const { tab } = await signedIn(server, ann)
  for (const title of ['Book the ferry', 'Pack', 'Call Ines']) await tab.add(title)
  const from = (await tab.button('Move Call Ines').boundingBox())!
  const to = (await tab.task('Book the ferry').boundingBox())!
  const { mouse } = tab.page
  await mouse.move(from.x + from.width / 2, from.y + from.height / 2)
  await mouse.down()
  await mouse.move(from.x + from.width / 2, to.y + to.height / 2, { steps: 8 })
  await mouse.move(from.x + from.width / 2, to.y + 2, { steps: 4 })
  await mouse.up()
  await tab.shows('Call Ines', 'Book the ferry', 'Pack')
  await tab.hasStatus('Synced')
  await areSaved(server, ann, 'Call Ines', 'Book the ferry', 'Pack')
})

story('an edit that the server refuses is announced, corrected and sent again', async () => {
  const ann = await server.person()
  const { tab } = await signedIn(server, ann)
  await tab.add('Pack')
  await tab.add('Book the ferry')
  await areSaved(server, ann, 'Pack', 'Book the ferry')
  await refuse(tab, 'slow')
  await tab.edit('Book the ferry', { Title: 'Book the slow ferry' })

  const alert = tab.page.getByRole('alert').filter({ hasText: 'The server rejected' })
  await alert.waitFor()
  await tab.hasStatus('1 rejected')
  await photograph(tab, 'refused-alert')
  await alert.getByRole('button', { name: 'Show reason' }).click()
  await eventually(() => tab.syncPanel.innerText()).toContain('Remove NUL')
  await photograph(tab, 'refused')
  await tab.page.keyboard.press('Escape')
  await tab.shows('Pack', 'Book the ferry')
  await tab.add('Call Ines')
  await areSaved(server, ann, 'Pack', 'Book the ferry', 'Call Ines')
  await tab.page.reload()
  await tab.hasStatus('1 rejected')
  await tab.openSyncPanel()
  await tab.button('Edit and retry').click()
  const dialog = tab.page.getByRole('dialog', { name: 'Edit task' })
  await dialog.getByRole('textbox', { name: 'Title' }).fill('Book the night ferry')
  await dialog.getByRole('button', { name: 'Save' }).click()
  await dialog.waitFor({ state: 'detached' })
  await tab.shows('Pack', 'Book the night ferry', 'Call Ines')
  await areSaved(server, ann, 'Pack', 'Book the night ferry', 'Call Ines')
  await tab.hasStatus('Synced')
})

story('an edit that the server refuses can be discarded', async () => {
  const ann = await server.person()
  const { tab } = await signedIn(server, ann, { viewport: PHONE, hasTouch: true })
  await tab.add('Book the ferry')
  await areSaved(server, ann, 'Book the ferry')
  await refuse(tab, 'slow')
  await tab.edit('Book the ferry', { Title: 'Book the slow ferry' })
  await tab.hasStatus('1 rejected')
  await tab.openSyncPanel()
  await photograph(tab, 'refused')
  await tab.button('Discard').click()
  await tab.hasStatus('Synced')
  await tab.page.reload()
  await tab.hasStatus('Synced')
  await tab.shows('Book the ferry')
})

function localDay(): string {
  const now = new Date()
  const parts = [now.getFullYear(), now.getMonth() + 1, now.getDate()]
  return parts.map((part) => String(part).padStart(2, '0')).join('-')
}
