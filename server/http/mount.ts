import type { Express, Request, Response } from 'express'
import { Problem } from '../../protocol/index.ts'
import { may } from '../accounts/permissions.ts'
import type { Caller } from '../accounts/sessions.ts'
import {
  type BytesInFlight,
  type Held,
  NOTHING_HELD,
  tooManyBytes,
} from '../runtime/bytes-in-flight.ts'
import type { Log } from '../runtime/log.ts'
import { bytesOf, isLong } from '../runtime/long-text.ts'
import type { Metrics } from '../runtime/metrics.ts'
import type { AttemptLimit } from './attempt-limit.ts'
import { type JsonText, readBody } from './body.ts'
import type { Compress } from './compression.ts'
import { tryCount } from './counted.ts'
import { refuseKey } from './idempotency.ts'
import { siteOf } from './networks.ts'
import { type Answer, type Call, isCounted, type Method, type Operation } from './operation.ts'
import { parseBody } from './parse-body.ts'
import { methodNotAllowed, toProblem } from './problems.ts'
import { queryReader } from './query.ts'
import { type Room, rateLimitFields } from './rate-limit-fields.ts'
import { encoded, send } from './send.ts'
import type { WriteLimit } from './write-limit.ts'

export interface MountDependencies {
  authenticate: Authenticate
  limit: AttemptLimit
  metrics: Pick<Metrics, 'stream'>
  log: Pick<Log, 'warn'>
  /** Of documents. */
  limitWrites: WriteLimit
  maxBodyBytes: number
  bytes: Pick<BytesInFlight, 'take' | 'tryTake'>
  compress: Compress
  /** Two turns each, for large bodies: of a device before its body is read, and of a person before it is parsed. */
  turns: Readonly<Record<'device' | 'person', TakeTurn>>
}

/** Finds out who calls. @throws Problem `unauthenticated` or `token_not_valid` */
export type Authenticate = (
  request: Request,
  needs: { toSetUp: boolean; scopes: Operation['scopes'] },
) => Promise<Caller>

type TakeTurn = <T>(key: string, work: () => Promise<T>) => Promise<T>

/** Adds a route for every operation; other methods on its path get a 405. */
export function mount(
  app: Express,
  operations: readonly Operation[],
  dependencies: MountDependencies,
) {
  for (const [path, atPath] of groupBy(operations, ({ path }) => path)) {
    const route = app.route(path.replaceAll(/\{(\w+)\}/g, ':$1').replace(/\/$/, ''))
    for (const operation of atPath) {
      const serve = handlerOf(operation, dependencies)
      route[operation.method](serve)
    }
    const allow = allowed(atPath.map(({ method }) => method))
    route.all((req, res) => {
      if (req.method === 'OPTIONS') return send(res, { status: 204, headers: { Allow: allow } })
      throw methodNotAllowed(req, allow)
    })
  }
}

/** Checks in this order: authentication, rate limit, query, turn, body. */
function handlerOf(
  operation: Operation,
  {
    authenticate,
    limit,
    limitWrites,
    metrics,
    log,
    maxBodyBytes,
    bytes,
    compress,
    turns,
  }: MountDependencies,
) {
  const countsByAddress =
    operation.limit === 'account' || (operation.access === 'limited' && !operation.limit)
  const counts = isCounted(operation)
  const takesKey = operation.method === 'get' || operation.repeats !== undefined
  const readQuery = queryReader(operation)
  return operation.limit === 'refusals' ? countingRefusals : serve

  async function serve(req: Request, res: Response) {
    res.locals.operation = operation.id
    res.locals.route = operation.path
    if (!takesKey) refuseKey(req.headers)
    let caller: Pick<Call, 'user' | 'session' | 'expires' | 'isLimited' | 'scopes'> = NOBODY
    // Personal answers, and tokens: no cache keeps them, not even on the disk of a browser that others use.
    // And no proxy compresses those that may have a secret: their length would tell of it.
    if (operation.access !== 'open')
      res.setHeader('Cache-Control', operation.compressed ? 'no-store' : 'no-store, no-transform')
    if (operation.access === 'bearer') {
      const toSetUp = operation.toSetUpFactor === true
      const { scopes } = operation
      caller = permitted(await authenticate(req, { toSetUp, scopes }), res)
    }
    // Accounts are free to create, so the address counts too.
    if (countsByAddress) await attempt(res, operation.id, req.ip)
    if (operation.limit === 'account') await attempt(res, 'account', caller.user)
    if (operation.limit === 'user') await attempt(res, operation.id, caller.user)
    // Before a body is read that nobody would want.
    if (operation.writes) tell(res, limitWrites(caller.user, 0, 0))
    res.locals.user = caller.user || undefined
    // Whoever has left while waiting needs no answer.
    if (res.destroyed) return
    const person = caller.user || siteOf(req.ip)
    const held = counts ? bytes.take(person, REQUEST_BYTES) : NOTHING_HELD
    let answer: Answer
    try {
      const params = req.params as Record<string, string>
      const call = {
        ...caller,
        params,
        query: readQuery(req.query),
        headers: req.headers,
        request: req,
      }
      answer = await handled(held, call, res)
      if (operation.compressed && !answer.isLive) answer = await compress(answer, call, held)
    } finally {
      held.release()
    }
    const isEvents = answer.headers?.['Content-Type']?.startsWith('text/event-stream')
    if (isEvents && answer.stream && !res.destroyed) res.locals.streamEnded = metrics.stream()
    if (typeof answer.body === 'string' && isLong(answer.body))
      answer = { ...answer, body: await bytesOf(answer.body) }
    send(res, answer.body === undefined || !counts ? answer : counted(answer, person, res))
  }

  /**
   * The answer, counted until it is read. What was written is answered in any case.
   *
   * @throws Problem `too_many_requests`
   */
  function counted(answer: Answer, person: string, res: Response): Answer {
    const body = encoded(answer.body!)
    if (!tryCount(bytes, person, res, body.length) && operation.method === 'get')
      throw tooManyBytes()
    return { ...answer, body }
  }

  async function handled(held: Held, call: Omit<Call, 'body'>, res: Response): Promise<Answer> {
    const { body, maxBodyBytes: largeBytes } = operation
    if (!body) {
      if (operation.writes) tell(res, limitWrites(call.user, 1, 0))
      return operation.handle(call as Call)
    }
    const handle = async (text: JsonText) => {
      const parsed = await parseBody(body, text)
      if (operation.writes)
        tell(res, limitWrites(call.user, countOf(operation, parsed), text.bytes.length))
      return operation.handle({ ...call, body: parsed as never })
    }
    if (largeBytes !== undefined) return inTurn(held, call, largeBytes, handle)
    return handle(await readBody(call.request, { limit: maxBodyBytes, held }))
  }

  /**
   * A device sends many pushes at once, so its next one is read when one before is answered. One that stalls
   * gives up its turn, because its connection may be dead. No connection can hold up the turn of a person.
   */
  async function inTurn(
    held: Held,
    { user, session, request }: Omit<Call, 'body'>,
    limit: number,
    handle: (text: JsonText) => Promise<Answer>,
  ): Promise<Answer> {
    let answer: Promise<Answer> | undefined
    await turns.device(
      session,
      () =>
        new Promise<void>((done, failed) => {
          answer = readBody(request, { limit, held, stalled: done }).then((text) =>
            turns.person(user, () => handle(text)),
          )
          answer.then(() => done(), failed)
        }),
    )
    return answer!
  }

  async function countingRefusals(req: Request, res: Response) {
    try {
      await serve(req, res)
    } catch (error) {
      if (toProblem(error).status < 500) await attempt(res, operation.id, req.ip)
      throw error
    }
  }

  /** Where two limits hold, the fields are those of the second, which is the narrower one. */
  async function attempt(res: Response, name: string, who: string | undefined) {
    tell(res, await limit(name, who))
  }

  function tell(res: Response, room: Room | undefined) {
    if (!room) return
    for (const [field, value] of Object.entries(rateLimitFields(room))) res.setHeader(field, value)
  }

  /**
   * The only permission check, except for `/metrics`, which also accepts a token of its own.
   *
   * @throws Problem `forbidden`
   */
  function permitted(caller: Caller, res: Response): Caller {
    const { permission, id } = operation
    if (permission === undefined || may(caller.role, permission)) return caller
    const { user, role } = caller
    log.warn({ request_id: res.locals.requestId, operation: id, user, role }, 'not permitted')
    throw new Problem(
      'forbidden',
      `This requires the permission ${permission}, which your role (${role}) lacks.`,
    )
  }
}

const NOBODY = { user: '', session: '', expires: 0, isLimited: false }

/** What a request without a body occupies. */
const REQUEST_BYTES = 4 * 1024

/** How many documents a body has. */
function countOf({ writes }: Operation, body: unknown): number {
  if (typeof writes === 'function') return writes(body as never)
  return Array.isArray(body) ? body.length : 1
}

/** @throws Problem `unauthenticated` without a token */
export function bearerToken(req: Request): string {
  const token = /^Bearer +([\w.~+/=-]+)$/i.exec(req.headers.authorization ?? '')?.[1]
  if (token !== undefined) return token
  throw new Problem(
    'unauthenticated',
    'Send the header Authorization: Bearer <access token>, without quotes.',
  )
}

function allowed(methods: readonly Method[]): string {
  const names = methods.map((method) => method.toUpperCase())
  return [...names, ...(methods.includes('get') ? ['HEAD'] : []), 'OPTIONS'].join(', ')
}

function groupBy<T>(items: readonly T[], keyOf: (item: T) => string): Map<string, T[]> {
  const groups = new Map<string, T[]>()
  for (const item of items) groups.set(keyOf(item), [...(groups.get(keyOf(item)) ?? []), item])
  return groups
}
