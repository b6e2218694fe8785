import type { ServerResponse } from 'node:http'
import cors from 'cors'
import type { RequestHandler } from 'express'
import helmet from 'helmet'
import { Problem } from '../../protocol/index.ts'

const HSTS_SECONDS = 365 * 24 * 60 * 60

interface HstsOptions {
  https: boolean
  /** Whether browsers use HTTPS for all subdomains of the host too. */
  subdomains: boolean
}

/**
 * Helmet's headers for every response. They do not depend on the request, so they are computed once
 * instead of by fifteen middlewares per request.
 */
export function securityHeaders({ https, subdomains }: HstsOptions): ReadonlyMap<string, string> {
  const headers = new Map<string, string>()
  const collector = {
    setHeader: (name: string, value: string) => headers.set(name, value),
    removeHeader: (name: string) => headers.delete(name),
  } as unknown as ServerResponse
  helmet({
    // Responses are data and must not load, run or be framed. Swagger UI has its own policy.
    contentSecurityPolicy: {
      useDefaults: false,
      directives: { defaultSrc: ["'none'"], frameAncestors: ["'none'"] },
    },
    strictTransportSecurity: https
      ? { maxAge: HSTS_SECONDS, includeSubDomains: subdomains }
      : false,
    frameguard: { action: 'deny' },
    // CORS decides which web apps on other origins may read responses.
    crossOriginResourcePolicy: { policy: 'cross-origin' },
  })({} as never, collector, () => {})
  return headers
}

/** Paths that are requested internally, without the proxy that terminates TLS. */
const FROM_INSIDE = new Set(['/healthz', '/readyz', '/metrics'])

/** Pages that people may open by an address without a scheme. */
const IS_PAGE = /^\/(?!api\/(?!(docs|schema|asyncapi)\b)|replication\/|couch\/|socket\.io\/)/i

/**
 * Sends plain HTTP for a page to HTTPS. Anything else is refused: a client that follows a redirect sends its
 * password or its token over the open line each time, and nobody notices.
 */
export function requireHttps(publicUrl: string): RequestHandler {
  return (req, res, next) => {
    if (req.secure || FROM_INSIDE.has(req.path)) return next()
    if (!URL.canParse(req.originalUrl, publicUrl))
      throw new Problem('malformed', 'The request URL is not valid; correct it.')
    const isRead = req.method === 'GET' || req.method === 'HEAD'
    if (!isRead || req.headers.authorization !== undefined || !IS_PAGE.test(req.path))
      throw new Problem(
        'https_required',
        `Use ${publicUrl}. Others on the network could read this request: change a password that was in it, and sign out the device if it had a token.`,
      )
    // The target may be an absolute URL of any host; only its path is used.
    const { pathname, search } = new URL(req.originalUrl, publicUrl)
    const target = req.originalUrl.startsWith('/') ? req.originalUrl : `${pathname}${search}`
    res.redirect(308, `${publicUrl}${target}`)
  }
}

/**
 * Allows calls from web apps on these origins; `*` is every origin. Any request header is allowed, such as
 * those of tracing, because browsers send no credentials except the token.
 *
 * Clients of CouchDB ask browsers to send credentials, which then insist on being told the origin and that
 * credentials are allowed. Below this path they are told so. There are none to send: no cookie is set or read, and
 * nothing asks for Basic, so browsers keep no password.
 */
export function crossOrigin(
  origins: readonly string[],
  askedWithCredentials: string,
): RequestHandler {
  const isOpen = origins.includes('*')
  const common = {
    methods: ['GET', 'HEAD', 'POST', 'PUT', 'PATCH', 'DELETE'],
    exposedHeaders: [
      'Allow',
      'Content-Disposition',
      'Date',
      'ETag',
      'Location',
      'RateLimit',
      'RateLimit-Policy',
      'Retry-After',
      'X-Request-Id',
    ],
    maxAge: 3600,
  }
  const allow = cors({ ...common, origin: isOpen ? '*' : [...origins] })
  const allowWithCredentials = cors({
    ...common,
    origin: isOpen ? true : [...origins],
    credentials: true,
  })
  return (req, res, next) => {
    if (req.path.startsWith(askedWithCredentials)) allowWithCredentials(req, res, next)
    else if (isOpen && req.headers.origin === undefined) next()
    else allow(req, res, next)
  }
}
