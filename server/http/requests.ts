import { randomUUID } from 'node:crypto'
import type { RequestHandler } from 'express'
import { Problem } from '../../protocol/index.ts'
import type { Log } from '../runtime/log.ts'
import type { Metrics } from '../runtime/metrics.ts'

declare global {
  namespace Express {
    interface Locals {
      requestId: string
      /** Whose request it is, once that is known. */
      user: string | undefined
      /** Which operation it asks for, once that is known. */
      operation: string | undefined
      /** Of an answer that goes on and on: to be called at its end. */
      streamEnded: (() => void) | undefined
    }
  }
}

/** Links are made of it where PUBLIC_URL is not set. */
const HOST = /^[\w.-]+(:\d+)?$|^\[[\da-f:.]+\](:\d+)?$/i

/**
 * Begins every request: its id, the headers of every response, and the line in the log when it is
 * over, and what is counted then. The log has the path without its query, because searches are made
 * of people's own words.
 */
export function beginRequests(
  headers: ReadonlyMap<string, string>,
  log: Log,
  metrics: Pick<Metrics, 'request'>,
): RequestHandler {
  return (req, res, next) => {
    const given = req.headers['x-request-id']
    const id = typeof given === 'string' && /^[\w.-]{1,64}$/.test(given) ? given : randomUUID()
    res.locals.requestId = id
    res.setHeader('X-Request-Id', id)
    for (const [name, value] of headers) res.setHeader(name, value)
    const began = performance.now()
    const { method, path } = req
    res.once('close', () => {
      const ms = performance.now() - began
      const { locals } = res
      if (locals.streamEnded) locals.streamEnded()
      else metrics.request(locals.operation, method, res.statusCode, ms)
      if (!log.isLevelEnabled('info')) return
      log.info({
        request_id: id,
        method,
        path,
        status: res.statusCode,
        ms: Math.round(ms * 10) / 10,
        ...(locals.user && { user: locals.user }),
        ...(!res.writableFinished && { cut_off: true }),
      })
    })
    if (req.httpVersion === '1.1' && !HOST.test(req.headers.host ?? ''))
      throw new Problem(
        'malformed',
        'The Host header is missing or invalid; send the name of the host.',
      )
    next()
  }
}
