import type { FactorChallenge } from './factors.ts'

/** The server's messages by field. */
export type FieldErrors = Record<string, string[]>

interface Details {
  status?: number
  errors?: FieldErrors
  factor?: FactorChallenge | undefined
  retryAfter?: number
  isSlow?: boolean
  erase?: boolean
  cause?: unknown
}

/**
 * Every error of the client. `code` is for programs: `unreachable` (no response), `foreign_answer` (a
 * response that is not the server's), `timed_out`, `signed_out`, `unsent_edits`, or the code of the
 * server's problem, such as `invalid` or `credentials_not_valid`.
 */
export class ClientError extends Error {
  override name = 'ClientError'
  readonly code: string
  readonly status: number | undefined
  readonly errors: FieldErrors
  /** Of `factor_required`: confirm it with `session.confirmFactor`, or send a proof with the request. */
  readonly factor: FactorChallenge | undefined
  /** The server's Retry-After, in milliseconds. */
  readonly retryAfter: number
  /** The network was too slow; a smaller request may succeed. */
  readonly isSlow: boolean
  /** The owner has erased this device. */
  readonly erase: boolean

  constructor(code: string, message: string, details: Details = {}) {
    super(message, { cause: details.cause })
    this.code = code
    this.status = details.status
    this.errors = details.errors ?? {}
    this.factor = details.factor
    this.retryAfter = details.retryAfter ?? 0
    this.isSlow = details.isSlow ?? false
    this.erase = details.erase ?? false
  }
}

export function signedOut(): ClientError {
  return new ClientError('signed_out', 'Sign in first.')
}
