import { createHash } from 'node:crypto'
import { existsSync, readdirSync, readFileSync } from 'node:fs'
import path from 'node:path'
import { fileURLToPath } from 'node:url'
import express, { type Request, type Router } from 'express'
import helmet from 'helmet'
import { Problem } from '../../../protocol/index.ts'
import { methodNotAllowed } from '../problems.ts'
import { withHomepage } from './client-package.ts'

interface File {
  /** The content by encoding. */
  forms: ReadonlyMap<string, Buffer>
  etag: string
  cacheControl: string
}

const PAGE = '/'
const CLIENT = '/client.tgz'
const HASHED = /-[0-9A-Z]{8}\.\w+$/
const ENDINGS = { br: '.br', gzip: '.gz' }
const ALLOW = 'GET, HEAD'

/**
 * Serves the web app and the client (`/client.tgz`) of `npm run build`, whose homepage is this server's documentation. Files are read
 * once, at start: a request path never becomes a file system path, and a running build changes nothing here.
 */
export function webApp(
  publicUrl?: string,
  folder = builtFolder('web'),
  client = builtFolder('client'),
): Router {
  const router = express.Router()
  const ofThisServer = (bytes: Buffer) =>
    publicUrl ? withHomepage(bytes, `${publicUrl}/api/docs/`) : bytes
  const files = new Map([...readFiles(folder), ...readFiles(client, ofThisServer)])
  const guard = helmet.contentSecurityPolicy({ useDefaults: false, directives: csp(publicUrl) })
  router.use((req, res, next) => {
    const file = files.get(req.path)
    // Another node may have this file of another release, so caches must not store the 404.
    if (!file && HASHED.test(req.path)) res.set('Cache-Control', 'no-store')
    if (!file) return next()
    if (!['GET', 'HEAD'].includes(req.method)) throw methodNotAllowed(req, ALLOW)
    guard(req, res, (error) => {
      if (error) return next(error)
      const encoding = ['br', 'gzip'].find((one) => file.forms.has(one) && accepts(req, one))
      if (encoding) res.set('Content-Encoding', encoding)
      res
        .vary('Accept-Encoding')
        .set('Cache-Control', file.cacheControl)
        .set('ETag', `"${file.etag}${encoding ? `-${encoding}` : ''}"`)
        .type(req.path === PAGE ? 'html' : path.extname(req.path))
        .send(file.forms.get(encoding ?? 'identity'))
    })
  })
  for (const missing of [PAGE, CLIENT].filter((one) => !files.has(one)))
    router.get(missing, () => {
      const what = missing === PAGE ? 'The web app' : 'The client'
      const remedy = 'Run `npm run build` and restart the server.'
      throw new Problem('not_found', `${what} is not built. ${remedy} The API is available.`)
    })
  return router
}

/** Next to the built server, or in the output folder of the build when run from source. */
function builtFolder(name: 'web' | 'client'): string {
  const folder = import.meta.url.endsWith('.ts') ? '../../../dist' : '../../..'
  return fileURLToPath(new URL(`${folder}/${name}`, import.meta.url))
}

function readFiles(folder: string, change = (bytes: Buffer) => bytes): Map<string, File> {
  const names = existsSync(folder) ? readdirSync(folder) : []
  const files = new Map<string, File>()
  for (const name of names.filter((one) => !/\.(br|gz|draft)$/.test(one))) {
    const bytes = change(readFileSync(path.join(folder, name)))
    const forms = new Map([['identity', bytes]])
    for (const [encoding, ending] of Object.entries(ENDINGS)) {
      const form = path.join(folder, name + ending)
      if (existsSync(form)) forms.set(encoding, readFileSync(form))
    }
    files.set(name === 'index.html' ? PAGE : `/${name}`, {
      forms,
      etag: createHash('sha256').update(bytes).digest('base64url').slice(0, 16),
      cacheControl: HASHED.test(name) ? 'public, max-age=31536000, immutable' : 'no-cache',
    })
  }
  return files
}

const accepts = (req: Request, encoding: string) => req.acceptsEncodings(encoding) !== false

/** In older browsers `'self'` does not include WebSockets. */
function csp(publicUrl: string | undefined) {
  const sockets = ({ headers }: { headers: Request['headers'] }) => {
    const host = publicUrl ? new URL(publicUrl).host : (headers.host ?? '')
    // The Host header of HTTP/1.0 may be missing or invalid.
    return /^[\w.:[\]-]+$/.test(host) ? `ws://${host} wss://${host}` : "'self'"
  }
  return {
    defaultSrc: ["'none'"],
    scriptSrc: ["'self'"],
    styleSrc: ["'self'"],
    imgSrc: ["'self'", 'data:'],
    connectSrc: ["'self'", sockets],
    manifestSrc: ["'self'"],
    workerSrc: ["'self'"],
    baseUri: ["'none'"],
    formAction: ["'self'"],
    frameAncestors: ["'none'"],
  }
}
