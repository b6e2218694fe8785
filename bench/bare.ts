/**
 * What the same API costs at the least: `node:http`, `pg` and nothing between. It runs the statements
 * that the real server sends, on a pool of the same size, and checks the signature and the expiry of
 * every token; it validates nothing, logs nothing and knows no errors but 401 and 500.
 */
import { createHmac, hkdfSync, timingSafeEqual } from 'node:crypto'
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http'
import pg from 'pg'
import { v7 as uuidv7 } from 'uuid'
import { orderKeyAt } from '../protocol/order-key.ts'
import type { OperationName } from './operations.ts'

const { PORT, DATABASE_URL, DATABASE_POOL_SIZE, SECRET_KEY, BENCH_STATEMENTS } = process.env
type Statement = { name: string; text: string }
const statements = JSON.parse(BENCH_STATEMENTS!) as Record<OperationName, Statement>
const key = Buffer.from(hkdfSync('sha256', SECRET_KEY!, '', 'tasktide tokens', 32))
const pool = new pg.Pool({ connectionString: DATABASE_URL, max: Number(DATABASE_POOL_SIZE) })

const server = createServer({ keepAliveTimeout: 65_000 }, (req, res) => {
  const user = userOf(req.headers.authorization)
  if (user === undefined) send(res, 401, '{}')
  else
    answer(req, res, user).catch((error) => {
      console.error(error)
      send(res, 500, '{}')
    })
})
server.listen(Number(PORT), '127.0.0.1')

async function answer(req: IncomingMessage, res: ServerResponse, user: string) {
  const [path, query] = req.url!.split('?') as [string, string | undefined]
  const id = path.split('/')[3]
  if (req.method === 'GET' && !id) {
    send(res, 200, await list(`http://${req.headers.host}${path}`, query, user))
  } else if (req.method === 'GET') {
    const [[seq, json]] = await run<[string, string]>('get', [user, id])
    send(res, 200, json, seq)
  } else if (req.method === 'POST') {
    const [[seq, json]] = await run<[string, string]>('create', created(user, await read(req)))
    send(res, 201, json, seq)
  } else {
    const { title } = await read(req)
    const now = new Date().toISOString()
    const [[seq, json]] = await run<[string, string]>('patch', [user, id, now, null, title])
    send(res, 200, json, seq)
  }
}

async function list(url: string, query: string | undefined, user: string): Promise<string> {
  const parameters = new URLSearchParams(query)
  const page = Number(parameters.get('page') ?? 1)
  const size = Number(parameters.get('page_size') ?? 20)
  const completed = parameters.get('completed') === 'true'
  const values = [user, completed, size, (page - 1) * size]
  const [[count, results]] = await run<[string, string]>('list', values)
  const link = (to: number) => {
    parameters.set('page', String(to))
    return JSON.stringify(`${url}?${parameters}`)
  }
  const next = page * size < Number(count) ? link(page + 1) : 'null'
  const previous = page > 1 ? link(page - 1) : 'null'
  return `{"count":${count},"next":${next},"previous":${previous},"results":${results}}`
}

function created(user: string, body: Record<string, unknown>): unknown[] {
  const id = uuidv7()
  const now = new Date().toISOString()
  return [
    user,
    id,
    body.title,
    body.description ?? '',
    body.category_id ?? null,
    body.priority ?? 'medium',
    body.due_date ?? null,
    body.due_time ?? null,
    body.remind_at ?? null,
    body.completed ?? false,
    body.completed ? now : null,
    body.position ?? orderKeyAt(now, id),
    now,
    now,
  ]
}

async function run<Row extends unknown[]>(operation: OperationName, values: unknown[]) {
  const query = { ...statements[operation], values, rowMode: 'array' as const }
  return (await pool.query<Row>(query)).rows as [Row, ...Row[]]
}

function read(req: IncomingMessage): Promise<Record<string, unknown>> {
  return new Promise((resolve, reject) => {
    const chunks: Buffer[] = []
    req.on('data', (chunk) => chunks.push(chunk))
    req.on('end', () => resolve(JSON.parse(Buffer.concat(chunks).toString())))
    req.on('error', reject)
  })
}

function userOf(authorization: string | undefined): string | undefined {
  const [head, claims, signature] = (authorization?.slice('Bearer '.length) ?? '').split('.')
  if (!head || !claims || !signature) return undefined
  const { alg, typ } = JSON.parse(Buffer.from(head, 'base64url').toString())
  if (alg !== 'HS256' || typ !== 'at+jwt') return undefined
  const expected = createHmac('sha256', key).update(`${head}.${claims}`).digest()
  const given = Buffer.from(signature, 'base64url')
  if (given.length !== expected.length || !timingSafeEqual(given, expected)) return undefined
  const { sub, exp } = JSON.parse(Buffer.from(claims, 'base64url').toString())
  return exp * 1000 > Date.now() ? sub : undefined
}

function send(res: ServerResponse, status: number, text: string, seq?: string) {
  res.writeHead(status, {
    'Content-Type': 'application/json',
    'Content-Length': Buffer.byteLength(text),
    ...(seq !== undefined && { ETag: `"${seq}"` }),
  })
  res.end(text)
}
