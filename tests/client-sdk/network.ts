import { createServer, type IncomingMessage, request, type ServerResponse } from 'node:http'
import { type AddressInfo, connect, type Socket } from 'node:net'
import type { Duplex } from 'node:stream'
import { Problem, type ProblemCode } from '../../protocol/index.ts'

/** What becomes of a request: `lose` it, let it be done and lose its answer, or answer in the server's place. */
export type Fate = 'pass' | 'lose' | 'lose_answer' | Intrusion

export interface Intrusion {
  status: number
  /** By default HTML. */
  type?: string
  headers?: Record<string, string>
  body?: string
}

/** The same answer as the server's own. */
export function problem(code: ProblemCode): Intrusion {
  const body = new Problem(code).body()
  return {
    status: body.status,
    type: 'application/problem+json',
    body: JSON.stringify(body),
  }
}

export interface Network {
  url: string
  /** Asked for each request when it comes; the request waits for it. */
  onRequest: (path: string, method: string, body: string) => Fate | Promise<Fate>
  /** Asked for each answer, which waits for it. */
  onAnswer: (path: string, method: string) => void | Promise<void>
  /** Whether websockets pass. */
  websockets: boolean
  /** How many of the next live frames get lost on the way. */
  losesFrames: number
  /** Requests that came, as `GET /path`. */
  seen: string[]
  /** Cuts every connection and answers nothing, until `mend`. */
  cut(): void
  mend(): void
  /** Leads to another server from now on; open sockets stay. */
  leadTo(url: string): void
  close(): Promise<void>
}

/** The way from a device to the server, on which things can go wrong. */
export async function createNetwork(target: string): Promise<Network> {
  let { hostname, port } = new URL(target)
  const sockets = new Set<Socket | Duplex>()
  let isCut = false
  const network: Network = {
    url: '',
    onRequest: () => 'pass',
    onAnswer: () => {},
    websockets: true,
    losesFrames: 0,
    seen: [],
    cut() {
      isCut = true
      for (const socket of sockets) socket.destroy()
    },
    mend() {
      isCut = false
    },
    leadTo(url) {
      ;({ hostname, port } = new URL(url))
    },
    async close() {
      for (const socket of sockets) socket.destroy()
      await new Promise((resolve) => server.close(resolve))
    },
  }

  const server = createServer((incoming, outgoing) => {
    forward(incoming, outgoing).catch(() => outgoing.destroy()) // cut off
  })
  server.on('connection', (socket) => {
    if (isCut) return socket.destroy()
    sockets.add(socket)
    socket.on('close', () => sockets.delete(socket))
  })
  server.on('upgrade', (incoming, socket, head) => {
    if (!network.websockets) return socket.destroy()
    const upstream = connect(Number(port), hostname, () => {
      const headers = incoming.rawHeaders.map((part, i) => part + (i % 2 ? '\r\n' : ': ')).join('')
      upstream.write(`GET ${incoming.url} HTTP/1.1\r\n${headers}\r\n`)
      upstream.write(head)
      socket.pipe(upstream)
      upstream.on('data', (chunk) => {
        if (network.losesFrames > 0 && chunk.includes('"changes"')) network.losesFrames--
        else socket.write(chunk)
      })
    })
    for (const end of [upstream, socket])
      end
        .on('error', () => {})
        .on('close', () => {
          upstream.destroy()
          socket.destroy()
        })
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  network.url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`
  return network

  async function forward(incoming: IncomingMessage, outgoing: ServerResponse): Promise<void> {
    const [path, method] = [incoming.url!, incoming.method!]
    network.seen.push(`${method} ${path}`)
    const body: Buffer[] = []
    for await (const chunk of incoming) body.push(chunk)
    const fate = await network.onRequest(path, method, String(Buffer.concat(body)))
    if (fate === 'lose') return void outgoing.destroy()
    if (typeof fate === 'object') {
      outgoing.writeHead(fate.status, { 'content-type': fate.type ?? 'text/html', ...fate.headers })
      return void outgoing.end(fate.body)
    }
    const { headers } = incoming
    const forwarded = request({ hostname, port, path, method, headers }, async (answer) => {
      const parts: Buffer[] = []
      for await (const part of answer) parts.push(part)
      await network.onAnswer(path, method)
      if (fate === 'lose_answer') return void outgoing.destroy()
      outgoing.writeHead(answer.statusCode!, answer.headers)
      outgoing.end(Buffer.concat(parts))
    })
    forwarded.on('error', () => outgoing.destroy())
    forwarded.end(Buffer.concat(body))
  }
}
