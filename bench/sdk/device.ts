/**
 * What is measured on a device, with whichever client. It is bundled once with ours and once with the
 * peer's, for Node and for browsers.
 */
import type { RxCollection, RxDocument, RxJsonSchema } from 'rxdb'
import { filter, firstValueFrom } from 'rxjs'
import type { Task } from '../../protocol/index.ts'
import { type Latencies, summary } from '../latencies.ts'
import { atRate } from '../pace.ts'

/** Somebody's tasks on some server, and how a device is to keep them. */
export interface Setting {
  /** Of their replication; `/pull` and such are added to it. */
  url: string
  access: string
  storage: 'memory' | 'dexie'
  /** RxDB's description of a task, for a client that does not bring its own. */
  schema: RxJsonSchema<Task>
  pullBatch: number
  pushBatch: number
}

export interface Device {
  tasks: RxCollection<Task>
  /** How many documents it asked for at a time. */
  pullBatch(): number
}

/** Makes a device that has nothing yet, and begins to sync. */
export type OpenDevice = (name: string, setting: Setting) => Promise<Device>

/** From nothing at all until a query of the device counts all tasks. */
export interface FirstSyncJob extends Setting {
  kind: 'first sync'
  count: number
}

export interface FirstSyncResult {
  ms: number
  pullBatch: number
  /** Of all fields of all tasks. */
  fingerprint: string
}

/** From just before an edit on one device until a query of another one shows it. */
export interface LatencyJob extends Setting {
  kind: 'latency'
  count: number
  perSecond: number
  seconds: number
}

export type Job = FirstSyncJob | LatencyJob

/** In Node jobs come as messages; a page has a function to call. */
export function offer(open: OpenDevice): void {
  const measure = (job: Job) =>
    job.kind === 'first sync' ? firstSync(open, job) : latency(open, job)
  if (typeof process === 'undefined') return void Object.assign(globalThis, { measure })
  process.once('disconnect', () => process.exit())
  process.on('message', (job: Job) => {
    measure(job).then(
      (value) => process.send!({ value }),
      (error) => process.send!({ error: String(error?.stack ?? error) }),
    )
  })
}

async function firstSync(open: OpenDevice, job: FirstSyncJob): Promise<FirstSyncResult> {
  const began = performance.now()
  const { tasks, pullBatch } = await open('phone', job)
  await untilCount(tasks, job.count)
  const ms = performance.now() - began
  return { ms, pullBatch: pullBatch(), fingerprint: await fingerprintOf(tasks) }
}

async function latency(open: OpenDevice, job: LatencyJob): Promise<Latencies> {
  const [phone, laptop] = [await open('phone', job), await open('laptop', job)]
  for (const { tasks } of [phone, laptop]) await untilCount(tasks, job.count)
  /** By title, which no two edits share. */
  const awaited = new Map<string, () => void>()
  const list = laptop.tasks.find().$.subscribe((shown: RxDocument<Task>[]) => {
    for (const { title } of shown) {
      awaited.get(title)?.()
      awaited.delete(title)
    }
  })
  const edited = await phone.tasks.find().exec()
  const latencies: number[] = []
  await atRate(job.perSecond, job.seconds, async (n, began) => {
    const title = `Edit ${n} at ${began}`
    const shown = new Promise<void>((resolve) => {
      awaited.set(title, resolve)
    })
    const updated_at = new Date().toISOString()
    await edited[n % edited.length]!.incrementalPatch({ title, updated_at })
    await shown
    latencies.push(performance.now() - began)
  })
  list.unsubscribe()
  return summary(latencies)
}

const untilCount = (tasks: RxCollection<Task>, count: number) =>
  firstValueFrom(tasks.count().$.pipe(filter((current) => current === count)))

async function fingerprintOf(tasks: RxCollection<Task>): Promise<string> {
  const documents = await tasks.find({ sort: [{ id: 'asc' }] }).exec()
  const text = JSON.stringify(documents.map((document) => Object.entries(document.toJSON()).sort()))
  const digest = await crypto.subtle.digest('SHA-256', new TextEncoder().encode(text))
  return [...new Uint8Array(digest)].map((byte) => byte.toString(16).padStart(2, '0')).join('')
}
