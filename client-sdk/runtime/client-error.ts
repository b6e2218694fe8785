/** Messages by field, as the server gives them. */
export type FieldErrors = Record<string, string[]>

interface Details {
  status?: number
  errors?: FieldErrors
  retryAfter?: number
  isSlow?: boolean
  cause?: unknown
}

/**
 * Whatever the client refuses or reports. `code` is for programs: `unreachable` (no answer),
 * `foreign_answer` (one that is not the server's), `timed_out`, `signed_out`, `unsent_edits`, or the code of the server's problem, such as `invalid`
 * or `credentials_not_valid`.
 */
export class ClientError extends Error {
  override name = 'ClientError'
  readonly code: string
  readonly status: number | undefined
  readonly errors: FieldErrors
  /** Milliseconds that the server asks to wait. */
  readonly retryAfter: number
  /** The line was too slow for it: less at once may get through. */
  readonly isSlow: boolean

  constructor(code: string, message: string, details: Details = {}) {
    super(message, { cause: details.cause })
    this.code = code
    this.status = details.status
    this.errors = details.errors ?? {}
    this.retryAfter = details.retryAfter ?? 0
    this.isSlow = details.isSlow ?? false
  }
}

export function signedOut(): ClientError {
  return new ClientError('signed_out', 'Sign in first.')
}
