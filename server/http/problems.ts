import type { ErrorRequestHandler, Request, RequestHandler } from 'express'
import type * as z from 'zod'
import {
  type FieldErrors,
  invalid,
  Problem,
  type ProblemCode,
  remedyFor,
} from '../../protocol/index.ts'
import type { Log } from '../runtime/log.ts'
import { UnknownUser } from '../sync/store.ts'
import { unknownName } from './nearest-name.ts'
import type { Answer } from './operation.ts'
import { isOverloaded, isTooSlow, Overload, tooSlow } from './overload.ts'
import { send } from './send.ts'

/** Parses input. @throws Problem `invalid`, with messages by field */
export function parse<S extends z.ZodType>(schema: S, input: unknown, what: string): z.output<S> {
  refuseManyUnknown(schema, input, what)
  return parseAt([], schema, input, what)
}

/** The same of a part of it, at a path. */
export function parseAt<S extends z.ZodType>(
  path: readonly PropertyKey[],
  schema: S,
  input: unknown,
  what: string,
): z.output<S> {
  const result = schema.safeParse(input, { reportInput: true, error: remedyFor })
  if (result.success) return result.data
  throw invalid(what, fieldErrors(result.error.issues, path, schema))
}

/** How errors are told to clients of another protocol. @param error of which the problem was made */
export type Dialect = (problem: Problem, error: unknown, request: Request) => Answer

/** Errors of what follows are told in a dialect. */
export const speaking =
  (dialect: Dialect): RequestHandler =>
  (_req, res, next) => {
    res.locals.dialect = dialect
    next()
  }

/** Limits the size of the response to a body of unknown names. */
const MAX_UNKNOWN = 20

/** @param path of what the schema is of */
function fieldErrors(
  issues: readonly z.core.$ZodIssue[],
  path: readonly PropertyKey[],
  schema: z.ZodType,
): FieldErrors {
  const errors: FieldErrors = Object.create(null)
  const add = (at: readonly PropertyKey[], message: string) => {
    const name = at.join('.')
    errors[name] = [...(errors[name] ?? []), message]
  }
  const mistyped = new Set<string>()
  for (const issue of issues) {
    const at = [...path, ...issue.path]
    // A list also counts as too short a text.
    if (mistyped.has(at.join('.'))) continue
    if (issue.code === 'invalid_type') mistyped.add(at.join('.'))
    if (issue.code === 'unrecognized_keys') {
      const known = knownKeys(issue.path.reduce(innerOf, schema))
      for (const key of issue.keys.slice(0, MAX_UNKNOWN))
        add([...at, shortened(key)], unknownName('name', key, known))
    } else if (issue.code === 'invalid_type' && issue.input === undefined && issue.path.length > 0)
      add(at, 'Required.')
    else add(at, issue.message)
  }
  return { ...errors }
}

/** The schema of an element or a field, as far as it can be told. */
function innerOf(schema: z.ZodType | undefined, name: PropertyKey): z.ZodType | undefined {
  if (!schema) return undefined
  if ('element' in schema) return schema.element as z.ZodType
  if ('shape' in schema) return (schema.shape as Record<PropertyKey, z.ZodType>)[name]
  return 'unwrap' in schema ? innerOf((schema.unwrap as () => z.ZodType)(), name) : undefined
}

/** The schemas take a hundred times as long to find out. */
function refuseManyUnknown(schema: z.ZodType, input: unknown, what: string): void {
  const known = knownKeys(schema)
  if (known.length === 0 || typeof input !== 'object' || input === null) return
  const names = Object.keys(input)
  if (names.length <= known.length + MAX_UNKNOWN) return
  const unknown = names.filter((name) => !known.includes(name)).slice(0, MAX_UNKNOWN)
  const errors = unknown.map((name) => [shortened(name), [unknownName('name', name, known)]])
  throw invalid(what, Object.fromEntries(errors))
}

/** A client's name for something, shortened for messages. */
export const shortened = (name: string) => (name.length > 60 ? `${name.slice(0, 60)}…` : name)

function knownKeys(schema: z.ZodType | undefined): string[] {
  return schema && 'shape' in schema ? Object.keys(schema.shape as object) : []
}

export const notFound: RequestHandler = (req) => {
  throw new Problem(
    'not_found',
    `No such path: ${shortened(req.path)}. See /api/docs/ for the API.`,
  )
}

/** The only place that converts errors to responses. Must be the last handler of the app. */
export const answerProblems =
  (log: Log): ErrorRequestHandler =>
  (error, req, res, next) => {
    const problem = toProblem(error)
    // A node that refuses most of its requests has no time for an entry of each.
    if (problem.status >= 500 && !(problem instanceof Overload))
      log.error(
        { request_id: res.locals.requestId, method: req.method, path: req.path, error },
        'request failed',
      )
    if (res.headersSent) return next(error)
    const { dialect } = res.locals
    if (dialect) return send(res, dialect(problem, error, req))
    send(res, {
      status: problem.status,
      headers: headersOf(problem),
      body: {
        ...problem.body(res.locals.requestId),
        // Without it, the client of rxdb-server takes this for a valid response and never pulls again.
        ...(req.originalUrl.startsWith('/replication/') && { error: true }),
      },
    })
  }

/** A problem with response headers of its own. */
export class ProblemWithHeaders extends Problem {
  readonly headers: Readonly<Record<string, string>>

  constructor(
    headers: Readonly<Record<string, string>>,
    ...problem: ConstructorParameters<typeof Problem>
  ) {
    super(...problem)
    this.headers = headers
  }
}

/** RFC 6750, and RFC 9470 for what asks for more than a token. */
const BEARER_ERRORS: Partial<Record<ProblemCode, string>> = {
  token_not_valid: 'invalid_token',
  account_deleted: 'invalid_token',
  factor_required: 'insufficient_user_authentication',
  factor_setup_required: 'insufficient_user_authentication',
}

/** The response headers of a problem. */
export function headersOf(problem: Problem): Record<string, string> {
  const { code, status, retryAfter } = problem
  return {
    'Content-Type': 'application/problem+json',
    ...(status === 401 && {
      'WWW-Authenticate': BEARER_ERRORS[code] ? `Bearer error="${BEARER_ERRORS[code]}"` : 'Bearer',
    }),
    ...(retryAfter && { 'Retry-After': String(retryAfter) }),
    ...(problem instanceof ProblemWithHeaders && problem.headers),
  }
}

/** @param allowed the methods of the path, as in the `Allow` header */
export function methodNotAllowed({ method }: Request, allowed: string): Problem {
  const detail = `${method} is not supported here; use ${allowed}.`
  return new ProblemWithHeaders({ Allow: allowed }, 'method_not_allowed', detail)
}

/** Hides internal details: an unknown error shows only its status. */
export function toProblem(error: unknown): Problem {
  if (error instanceof Problem) return error
  if (isOverloaded(error)) return new Overload(error)
  if (isTooSlow(error)) return tooSlow(error)
  // Not `account_deleted`: devices delete their data only when a token refresh says so.
  if (error instanceof UnknownUser)
    return new Problem('token_not_valid', 'The account does not exist; sign in again.')
  const { status, code } = (error ?? {}) as { status?: number; code?: string }
  if (status === 412)
    return new Problem(
      'precondition_failed',
      'The file has changed; request it without conditions.',
    )
  if (status !== undefined && status >= 400 && status < 500)
    return new Problem(
      'malformed',
      'The request cannot be parsed; check its path and its encoding.',
    )
  const unavailable =
    UNAVAILABLE[code ?? ''] ??
    (isDatabaseAway(error, code) ? 'The database is unreachable; try again later.' : undefined)
  if (unavailable !== undefined)
    return new Problem('unavailable', unavailable, { retryAfter: 2, cause: error })
  return new Problem('internal', 'The server failed; try again later.', { cause: error })
}

const IN_THE_WAY = 'Another change of the same data is still running; try again later.'

/** By SQLSTATE. */
const UNAVAILABLE: Readonly<Record<string, string>> = {
  '25006': 'The database is read-only; try again later.',
  '55P02': 'The database is unreachable; try again later.',
  '55P03': IN_THE_WAY,
  '40P01': IN_THE_WAY,
  // The node was too slow, so the database has ended its transaction.
  '25P03': 'The server was too slow; try again later.',
}

function isDatabaseAway(error: unknown, code: string | undefined): boolean {
  if (!(error instanceof Error)) return false
  // 08: connection exceptions; 57P: shut down; 53: out of resources.
  if (
    code &&
    /^(08...|57P..|53...|ECONN\w+|ENOENT|EPIPE|ENOTFOUND|ETIMEDOUT|EAI_AGAIN|E(HOST|NET)UNREACH)$/.test(
      code,
    )
  )
    return true
  return (
    error.name === 'KnexTimeoutError' ||
    /Connection terminated|timeout expired|Client has encountered|Query read timeout/.test(
      error.message,
    )
  )
}
