/** A device with PouchDB, in a process of its own. Its database is in memory. */
import { createRequire } from 'node:module'
import path from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import type { Document } from '../../protocol/index.ts'
import { summary } from '../latencies.ts'

/** A database on a server. */
export interface CouchEndpoint {
  url: string
  access: string
}

/** All documents, to a device that has none. */
export interface CouchPullJob extends CouchEndpoint {
  kind: 'pull'
  batch: number
}

/** Documents that a device has made while it was offline. */
export interface CouchPushJob extends CouchEndpoint {
  kind: 'push'
  batch: number
  documents: readonly Document[]
}

/** Edits on one device, and how long each takes until another one has it. Both replicate live. */
export interface CouchLiveJob extends CouchEndpoint {
  kind: 'live'
  document: Document
  edits: number
}

type Job = CouchPullJob | CouchPushJob | CouchLiveJob

const require = createRequire(path.resolve('tests/peers/package.json'))
const PouchDB = require('pouchdb')
PouchDB.plugin(require('pouchdb-adapter-memory'))

const PAUSE_MS = 50

let opened = 0

process.on('message', (job: Job) => {
  resultOf(job).then(
    (value) => process.send!({ value }),
    (error) => process.send!({ error: String(error?.stack ?? JSON.stringify(error)) }),
  )
})

function resultOf(job: Job): Promise<unknown> {
  if (job.kind === 'pull') return pull(job)
  return job.kind === 'push' ? push(job) : live(job)
}

async function pull({ batch, ...endpoint }: CouchPullJob) {
  const device = local()
  const began = performance.now()
  const { docs_written } = await PouchDB.replicate(remote(endpoint), device, { batch_size: batch })
  const ms = performance.now() - began
  await device.destroy()
  return { ms, count: docs_written }
}

async function push({ batch, documents, ...endpoint }: CouchPushJob) {
  const device = local()
  await device.bulkDocs(documents.map(inCouch))
  const began = performance.now()
  const { docs_written } = await PouchDB.replicate(device, remote(endpoint), { batch_size: batch })
  const ms = performance.now() - began
  await device.destroy()
  return { ms, count: docs_written }
}

async function live({ document, edits, ...endpoint }: CouchLiveJob) {
  const [one, other] = [local(), local()]
  await one.put(inCouch(document))
  const replications = [one, other].map((device) =>
    PouchDB.sync(device, remote(endpoint), { live: true }),
  )
  const arrived = new Map<string, () => void>()
  const changes = other
    .changes({ live: true, include_docs: true, since: 'now' })
    .on('change', ({ doc }: { doc: { title: string } }) => arrived.get(doc.title)?.())
  const latencies: number[] = []
  // The first ones warm up.
  for (let n = -5; n < edits; n++) {
    const stored = await one.get(document.id)
    const title = `Edit ${n}`
    const seen = new Promise<void>((done) => arrived.set(title, done))
    const began = performance.now()
    await one.put({ ...stored, title, updated_at: new Date().toISOString() })
    await seen
    if (n >= 0) latencies.push(performance.now() - began)
    // The writer hears of its own edit too.
    await sleep(PAUSE_MS)
  }
  changes.cancel()
  for (const replication of replications) replication.cancel()
  return summary(latencies)
}

const local = () => new PouchDB(`device-${opened++}`, { adapter: 'memory' })

const remote = ({ url, access }: CouchEndpoint) =>
  new PouchDB(url, {
    fetch(address: string, options: { headers: Headers }) {
      options.headers.set('Authorization', `Bearer ${access}`)
      return PouchDB.fetch(address, options)
    },
  })

function inCouch({ id, ...fields }: Document) {
  return { _id: id, ...fields }
}
