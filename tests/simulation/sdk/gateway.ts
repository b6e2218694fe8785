import * as z from 'zod'
import {
  MAX_PUSH_ROWS,
  PROBLEMS,
  Problem,
  type ProblemCode,
  PUSH_RESULT,
  pushRowSchema,
  resources,
} from '../../../protocol/index.ts'
import type { Node, Reply } from '../node.ts'
import type { Accounts } from './accounts.ts'

export interface HttpRequest {
  method: string
  /** Includes the query. */
  path: string
  headers: Readonly<Record<string, string>>
  body: string | undefined
}

export interface HttpAnswer {
  status: number
  headers: Record<string, string>
  body: string
}

const rowsSchema = z.array(pushRowSchema).max(MAX_PUSH_ROWS)

/**
 * The HTTP endpoints that the SDK uses, on a node's sync core. Parsing, limits and security of the real
 * routes have their own tests.
 */
export class Gateway {
  private readonly accounts: Accounts
  private requests = 0

  constructor(accounts: Accounts) {
    this.accounts = accounts
  }

  /** @returns undefined if the node crashes before it has answered */
  async answer(node: Node, request: HttpRequest): Promise<HttpAnswer | undefined> {
    if (!node.alive) return undefined
    const answer = await this.route(node, request)
    if (!answer) return undefined
    const date = new Date(node.clock()).toUTCString()
    const id = `r${++this.requests}`
    return { ...answer, headers: { date, 'x-request-id': id, ...answer.headers } }
  }

  private async route(node: Node, request: HttpRequest): Promise<HttpAnswer | undefined> {
    const url = new URL(request.path, 'http://server')
    const { accounts } = this
    const body = request.body === undefined ? undefined : JSON.parse(request.body)
    switch (`${request.method} ${url.pathname}`) {
      case 'POST /api/token/':
        return json(accounts.signIn(body.username))
      case 'POST /api/token/refresh/': {
        const pair = accounts.refresh(body.refresh)
        return pair ? json(pair) : problem('token_not_valid')
      }
      case 'POST /api/logout/':
        return accounts.end(body.refresh) ? empty() : problem('token_not_valid')
    }
    const token = request.headers.authorization?.replace('Bearer ', '') ?? ''
    const reading = accounts.read(token)
    if (!reading) return problem('token_not_valid')
    return this.documents(node, reading.user, request, url, body)
  }

  private async documents(
    node: Node,
    user: string,
    { method, headers }: HttpRequest,
    { pathname, searchParams }: URL,
    body: unknown,
  ): Promise<HttpAnswer | undefined> {
    const [, face, name = '', version, action] = pathname.split('/')
    const resource = resources[name as keyof typeof resources]
    if (!resource) return problem('not_found')
    if (face === 'replication' && Number(version) === resource.version) {
      const replica = JSON.parse(headers['tasktide-replica'] ?? 'null') ?? undefined
      const from = { id: searchParams.get('id') ?? '', lwt: Number(searchParams.get('lwt')) }
      if (method === 'GET' && action === 'pull') {
        const limit = Number(searchParams.get('limit') ?? 100)
        const buckets = searchParams.get('buckets')?.split(',').map(Number)
        const some = buckets && { buckets }
        const request = { kind: 'pull', resource: name, from, limit, replica, ...some } as const
        const page = await node.answer(user, request)
        return page === undefined ? undefined : answerOf(page)
      }
      if (method === 'GET' && action === 'digest') {
        const digest = searchParams.get('digest') ?? undefined
        const revision = Number(searchParams.get('revision'))
        const held = { from, digest, revision, replica }
        const compared = await node.answer(user, { kind: 'digest', resource: name, ...held })
        return compared === undefined ? undefined : answerOf(compared)
      }
      if (method === 'POST' && action === 'push') {
        const rows = rowsSchema.safeParse(body)
        if (!rows.success) return problem('invalid')
        const request = {
          kind: 'push',
          resource: name,
          rows: rows.data,
          keepsRejected: true,
          from,
          replica,
        } as const
        const pushed = await node.answer(user, request)
        return pushed === undefined ? undefined : answerOf(pushed, PUSH_RESULT)
      }
    }
    if (face === 'api' && name === 'conflicts' && action === 'restore') {
      const entry = await node.answer(user, { kind: 'put_back', id: version ?? '' })
      return entry === undefined ? undefined : json(entry)
    }
    if (face === 'api' && method === 'GET') {
      const all = (await node.answer(user, { kind: 'list', resource: name })) as
        | { deleted: boolean }[]
        | undefined
      return all && json({ count: all.filter(({ deleted }) => !deleted).length })
    }
    return problem('not_found')
  }
}

function answerOf(reply: Reply, type?: string): HttpAnswer {
  return reply instanceof Problem ? problem(reply.code) : json(reply, type)
}

function json(body: unknown, type = 'application/json'): HttpAnswer {
  return { status: 200, headers: { 'content-type': type }, body: JSON.stringify(body) }
}

const empty = (): HttpAnswer => ({ status: 200, headers: {}, body: '' })

function problem(code: ProblemCode): HttpAnswer {
  const { status, title } = PROBLEMS[code]
  return {
    status,
    headers: { 'content-type': 'application/problem+json' },
    body: JSON.stringify({
      type: `urn:tasktide:problem:${code}`,
      title,
      status,
      code,
      detail: title,
    }),
  }
}
