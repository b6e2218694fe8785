import type { RequestHandler } from 'express'
import { Problem } from '../../protocol/index.ts'
import type { PoolState } from '../database/pool.ts'

/** Other paths are answered also by a node that is overloaded: they need no database. */
const NEEDS_DATABASE = /^\/(api\/(?!docs|schema|asyncapi)|replication\/)/
/** Spread, so that those who were refused do not come back together. */
const RETRY_SECONDS = [1, 2, 3]

/** Refuses requests that would only wait, before anything is done for them. */
export function refuseOverload(pool: Pick<PoolState, 'isClosed'>): RequestHandler {
  return (req, _res, next) => {
    if (NEEDS_DATABASE.test(req.path) && pool.isClosed()) next(new Overload())
    else next()
  }
}

export class Overload extends Problem {
  constructor(cause?: unknown) {
    const retryAfter = RETRY_SECONDS[Math.floor(Math.random() * RETRY_SECONDS.length)]!
    super('unavailable', 'The server is overloaded; try again later.', { retryAfter, cause })
  }
}

/** Whether the pool has refused to give a connection. */
export const isOverloaded = (error: unknown) =>
  error instanceof Error && error.name === 'Overloaded'
