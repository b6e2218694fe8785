import { fileURLToPath } from 'node:url'
import type { BrowserContext, BrowserContextOptions } from 'playwright-core'
import { expect, test } from 'vitest'
import { atEnd } from '../support/at-end.ts'
import { openBrowser } from '../support/browser.ts'
import { type Caller, callerTo, type Person, type TestServer } from '../support/server.ts'
import { eventually, Tab } from './tab.ts'

export const PHONE = { width: 390, height: 844 }
export const DESKTOP = { width: 1280, height: 800 }

const BUILD = new URL('../../web/build.mjs', import.meta.url).href
const SCREENSHOTS = fileURLToPath(new URL('screenshots', import.meta.url))
const PATIENCE_MS = 15_000

/** One for each process, with which it ends. */
const browser = await openBrowser()
if (browser) await buildWebApp()

/** A test in a browser. Where there is none, which is said aloud, it is left out; in CI it fails. */
export const story = test.runIf(browser)

const devices = new Set<Device>()

/** Closes them all, and fails the test if anything went wrong in them. */
async function closeDevices(): Promise<void> {
  const faults = [...devices].flatMap((device) => device.faults)
  await Promise.all([...devices].map((device) => device.close()))
  devices.clear()
  expect(faults).toEqual([])
}

export interface DeviceOptions
  extends Pick<BrowserContextOptions, 'viewport' | 'hasTouch' | 'reducedMotion'> {
  /** With a clock that can be moved: `context.clock`. */
  movableClock?: boolean
}

/** A browser with its own storage and its own network, closed with the test. */
export class Device {
  readonly context: BrowserContext
  /** What went wrong in any tab without anybody seeing it. */
  readonly faults: string[] = []
  private readonly url: string

  constructor(context: BrowserContext, url: string) {
    this.context = context
    this.url = url
    context.setDefaultTimeout(PATIENCE_MS)
    context.on('weberror', (fault) => {
      const { stack, message } = fault.error()
      this.faults.push(stack || message)
    })
    context.on('console', (message) => {
      const text = `${message.text()} (${message.location().url})`
      if (message.type() === 'error' && !NOTES.test(text)) this.faults.push(text)
    })
  }

  /** Opens the app in one more tab, at an address such as a link in a mail has. */
  async openTab(hash = ''): Promise<Tab> {
    const tab = new Tab(await this.context.newPage())
    await tab.page.goto(`${this.url}/${hash}`)
    return tab
  }

  goOffline(): Promise<void> {
    return this.context.setOffline(true)
  }

  comeBack(): Promise<void> {
    return this.context.setOffline(false)
  }

  async close(): Promise<void> {
    await this.context.close()
  }
}

export async function openDevice(
  server: Pick<TestServer, 'url'>,
  { movableClock = false, ...options }: DeviceOptions = {},
): Promise<Device> {
  const context = await browser!.newContext({ viewport: DESKTOP, ...options })
  if (movableClock) await context.clock.install()
  const device = new Device(context, server.url)
  if (devices.size === 0) atEnd(closeDevices)
  devices.add(device)
  return device
}

/** A tab in which this person has signed in, on a device of their own. */
export async function signedIn(
  server: Pick<TestServer, 'url'>,
  person: Person,
  options: DeviceOptions = {},
): Promise<{ device: Device; tab: Tab }> {
  const device = await openDevice(server, options)
  const tab = await device.openTab()
  await tab.signIn(person)
  await tab.hasStatus('Synced')
  return { device, tab }
}

/** From now on the server refuses what this tab sends with this word, as a newer one with other rules may. */
export async function refuse(tab: Tab, word: string): Promise<void> {
  await tab.page.route('**/replication/tasks/*/push?*', (route) => {
    const sent = route.request().postData() ?? ''
    return route.continue({ postData: sent.replaceAll(word, `${word}\\u0000`) })
  })
}

/** Until the server has exactly these tasks, in this person's order. */
export async function areSaved(
  server: TestServer,
  person: Person,
  ...titles: string[]
): Promise<void> {
  await eventually(() => titlesOnServer(server, person)).toEqual(titles)
}

/** What the server has, by REST, in this person's order. */
export async function titlesOnServer(server: TestServer, person: Person): Promise<string[]> {
  const call = await signInByRest(server, person)
  const { body } = await call('GET', '/api/tasks/?ordering=position&page_size=100')
  return body.results.map(({ title }: { title: string }) => title)
}

/** With a token of now, whatever has become of the person's first one. */
export async function signInByRest(server: TestServer, person: Person): Promise<Caller> {
  const { username, password } = person
  const { access } = (await server.call('POST', '/api/token/', { username, password })).body
  return callerTo(server.url, { authorization: `Bearer ${access}` })
}

/** Unless what is there is newer than its sources. */
async function buildWebApp(): Promise<void> {
  const { ensureWebApp } = (await import(BUILD)) as { ensureWebApp(): Promise<void> }
  await ensureWebApp()
}

interface Photograph {
  /** Not only when nothing moves any more. */
  atOnce?: boolean
  /** Also what one would have to scroll to. */
  fullPage?: boolean
}

/** Kept for people to look at. */
export async function photograph(
  tab: Tab,
  name: string,
  { atOnce = false, fullPage = false }: Photograph = {},
): Promise<void> {
  const { width } = tab.page.viewportSize()!
  if (!atOnce) await tab.standsStill()
  if (fullPage) await tab.page.evaluate('scrollTo(0, 0)')
  await tab.page.screenshot({ path: `${SCREENSHOTS}/${name}-${width}.png`, fullPage })
}

/**
 * The browser's own notes on a network that is away, on a session that has ended, on a token that is renewed, or on a
 * checkpoint that PouchDB has not written yet, are no faults.
 */
const NOTES = new RegExp(
  [
    /^Failed to load resource: net::ERR_(INTERNET|CONNECTION|EMPTY_RESPONSE|NETWORK_CHANGED|INCOMPLETE)/,
    /^Failed to load resource: the server responded with a status of (400|401|503)/,
    /^Failed to load resource: the server responded with a status of 404 \(Not Found\) \(\S+\/couch\/\w+\/_local\//,
    /^WebSocket connection to '[^']*' failed/,
  ]
    .map(({ source }) => source)
    .join('|'),
)

/** All that is in any storage of the origin, as one text. */
export const EVERYTHING_KEPT = `(async () => {
  const answered = (request) =>
    new Promise((resolve, reject) => {
      request.onsuccess = () => resolve(request.result)
      request.onerror = () => reject(request.error)
    })
  const kept = [{ ...localStorage }, { ...sessionStorage }]
  for (const { name } of await indexedDB.databases()) {
    kept.push(name)
    const database = await answered(indexedDB.open(name))
    for (const store of database.objectStoreNames)
      kept.push(await answered(database.transaction(store).objectStore(store).getAll()))
    database.close()
  }
  return JSON.stringify(kept)
})()`
