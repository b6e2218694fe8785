/** All error responses, as RFC 9457 problem details. Programs switch on `code`. */
import * as z from 'zod'

export const PROBLEMS = {
  invalid: { status: 400, title: 'Invalid request' },
  malformed: { status: 400, title: 'Malformed request' },
  link_not_valid: { status: 400, title: 'Link used or expired' },
  unauthenticated: { status: 401, title: 'Authentication required' },
  token_not_valid: { status: 401, title: 'Invalid token' },
  credentials_not_valid: { status: 401, title: 'Wrong username or password' },
  factor_required: { status: 401, title: 'Second factor required' },
  factor_not_valid: { status: 401, title: 'Wrong or used second factor' },
  factor_setup_required: { status: 401, title: 'Second factor to be set up first' },
  account_deleted: { status: 401, title: 'Account deleted' },
  forbidden: { status: 403, title: 'Permission denied' },
  quota_exceeded: { status: 403, title: 'Account full' },
  https_required: { status: 403, title: 'HTTPS required' },
  not_found: { status: 404, title: 'Not found' },
  method_not_allowed: { status: 405, title: 'Method not allowed' },
  timed_out: { status: 408, title: 'Request timeout' },
  conflict: { status: 409, title: 'Conflict with an existing document' },
  checkpoint_expired: { status: 410, title: 'Checkpoint expired' },
  precondition_failed: { status: 412, title: 'Document changed since it was read' },
  too_large: { status: 413, title: 'Request too large' },
  unsupported_media_type: { status: 415, title: 'Unsupported media type' },
  idempotency_key_reused: { status: 422, title: 'Idempotency-Key used for another request' },
  outdated_client: { status: 426, title: 'Client version no longer supported' },
  too_many_requests: { status: 429, title: 'Too many requests' },
  too_many_connections: { status: 429, title: 'Too many live connections' },
  headers_too_large: { status: 431, title: 'Headers too large' },
  internal: { status: 500, title: 'Internal server error' },
  too_slow: { status: 503, title: 'Request takes too long' },
  unavailable: { status: 503, title: 'Service unavailable' },
} as const

export type ProblemCode = keyof typeof PROBLEMS

/** Messages by field. A problem of the whole body is under the empty name. */
export type FieldErrors = Record<string, string[]>

/** What has become of documents that a client has and the server does not. */
export const missing = z.enum(['lost', 'deleted'])

/** How an account can be confirmed after the password. */
export const factorChallenge = z.strictObject({
  ticket: z.string().describe('To be sent with the factor, within 5 minutes.'),
  methods: z.array(z.enum(['passkey', 'totp', 'recovery_code'])),
  public_key: z
    .looseObject({ challenge: z.string() })
    .optional()
    .describe('For `navigator.credentials.get`, as JSON, if the account has a passkey.'),
})
export type FactorChallenge = z.output<typeof factorChallenge>

export const problemSchema = z.looseObject({
  type: z.string().describe('A URI for the kind of problem; `code` is its short form.'),
  title: z.string(),
  status: z.int(),
  code: z.enum(Object.keys(PROBLEMS) as [ProblemCode, ...ProblemCode[]]),
  detail: z.string().describe('What is wrong and what to do about it.'),
  errors: z
    .record(z.string(), z.array(z.string()))
    .optional()
    .describe('Messages by field or parameter.'),
  current: z
    .record(z.string(), z.unknown())
    .optional()
    .describe('The current document, if the request was made for another version of it.'),
  extensions: z
    .strictObject({ missing })
    .optional()
    .describe(
      'Of an expired checkpoint: what has become of documents that the client has and the server does not. `lost`: the server has lost them. `deleted`: they were deleted, and their tombstones are purged. RxDB passes members with this name on to the app, and no others.',
    ),
  factor: factorChallenge
    .optional()
    .describe('Of `factor_required`: how to confirm it. `POST /api/token/factor/` to sign in.'),
  error: z
    .literal(true)
    .optional()
    .describe('Under `/replication`: marks an error for the client of rxdb-server.'),
  reasons: z
    .record(z.string(), z.string())
    .optional()
    .describe('At `/readyz`: why the node is not ready, by code.'),
  erase: z
    .literal(true)
    .optional()
    .describe(
      'Of `token_not_valid`: the owner has erased this device. Delete all data of the account on it, unsent edits included.',
    ),
  operation: z
    .int()
    .nonnegative()
    .optional()
    .describe('Of an atomic batch: which operation stopped it, counted from 0. Nothing was done.'),
  request_id: z.string().optional().describe('The id of this request in the server logs.'),
})
export type ProblemBody = z.output<typeof problemSchema>

interface ProblemExtras {
  errors?: FieldErrors
  current?: Record<string, unknown>
  extensions?: ProblemBody['extensions']
  erase?: true
  factor?: FactorChallenge
  /** Seconds until a retry makes sense, for the Retry-After header. */
  retryAfter?: number
  cause?: unknown
}

/** An error meant for the client. Thrown where it is detected, converted to a response in one place. */
export class Problem extends Error {
  override name = 'Problem'
  readonly status: number
  readonly code: ProblemCode
  readonly errors: FieldErrors | undefined
  readonly current: Record<string, unknown> | undefined
  readonly extensions: ProblemBody['extensions']
  readonly erase: true | undefined
  readonly factor: FactorChallenge | undefined
  readonly retryAfter: number | undefined
  /** Set by the batch that it stops. */
  operation: number | undefined

  constructor(code: ProblemCode, detail?: string, extras: ProblemExtras = {}) {
    super(detail ?? `${PROBLEMS[code].title}.`, { cause: extras.cause })
    this.code = code
    this.status = PROBLEMS[code].status
    this.errors = extras.errors
    this.current = extras.current
    this.extensions = extras.extensions
    this.erase = extras.erase
    this.factor = extras.factor
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
      ...(this.extensions && { extensions: this.extensions }),
      ...(this.erase && { erase: this.erase }),
      ...(this.factor && { factor: this.factor }),
      ...(this.operation !== undefined && { operation: this.operation }),
      ...(requestId && { request_id: requestId }),
    }
  }
}

/** An invalid `body` or `query`, with messages by field. */
export function invalid(what: string, errors: FieldErrors): Problem {
  const names = Object.keys(errors).filter((name) => name !== '')
  const detail =
    names.length === 0
      ? errors['']!.join(' ')
      : `Invalid ${what}: correct ${names.join(', ')}. See \`errors\`.`
  return new Problem('invalid', detail, { errors })
}
