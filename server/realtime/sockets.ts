import type { Server as HttpServer, IncomingMessage } from 'node:http'
import { Server } from 'socket.io'
import { Problem, type RenewalResult, type Scope } from '../../protocol/index.ts'
import type { Sessions } from '../accounts/sessions.ts'
import type { BytesInFlight } from '../runtime/bytes-in-flight.ts'
import { callAt } from '../runtime/call-at.ts'
import type { Log } from '../runtime/log.ts'
import type { Metrics } from '../runtime/metrics.ts'
import { limitFor, type Places, tooManyConnections } from '../runtime/places.ts'
import { followingFrames, type Positions } from '../sync/positions.ts'
import type { Followers } from './followers.ts'
import {
  createBroadcast,
  cut,
  frameWriter,
  type LiveServer,
  type LiveSocket,
} from './frame-writer.ts'
import { createHandshakes, type HandshakeRules } from './handshakes.ts'
import { limitPackets } from './packet-rate.ts'
import { refusePolling } from './polling.ts'

/** Frames have documents of all resources. */
const SCOPES: readonly Scope[] = ['tasks:read', 'profile']

interface Dependencies {
  sessions: Sessions
  followers: Followers
  bytes: Pick<BytesInFlight, 'tryTake'>
  handshakes: HandshakeRules
  /** For the sockets of each user. */
  places: Places
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
  { sessions, followers, bytes, handshakes, places, log, metrics, positions, now }: Dependencies,
) {
  const pending = createHandshakes(handshakes)
  const io: LiveServer = new Server(http, {
    transports: ['websocket'],
    serveClient: false,
    maxHttpBufferSize: 16_384, // clients send tokens, no more
    connectTimeout: 10_000,
    allowRequest(request, answer) {
      const refusal = pending.begin(request)
      if (refusal !== undefined) {
        metrics.refusedSocket()
        log.info({ origin: request.headers.origin, refusal }, 'a socket was refused')
      }
      answer(refusal, refusal === undefined)
    },
  })
  io.engine.use(refusePolling)
  const forgetHandshake = forgettingHandshakes(io)
  io.engine.on('connection', (conn) =>
    limitPackets(conn, () => log.info('a socket was cut: its client sends too much')),
  )

  const broadcast = createBroadcast(io)
  const connections = new Set<{ destroy(): void }>()
  http.on('upgrade', (_request, connection) => {
    connections.add(connection)
    connection.once('close', () => connections.delete(connection))
  })

  io.use((socket, next) => {
    const { token } = socket.handshake.auth
    sessions.authenticate(asText(token), { scopes: SCOPES }).then((caller) => {
      const limit = limitFor(caller, places.limit)
      const leave = places.take(caller.user, limit)
      if (!leave) return refuse(tooManyConnections(limit))
      // Until the end of the connection, which need not come to be a socket or end with it.
      socket.conn.once('close', leave)
      if (socket.conn.readyState === 'closed') leave()
      pending.done(socket.request)
      forgetHandshake(socket)
      socket.data = { ...caller }
      next()
    }, refuse)

    function refuse(error: unknown) {
      metrics.refusedSocket()
      next(refusal(error))
    }
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
      socket.conn.close()
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
      const writer = frameWriter(socket, { broadcast, bytes, metrics, sent, now })
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
    const caller = await sessions.authenticate(asText(token), { scopes: SCOPES })
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

/** Otherwise the first request of a socket stays in memory as long as the socket, and its token with it. */
function forgettingHandshakes(io: LiveServer) {
  const responses = new WeakMap<IncomingMessage, object>()
  io.engine.use((request: IncomingMessage, response: object, next: () => void) => {
    responses.set(request, response)
    next()
  })
  return (socket: LiveSocket) => {
    const { request } = socket
    // Engine.IO's listener for the end of the connection holds the response.
    Object.assign(responses.get(request)!, { req: undefined })
    Object.assign(socket.conn, { request: { socket: request.socket } })
    Object.assign(socket, { handshake: undefined })
  }
}

/** The token is client input of any type; `String` throws for some values. */
const asText = (token: unknown) => (typeof token === 'string' ? token : '')

function refusal(error: unknown): Error {
  const problem = error instanceof Problem ? error : new Problem('unavailable')
  return Object.assign(new Error(problem.code), { data: problem.body() })
}
