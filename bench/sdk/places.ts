/** Where a client runs: each time in a new process of Node, or in a new page with nothing stored. */
import { fork } from 'node:child_process'
import { existsSync } from 'node:fs'
import { readFile } from 'node:fs/promises'
import path from 'node:path'
import sparticuz from '@sparticuz/chromium'
import { chromium } from 'playwright-core'
import type { Latencies } from '../latencies.ts'
import type { Bundle } from './bundle.ts'
import type { FirstSyncJob, FirstSyncResult, Job, LatencyJob, Setting } from './device.ts'

export interface Place {
  name: string
  storage: Setting['storage']
  run(bundle: Bundle, job: FirstSyncJob): Promise<FirstSyncResult>
  run(bundle: Bundle, job: LatencyJob): Promise<Latencies>
  close(): Promise<void>
}

/** @param profileDir where each process of Node leaves a CPU profile, if they are to */
export async function openPlaces(names: string[], profileDir?: string): Promise<Place[]> {
  const places: Place[] = []
  if (names.includes('node')) places.push(openNode(profileDir))
  if (names.includes('chromium')) places.push(await openChromium())
  return places
}

function openNode(profileDir?: string): Place {
  const execArgv = profileDir ? ['--cpu-prof', `--cpu-prof-dir=${path.resolve(profileDir)}`] : []
  return {
    name: 'Node, memory',
    storage: 'memory',
    run: ({ node }: Bundle, job: Job) =>
      new Promise<never>((resolve, reject) => {
        const child = fork(node, { execArgv })
        child.once('message', ({ value, error }: { value: never; error?: string }) => {
          if (error === undefined) resolve(value)
          else reject(new Error(error))
          child.disconnect()
        })
        child.once('exit', () => reject(new Error(`${node} has ended`)))
        child.send(job)
      }),
    close: async () => {},
  }
}

async function openChromium(): Promise<Place> {
  const installed = ['/usr/bin/chromium', '/usr/bin/chromium-browser', '/usr/bin/google-chrome']
  const browser = await chromium.launch({
    executablePath: installed.find(existsSync) ?? (await sparticuz.executablePath()),
    args: ['--no-sandbox', '--disable-gpu'],
  })
  return {
    name: 'Chromium, Dexie',
    storage: 'dexie',
    async run({ browser: file }: Bundle, job: Job) {
      const context = await browser.newContext({ bypassCSP: true })
      try {
        // For the event stream of the peer, which can send no header in browsers.
        await context.addCookies([{ name: 'access', value: job.access, url: job.url }])
        const page = await context.newPage()
        // Of the server's own origin; there is nothing at this address.
        await page.goto(job.url)
        await page.evaluate(await readFile(file, 'utf8'))
        return await page.evaluate(
          (job) => (globalThis as unknown as { measure(job: Job): Promise<never> }).measure(job),
          job,
        )
      } finally {
        await context.close()
      }
    },
    close: () => browser.close(),
  }
}
