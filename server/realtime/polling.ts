import type { IncomingMessage, ServerResponse } from 'node:http'
import { Problem } from '../../protocol/index.ts'

/**
 * Answers requests of Socket.IO's other transport, which its clients try first. Web apps on any origin may read
 * the answer: without these headers, a browser would show a fault of CORS instead.
 */
export function refusePolling(
  request: IncomingMessage,
  response: ServerResponse,
  next: () => void,
): void {
  if (request.headers.upgrade !== undefined) {
    next()
    return
  }
  const isPreflight = request.method === 'OPTIONS'
  response.writeHead(isPreflight ? 204 : 400, {
    'Access-Control-Allow-Origin': '*',
    'Access-Control-Allow-Headers': '*',
    'Cache-Control': 'no-store',
    'X-Content-Type-Options': 'nosniff',
    ...(!isPreflight && { 'Content-Type': 'application/problem+json' }),
  })
  response.end(isPreflight ? undefined : JSON.stringify(POLLING.body()))
}

const POLLING = new Problem(
  'malformed',
  "Sockets are WebSockets only. Connect with io(url, { transports: ['websocket'], auth: { token } }).",
)
