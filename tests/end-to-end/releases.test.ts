import { once } from 'node:events'
import { mkdtemp, readFile, rm } from 'node:fs/promises'
import { createServer, type Server } from 'node:http'
import type { AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import path from 'node:path'
import express, { type RequestHandler } from 'express'
import { afterAll, beforeAll, expect } from 'vitest'
import { webApp } from '../../server/http/about/web-app.ts'
import { openDevice, story } from './stage.ts'
import { eventually, type Tab } from './tab.ts'

const BUILD = new URL('../../web/build.mjs', import.meta.url).href

interface Release {
  answer: RequestHandler
  /** The script that its page names. */
  script: string
}

/** Which of two releases answers what is asked for, as while one takes over from the other. */
const answers = {} as { page: Release; worker: Release; files: Release }

let folder: string
let before: Release
let after: Release
let front: Server
let url: string
beforeAll(async () => {
  folder = await mkdtemp(path.join(tmpdir(), 'tasktide-releases-'))
  before = await build('before', { quick: true })
  after = await build('after', { quick: false })
  const app = express()
  app.use((req, res, next) => {
    const release =
      req.path === '/' ? answers.page : req.path === '/sw.js' ? answers.worker : answers.files
    release.answer(req, res, next)
  })
  front = createServer(app).listen(0, '127.0.0.1')
  await once(front, 'listening')
  url = `http://127.0.0.1:${(front.address() as AddressInfo).port}`
})
afterAll(async () => {
  front.close()
  await rm(folder, { recursive: true })
})

story(
  'page and files are of one release, whichever of two answers',
  async () => {
    serve({ page: before, worker: before, files: before })
    const device = await openDevice({ url })
    const tab = await device.openTab()
    await tab.canLoadOffline()
    await shows(tab, before)

    // A page whose files cannot be had is answered from the cache.
    serve({ page: after, worker: before, files: before })
    await tab.page.reload()
    await shows(tab, before)

    // One whose files can be had is shown, and goes on to be when the files cannot be had any more.
    serve({ page: after, worker: before, files: after })
    await tab.page.reload()
    await shows(tab, after)
    serve({ page: after, worker: before, files: before })
    await tab.page.reload()
    await shows(tab, after)

    // A worker that is given the page of another release does not take over.
    serve({ page: before, worker: after, files: after })
    expect(await update(tab)).toBe('redundant')
    serve({ page: before, worker: after, files: before })
    expect(await update(tab)).toBe('redundant')
    await device.goOffline()
    await tab.page.reload()
    await shows(tab, before)
    await device.comeBack()

    serve({ page: after, worker: after, files: after })
    expect(await update(tab)).toBe('activated')
    await device.goOffline()
    await tab.page.reload()
    await shows(tab, after)
    await device.comeBack()

    // What is no page of the app, such as that of a hotel's network, is not shown in its place.
    answers.page = { ...before, answer: (_, res) => void res.send('<h1>Welcome to the hotel</h1>') }
    await tab.page.reload()
    await shows(tab, after)
  },
  60_000,
)

function serve(next: typeof answers): void {
  Object.assign(answers, next)
}

async function shows(tab: Tab, { script }: Release): Promise<void> {
  await tab.button('Sign in').waitFor()
  const src = tab.page.locator('script[src]').first()
  await eventually(() => src.getAttribute('src')).toBe(script)
}

/** @returns what became of the worker that the server has now */
function update({ page }: Tab): Promise<unknown> {
  return page.evaluate(`navigator.serviceWorker.ready.then((registration) =>
    new Promise((resolve) => {
      registration.addEventListener('updatefound', () => {
        const worker = registration.installing
        worker.addEventListener('statechange', () => {
          if (['redundant', 'activated'].includes(worker.state)) resolve(worker.state)
        })
      }, { once: true })
      registration.update().catch(() => resolve('redundant'))
    }))`)
}

async function build(name: string, options: { quick: boolean }): Promise<Release> {
  const { buildWebApp } = await import(BUILD)
  const outdir = path.join(folder, name)
  await buildWebApp(outdir, options)
  const page = await readFile(path.join(outdir, 'index.html'), 'utf8')
  return { answer: webApp(undefined, outdir), script: /src="(.+?)"/.exec(page)![1]! }
}
