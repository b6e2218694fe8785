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
import type { Log } from '../runtime/log.ts'
import type { Metrics } from '../runtime/metrics.ts'
import type { Followers } from './followers.ts'

/** So many packets may wait for a slow reader; what comes then is left out, and it pulls later. */
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
  now: () => Date
}

/**
 * The live face: each socket hears of its user's changes for as long as its token is good, and not
 * a moment longer. Websockets only, so that any node will do for any request.
 */
export function createSockets(
  http: HttpServer,
  { sessions, followers, log, metrics, now }: Dependencies,
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
    /** Ends the sockets of a session. */
    ended(session: string) {
      for (const socket of io.sockets.sockets.values())
        if (socket.data.session === session) cut(socket)
    },
    count: () => io.sockets.sockets.size,
    sessions: () => new Set([...io.sockets.sockets.values()].map(({ data }) => data.session)),
    /** Ends all of them; their clients come back by themselves, to another node or after a restart. */
    async close() {
      // Not dismissed one by one: whom a server dismisses, the library does not bring back.
      io.engine.close()
      // Not everybody answers a farewell, and the server waits for nobody.
      for (const connection of connections) connection.destroy()
    },
  }

  async function serve(socket: LiveSocket): Promise<void> {
    let expiry = expireLater(socket)
    let left = socket.disconnected
    let leave = () => {}
    socket.on('disconnect', () => {
      left = true
      clearTimeout(expiry)
      leave()
    })
    socket.on('renew', (token, acknowledge) => {
      renew(socket, token).then(
        (result) => {
          clearTimeout(expiry)
          expiry = expireLater(socket)
          if (typeof acknowledge === 'function') acknowledge(result)
        },
        (error) => {
          const code = error instanceof Problem ? error.code : 'unavailable'
          if (typeof acknowledge === 'function') acknowledge({ ok: false, code })
        },
      )
    })
    try {
      const writer = frameWriter(socket, metrics, now)
      const joined = await followers.join(socket.data.user, writer)
      leave = joined.leave
      if (left) leave()
      else writer.ready(joined.head)
    } catch (error) {
      log.warn({ error }, 'a socket could not follow its feed')
      socket.conn.close() // it comes back and tries again
    }
  }

  async function renew(socket: LiveSocket, token: unknown): Promise<RenewalResult> {
    const caller = await sessions.authenticate(asText(token))
    if (caller.user !== socket.data.user || caller.session !== socket.data.session)
      throw new Problem('token_not_valid', 'The token is of another session.')
    socket.data.expires = caller.expires
    return { ok: true, expires_at: new Date(caller.expires * 1000).toISOString() }
  }

  function expireLater(socket: LiveSocket): NodeJS.Timeout {
    const left = socket.data.expires * 1000 - now().getTime()
    return setTimeout(() => cut(socket), Math.max(0, left))
  }
}

/** Writes frames to a socket as fast as it reads them. */
function frameWriter(socket: LiveSocket, metrics: Pick<Metrics, 'frame'>, now: () => Date) {
  let ready = false
  /** Where the frames begin that were left out. */
  let omittedFrom: number | undefined
  let last: Ready | undefined
  /** Frames written since the reader had taken everything. */
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
      if (!ready) return // it is told with `ready` how far the feed is
      if (!isGood()) return
      if (waiting < MAX_WAITING_PACKETS) {
        waiting++
        socket.emit('changes', frame)
        metrics.frame(committed)
      } else omittedFrom ??= frame.prev
    },
    end: () => socket.conn.close(), // it comes back, and begins with `ready`
  }

  /** The reader has caught up with what it was sent: tell it that there is more to pull. */
  function catchUp() {
    if (omittedFrom === undefined) return
    const prev = omittedFrom
    omittedFrom = undefined
    if (isGood()) socket.emit('changes', { prev, ...last! })
  }

  /** Timers may be late; no event is sent after the token's end. */
  function isGood(): boolean {
    if (now().getTime() < socket.data.expires * 1000) return true
    cut(socket)
    return false
  }
}

/** Ends a socket, and drops what still waits for a slow reader. */
function cut(socket: LiveSocket): void {
  socket.disconnect(true)
  socket.conn.close(true)
}

/** From outside, anything may come in the place of a token: `String` throws for some of it. */
const asText = (token: unknown) => (typeof token === 'string' ? token : '')

function refusal(error: unknown): Error {
  const problem = error instanceof Problem ? error : new Problem('unavailable')
  return Object.assign(new Error(problem.code), { data: problem.body() })
}
