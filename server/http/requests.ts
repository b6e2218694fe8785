import { randomUUID } from 'node:crypto'
import type { IncomingMessage } from 'node:http'
import type { RequestHandler } from 'express'
import { Problem } from '../../protocol/index.ts'
import type { Log } from '../runtime/log.ts'
import type { Metrics } from '../runtime/metrics.ts'
import type { Tracing } from '../runtime/tracing.ts'
import { withoutPorts } from './networks.ts'
import type { Dialect } from './problems.ts'

declare global {
  namespace Express {
    interface Locals {
      requestId: string
      /** The caller, after authentication. */
      user: string | undefined
      /** The requested operation, after routing. */
      operation: string | undefined
      /** Its path, as in OpenAPI. */
      route: string | undefined
      /** How errors are told, if not as problems. */
      dialect: Dialect | undefined
      /** For a streamed response: called at its end. */
      streamEnded: (() => void) | undefined
    }
  }
}

/** As in nginx: the client has closed the connection before the end of the answer. */
const CLIENT_CLOSED = 499

/** @returns what is wrong with the Host header, and what to send */
export function hostFault({
  httpVersion,
  headers,
  rawHeaders,
}: IncomingMessage): string | undefined {
  let count = 0
  for (let i = 0; i < rawHeaders.length; i += 2)
    if (rawHeaders[i]!.length === 4 && rawHeaders[i]!.toLowerCase() === 'host') count++
  // Proxies and servers may each take another one.
  if (count > 1) return 'There is more than one Host header; send one.'
  if (httpVersion !== '1.1' || HOST.test(headers.host ?? '')) return undefined
  return 'The Host header is missing or invalid; send the host name of the server.'
}

/** Links are built from it if PUBLIC_URL is not set. */
const HOST = /^[\w.-]+(:\d+)?$|^\[[\da-f:.]+\](:\d+)?$/i

interface Dependencies {
  /** The headers of every response. */
  headers: ReadonlyMap<string, string>
  log: Log
  metrics: Pick<Metrics, 'request'>
  tracing: Pick<Tracing, 'request'>
  now: () => Date
}

/**
 * Handles every request first: sets its id and the common response headers, and logs, counts and traces
 * it. The log omits the query, because searches contain the user's own words; traces omit the path too.
 */
export function beginRequests({
  headers,
  log,
  metrics,
  tracing,
  now,
}: Dependencies): RequestHandler {
  return (req, res, next) => {
    const forwarded = req.headers['x-forwarded-for']
    if (typeof forwarded === 'string') req.headers['x-forwarded-for'] = withoutPorts(forwarded)
    const given = req.headers['x-request-id']
    const id = typeof given === 'string' && /^[\w.-]{1,64}$/.test(given) ? given : randomUUID()
    res.locals.requestId = id
    res.setHeader('X-Request-Id', id)
    // Devices date their edits by it: the clock of this machine may be wrong.
    res.setHeader('Date', now().toUTCString())
    for (const [name, value] of headers) res.setHeader(name, value)
    const began = performance.now()
    const span = tracing.request(req.get('traceparent'))
    const { method, path } = req
    res.once('close', () => {
      const ms = performance.now() - began
      const { locals } = res
      const isCutOff = !res.writableFinished
      // Nobody has read the status of an answer that was cut off; that the server failed is worth knowing.
      const isUnread = isCutOff && !locals.streamEnded && res.statusCode < 500
      const status = isUnread ? CLIENT_CLOSED : res.statusCode
      span.end(
        `${method} ${locals.route ?? 'none'}`,
        {
          'http.request.method': method,
          'http.response.status_code': status,
          ...(locals.route && { 'http.route': locals.route }),
          'tasktide.operation': locals.operation ?? 'none',
          'tasktide.request_id': id,
        },
        status >= 500,
      )
      if (locals.streamEnded) locals.streamEnded()
      else metrics.request(locals.operation, method, status, ms)
      if (!log.isLevelEnabled('info')) return
      log.info({
        request_id: id,
        method,
        path,
        status,
        ms: Math.round(ms * 10) / 10,
        ...(locals.user && { user: locals.user }),
        ...(isCutOff && { cut_off: true }),
      })
    })
    const fault = hostFault(req)
    if (fault) throw new Problem('malformed', fault)
    span.run(next)
  }
}
