/**
 * The generator of load, in a process of its own. It speaks just as much HTTP/1.1 as it needs (keep
 * alive, content-length, one request at a time on a connection), so that little of the machine goes
 * to it rather than to the servers.
 */
import { connect, type Socket } from 'node:net'
import { type Latencies, summary } from './latencies.ts'
import {
  type BenchRequest,
  type OperationName,
  okStatus,
  type Person,
  requestOf,
} from './operations.ts'
import { atRate } from './pace.ts'

/** Every connection sends its next request when it has the answer to the last one. */
export interface ClosedLoop {
  kind: 'closed'
  port: number
  operation: OperationName
  seconds: number
  people: readonly Person[]
}

/** Requests leave at fixed rates, however slowly they are answered. */
export interface OpenLoop {
  kind: 'open'
  port: number
  seconds: number
  people: readonly Person[]
  readsPerSecond: number
  signInsPerSecond: number
  password: string
}

export type Job = ClosedLoop | OpenLoop

export interface ClosedResult extends Latencies {
  perSecond: number
  /** Answers with another status than expected, by status. */
  unexpected: Record<string, number>
}

export interface OpenResult {
  reads: Latencies
  unexpected: Record<string, number>
  signIns: Latencies
  signInStatuses: Record<string, number>
}

process.on('message', (job: Job) => {
  const result = job.kind === 'closed' ? closedLoop(job) : openLoop(job)
  result.then(
    (value) => process.send!({ value }),
    (error) => process.send!({ error: String(error?.stack ?? error) }),
  )
})

async function closedLoop({ port, operation, seconds, people }: ClosedLoop): Promise<ClosedResult> {
  const connections = await Promise.all(people.map(() => openConnection(port)))
  const latencies: number[] = []
  const unexpected: Record<string, number> = {}
  let nth = Math.floor(Math.random() * 1e6)
  const began = performance.now()
  const end = began + seconds * 1000
  await Promise.all(
    connections.map(async (connection, i) => {
      const person = people[i]!
      let sent = performance.now()
      while (sent < end) {
        const status = await connection.ask(httpText(requestOf(operation, person, nth++), person))
        const answered = performance.now()
        if (status !== okStatus[operation]) count(unexpected, status)
        if (answered < end) latencies.push(answered - sent)
        sent = answered
      }
    }),
  )
  for (const connection of connections) connection.close()
  return { ...summary(latencies), perSecond: latencies.length / seconds, unexpected }
}

/** Latency counts from when a request was to leave, so waiting for a free connection is part of it. */
async function openLoop(job: OpenLoop): Promise<OpenResult> {
  const { port, seconds, people, readsPerSecond, signInsPerSecond, password } = job
  const connections = connectionPool(port)
  const reads: number[] = []
  const signIns: number[] = []
  const unexpected: Record<string, number> = {}
  const signInStatuses: Record<string, number> = {}
  const personOf = (n: number) => people[n % people.length]!

  await Promise.all([
    atRate(readsPerSecond, seconds, async (n, due) => {
      const text = httpText(requestOf('get', personOf(n), n), personOf(n))
      const status = await connections.ask(text)
      reads.push(performance.now() - due)
      if (status !== okStatus.get) count(unexpected, status)
    }),
    atRate(signInsPerSecond, seconds, async (n, due) => {
      const body = { username: personOf(n).username, password }
      const text = httpText({ method: 'POST', path: '/api/token/', body })
      count(signInStatuses, await connections.ask(text))
      signIns.push(performance.now() - due)
    }),
  ])
  connections.close()
  return { reads: summary(reads), unexpected, signIns: summary(signIns), signInStatuses }
}

interface Connection {
  /** Sends a request as it stands and answers with the status, when the whole answer is here. */
  ask(text: string): Promise<number>
  close(): void
}

function connectionPool(port: number): Connection {
  const all: Connection[] = []
  const idle: Connection[] = []
  return {
    async ask(text) {
      let connection = idle.pop()
      if (!connection) {
        connection = await openConnection(port)
        all.push(connection)
      }
      const status = await connection.ask(text)
      idle.push(connection)
      return status
    },
    close() {
      for (const connection of all) connection.close()
    },
  }
}

async function openConnection(port: number): Promise<Connection> {
  const socket = await new Promise<Socket>((resolve, reject) => {
    const opening = connect({ port, host: '127.0.0.1', noDelay: true }, () => resolve(opening))
    opening.once('error', reject)
  })
  let head: Buffer | undefined
  let status = 0
  let missing = -1
  let done: ((status: number) => void) | undefined
  let failed: ((error: Error) => void) | undefined

  socket.on('data', (chunk: Buffer) => {
    if (missing < 0) {
      head = head ? Buffer.concat([head, chunk]) : chunk
      const end = head.indexOf('\r\n\r\n')
      if (end < 0) return
      const text = head.toString('latin1', 0, end)
      status = Number(text.slice(9, 12))
      const length = /\r\ncontent-length: *(\d+)/i.exec(text)?.[1]
      if (length === undefined && status !== 204 && status !== 304)
        return socket.destroy(new Error(`An answer without its length:\n${text}`))
      missing = Number(length ?? 0) - (head.length - end - 4)
      head = undefined
    } else missing -= chunk.length
    if (missing < 0) return socket.destroy(new Error('An answer longer than it said'))
    if (missing > 0) return
    missing = -1
    const answered = done
    done = failed = undefined
    answered?.(status)
  })
  socket.on('error', (error) => failed?.(error))
  socket.on('close', () => failed?.(new Error('The server closed the connection')))

  return {
    ask: (text) =>
      new Promise((resolve, reject) => {
        done = resolve
        failed = reject
        socket.write(text)
      }),
    close: () => void socket.destroy(),
  }
}

function httpText({ method, path, body }: BenchRequest, person?: Person): string {
  const lines = [`${method} ${path} HTTP/1.1`, 'Host: localhost', 'Accept: application/json']
  if (person) lines.push(`Authorization: Bearer ${person.access}`)
  if (!body) return `${lines.join('\r\n')}\r\n\r\n`
  const json = JSON.stringify(body)
  lines.push('Content-Type: application/json', `Content-Length: ${Buffer.byteLength(json)}`)
  return `${lines.join('\r\n')}\r\n\r\n${json}`
}

function count(counts: Record<string, number>, status: number) {
  counts[status] = (counts[status] ?? 0) + 1
}
