import type { Server as HttpServer } from 'node:http'
import { Server, type Socket } from 'socket.io'
import {
  type ClientEvents,
  type Frame,
  Problem,
  type Ready,
  type RenewalResult,
  type ServerEvents,
} from '../../protocol/index.ts'
import type { Sessions } from '../accounts/sessions.ts'
import { callAt } from '../runtime/call-at.ts'
import type { Log } from '../runtime/log.ts'
import type { Metrics } from '../runtime/metrics.ts'
import { followingFrames, type Positions } from '../sync/positions.ts'
import type { Followers } from './followers.ts'

/** The packets that may be buffered for a slow client. Later frames are omitted, and it pulls instead. */
const MAX_WAITING_PACKETS = 8

interface Data {
  user: string
  session: string
  expires: number
}
type LiveSocket = Socket<ClientEvents, ServerEvents, Record<string, never>, Data>

interface Dependencies {
  sessions: Sessions
  followers: Followers
  log: Log
  metrics: Pick<Metrics, 'frame' | 'refusedSocket'>
  positions: Pick<Positions, 'note'>
  now: () => Date
}

/**
 * Sends each socket the changes of its user while its token is valid, and never afterwards. WebSocket is
 * the only transport, so no sticky sessions are needed.
 */
export function createSockets(
  http: HttpServer,
  { sessions, followers, log, metrics, positions, now }: Dependencies,
) {
  const io = new Server<ClientEvents, ServerEvents, Record<string, never>, Data>(http, {
    transports: ['websocket'],
    serveClient: false,
    maxHttpBufferSize: 16_384, // clients send tokens, no more
    connectTimeout: 10_000,
  })

  const connections = new Set<{ destroy(): void }>()
  http.on('upgrade', (_request, connection) => {
    connections.add(connection)
    connection.once('close', () => connections.delete(connection))
  })

  io.use((socket, next) => {
    sessions.authenticate(asText(socket.handshake.auth.token)).then(
      (caller) => {
        socket.data = { ...caller }
        next()
      },
      (error) => {
        metrics.refusedSocket()
        next(refusal(error))
      },
    )
  })

  io.on('connection', (socket: LiveSocket) => {
    void serve(socket)
  })

  return {
    /** Disconnects the sockets of a session. */
    ended(session: string) {
      for (const socket of io.sockets.sockets.values())
        if (socket.data.session === session) cut(socket)
    },
    count: () => io.sockets.sockets.size,
    /** The sessions of all sockets, with their users. */
    sessions: () =>
      [...io.sockets.sockets.values()].map(({ data }) => [data.session, data.user] as const),
    /** Closes all sockets. Clients reconnect by themselves, to another node or after a restart. */
    async close() {
      // Not `disconnect` per socket: Socket.IO clients do not reconnect after a server's disconnect.
      io.engine.close()
      // Do not wait for clients that ignore the close handshake.
      for (const connection of connections) connection.destroy()
    },
  }

  async function serve(socket: LiveSocket): Promise<void> {
    let cancelExpiry = expireLater(socket)
    let left = socket.disconnected
    let leave = () => {}
    socket.on('disconnect', () => {
      left = true
      cancelExpiry()
      leave()
    })
    socket.on('renew', (token, acknowledge) => {
      renew(socket, token).then(
        (result) => {
          cancelExpiry()
          cancelExpiry = expireLater(socket)
          if (typeof acknowledge === 'function') acknowledge(result)
        },
        (error) => {
          const code = error instanceof Problem ? error.code : 'unavailable'
          if (typeof acknowledge === 'function') acknowledge({ ok: false, code })
        },
      )
    })
    try {
      const sent = followingFrames((part) => positions.note(socket.data, 'live', undefined, part))
      const writer = frameWriter(socket, metrics, sent, now)
      const joined = await followers.join(socket.data.user, writer)
      leave = joined.leave
      if (left) leave()
      else writer.ready(joined.head)
    } catch (error) {
      log.warn({ error }, 'a socket could not follow its feed')
      socket.conn.close() // the client reconnects
    }
  }

  async function renew(socket: LiveSocket, token: unknown): Promise<RenewalResult> {
    const caller = await sessions.authenticate(asText(token))
    if (caller.user !== socket.data.user || caller.session !== socket.data.session)
      throw new Problem(
        'token_not_valid',
        'The token belongs to another session; reconnect to use it.',
      )
    socket.data.expires = caller.expires
    return { ok: true, expires_at: new Date(caller.expires * 1000).toISOString() }
  }

  function expireLater(socket: LiveSocket): () => void {
    return callAt(socket.data.expires * 1000, now, () => cut(socket))
  }
}

export function watchSockets(
  metrics: Pick<Metrics, 'gauge'>,
  { count }: Pick<ReturnType<typeof createSockets>, 'count'>,
): void {
  metrics.gauge('tasktide_sockets_open', 'Open sockets.', count)
}

/** Writes frames to a socket no faster than the client reads them. */
function frameWriter(
  socket: LiveSocket,
  metrics: Pick<Metrics, 'frame'>,
  sent: (frame: Frame) => void,
  now: () => Date,
) {
  let ready = false
  /** The start of the omitted frames. */
  let omittedFrom: number | undefined
  let last: Ready | undefined
  /** Frames written since the buffer was last empty. */
  let waiting = 0
  socket.conn.on('drain', () => {
    waiting = 0
    catchUp()
  })

  return {
    ready(head: Ready) {
      ready = true
      last ??= head
      if (isGood()) socket.emit('ready', last)
    },
    frame(frame: Frame, committed?: number) {
      last = { seq: frame.seq, checkpoint: frame.checkpoint }
      if (!ready) return // `ready` will carry this head
      if (!isGood()) return
      if (waiting < MAX_WAITING_PACKETS) {
        waiting++
        socket.emit('changes', frame)
        sent(frame)
        metrics.frame(committed === undefined ? undefined : now().getTime() - committed)
      } else omittedFrom ??= frame.prev
    },
    end: () => socket.conn.close(), // the client reconnects and gets `ready` first
  }

  /** The client has read everything: announce the omitted changes, so that it pulls them. */
  function catchUp() {
    if (omittedFrom === undefined) return
    const prev = omittedFrom
    omittedFrom = undefined
    if (isGood()) socket.emit('changes', { prev, ...last! })
  }

  /** Timers may be late, but no event may be sent after the token expires. */
  function isGood(): boolean {
    if (now().getTime() < socket.data.expires * 1000) return true
    cut(socket)
    return false
  }
}

/** Disconnects a socket and drops what is buffered for it. */
function cut(socket: LiveSocket): void {
  socket.disconnect(true)
  socket.conn.close(true)
}

/** The token is client input of any type; `String` throws for some values. */
const asText = (token: unknown) => (typeof token === 'string' ? token : '')

function refusal(error: unknown): Error {
  const problem = error instanceof Problem ? error : new Problem('unavailable')
  return Object.assign(new Error(problem.code), { data: problem.body() })
}
