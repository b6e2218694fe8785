/**
 * Many devices in a process of their own: they hold sockets, write, and measure when their sockets have
 * what was written. They keep nothing.
 */
import { Agent, request } from 'node:http'
import { setTimeout as sleep } from 'node:timers/promises'
import { io, type Socket } from 'socket.io-client'
import { v7 as uuidv7 } from 'uuid'
import type { Frame } from '../../protocol/index.ts'
import { atRate } from '../pace.ts'

export interface Member {
  access: string
  /** The node of the socket. */
  listensTo: string
  /** The node that is written to. */
  writesTo: string
}

export type CrowdJob =
  /** A socket for each, so many under way at a time. */
  | { kind: 'open'; members: readonly Member[]; atOnce: number }
  /** One new task after the other, by each member in turn. */
  | { kind: 'write'; perSecond: number; seconds: number; description: string }
  /** Lists, by each member in turn; without patience after a second. */
  | { kind: 'read'; url: string; perSecond: number; seconds: number }
  /** So many clients, each with its next list after the last answer. */
  | { kind: 'capacity'; url: string; clients: number; seconds: number }
  /** This share of the sockets stops to read, or reads again (0). */
  | { kind: 'pause'; share: number }
  /** Closes a socket and opens another one, at a rate. */
  | { kind: 'churn'; perSecond: number; seconds: number }
  | { kind: 'close' }

export interface Written {
  /** From just before the request until the frame, in milliseconds. */
  latencies: number[]
  statuses: Record<string, number>
  /** Frames that did not come within ten seconds. */
  missing: number
}

export interface Read {
  /** Of answers in time. */
  latencies: number[]
  /** Of refusals: status 503. */
  refusals: number[]
  /** 0 is no answer in time. */
  statuses: Record<string, number>
}

const PATIENCE_MS = 1_000
const FRAME_MS = 10_000

const agent = new Agent({ keepAlive: true, maxSockets: 256 })
const awaited = new Map<string, (arrived: number) => void>()
let crowd: { member: Member; socket: Socket; isPaused: boolean }[] = []

process.on('message', (job: CrowdJob) => {
  resultOf(job).then(
    (value) => process.send!({ value: value ?? null }),
    (error) => process.send!({ error: String(error?.stack ?? error) }),
  )
})
process.on('disconnect', () => process.exit())

function resultOf(job: CrowdJob): Promise<unknown> {
  switch (job.kind) {
    case 'open':
      return openAll(job.members, job.atOnce)
    case 'write':
      return write(job)
    case 'read':
      return read(job)
    case 'capacity':
      return capacity(job)
    case 'pause':
      return pause(job.share)
    case 'churn':
      return churn(job.perSecond, job.seconds)
    case 'close':
      return close()
  }
}

async function openAll(members: readonly Member[], atOnce: number): Promise<void> {
  const waiting = members.values()
  const one = async () => {
    for (const member of waiting)
      crowd.push({ member, socket: await open(member), isPaused: false })
  }
  await Promise.all(Array.from({ length: atOnce }, one))
}

async function open({ access, listensTo }: Member): Promise<Socket> {
  const socket = io(listensTo, {
    transports: ['websocket'],
    forceNew: true,
    reconnection: false,
    auth: { token: access },
  })
  socket.on('changes', ({ documents }: Frame) => {
    const arrived = performance.now()
    for (const { id } of documents?.tasks ?? []) awaited.get(id as string)?.(arrived)
  })
  await new Promise<void>((ready, failed) => {
    socket.once('ready', () => ready())
    socket.once('connect_error', failed)
  })
  return socket
}

async function write({
  perSecond,
  seconds,
  description,
}: {
  perSecond: number
  seconds: number
  description: string
}): Promise<Written> {
  const written: Written = { latencies: [], statuses: {}, missing: 0 }
  await atRate(perSecond, seconds, async (n, began) => {
    const { member, isPaused } = crowd[n % crowd.length]!
    const id = uuidv7()
    const frame = new Promise<number | undefined>((arrived) => {
      awaited.set(id, arrived)
      setTimeout(arrived, FRAME_MS, undefined).unref()
    })
    const status = await ask('POST', `${member.writesTo}/api/tasks/`, member, {
      id,
      title: 'Book the ferry',
      description,
    })
    count(written.statuses, status)
    if (status === 201 && !isPaused) {
      const arrived = await frame
      if (arrived === undefined) written.missing++
      else written.latencies.push(arrived - began)
    }
    awaited.delete(id)
  })
  return written
}

async function read({
  url,
  perSecond,
  seconds,
}: {
  url: string
  perSecond: number
  seconds: number
}): Promise<Read> {
  const result: Read = { latencies: [], refusals: [], statuses: {} }
  await atRate(perSecond, seconds, async (n, began) => {
    const status = await list(url, n)
    const ms = performance.now() - began
    count(result.statuses, status)
    if (status === 200) result.latencies.push(ms)
    if (status === 503) result.refusals.push(ms)
  })
  return result
}

async function capacity({
  url,
  clients,
  seconds,
}: {
  url: string
  clients: number
  seconds: number
}): Promise<number> {
  const end = performance.now() + seconds * 1000
  let served = 0
  const client = async (_: unknown, i: number) => {
    for (let n = i; performance.now() < end; n += clients)
      if ((await list(url, n)) === 200) served++
  }
  await Promise.all(Array.from({ length: clients }, client))
  return served / seconds
}

const list = (url: string, n: number) =>
  ask('GET', `${url}/api/tasks/`, crowd[n % crowd.length]!.member, undefined, PATIENCE_MS)

async function pause(share: number): Promise<void> {
  for (const [i, each] of crowd.entries()) {
    each.isPaused = i < crowd.length * share
    const { ws } = each.socket.io.engine.transport as unknown as {
      ws: { pause(): void; resume(): void }
    }
    if (each.isPaused) ws.pause()
    else ws.resume()
  }
}

async function churn(perSecond: number, seconds: number): Promise<void> {
  let next = 0
  await atRate(perSecond, seconds, async () => {
    const each = crowd[next++ % crowd.length]!
    each.socket.close()
    each.socket = await open(each.member)
  })
}

async function close(): Promise<void> {
  for (const { socket } of crowd) socket.close()
  crowd = []
  await sleep(500)
}

/** The status; 0 if there is none in time. */
function ask(
  method: string,
  url: string,
  { access }: Member,
  document?: object,
  patienceMs = 30_000,
): Promise<number> {
  return new Promise((resolve) => {
    const body = document && JSON.stringify(document)
    const sent = request(
      url,
      {
        agent,
        method,
        headers: {
          Authorization: `Bearer ${access}`,
          ...(body && {
            'Content-Type': 'application/json',
            'Content-Length': Buffer.byteLength(body),
          }),
        },
      },
      (response) => {
        response.resume()
        response.once('end', () => {
          clearTimeout(late)
          resolve(response.statusCode!)
        })
      },
    )
    const late = setTimeout(() => sent.destroy(), patienceMs)
    sent.once('close', () => resolve(0))
    sent.once('error', () => {})
    sent.end(body)
  })
}

function count(counts: Record<string, number>, status: number): void {
  counts[status] = (counts[status] ?? 0) + 1
}
