/**
 * A device, in a process of its own: it pulls, pushes and listens as one does, but keeps nothing. It
 * speaks to every server in the same way, with what Node has.
 */
import { Agent, type IncomingMessage, request } from 'node:http'
import { brotliDecompressSync, gunzipSync } from 'node:zlib'
import { io } from 'socket.io-client'
import type { Checkpoint, Frame, PullResponse, WireDocument } from '../../protocol/index.ts'
import { summary } from '../latencies.ts'
import { atRate } from '../pace.ts'

/** Somebody's tasks on some server. */
export interface Endpoint {
  /** What `/pull`, `/push` and `/pullStream` are added to. */
  url: string
  access: string
}

/** Everything from the start, page after page. */
export interface PullJob extends Endpoint {
  kind: 'pull'
  limit: number
}

export interface PullResult {
  count: number
  ms: number
  /** How long each page took. */
  pages: number[]
}

/** Batches, three under way at a time as RxDB has them. */
export interface PushJob extends Endpoint {
  kind: 'push'
  bodies: readonly string[]
}

/** Edits at a steady rate, and how long each takes until the last of the listeners has it, or only until the answer. */
export interface LiveJob extends Endpoint {
  kind: 'live'
  by: 'socket' | 'stream' | 'answer'
  listeners: number
  perSecond: number
  seconds: number
}

const PUSHES_AT_ONCE = 3
const agent = new Agent({ keepAlive: true })

process.on('message', (job: PullJob | PushJob | LiveJob) => {
  resultOf(job).then(
    (value) => process.send!({ value }),
    (error) => process.send!({ error: String(error?.stack ?? error) }),
  )
})

function resultOf(job: PullJob | PushJob | LiveJob): Promise<unknown> {
  if (job.kind === 'pull') return pull(job)
  return job.kind === 'push' ? push(job) : live(job)
}

async function pull({ limit, ...endpoint }: PullJob): Promise<PullResult> {
  const result: PullResult = { count: 0, ms: 0, pages: [] }
  const began = performance.now()
  let asked = began
  for await (const documents of pages(endpoint, limit)) {
    result.count += documents.length
    result.pages.push(performance.now() - asked)
    asked = performance.now()
  }
  return { ...result, ms: performance.now() - began }
}

async function* pages(endpoint: Endpoint, limit: number): AsyncGenerator<WireDocument[]> {
  let { id, lwt }: Checkpoint = { id: '', lwt: 0 }
  for (;;) {
    const page = await ask(endpoint, `/pull?lwt=${lwt}&id=${id}&limit=${limit}`)
    const { documents, checkpoint } = JSON.parse(page) as PullResponse
    yield documents
    if (documents.length < limit) return
    ;({ id, lwt } = checkpoint)
  }
}

async function push({ bodies, ...endpoint }: PushJob): Promise<{ ms: number }> {
  const waiting = bodies.values()
  const began = performance.now()
  await Promise.all(
    Array.from({ length: PUSHES_AT_ONCE }, async () => {
      for (const body of waiting) await pushBatch(endpoint, body)
    }),
  )
  return { ms: performance.now() - began }
}

async function pushBatch(endpoint: Endpoint, body: string): Promise<void> {
  const conflicts = await ask(endpoint, '/push', body)
  if (conflicts !== '[]') throw new Error(`Conflicts: ${conflicts.slice(0, 500)}`)
}

async function live({ by, listeners, perSecond, seconds, ...endpoint }: LiveJob) {
  const stored: WireDocument[] = []
  for await (const documents of pages(endpoint, 1_000)) stored.push(...documents)
  /** By title, which no two edits share. */
  const awaited = new Map<unknown, { heard: number; everywhere: () => void }>()
  const hear: Hear = (changed) => {
    for (const { title } of changed) {
      const edit = awaited.get(title)
      if (edit && ++edit.heard === listeners) edit.everywhere()
    }
  }
  const open = by === 'socket' ? openSocket : openStream
  const opening = Array.from({ length: by === 'answer' ? 0 : listeners }, () =>
    open(endpoint, hear),
  )
  const closing = await Promise.all(opening)
  const latencies: number[] = []
  await atRate(perSecond, seconds, async (n, began) => {
    const assumedMasterState = stored[n % stored.length]!
    const newDocumentState: WireDocument = {
      ...assumedMasterState,
      title: `Edit ${n} at ${began}`,
      updated_at: new Date().toISOString(),
    }
    stored[n % stored.length] = newDocumentState
    const heard = new Promise<void>((everywhere) => {
      awaited.set(newDocumentState.title, { heard: 0, everywhere })
    })
    const body = JSON.stringify([{ newDocumentState, assumedMasterState }])
    const answered = pushBatch(endpoint, body)
    const arrived = (by === 'answer' ? answered : heard).then(() =>
      latencies.push(performance.now() - began),
    )
    await Promise.all([answered, arrived])
  })
  for (const close of closing) close()
  return summary(latencies)
}

type Hear = (changed: readonly WireDocument[]) => void

async function openSocket({ url, access }: Endpoint, hear: Hear): Promise<() => void> {
  const socket = io(new URL(url).origin, {
    transports: ['websocket'],
    forceNew: true,
    auth: { token: access },
  })
  socket.on('changes', ({ documents }: Frame) => hear(documents?.tasks ?? []))
  await new Promise((ready, failed) => {
    socket.once('ready', ready)
    socket.once('connect_error', failed)
  })
  return () => void socket.close()
}

async function openStream(endpoint: Endpoint, hear: Hear): Promise<() => void> {
  const response = await opened(endpoint, '/pullStream')
  let text = ''
  response.setEncoding('utf8').on('data', (chunk) => {
    const events = (text + chunk).split('\n\n')
    text = events.pop()!
    for (const event of events)
      if (event.startsWith('data: ')) hear(JSON.parse(event.slice('data: '.length)).documents)
  })
  return () => void response.destroy()
}

async function ask(endpoint: Endpoint, path: string, body?: string): Promise<string> {
  const chunks: Buffer[] = []
  const response = await opened(endpoint, path, body)
  for await (const chunk of response) chunks.push(chunk)
  const bytes = Buffer.concat(chunks)
  const encoding = response.headers['content-encoding']
  if (encoding === 'br') return brotliDecompressSync(bytes).toString()
  return (encoding === 'gzip' ? gunzipSync(bytes) : bytes).toString()
}

/** The answer once it begins; any other than 200 ends the job. */
function opened({ url, access }: Endpoint, path: string, body?: string): Promise<IncomingMessage> {
  return new Promise((resolve, reject) => {
    const headers = {
      Accept: 'application/json',
      'Accept-Encoding': 'gzip, br',
      Authorization: `Bearer ${access}`,
      ...(body !== undefined && {
        'Content-Type': 'application/json',
        'Content-Length': Buffer.byteLength(body),
      }),
    }
    const sent = request(url + path, {
      agent,
      method: body === undefined ? 'GET' : 'POST',
      headers,
    })
    sent.once('error', reject)
    sent.once('response', (response) => {
      if (response.statusCode === 200) resolve(response)
      else reject(new Error(`${path} is answered with ${response.statusCode}`))
    })
    sent.end(body)
  })
}
