/** Every way a request can be refused, as RFC 9457 problem details. Programs switch on `code`. */
import * as z from 'zod'

export const PROBLEMS = {
  invalid: { status: 400, title: 'The request is not valid' },
  malformed: { status: 400, title: 'The request cannot be read' },
  link_not_valid: { status: 400, title: 'The link has been used, or is too old' },
  unauthenticated: { status: 401, title: 'Authentication is required' },
  token_not_valid: { status: 401, title: 'The token is not valid' },
  credentials_not_valid: { status: 401, title: 'No account with these credentials' },
  account_deleted: { status: 401, title: 'The account has been deleted' },
  forbidden: { status: 403, title: 'This is not allowed to you' },
  not_found: { status: 404, title: 'There is nothing here' },
  method_not_allowed: { status: 405, title: 'The method is not allowed here' },
  timed_out: { status: 408, title: 'The request took too long to arrive' },
  conflict: { status: 409, title: 'The document exists with other content' },
  precondition_failed: { status: 412, title: 'The document has changed since it was read' },
  too_large: { status: 413, title: 'The request is too large' },
  unsupported_media_type: { status: 415, title: 'The media type is not supported' },
  outdated_client: { status: 426, title: 'This version of the resource is no longer spoken' },
  too_many_requests: { status: 429, title: 'Too many requests' },
  headers_too_large: { status: 431, title: 'The headers are too large' },
  internal: { status: 500, title: 'The server failed' },
  unavailable: { status: 503, title: 'The service is not available at the moment' },
} as const

export type ProblemCode = keyof typeof PROBLEMS

/** Messages by field; a fault of the whole body stands under the empty name. */
export type FieldErrors = Record<string, string[]>

export const problemSchema = z.looseObject({
  type: z.string().describe('Names the kind of problem; `code` says the same in one word.'),
  title: z.string(),
  status: z.int(),
  code: z.enum(Object.keys(PROBLEMS) as [ProblemCode, ...ProblemCode[]]),
  detail: z.string().describe('What is wrong, and what to do about it.'),
  errors: z
    .record(z.string(), z.array(z.string()))
    .optional()
    .describe('What is wrong with each field or parameter.'),
  current: z
    .record(z.string(), z.unknown())
    .optional()
    .describe('The document as it is now, when the request was made for another state of it.'),
  request_id: z.string().optional().describe('Names this request in the logs of the server.'),
})
export type ProblemBody = z.output<typeof problemSchema>

interface ProblemExtras {
  errors?: FieldErrors
  current?: Record<string, unknown>
  /** In so many seconds it may be tried again. */
  retryAfter?: number
  cause?: unknown
}

/** A refusal that its receiver is meant to understand. Thrown where it is known, answered in one place. */
export class Problem extends Error {
  override name = 'Problem'
  readonly status: number
  readonly code: ProblemCode
  readonly errors: FieldErrors | undefined
  readonly current: Record<string, unknown> | undefined
  readonly retryAfter: number | undefined

  constructor(code: ProblemCode, detail?: string, extras: ProblemExtras = {}) {
    super(detail ?? `${PROBLEMS[code].title}.`, { cause: extras.cause })
    this.code = code
    this.status = PROBLEMS[code].status
    this.errors = extras.errors
    this.current = extras.current
    this.retryAfter = extras.retryAfter
  }

  body(requestId?: string): ProblemBody {
    return {
      type: `urn:tasktide:problem:${this.code}`,
      title: PROBLEMS[this.code].title,
      status: this.status,
      code: this.code,
      detail: this.message,
      ...(this.errors && { errors: this.errors }),
      ...(this.current && { current: this.current }),
      ...(requestId && { request_id: requestId }),
    }
  }
}

/** What was sent (`body`, `query`) is refused, with what is wrong with each field. */
export function invalid(what: string, errors: FieldErrors): Problem {
  const names = Object.keys(errors).filter((name) => name !== '')
  const detail =
    names.length === 0 ? errors['']!.join(' ') : `The ${what} has faults in: ${names.join(', ')}.`
  return new Problem('invalid', detail, { errors })
}
