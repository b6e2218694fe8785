import type { IncomingMessage, ServerResponse } from 'node:http'
import type { RequestHandler } from 'express'
import { Problem } from '../../protocol/index.ts'
import type { PoolState } from '../database/pool.ts'
import type { Log } from '../runtime/log.ts'
import type { Metrics } from '../runtime/metrics.ts'

/** What needs the database, and whose refusals are problems. Other paths are answered also by a node that is overloaded. */
const HAS_PROBLEMS = /^\/(api\/(?!docs|schema|asyncapi)|replication\/)/
const NEEDS_DATABASE = new RegExp(`${HAS_PROBLEMS.source}|^/couch/`)
/** Spread, so that those who were refused do not come back together. */
const RETRY_SECONDS = [1, 2, 3]

interface DoorDependencies {
  pool: Pick<PoolState, 'isClosed'>
  /** The headers of every response. */
  headers: ReadonlyMap<string, string>
  metrics: Pick<Metrics, 'request'>
  log: Pick<Log, 'warn'>
  now: () => Date
}

/** @returns whether the request was refused, and needs nothing more */
export type Door = (req: IncomingMessage, res: ServerResponse) => boolean

/**
 * Refuses most of what `refuseOverload` would, without Express and with answers that are made once: if the CPU limits a
 * node, it cannot serve in the time that refusals take. The log has a count each second.
 */
export function createDoor({ pool, headers, metrics, log, now }: DoorDependencies): Door {
  const answers = REFUSALS.map((problem) => ({
    api: answerOf(problem, headers, {}),
    // Without it, the client of rxdb-server takes this for a valid response and never pulls again.
    replication: answerOf(problem, headers, { error: true }),
  }))
  let refused = 0

  return (req, res) => {
    // Browsers show answers to pages of other origins only with more headers.
    if (req.headers.origin !== undefined || !HAS_PROBLEMS.test(req.url ?? '')) return false
    if (!pool.isClosed()) return false
    const answer = anyOf(answers)
    const { fields, body } = req.url!.startsWith('/api/') ? answer.api : answer.replication
    res.sendDate = false
    res.writeHead(503, [...fields, 'Date', now().toUTCString()])
    res.end(body)
    metrics.request(undefined, req.method ?? '', 503, 0)
    if (refused++ === 0) setTimeout(tell, 1_000).unref()
    return true
  }

  function tell() {
    log.warn({ refused }, 'the node is overloaded, and has refused requests of the last second')
    refused = 0
  }
}

function answerOf(problem: Problem, headers: ReadonlyMap<string, string>, more: object) {
  const body = Buffer.from(JSON.stringify({ ...problem.body(), ...more }))
  const fields = [
    ...[...headers].flat(),
    ...['Content-Type', 'application/problem+json', 'Content-Length', String(body.length)],
    ...['Retry-After', String(problem.retryAfter)],
  ]
  return { fields, body }
}

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
