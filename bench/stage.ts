/** What a measurement stands on: one Postgres, people with tasks, the servers and the generator. */
import { execFileSync, fork, spawn } from 'node:child_process'
import { readFileSync } from 'node:fs'
import { mkdtemp, rm } from 'node:fs/promises'
import { type AddressInfo, createServer } from 'node:net'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import pg from 'pg'
import { v7 as uuidv7 } from 'uuid'
import { type Document, resources } from '../protocol/index.ts'
import { createEvents } from '../server/accounts/events.ts'
import { createPasswords } from '../server/accounts/passwords.ts'
import { createSessions } from '../server/accounts/sessions.ts'
import { createTokens } from '../server/accounts/tokens.ts'
import { connect, type Database } from '../server/database/connect.ts'
import { startEmbeddedPostgres } from '../server/database/embedded/embedded-postgres.ts'
import { migrate } from '../server/database/migrate.ts'
import { lowerWall } from '../server/database/wall.ts'
import { createLog } from '../server/runtime/log.ts'
import { postgresLists } from '../server/store/lists.ts'
import { postgresStore } from '../server/store/postgres.ts'
import type { ClosedLoop, ClosedResult, OpenLoop, OpenResult } from './load.ts'
import { type OperationName, operationNames, type Person, requestOf } from './operations.ts'
import { taskOf } from './tasks.ts'

const PEOPLE = 32
const TASKS_EACH = 500
const POOL_SIZE = 8
const SECRET_KEY = 'only for measuring: 0123456789 abcdefghij'
export const PASSWORD = 'a ferry to Lisbon'

const root = fileURLToPath(new URL('..', import.meta.url))

export interface Stage {
  db: Database
  people: readonly Person[]
  ours: ServerProcess
  bare: ServerProcess
  load: Load
  close(): Promise<void>
}

export interface ServerProcess {
  port: number
  url: string
  /** Resident memory in MB; not a number where there is no /proc. */
  memory(): number
  /** CPU seconds spent so far by all threads; not a number where there is no /proc. */
  cpu(): number
  stop(): Promise<void>
}

export interface Load {
  closed(job: Omit<ClosedLoop, 'kind'>): Promise<ClosedResult>
  open(job: Omit<OpenLoop, 'kind'>): Promise<OpenResult>
}

/** @param profileDir where ours leaves a CPU profile when it ends, if it is to */
export async function setStage(profileDir?: string, walled?: boolean): Promise<Stage> {
  const ground = await openGround(walled)
  const { db, close } = ground
  try {
    const people = await populate(db)
    const ours = await ground.startOurs(profileDir)
    const statements = JSON.stringify(await sentStatements(db, people[0]!))
    const bare = await ground.startServer(['dist/bench/bare.js'], { BENCH_STATEMENTS: statements })
    const run = ground.startWorker('dist/bench/load.js')
    const load: Load = {
      closed: (job) => run<ClosedResult>({ kind: 'closed', ...job }),
      open: (job) => run<OpenResult>({ kind: 'open', ...job }),
    }
    return { db, people, ours, bare, load, close }
  } catch (error) {
    await close()
    throw error
  }
}

/** The build, a Postgres of its own, and what was started on them, which `close` ends. */
export interface Ground {
  db: Database
  url: string
  /** Where another database of the same Postgres is. */
  urlOf(database: string): string
  /** The server as an operator would run it. */
  startOurs(profileDir?: string, env?: NodeJS.ProcessEnv): Promise<ServerProcess>
  startServer(args: string[], env?: NodeJS.ProcessEnv): Promise<ServerProcess>
  startWorker(file: string): <Result>(job: object) => Promise<Result>
  close(): Promise<void>
}

/** @param walled whether row-level security is on */
export async function openGround(walled = true): Promise<Ground> {
  execFileSync('npx', ['tsc', '-p', 'bench/tsconfig.json'], { cwd: root, stdio: 'inherit' })
  const dataDir = await mkdtemp(path.join(tmpdir(), 'tasktide-bench-'))
  const closing: (() => unknown)[] = [() => rm(dataDir, { recursive: true, force: true })]
  const close = async () => {
    for (const step of closing.splice(0).reverse()) await step()
  }
  try {
    const postgres = await startEmbeddedPostgres({ dataDir })
    closing.push(() => postgres.stop())
    const db = connect({ url: postgres.url, poolSize: 4, tls: 'off', statementTimeoutMs: 0 })
    closing.push(() => db.destroy())
    await migrate(db)
    if (!walled) await lowerWall(db)

    const common = {
      PATH: process.env.PATH,
      NODE_ENV: 'production',
      HOST: '127.0.0.1',
      DATABASE_URL: postgres.url,
      DATABASE_POOL_SIZE: String(POOL_SIZE),
      SECRET_KEY,
      AUTH_RATE_LIMIT: '0',
      WRITES_PER_MINUTE: '0',
      MAX_SOCKETS_PER_USER: '1000',
    }
    const start = async (args: string[], env?: NodeJS.ProcessEnv) => {
      const server = await startServer(args, { ...common, ...env })
      closing.push(() => server.stop())
      return server
    }
    return {
      db,
      url: postgres.url,
      urlOf(database) {
        const url = new URL(postgres.url)
        url.pathname = `/${database}`
        return url.href
      },
      startOurs(profileDir, env) {
        const profiling = profileDir
          ? ['--cpu-prof', `--cpu-prof-dir=${path.resolve(profileDir)}`]
          : []
        return start([...profiling, 'scripts/start.mjs'], env)
      },
      startServer: start,
      startWorker(file) {
        const { run, stop } = startWorker(file)
        closing.push(stop)
        return run
      },
      close,
    }
  } catch (error) {
    await close()
    throw error
  }
}

/** People with tasks of many kinds; the last vacuum leaves nothing for the first round to tidy up. */
async function populate(db: Database): Promise<Person[]> {
  const password_hash = await createPasswords().hash(PASSWORD)
  const people: Person[] = []
  for (let i = 0; i < PEOPLE; i++) {
    const tasks = Array.from({ length: TASKS_EACH }, (_, n) => taskOf(uuidv7(), n))
    const username = `person${i}`
    const { access } = await addPerson(db, username, tasks, password_hash)
    people.push({ username, taskIds: tasks.map(({ id }) => id), access })
  }
  await db.raw('vacuum analyze')
  return people
}

/** Somebody with these tasks, signed in. Without a password nobody can sign in as them again. */
export async function addPerson(
  db: Database,
  username: string,
  tasks: readonly Document[],
  password_hash = '',
): Promise<{ id: string; access: string }> {
  const id = uuidv7()
  await db('users').insert({ id, username, email: `${username}@example.com`, password_hash })
  const documents = tasks.map((document) => ({ deleted: false, document }))
  for (let from = 0; from < documents.length; from += 1_000)
    await postgresStore(db).transaction(id, (transaction) =>
      transaction.write(resources.tasks, documents.slice(from, from + 1_000)),
    )
  const now = () => new Date()
  const sessions = createSessions(
    db,
    createTokens([SECRET_KEY], now),
    createEvents(db, createLog('silent', { readable: false }), now),
    { now, sessionDays: 365 },
  )
  return { id, access: (await sessions.open(id, { user_agent: 'bench' })).access }
}

/** The SQL of each operation, as the real store hands it to `pg` when asked to do that operation. */
async function sentStatements(db: Database, { taskIds }: Person) {
  const statements = {} as Record<OperationName, { name: string; text: string }>
  const { user_id: user } = await db('tasks').where({ id: taskIds[0] }).first('user_id')
  const store = postgresStore(db)
  const now = new Date().toISOString()
  const listing = {
    filters: [{ field: 'completed', operator: 'eq', value: false }],
    words: [],
    order: [{ field: 'due_date', descending: false }],
    deleted: false,
  } as const
  const work: Record<OperationName, () => Promise<unknown>> = {
    list: () => postgresLists(db).page(user, resources.tasks, listing, 20, 0),
    get: () => store.find(user, resources.tasks, taskIds[0]!),
    create: () => store.insert(user, resources.tasks, taskOf(uuidv7(), 1)),
    patch: () =>
      store.edit(user, resources.tasks, {
        action: 'patch',
        id: taskIds[0]!,
        fields: { title: 'Watched' },
        now,
      }),
  }
  for (const operation of operationNames) {
    const sent = await watchedQueries(work[operation])
    const [statement] = sent
    if (sent.length !== 1 || !statement?.name)
      throw new Error(`${operation} sends ${sent.length} queries, not one prepared statement`)
    statements[operation] = { name: statement.name, text: statement.text }
  }
  return statements
}

export async function watchedQueries(work: () => Promise<unknown>): Promise<pg.QueryConfig[]> {
  const sent: pg.QueryConfig[] = []
  const { query } = pg.Client.prototype
  pg.Client.prototype.query = function (this: pg.Client, ...args: unknown[]) {
    sent.push(args[0] as pg.QueryConfig)
    return Reflect.apply(query, this, args)
  } as typeof query
  try {
    await work()
    return sent
  } finally {
    pg.Client.prototype.query = query
  }
}

/** What it logs goes to /dev/null: written, but kept nowhere. */
async function startServer(args: string[], env: NodeJS.ProcessEnv): Promise<ServerProcess> {
  const port = await freePort()
  const child = spawn(process.execPath, args, {
    cwd: root,
    env: { ...env, PORT: String(port) },
    stdio: ['ignore', 'ignore', 'inherit'],
  })
  const ended = new Promise<void>((resolve) => child.once('exit', () => resolve()))
  const url = `http://127.0.0.1:${port}`
  const proc = (file: string) => {
    try {
      return readFileSync(`/proc/${child.pid}/${file}`, 'utf8')
    } catch {
      return ''
    }
  }
  for (let tries = 0; !(await isListening(url)); tries++) {
    if (child.exitCode !== null || tries > 200) throw new Error(`${args.at(-1)} does not start`)
    await sleep(50)
  }
  return {
    port,
    url,
    memory: () => Number(/VmRSS:\s+(\d+)/.exec(proc('status'))?.[1]) / 1024,
    cpu() {
      // After the name, which may hold spaces: user and system time are the 12th and 13th field.
      const fields = proc('stat').split(') ')[1]?.split(' ') ?? []
      return (Number(fields[11]) + Number(fields[12])) / TICKS_PER_SECOND
    },
    async stop() {
      child.kill('SIGTERM')
      await ended
    },
  }
}

const TICKS_PER_SECOND = 100

async function freePort(): Promise<number> {
  const server = createServer()
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  const { port } = server.address() as AddressInfo
  await new Promise((resolve) => server.close(resolve))
  return port
}

const isListening = (url: string) =>
  fetch(url).then(
    () => true,
    () => false,
  )

/** A process of its own that does one job after another and answers with what came of it. */
function startWorker(file: string) {
  const child = fork(path.join(root, file))
  return {
    run: <Result>(job: object) =>
      new Promise<Result>((resolve, reject) => {
        const gone = () => reject(new Error(`${file} has ended`))
        child.once('exit', gone)
        child.once('message', ({ value, error }: { value: Result; error?: string }) => {
          child.off('exit', gone)
          if (error !== undefined) reject(new Error(error))
          else resolve(value)
        })
        child.send(job)
      }),
    stop: () => void child.kill(),
  }
}

/** Sends one of the measured requests and answers with its body, however it is called. */
export async function askOnce(
  url: string,
  operation: OperationName,
  person: Person,
  n: number,
): Promise<{ status: number; text: string }> {
  const { method, path, body } = requestOf(operation, person, n)
  const response = await fetch(url + path, {
    method,
    headers: {
      authorization: `Bearer ${person.access}`,
      ...(body && { 'content-type': 'application/json' }),
    },
    ...(body && { body: JSON.stringify(body) }),
  })
  return { status: response.status, text: await response.text() }
}
