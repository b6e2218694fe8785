import { createServer, IncomingMessage, type Server, ServerResponse } from 'node:http'
import type { Socket } from 'node:net'
import type express from 'express'
import type { Express } from 'express'
import { createLingering } from './lingering.ts'
import { send } from './send.ts'
import { answerUnreadable, tooManyAtOnce, unreadableTarget } from './unreadable.ts'

/** Longer than the idle time of the usual load balancers, which else send into a closing socket. */
const KEEP_ALIVE_MS = 65_000
/** How long a request may take to arrive, and an answer to make no progress. */
const REQUEST_MS = 60_000
const STALLED_MS = 60_000
/** Requests of one connection that may be under way at once; browsers and proxies send one. */
const MAX_PIPELINED = 8
const DRAIN_MS = 10_000
const SWEEP_MS = 50

export interface Listener {
  server: Server
  /** Stops accepting, and waits for what runs; what still runs after ten seconds is cut off. */
  drain(): Promise<void>
}

/**
 * The HTTP server of an app. Express gives every request and response its own prototype when they
 * arrive, which makes the engine give up what it has learned of their shape, and costs a small answer
 * more than all else. Made with that prototype from the start, they are left alone.
 */
export function createListener(app: Express): Listener {
  class Request extends IncomingMessage {}
  class Response extends ServerResponse {}
  Object.setPrototypeOf(Request.prototype, app.request)
  Object.setPrototypeOf(Response.prototype, app.response)
  app.request = Request.prototype as Express['request']
  app.response = Response.prototype as unknown as Express['response']
  const server = createServer(
    {
      IncomingMessage: Request,
      ServerResponse: Response,
      keepAliveTimeout: KEEP_ALIVE_MS,
      requestTimeout: REQUEST_MS,
      // Otherwise Node answers a request without Host itself, in a form of its own.
      requireHostHeader: false,
    },
    (req, res) => serve(req as never, res as never),
  )
  // An expectation that nobody knows may be left unmet; Node would refuse it in a form of its own.
  server.on('checkExpectation', serve)
  // Whoever does not read what was asked for has it wait in memory.
  server.setTimeout(STALLED_MS)
  server.on('clientError', answerUnreadable)
  const lingering = createLingering()
  const underWay = new WeakMap<Socket, number>()
  /** Connections made ahead of a request, as browsers do: the server does not count them as idle. */
  const unused = new Set<Socket>()
  server.on('connection', (socket) => {
    lingering.connection(socket)
    unused.add(socket)
    socket.once('close', () => unused.delete(socket))
  })
  return { server, drain }

  function serve(req: express.Request, res: express.Response) {
    unused.delete(req.socket)
    const count = (underWay.get(req.socket) ?? 0) + 1
    underWay.set(req.socket, count)
    res.once('close', () => underWay.set(req.socket, underWay.get(req.socket)! - 1))
    lingering.request(req, res)
    if (count > MAX_PIPELINED) return send(res, tooManyAtOnce())
    // A target that is no URL reaches none of the app's handlers.
    app(req, res, () => send(res, unreadableTarget()))
  }
  async function drain(): Promise<void> {
    const closed = new Promise((resolve) => server.close(resolve))
    for (const socket of unused) if (socket.bytesRead === 0) socket.destroy()
    // A connection is idle only after the answer that it still carries.
    const sweep = setInterval(() => server.closeIdleConnections(), SWEEP_MS)
    const deadline = setTimeout(() => server.closeAllConnections(), DRAIN_MS)
    await closed
    clearInterval(sweep)
    clearTimeout(deadline)
  }
}
