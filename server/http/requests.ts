import { randomUUID } from 'node:crypto'
import type { RequestHandler } from 'express'
import { Problem } from '../../protocol/index.ts'
import type { Log } from '../log.ts'

declare global {
  namespace Express {
    interface Locals {
      requestId: string
      /** Whose request it is, once that is known. */
      user: string | undefined
    }
  }
}

/** Links are made of it where PUBLIC_URL is not set. */
const HOST = /^[\w.-]+(:\d+)?$|^\[[\da-f:.]+\](:\d+)?$/i

/**
 * Begins every request: its id, the headers of every response, and the line in the log when it is
 * over. The log has the path without its query, because searches are made of people's own words.
 */
export function beginRequests(headers: ReadonlyMap<string, string>, log: Log): RequestHandler {
  return (req, res, next) => {
    const given = req.headers['x-request-id']
    const id = typeof given === 'string' && /^[\w.-]{1,64}$/.test(given) ? given : randomUUID()
    res.locals.requestId = id
    res.setHeader('X-Request-Id', id)
    for (const [name, value] of headers) res.setHeader(name, value)
    if (log.isLevelEnabled('info')) {
      const began = performance.now()
      const { method, path } = req
      res.once('close', () => {
        log.info({
          request_id: id,
          method,
          path,
          status: res.statusCode,
          ms: Math.round((performance.now() - began) * 10) / 10,
          ...(res.locals.user && { user: res.locals.user }),
          ...(!res.writableFinished && { cut_off: true }),
        })
      })
    }
    if (req.httpVersion === '1.1' && !HOST.test(req.headers.host ?? ''))
      throw new Problem('malformed', 'The request has no Host header that names a host.')
    next()
  }
}
