import type { RequestHandler } from 'express'
import { Problem } from '../../protocol/index.ts'
import type { PoolState } from '../database/pool.ts'

/** Other paths are answered also by a node that is overloaded: they need no database. */
const NEEDS_DATABASE = /^\/(api\/(?!docs|schema|asyncapi)|replication\/|couch\/)/
/** Spread, so that those who were refused do not come back together. */
const RETRY_SECONDS = [1, 2, 3]

/** Refuses requests that would only wait, before anything is done for them. */
export function refuseOverload(pool: Pick<PoolState, 'isClosed'>): RequestHandler {
  return (req, _res, next) => {
    if (NEEDS_DATABASE.test(req.path) && pool.isClosed()) next(anyOf(REFUSALS))
    else next()
  }
}

export class Overload extends Problem {
  constructor(cause?: unknown, seconds = retryAfter()) {
    super('unavailable', 'The server is overloaded; try again later.', {
      retryAfter: seconds,
      cause,
    })
  }
}

const anyOf = <T>(all: readonly T[]): T => all[Math.floor(Math.random() * all.length)]!
const retryAfter = () => anyOf(RETRY_SECONDS)

/** Made once: the stack of an error takes longer than most of a refusal. */
const REFUSALS = RETRY_SECONDS.map((seconds) => new Overload(undefined, seconds))

/** Whether the pool has refused to give a connection. */
export const isOverloaded = (error: unknown) =>
  error instanceof Error && error.name === 'Overloaded'

/** Whether a database would take too long, for this request or for the slow ones before it. */
export const isTooSlow = (error: unknown): error is Error & { isLong?: boolean } =>
  error instanceof Error &&
  (error.name === 'TooSlow' || (error as { code?: unknown }).code === STATEMENT_TIMED_OUT)

const STATEMENT_TIMED_OUT = '57014'

export function tooSlow(error: { isLong?: boolean }): Problem {
  const detail =
    error.isLong === false
      ? 'Other requests that take long are running; try again later.'
      : 'This takes too long; request less: a filter, fewer or longer words, a smaller page.'
  return new Problem('too_slow', detail, { retryAfter: retryAfter(), cause: error })
}
