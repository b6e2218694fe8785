import type { Request } from 'express'
import * as z from 'zod'
import type { Problem, ProblemCode } from '../../../protocol/index.ts'
import { Refusal } from '../../couch/refusal.ts'
import type { Answer, ErrorForm } from '../operation.ts'
import { type Dialect, headersOf } from '../problems.ts'

/**
 * CouchDB's names for problems; others keep theirs. `unauthorized` and `forbidden` stop a replication of PouchDB for
 * good, all others are tried again.
 */
const NAMES: Partial<Record<ProblemCode, string>> = {
  unauthenticated: 'unauthorized',
  token_not_valid: 'unauthorized',
  account_deleted: 'unauthorized',
  credentials_not_valid: 'unauthorized',
  factor_required: 'unauthorized',
  factor_setup_required: 'unauthorized',
  malformed: 'bad_request',
  invalid: 'bad_request',
  unsupported_media_type: 'bad_content_type',
  internal: 'internal_server_error',
}

/** The names of what is refused only here. */
const OWN_NAMES: Partial<Record<ProblemCode, string>> = {
  checkpoint_expired: 'gone',
  precondition_failed: 'file_exists',
}

export const couchErrors: ErrorForm = {
  name: 'CouchError',
  schema: z.strictObject({ error: z.string(), reason: z.string() }),
  mediaType: 'application/json',
  example: (problem) => ({ error: nameOf(problem), reason: problem.message }),
}

/** Those of a feed: clients that do not say that they read JSON get text. */
export const feedErrors: ErrorForm = {
  ...couchErrors,
  asText: (problem) => `${nameOf(problem)}: ${problem.message}`,
}

const nameOf = ({ code }: Problem) => OWN_NAMES[code] ?? NAMES[code] ?? code

/** Errors as CouchDB tells them. */
export const inCouch: Dialect = (problem, error, request) => {
  const { status, headers } = { status: problem.status, headers: headersOf(problem) }
  if (error instanceof Refusal)
    return answer(request, error.status, error.error, error.reason, headers)
  // What is wrong with the body as a whole has no name.
  const details = Object.entries(problem.errors ?? {}).map(([name, [text]]) =>
    name === '' ? text : `${name}: ${text}`,
  )
  const reason = details.length > 0 ? details.join(' ') : problem.message
  // Clients compare with 400 what is not valid.
  const ownStatus = problem.code === 'invalid' ? 400 : status
  return answer(request, ownStatus, NAMES[problem.code] ?? problem.code, reason, headers)
}

function answer(
  request: Request,
  status: number,
  error: string,
  reason: string,
  headers: Readonly<Record<string, string>>,
): Answer {
  const isText = isLongPoll(request) && !acceptsJson(request)
  return {
    status,
    headers: { ...headers, 'Content-Type': isText ? 'text/plain' : 'application/json' },
    body: isText ? `${error}: ${reason}` : { error, reason },
  }
}

const isLongPoll = ({ query }: Request) => query.feed === 'longpoll'

/**
 * Whether a client says that it reads JSON, as PouchDB does. RxDB's does not: an error in JSON, in answer to a
 * longpoll, would end its live replication for good; another one makes it ask again.
 */
export const acceptsJson = ({ headers }: Request) =>
  headers.accept?.includes('application/json') === true
