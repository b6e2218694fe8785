import { v7 as uuidv7 } from 'uuid'
import { afterAll, beforeAll, expect } from 'vitest'
import { type Person, startServer, type TestServer } from '../support/server.ts'
import { openDevice, PHONE, photograph, story } from './stage.ts'
import { eventually } from './tab.ts'

const TASKS = 14_000

let server: TestServer
beforeAll(async () => {
  server = await startServer()
})
afterAll(() => server.stop())

story(
  'the first sync of 14,000 tasks moves a bar, and the list is of use after it',
  async () => {
    const ann = await server.person()
    await writeTasks(ann)
    const device = await openDevice(server, { viewport: PHONE, hasTouch: true })
    await device.context.addInitScript(WATCH_THE_BAR)
    const tab = await device.openTab()
    await tab.signIn(ann)
    await tab.page.getByRole('progressbar', { name: 'First sync' }).waitFor()
    await photograph(tab, 'first-sync', { atOnce: true })
    // On a busy machine it takes longer than anything else that stories wait for.
    await tab.page.getByRole('progressbar').waitFor({ state: 'detached', timeout: 60_000 })
    await tab.hasStatus('Synced')

    const shares = await tab.page.evaluate<number[]>('seenOnTheBar')
    expect(shares).toEqual([...shares].sort((a, b) => a - b))
    expect(new Set(shares).size).toBeGreaterThan(4)
    expect(shares[0]).toBeLessThan(0.5)
    expect(shares.at(-1)).toBeGreaterThan(0.8)

    const count = tab.page.getByTestId('task-count')
    await eventually(async () => (await count.innerText()).replace(/\D/g, '')).toBe(String(TASKS))
    await photograph(tab, 'long-list')
    await tab.page.getByRole('searchbox', { name: 'Search tasks' }).fill('Task 4321')
    await tab.shows('Task 4321')
    await tab.complete('Task 4321')
    await eventually(async () => {
      const { results } = (await ann.call('GET', '/api/tasks/?completed=true')).body
      return results
    }).toMatchObject([{ title: 'Task 4321' }])
    await tab.page.reload()
    await eventually(async () => (await count.innerText()).replace(/\D/g, '')).toMatch(
      /^(14000|13999)$/,
    )
  },
  150_000,
)

async function writeTasks(person: Person): Promise<void> {
  const rows = Array.from({ length: TASKS }, (_, index) => ({
    newDocumentState: { id: uuidv7(), title: `Task ${index + 1}`, _deleted: false },
  }))
  for (let from = 0; from < TASKS; from += 1_000) {
    const batch = rows.slice(from, from + 1_000)
    const { status } = await person.call('POST', '/replication/tasks/0/push', batch)
    expect(status).toBe(200)
  }
}

/** Keeps every share that the bar has shown, in the order in which it did. */
const WATCH_THE_BAR = `
  globalThis.seenOnTheBar = []
  const look = () => {
    const bar = document.querySelector('progress, [role=progressbar]')
    if (!bar) return
    const value = Number(bar.getAttribute('aria-valuenow') ?? bar.value ?? 0)
    const max = Number(bar.getAttribute('aria-valuemax') ?? bar.max ?? 100)
    if (max > 0 && value / max !== seenOnTheBar.at(-1)) seenOnTheBar.push(value / max)
  }
  new MutationObserver(look).observe(document, { subtree: true, childList: true, attributes: true })
`
