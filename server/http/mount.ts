import { isUtf8 } from 'node:buffer'
import express, { type Express, type Request, type Response } from 'express'
import { type FieldErrors, invalid, Problem } from '../../protocol/index.ts'
import { may } from '../accounts/permissions.ts'
import type { Caller, Sessions } from '../accounts/sessions.ts'
import type { Log } from '../runtime/log.ts'
import type { Metrics } from '../runtime/metrics.ts'
import type { AttemptLimit } from './attempt-limit.ts'
import type { Call, Method, Operation, Parameter } from './operation.ts'
import { methodNotAllowed, ProblemWithHeaders, parse, shortened, toProblem } from './problems.ts'
import { send } from './send.ts'

export interface MountDependencies {
  sessions: Pick<Sessions, 'authenticate'>
  limit: AttemptLimit
  metrics: Pick<Metrics, 'stream'>
  log: Pick<Log, 'warn'>
  maxBodyBytes: number
}

/** Adds a route for every operation; other methods on its path get a 405. */
export function mount(
  app: Express,
  operations: readonly Operation[],
  dependencies: MountDependencies,
) {
  for (const [path, atPath] of groupBy(operations, ({ path }) => path)) {
    const route = app.route(path.replaceAll(/\{(\w+)\}/g, ':$1').replace(/\/$/, ''))
    for (const operation of atPath) {
      const serve = handlerOf(operation, dependencies)
      route[operation.method](serve)
    }
    const allow = allowed(atPath.map(({ method }) => method))
    route.all((req, res) => {
      if (req.method === 'OPTIONS') return send(res, { status: 204, headers: { Allow: allow } })
      throw methodNotAllowed(req, allow)
    })
  }
}

/** Checks in this order: authentication, rate limit, query, body. */
function handlerOf(
  operation: Operation,
  { sessions, limit, metrics, log, maxBodyBytes }: MountDependencies,
) {
  const readBody = bodyReader(operation.maxBodyBytes ?? maxBodyBytes)
  const countsByAddress =
    operation.limit === 'account' || (operation.access === 'limited' && !operation.limit)
  const readQuery = queryReader(operation.query ?? [])
  return operation.limit === 'refusals' ? countingRefusals : serve

  async function serve(req: Request, res: Response) {
    res.locals.operation = operation.id
    res.locals.route = operation.path
    let caller: Pick<Call, 'user' | 'session' | 'expires'> = NOBODY
    if (operation.access === 'bearer') {
      // Private data: no shared cache, and a private cache has to revalidate (ETag).
      res.setHeader('Cache-Control', 'private, no-cache')
      caller = permitted(await sessions.authenticate(bearerToken(req)), res)
    }
    // Accounts are free to create, so the address counts too.
    if (countsByAddress) await limit(operation.id, req.ip)
    if (operation.limit === 'account') await limit('account', caller.user)
    if (operation.limit === 'user') await limit(operation.id, caller.user)
    res.locals.user = caller.user || undefined
    // Whoever has left while waiting needs no answer.
    if (res.destroyed) return
    const call: Call<unknown> = {
      ...caller,
      params: req.params as Record<string, string>,
      query: readQuery(req.query),
      body: operation.body && parse(operation.body.schema, await readBody(req, res), 'body'),
      request: req,
    }
    const answer = await operation.handle(call as Call)
    const isEvents = answer.headers?.['Content-Type']?.startsWith('text/event-stream')
    if (isEvents && answer.stream && !res.destroyed) res.locals.streamEnded = metrics.stream()
    send(res, answer)
  }

  async function countingRefusals(req: Request, res: Response) {
    try {
      await serve(req, res)
    } catch (error) {
      if (toProblem(error).status < 500) await limit(operation.id, req.ip)
      throw error
    }
  }

  /**
   * The only permission check, except for `/metrics`, which also accepts a token of its own.
   *
   * @throws Problem `forbidden`
   */
  function permitted(caller: Caller, res: Response): Caller {
    const { permission, id } = operation
    if (permission === undefined || may(caller.role, permission)) return caller
    const { user, role } = caller
    log.warn({ request_id: res.locals.requestId, operation: id, user, role }, 'not permitted')
    throw new Problem(
      'forbidden',
      `This requires the permission ${permission}, which your role (${role}) lacks.`,
    )
  }
}

const NOBODY = { user: '', session: '', expires: 0 }

/** @throws Problem `unauthenticated` without a token */
function bearerToken(req: Request): string {
  const token = /^Bearer +([\w.~+/=-]+)$/i.exec(req.headers.authorization ?? '')?.[1]
  if (token !== undefined) return token
  throw new Problem(
    'unauthenticated',
    'Send the header Authorization: Bearer <access token>, without quotes.',
  )
}

/** Parses only the given parameters: a list has about fifty, most requests use three. */
function queryReader(parameters: readonly Parameter[]) {
  const schemas = new Map(parameters.map(({ name, schema }) => [name, schema]))
  const unknown = `Unknown parameter. Use one of: ${[...schemas.keys()].join(', ') || 'none'}.`
  return (given: Request['query']): Record<string, unknown> => {
    const query: Record<string, unknown> = {}
    const errors: FieldErrors = Object.create(null)
    for (const [name, value] of Object.entries(given)) {
      const schema = schemas.get(name)
      // A repeated parameter is ambiguous.
      if (schema && typeof value !== 'string') errors[name] = ['Use it only once.']
      const result = schema?.safeParse(value)
      if (result?.success) query[name] = result.data
      else
        errors[shortened(name)] ??= result?.error.issues.map(({ message }) => message) ?? [unknown]
    }
    if (Object.keys(errors).length > 0) throw invalid('query', { ...errors })
    return query
  }
}

type BodyReader = (req: Request, res: Response) => Promise<unknown>

function bodyReader(limit: number): BodyReader {
  const types = ['application/json', 'application/*+json']
  const read = express.json({
    limit,
    type: types,
    strict: false,
    verify(_req, _res, bytes) {
      // Decoding would silently replace invalid bytes by U+FFFD.
      if (!isUtf8(bytes)) throw new Error('not UTF-8')
    },
  })
  return async (req, res) => {
    if (!hasBody(req))
      throw new Problem('invalid', 'The body is missing; send JSON.', {
        errors: { '': ['The body is missing.'] },
      })
    if (!req.is(types))
      throw new Problem('unsupported_media_type', 'Send JSON, with Content-Type: application/json.')
    // An unregistered alias that many clients send.
    req.headers['content-type'] = req.headers['content-type']!.replace(UTF8, '$1utf-8')
    if (Number(req.headers['content-length'] ?? 0) > limit) throw tooLarge(limit)
    await new Promise<void>((resolve, reject) => {
      let size = 0
      req.on('data', (chunk: Buffer) => {
        size += chunk.length
        if (size > limit) reject(tooLarge(limit))
      })
      read(req, res, (error) => (error ? reject(error) : resolve()))
    })
    return req.body
  }
}

const UTF8 = /(;\s*charset=)("?)utf8\2(?=\s*(?:;|$))/i

function tooLarge(limit: number): Problem {
  // Do not wait for the rest of the body.
  const headers = { Connection: 'close' }
  return new ProblemWithHeaders(headers, 'too_large', `The body exceeds ${limit} bytes; send less.`)
}

const hasBody = (req: Request) =>
  req.headers['transfer-encoding'] !== undefined || Number(req.headers['content-length'] ?? 0) > 0

function allowed(methods: readonly Method[]): string {
  const names = methods.map((method) => method.toUpperCase())
  return [...names, ...(methods.includes('get') ? ['HEAD'] : []), 'OPTIONS'].join(', ')
}

function groupBy<T>(items: readonly T[], keyOf: (item: T) => string): Map<string, T[]> {
  const groups = new Map<string, T[]>()
  for (const item of items) groups.set(keyOf(item), [...(groups.get(keyOf(item)) ?? []), item])
  return groups
}
