import { EventEmitter, once } from 'node:events'
import { connect, createServer, type Socket } from 'node:net'
import { urlThrough } from './cluster.ts'

/** The TCP line between a node and its database, or Redis. */
export interface Line {
  /** What is at the other end. */
  url: string
  /** How many connections of the node are open. */
  count(): number
  /** Resolves after this many refused connections. */
  refused(count: number): Promise<void>
  /** How many connections were refused. */
  refusals(): number
  /** Connections made from now on work again. */
  pass(): void
  /**
   * Nothing gets through any more, and nobody is told: as after the loss of a machine, or of the state of
   * a firewall. Connections that exist, and those made meanwhile, stay silent for ever.
   */
  blackHole(): void
  /** Every answer of the database takes so much longer. */
  slowDown(milliseconds: number): void
  /** Every connection is closed, and every attempt to make one is reset. */
  cut(): void
  close(): Promise<void>
}

export async function openLine(farUrl: string): Promise<Line> {
  const target = new URL(farUrl)
  const folder = target.searchParams.get('host')
  const port = Number(target.port || 5432)
  const sockets = new Set<Socket>()
  const lost = new WeakSet<Socket>()
  let delay = 0
  let state: 'passing' | 'silent' | 'cut' = 'passing'
  let open = 0
  let refusals = 0
  const refusal = new EventEmitter()

  const server = createServer((near) => {
    keep(near)
    if (state === 'cut') {
      near.resetAndDestroy()
      refusals++
      return void refusal.emit('refused')
    }
    open++
    near.on('close', () => open--)
    // Read, and so acknowledged: a line that is really dead would be noticed no earlier.
    near.resume()
    if (state === 'silent') return void lost.add(near)
    const far = folder?.startsWith('/')
      ? connect(`${folder}/.s.PGSQL.${port}`)
      : connect(port, target.hostname)
    keep(far)
    forward(near, far, () => 0)
    forward(far, near, () => delay)
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')

  return {
    url: urlThrough(server, farUrl),
    count: () => open,
    async refused(count) {
      while (refusals < count) await once(refusal, 'refused')
    },
    refusals: () => refusals,
    pass() {
      state = 'passing'
    },
    slowDown(milliseconds) {
      delay = milliseconds
    },
    blackHole() {
      state = 'silent'
      for (const socket of sockets) lost.add(socket)
    },
    cut() {
      state = 'cut'
      for (const socket of sockets) socket.destroy()
    },
    async close() {
      for (const socket of sockets) socket.destroy()
      server.close()
      await once(server, 'close')
    },
  }

  function keep(socket: Socket) {
    sockets.add(socket)
    socket.on('error', () => {})
    socket.on('close', () => sockets.delete(socket))
  }

  function forward(from: Socket, to: Socket, late: () => number) {
    from.on('data', (data) => {
      const pass = () => !lost.has(from) && to.write(data)
      if (late() > 0) setTimeout(pass, late())
      else pass()
    })
    from.on('close', () => {
      if (!lost.has(from)) to.destroy()
    })
  }
}
