import { createServer, IncomingMessage, type Server, ServerResponse } from 'node:http'
import type { Socket } from 'node:net'
import { setImmediate } from 'node:timers/promises'
import type express from 'express'
import type { Express } from 'express'
import { createLingering } from './lingering.ts'
import type { Door } from './overload.ts'
import { send } from './send.ts'
import { answerUnreadable, tooManyAtOnce, unreadableTarget } from './unreadable.ts'

/** Longer than the idle time-out of common load balancers, which would otherwise write to a closing socket. */
const KEEP_ALIVE_MS = 65_000
/** The maximum time for receiving a request, and for a response without progress. */
const REQUEST_MS = 60_000
const STALLED_MS = 60_000
/** Concurrent requests per connection; browsers and proxies send one. */
const MAX_PIPELINED = 8
const DRAIN_MS = 10_000
const SWEEP_MS = 50
/** A connection on which nothing has come by then is not used. */
const UNUSED_MS = 500
/** Where connections keep coming, an end has to be found nevertheless. */
const MAX_TURNS = 1_000
/** What comes during a turn is seen in the next one, so the last one has to be short. */
const SHORT_TURN_MS = 0.3

type Offering = IncomingMessage & { offersUpgrade: unknown }

/**
 * Whether a request leaves HTTP, which Node asks of each. Only handshakes of sockets do: another offer, such as
 * `Upgrade: h2c`, may be ignored (RFC 9110, 7.8), and would otherwise stay without an answer.
 */
const UPGRADE: PropertyDescriptor & ThisType<Offering> = {
  get() {
    const { offersUpgrade, method, headers, url = '' } = this
    if (!offersUpgrade || method === 'CONNECT') return offersUpgrade
    return headers.upgrade?.toLowerCase() === 'websocket' && url.startsWith('/socket.io/')
  },
  set(value) {
    this.offersUpgrade = value
  },
}

export interface Listener {
  server: Server
  /** From now on, connections end with their next response, so that none is in use when the listener drains. */
  retire(): void
  /** Stops accepting connections and waits for running requests, at most ten seconds. */
  drain(): Promise<void>
}

/**
 * The HTTP server of an app. Express replaces the prototype of every request and response, which
 * deoptimizes them in V8 and dominates the cost of a small response. Objects that are created with that
 * prototype are left unchanged.
 *
 * @param refuses requests that the app does not see
 */
export function createListener(app: Express, refuses: Door = () => false): Listener {
  class Request extends IncomingMessage {}
  class Response extends ServerResponse {}
  Object.setPrototypeOf(Request.prototype, app.request)
  Object.defineProperty(Request.prototype, 'upgrade', UPGRADE)
  Object.setPrototypeOf(Response.prototype, app.response)
  app.request = Request.prototype as Express['request']
  app.response = Response.prototype as unknown as Express['response']
  const server = createServer(
    {
      IncomingMessage: Request,
      ServerResponse: Response,
      keepAliveTimeout: KEEP_ALIVE_MS,
      requestTimeout: REQUEST_MS,
      // Otherwise Node itself answers a request without Host, and not as a problem.
      requireHostHeader: false,
    },
    (req, res) => serve(req as never, res as never),
  )
  // An unknown expectation may be ignored. Node would reject it, and not as a problem.
  server.on('checkExpectation', serve)
  // A response that is not read is buffered in memory.
  server.setTimeout(STALLED_MS)
  server.on('clientError', answerUnreadable)
  const lingering = createLingering()
  const underWay = new WeakMap<Socket, number>()
  /** Connections opened ahead of a request, as browsers do. Node does not count them as idle. */
  const unused = new Set<Socket>()
  let accepted = 0
  let isRetiring = false
  server.on('connection', (socket) => {
    accepted++
    lingering.connection(socket)
    unused.add(socket)
    socket.once('close', () => unused.delete(socket))
  })
  return {
    server,
    retire() {
      isRetiring = true
    },
    drain,
  }

  function serve(req: express.Request, res: express.Response) {
    unused.delete(req.socket)
    const count = (underWay.get(req.socket) ?? 0) + 1
    underWay.set(req.socket, count)
    res.once('close', () => underWay.set(req.socket, underWay.get(req.socket)! - 1))
    lingering.request(req, res)
    // Node's parser drops what has come behind an offer of another protocol.
    const offersUpgrade = Boolean((req as unknown as Offering).offersUpgrade)
    if (isRetiring || offersUpgrade) res.setHeader('Connection', 'close')
    if (count > MAX_PIPELINED) return send(res, tooManyAtOnce())
    if (refuses(req, res)) return
    // Express calls no handler for a target that is not a URL.
    app(req, res, () => send(res, unreadableTarget()))
  }
  async function drain(): Promise<void> {
    await caughtUp()
    const closed = new Promise((resolve) => server.close(resolve))
    // Not at once: the request of a proxy may be on its way.
    const preconnected = setTimeout(() => {
      for (const socket of unused) if (socket.bytesRead === 0) socket.destroy()
    }, UNUSED_MS)
    // A connection becomes idle only after its current response.
    const sweep = setInterval(() => server.closeIdleConnections(), SWEEP_MS)
    const deadline = setTimeout(() => server.closeAllConnections(), DRAIN_MS)
    await closed
    clearTimeout(preconnected)
    clearInterval(sweep)
    clearTimeout(deadline)
  }

  /**
   * Until everything is accepted that has come. The system completes connections before the process accepts
   * them, and resets those when the server closes, although their clients have sent a request.
   */
  async function caughtUp(): Promise<void> {
    // The first turn may end without a look at the sockets, the second does not.
    for (let turn = 0, quiet = 0; quiet < 2 && turn < MAX_TURNS; turn++) {
      const [before, began] = [accepted, performance.now()]
      await setImmediate()
      const isQuiet = accepted === before && performance.now() - began < SHORT_TURN_MS
      quiet = isQuiet ? quiet + 1 : 0
    }
  }
}
