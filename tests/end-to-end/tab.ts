import type { Locator, Page } from 'playwright-core'
import { expect } from 'vitest'

const PATIENCE_MS = 15_000

/** The app in one tab, as a person finds their way in it: by roles and names. */
export class Tab {
  readonly page: Page
  readonly list: Locator
  readonly newTask: Locator
  readonly notices: Locator
  readonly toast: Locator
  readonly workOffline: Locator
  readonly syncPanel: Locator
  private readonly chip: Locator

  constructor(page: Page) {
    this.page = page
    this.list = page.getByRole('list', { name: 'Tasks' })
    this.newTask = page.getByRole('textbox', { name: 'New task' })
    this.notices = page.getByRole('region', { name: 'Notices' })
    this.workOffline = page.getByRole('switch', { name: 'Work offline' })
    this.chip = page.getByTestId('sync-status')
    this.syncPanel = page.getByRole('dialog', { name: 'Sync', exact: true })
    this.toast = page
      .getByRole('status')
      .filter({ has: page.getByRole('button', { name: 'Undo' }) })
  }

  async signIn({ username, password }: { username: string; password: string }): Promise<void> {
    await this.page.getByRole('textbox', { name: 'Username' }).fill(username)
    await this.page.getByRole('textbox', { name: 'Password' }).fill(password)
    await this.button('Sign in').click()
    await this.newTask.waitFor()
  }

  /** A tab that nobody looks at draws, and so answers a click, but once a second. */
  async lookAt(): Promise<void> {
    await this.page.bringToFront()
  }

  async add(title: string): Promise<void> {
    await this.lookAt()
    await this.newTask.fill(title)
    await this.newTask.press('Enter')
    await this.task(title).waitFor()
  }

  async complete(title: string): Promise<void> {
    await this.lookAt()
    await this.page.getByRole('checkbox', { name: `Done: ${title}`, exact: true }).check()
  }

  async delete(title: string): Promise<void> {
    await this.lookAt()
    await this.button(`Delete ${title}`).click()
    await this.task(title).waitFor({ state: 'detached' })
  }

  /** Writes these fields of the dialog over, and saves. */
  async edit(title: string, fields: Record<string, string>): Promise<void> {
    const dialog = await this.openEditor(title)
    for (const [label, value] of Object.entries(fields)) await dialog.getByLabel(label).fill(value)
    await dialog.getByRole('button', { name: 'Save' }).click()
    await dialog.waitFor({ state: 'detached' })
  }

  async openEditor(title: string): Promise<Locator> {
    await this.lookAt()
    await this.button(`Edit ${title}`).click()
    const dialog = this.page.getByRole('dialog', { name: 'Edit task' })
    await dialog.waitFor()
    return dialog
  }

  async openView(name: string): Promise<void> {
    await this.lookAt()
    const views = this.page.getByRole('navigation', { name: 'Views' })
    await views.getByRole('button', { name, exact: true }).click()
  }

  async openAccount(): Promise<void> {
    await this.lookAt()
    await this.button('Account').click()
    await this.button('Account settings').click()
    await this.page.getByRole('heading', { name: 'Account', exact: true }).waitFor()
  }

  async openSyncPanel(): Promise<void> {
    await this.chip.click()
    await this.syncPanel.waitFor()
  }

  async signOut(): Promise<void> {
    await this.button('Account').click()
    await this.button('Sign out').click()
  }

  task(title: string): Locator {
    return this.list.getByRole('listitem', { name: title, exact: true })
  }

  button(name: string): Locator {
    return this.page.getByRole('button', { name, exact: true })
  }

  /** Until exactly these tasks are in the list, in this order. */
  async shows(...titles: string[]): Promise<void> {
    await eventually(() => this.titles()).toEqual(titles)
  }

  async hasStatus(text: string): Promise<void> {
    await eventually(() => this.chip.innerText()).toBe(text)
  }

  /** How many pixels of the sync state do not fit into its place. */
  excessOfStatus(): Promise<number> {
    return this.chip.evaluate((chip) => {
      const { defaultView: view } = chip.ownerDocument
      const text = chip.ownerDocument.createRange()
      text.selectNodeContents(chip)
      const padding = Number.parseFloat(view.getComputedStyle(chip).paddingRight)
      const room = chip.getBoundingClientRect().right - padding
      return Math.max(0, Math.round(text.getBoundingClientRect().right - room))
    })
  }

  /** Until nothing moves or fades any more. */
  async standsStill(): Promise<void> {
    await this.lookAt()
    await this.page.evaluate(
      'Promise.allSettled(document.getAnimations().map((animation) => animation.finished))',
    )
  }

  /** The titles in the list, from top to bottom. */
  private async titles(): Promise<string[]> {
    // Not there at all where there is no task.
    if ((await this.list.count()) === 0) return []
    const tree = await this.list.ariaSnapshot()
    return [...tree.matchAll(/button "Edit (.*?)"/g)].map(([, title]) => title!)
  }

  /** Until the shell and everything it needs is on the device. */
  async canLoadOffline(): Promise<void> {
    await this.page.evaluate(`navigator.serviceWorker.ready.then(
      ({ active }) =>
        active.state === 'activated' ||
        new Promise((resolve) => active.addEventListener('statechange', resolve)),
    )`)
  }
}

/** Waits until what is read is as it should be; what it waits for is given to `expect`'s matchers. */
export function eventually<T>(read: () => T | Promise<T>) {
  return expect.poll(read, { timeout: PATIENCE_MS, interval: 50 })
}
