import type { ProblemBody } from '../../protocol/problem.ts'
import type { Shape } from '../../protocol/shape.ts'
import { ClientError } from './client-error.ts'

/** A small check: the protocol's validators would double the size of an app. */
export function isShaped(shape: Shape): (body: unknown) => boolean {
  if (typeof shape === 'string') return (value) => typeof value === shape
  if ('each' in shape) {
    const isOne = isShaped(shape.each)
    return (value) => Array.isArray(value) && value.every(isOne)
  }
  const fields = Object.entries(shape.fields).map(([name, of]) => [name, isShaped(of)] as const)
  return (value) => isObject(value) && fields.every(([name, isField]) => isField(value[name]))
}

function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}

/** A body with a JSON content type; undefined for other bodies. */
export function readJson(response: Response, text: string): unknown {
  try {
    return isJson(response) ? JSON.parse(text) : undefined
  } catch {
    return undefined // truncated
  }
}

/** A problem of the server. Proxies respond with HTML pages, gateways with problems of other types. */
export function readProblem(response: Response, text: string): ProblemBody | undefined {
  const body = isOfType(response, 'application/problem+json') && readJson(response, text)
  const isOurs =
    isObject(body) &&
    body.type === `urn:tasktide:problem:${body.code}` &&
    body.status === response.status
  return isOurs ? (body as ProblemBody) : undefined
}

/** Whether it is a success without a body. */
export function isDone(response: Response, text: string): boolean {
  return text === '' && isNumbered(response)
}

/** Whether it is a success whose body the caller reads. */
export function isFile(response: Response, type: string): boolean {
  return isOfType(response, type) && isNumbered(response)
}

/** The server sends a request id in every response. */
function isNumbered({ redirected, headers }: Response): boolean {
  return !redirected && headers.has('x-request-id')
}

function isOfType(response: Response, type: string): boolean {
  const [given = ''] = (response.headers.get('content-type') ?? '').split(';')
  return !response.redirected && given.trim().toLowerCase() === type
}

/** A proxy, a firewall or a captive portal responded instead of the server. */
export function foreignAnswer(
  response: Response,
  details: { retryAfter?: number } = {},
): ClientError {
  const { status } = response
  const message = isOfType(response, 'text/html')
    ? `A web page came instead of the answer of the server (HTTP ${status}): the URL of the client may be that of another server, or this network asks for a sign-in.`
    : `A proxy or firewall between this device and the server answered instead of it (HTTP ${status}).`
  return new ClientError('foreign_answer', message, {
    status,
    isSlow: TOO_SLOW.includes(status),
    ...details,
  })
}

/** Time-out statuses of proxies. */
const TOO_SLOW = [408, 504, 524]

function isJson(response: Response): boolean {
  const [type = ''] = (response.headers.get('content-type') ?? '').split(';')
  return !response.redirected && /^application\/([\w.-]+\+)?json$/i.test(type.trim())
}
