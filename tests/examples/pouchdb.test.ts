import type { Page } from 'playwright-core'
import { collectConflicts, isDeleted, type Tree, winningRev } from 'pouchdb-merge'
import { afterAll, beforeAll, expect, vi } from 'vitest'
import { areSaved, openDevice, signedIn, signInByRest, story } from '../end-to-end/stage.ts'
import { eventually, type Tab } from '../end-to-end/tab.ts'
import { type Person, startServer, type TestServer } from '../support/server.ts'
import { installStarter, serve, VITE } from './starter.ts'

const QUOTA = 5

let server: TestServer
beforeAll(async () => {
  server = await startServer({ QUOTA_DOCUMENTS: String(QUOTA) })
})
afterAll(() => server.stop())

story('a page on PouchDB and the web app edit the tasks of one account', async () => {
  const ann = await server.person()
  const starter = await installStarter('pouchdb', server.url, false)
  await starter.run('build')
  const url = await serve(starter, VITE, 'preview', '--port', '0')
  const { tab } = await signedIn(server, ann)
  await tab.add('Ferry')
  const device = await openDevice(server)
  const page = await device.context.newPage()
  await page.goto(url)
  await signIn(page, ann.username, 'a wrong password')
  await eventually(() => page.getByRole('alert').first().innerText()).toMatch(/password/)
  await signIn(page, ann.username, ann.password)

  // Each sees what the other edits.
  await rename(page, 'Ferry', 'Ferry to Lisbon')
  await tab.shows('Ferry to Lisbon')
  await tab.edit('Ferry to Lisbon', { Title: 'Night ferry' })
  await add(page, 'Milk')
  await areSaved(server, ann, 'Night ferry', 'Milk')
  await check(page, 'Night ferry')
  await agree(page, tab, ann)

  // The page is offline, and both edit the same task.
  await device.goOffline()
  await add(page, 'Bread')
  await rename(page, 'Milk', 'Oat milk')
  await eventually(() => page.getByRole('status').innerText()).toBe('offline')
  await tab.edit('Milk', { Description: 'Two bottles' })
  await tab.add('Eggs')
  await device.comeBack()
  await agree(page, tab, ann)
  const milk = await ann.call('GET', '/api/tasks/?search=oat')
  expect(milk.body.results).toMatchObject([{ title: 'Oat milk', description: 'Two bottles' }])

  // What the server refuses stays, and is said.
  await add(page, 'Cheese')
  await agree(page, tab, ann)
  await add(page, 'Wine')
  const notes = page.getByRole('region', { name: 'Not accepted by the server' })
  await notes.getByText('“Wine” is only on this device').waitFor()
  await page.reload()
  await notes.getByText('“Wine” is only on this device').waitFor()
  await tab.delete('Eggs')
  await page.getByRole('checkbox', { name: 'Eggs' }).waitFor({ state: 'detached' })
  await notes.getByRole('button', { name: 'Try again' }).click()
  await notes.getByText('Wine').waitFor({ state: 'detached' })
  await agree(page, tab, ann)

  // Tokens are good for a quarter of an hour.
  const before = await tokenOf(page)
  server.clock.advance(16 * 60_000)
  await rename(page, 'Bread', 'Rye bread')
  await agree(page, tab, ann)
  expect(await tokenOf(page)).not.toBe(before)

  // Its session is ended from elsewhere, and it is signed in again.
  const { refresh } = JSON.parse((await tokenOf(page)) ?? '')
  await server.call('POST', '/api/logout/', { refresh })
  await rename(page, 'Rye bread', 'White bread')
  await page.getByText('The session has ended').waitFor()
  await signIn(page, ann.username, ann.password)
  await agree(page, tab, ann)
  await page.getByRole('checkbox', { name: 'White bread' }).waitFor()

  await page.getByRole('button', { name: 'Sign out' }).click()
  await page.getByLabel('Password').waitFor()
  expect(await tokenOf(page)).toBeNull()
})

async function signIn(page: Page, username: string, password: string): Promise<void> {
  await page.getByLabel('Username').fill(username)
  await page.getByLabel('Password').fill(password)
  await page.getByRole('button', { name: 'Sign in' }).click()
}

async function add(page: Page, title: string): Promise<void> {
  await page.bringToFront()
  await page.getByLabel('New task').fill(title)
  await page.getByRole('button', { name: 'Add' }).click()
  await page.getByRole('checkbox', { name: title }).waitFor()
}

async function rename(page: Page, from: string, to: string): Promise<void> {
  await page.bringToFront()
  const title = page.getByRole('textbox', { name: `Title of ${from}` })
  await title.fill(to)
  await title.press('Enter')
}

async function check(page: Page, title: string): Promise<void> {
  await page.bringToFront()
  await page.getByRole('checkbox', { name: title }).check()
}

const tokenOf = (page: Page) => page.evaluate<string | null>('localStorage.getItem("session")')

/** Until the page, the web app and the server have the same, and no conflict is open. */
async function agree(page: Page, tab: Tab, person: Person): Promise<void> {
  const call = await signInByRest(server, person)
  const titles = await vi.waitFor(
    async () => {
      const { results } = (await call('GET', '/api/tasks/?ordering=position')).body
      const { documents, conflicts } = await keptBy(page, person.username)
      expect(conflicts).toEqual([])
      expect(documents).toEqual(Object.fromEntries(results.map((task: Task) => [task.id, task])))
      const [open, completed] = [false, true].map((one) => results.filter(isCompleted(one)))
      return [...open, ...completed].map(({ title }: Task) => title)
    },
    { timeout: 30_000 },
  )
  await tab.shows(...titles)
  const path = '/couch/tasks/_all_docs?include_docs=true&conflicts=true'
  expect((await call('GET', path)).text).not.toContain('_conflicts')
}

const isCompleted =
  (wanted: boolean) =>
  ({ completed }: Task) =>
    completed === wanted

interface Task {
  id: string
  title: string
  completed: boolean
}

/** What PouchDB has stored in IndexedDB: tasks by id, and revisions that lost and are not deleted. */
async function keptBy(page: Page, username: string) {
  const [metadata, contents] = await page.evaluate<[{ data: string }[], Content[]]>(`(async () => {
    const answered = (request) =>
      new Promise((resolve, reject) => {
        request.onsuccess = () => resolve(request.result)
        request.onerror = () => reject(request.error)
      })
    const database = await answered(indexedDB.open('_pouch_tasktide-${username}'))
    const all = (store) => answered(database.transaction(store).objectStore(store).getAll())
    const kept = [await all('document-store'), await all('by-sequence')]
    database.close()
    return kept
  })()`)
  const known = metadata.map(({ data }) => JSON.parse(data) as { id: string; rev_tree: Tree })
  const tasks = known.filter((one) => one.id.startsWith('task:') && !isDeleted(one))
  const documents = tasks.map((one) => {
    const name = `${one.id}::${winningRev(one)}`
    const { _doc_id_rev, ...fields } = contents.find((content) => content._doc_id_rev === name)!
    const id = one.id.slice('task:'.length)
    return [id, { id, ...fields }] as const
  })
  return {
    documents: Object.fromEntries(documents),
    conflicts: known.flatMap((one) => collectConflicts(one)),
  }
}

interface Content {
  _doc_id_rev: string
}
