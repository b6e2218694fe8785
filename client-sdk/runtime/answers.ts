import type { ProblemBody } from '../../protocol/problem.ts'
import { ClientError } from './client-error.ts'

/** The types of the fields that an answer has, besides those that nobody here reads. */
export type Shape = Readonly<Record<string, 'string' | 'number' | 'array' | 'object'>>

/** Cheap, where the protocol's own validators would double what an app weighs. */
export function isShaped(shape: Shape): (body: unknown) => boolean {
  return (body) =>
    isObject(body) && Object.entries(shape).every(([name, type]) => typeOf(body[name]) === type)
}

export function isObject(value: unknown): value is Record<string, unknown> {
  return typeOf(value) === 'object'
}

/** JSON that says that it is JSON; undefined where it does not. */
export function readJson(response: Response, text: string): unknown {
  try {
    return isJson(response) ? JSON.parse(text) : undefined
  } catch {
    return undefined // cut short
  }
}

/** The server's own problem. Proxies refuse with pages, gateways with problems of another type. */
export function readProblem(response: Response, text: string): ProblemBody | undefined {
  const body = isOfType(response, 'application/problem+json') && readJson(response, text)
  const isOurs =
    isObject(body) &&
    body.type === `urn:tasktide:problem:${body.code}` &&
    body.status === response.status
  return isOurs ? (body as ProblemBody) : undefined
}

/** A success without a body. */
export function isDone(response: Response, text: string): boolean {
  return text === '' && isNumbered(response)
}

/** A success whose body is for somebody else to read. */
export function isFile(response: Response, type: string): boolean {
  return isOfType(response, type) && isNumbered(response)
}

/** The server gives each request an id, and says it. */
function isNumbered({ redirected, headers }: Response): boolean {
  return !redirected && headers.has('x-request-id')
}

function isOfType(response: Response, type: string): boolean {
  const [given = ''] = (response.headers.get('content-type') ?? '').split(';')
  return !response.redirected && given.trim().toLowerCase() === type
}

/** Something on the way has answered in place of the server. */
export function foreignAnswer(
  { status }: Response,
  details: { retryAfter?: number } = {},
): ClientError {
  const message = `Something on the way to the server has answered in its place (HTTP ${status}).`
  return new ClientError('foreign_answer', message, {
    status,
    isSlow: TOO_SLOW.includes(status),
    ...details,
  })
}

/** What proxies answer when they have waited too long. */
const TOO_SLOW = [408, 504, 524]

function isJson(response: Response): boolean {
  const [type = ''] = (response.headers.get('content-type') ?? '').split(';')
  return !response.redirected && /^application\/([\w.-]+\+)?json$/i.test(type.trim())
}

function typeOf(value: unknown): string {
  if (value === null) return 'null'
  return Array.isArray(value) ? 'array' : typeof value
}
