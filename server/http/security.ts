import type { ServerResponse } from 'node:http'
import cors from 'cors'
import type { RequestHandler } from 'express'
import helmet from 'helmet'
import { Problem } from '../../protocol/index.ts'

const HSTS_SECONDS = 365 * 24 * 60 * 60

/**
 * What helmet sets on every response. Its headers do not depend on the request, so they are asked
 * for once, rather than through fifteen middlewares for each.
 */
export function securityHeaders({ https }: { https: boolean }): ReadonlyMap<string, string> {
  const headers = new Map<string, string>()
  const collector = {
    setHeader: (name: string, value: string) => headers.set(name, value),
    removeHeader: (name: string) => headers.delete(name),
  } as unknown as ServerResponse
  helmet({
    // Answers are data: nothing in them is to be loaded, run or framed. Swagger UI has its own.
    contentSecurityPolicy: {
      useDefaults: false,
      directives: { defaultSrc: ["'none'"], frameAncestors: ["'none'"] },
    },
    strictTransportSecurity: https ? { maxAge: HSTS_SECONDS, includeSubDomains: false } : false,
    frameguard: { action: 'deny' },
    // Web apps on other origins may read answers: CORS decides which.
    crossOriginResourcePolicy: { policy: 'cross-origin' },
  })({} as never, collector, () => {})
  return headers
}

/** What is asked from inside, past the proxy that ends TLS. */
const FROM_INSIDE = new Set(['/healthz', '/readyz', '/metrics'])

/** Sends plain HTTP to HTTPS, keeping method and body (308). */
export function redirectToHttps(publicUrl: string): RequestHandler {
  return (req, res, next) => {
    if (req.secure || FROM_INSIDE.has(req.path)) next()
    else {
      if (!URL.canParse(req.originalUrl, publicUrl))
        throw new Problem('malformed', 'The request URL is not valid; correct it.')
      // The target may be a whole URL, of any host: only its path is ours.
      const { pathname, search } = new URL(req.originalUrl, publicUrl)
      const target = req.originalUrl.startsWith('/') ? req.originalUrl : `${pathname}${search}`
      res.redirect(308, `${publicUrl}${target}`)
    }
  }
}

/**
 * Lets web apps on these origins call. `*` is every origin; no credentials but the token go along, so any
 * header may: those of tracing and tunnels, for example.
 */
export function crossOrigin(origins: readonly string[]): RequestHandler {
  const allow = cors({
    origin: origins.includes('*') ? '*' : [...origins],
    methods: ['GET', 'HEAD', 'POST', 'PUT', 'PATCH', 'DELETE'],
    exposedHeaders: [
      'Allow',
      'Content-Disposition',
      'Date',
      'ETag',
      'Location',
      'Retry-After',
      'X-Request-Id',
    ],
    maxAge: 3600,
  })
  return origins.includes('*')
    ? (req, res, next) => (req.headers.origin === undefined ? next() : allow(req, res, next))
    : allow
}
