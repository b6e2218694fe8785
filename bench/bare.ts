/**
 * What the same API costs at the least: `node:http`, `pg` and nothing between. It runs the statements
 * that the real server sends, on a pool of the same size, and checks the signature and the expiry of
 * every token; it validates nothing, logs nothing and knows no errors but 401 and 500.
 */
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http'
import pg from 'pg'
import { v7 as uuidv7 } from 'uuid'
import { orderKeyAt } from '../protocol/order-key.ts'
import type { PushRow } from '../protocol/replication.ts'
import type { OperationName } from './operations.ts'
import { tokenReader } from './token.ts'

const { PORT, DATABASE_URL, DATABASE_POOL_SIZE, SECRET_KEY, BENCH_STATEMENTS } = process.env
type Fields = Record<string, unknown>
type Statement = { name: string; text: string }
type StatementName = OperationName | 'pull' | 'push'
const statements = JSON.parse(BENCH_STATEMENTS!) as Record<StatementName, Statement>
const claimsOf = tokenReader(SECRET_KEY!)
const pool = new pg.Pool({ connectionString: DATABASE_URL, max: Number(DATABASE_POOL_SIZE) })

const server = createServer({ keepAliveTimeout: 65_000 }, (req, res) => {
  const user = claimsOf(req.headers.authorization)?.user
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
  if (path.startsWith('/replication/')) {
    if (req.method === 'GET') send(res, 200, await pull(query, user))
    else send(res, 200, await push(user, await read<PushRow[]>(req)))
  } else if (req.method === 'GET' && !id) {
    send(res, 200, await list(`http://${req.headers.host}${path}`, query, user))
  } else if (req.method === 'GET') {
    const [[seq, json]] = await run<[string, string]>('get', [user, id])
    send(res, 200, json, seq)
  } else if (req.method === 'POST') {
    const [[seq, json]] = await run<[string, string]>(
      'create',
      created(user, await read<Fields>(req)),
    )
    send(res, 201, json, seq)
  } else {
    const { title } = await read<Fields>(req)
    const now = new Date().toISOString()
    const [[seq, json]] = await run<[string, string]>('patch', [
      ...[user, id, now, null],
      ...ANY_ROOM,
      title,
    ])
    send(res, 200, json, seq)
  }
}

async function list(url: string, query: string | undefined, user: string): Promise<string> {
  const parameters = new URLSearchParams(query)
  const page = Number(parameters.get('page') ?? 1)
  const size = Number(parameters.get('page_size') ?? 20)
  const completed = parameters.get('completed') === 'true'
  const values = [user, completed, size, (page - 1) * size]
  const [[, , , , count, results]] = await run<string[]>('list', values)
  const link = (to: number) => {
    parameters.set('page', String(to))
    return JSON.stringify(`${url}?${parameters}`)
  }
  const next = page * size < Number(count) ? link(page + 1) : 'null'
  const previous = page > 1 ? link(page - 1) : 'null'
  return `{"count":${count},"next":${next},"previous":${previous},"results":${results}}`
}

async function pull(query: string | undefined, user: string): Promise<string> {
  const parameters = new URLSearchParams(query)
  const [lwt, limit] = [Number(parameters.get('lwt')), Number(parameters.get('limit'))]
  const [[id, head, , documents, count, last]] = await run<(string | null)[]>('pull', [
    user,
    lwt,
    limit,
    0,
  ])
  const seq = Number(Number(count) < limit ? head : last)
  const begun = lwt === 0 ? Number(head) : Number(parameters.get('id')?.split('~')[1] ?? 0)
  const checkpoint = { id: seq < begun ? `${id}~${begun}` : id, lwt: seq }
  return `{"documents":${documents ?? '[]'},"checkpoint":${JSON.stringify(checkpoint)}}`
}

/** Takes every row as it comes, whatever is stored. */
async function push(user: string, rows: readonly PushRow[]): Promise<string> {
  const documents = rows.map(({ newDocumentState: { _deleted: deleted, ...document } }, i) => ({
    ...document,
    deleted,
    nth: i + 1,
  }))
  await run('push', [user, JSON.stringify(documents), documents.length])
  return '[]'
}

/** For our statements: without a quota. */
const ANY_ROOM = [null, null]

function created(user: string, body: Fields): unknown[] {
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
    ...ANY_ROOM,
    [],
  ]
}

async function run<Row extends unknown[]>(operation: StatementName, values: unknown[]) {
  const query = { ...statements[operation], values, rowMode: 'array' as const }
  return (await pool.query<Row>(query)).rows as [Row, ...Row[]]
}

function read<Body>(req: IncomingMessage): Promise<Body> {
  return new Promise((resolve, reject) => {
    const chunks: Buffer[] = []
    req.on('data', (chunk) => chunks.push(chunk))
    req.on('end', () => resolve(JSON.parse(Buffer.concat(chunks).toString())))
    req.on('error', reject)
  })
}

function send(res: ServerResponse, status: number, text: string, seq?: string) {
  res.writeHead(status, {
    'Content-Type': 'application/json',
    'Content-Length': Buffer.byteLength(text),
    ...(seq !== undefined && { ETag: `"${seq}"` }),
  })
  res.end(text)
}
