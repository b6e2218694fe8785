import { type ChildProcess, spawn } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import { mkdtempSync, rmSync } from 'node:fs'
import { type AddressInfo, connect, createServer, type Server, type Socket } from 'node:net'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import { describe, expect, inject, test } from 'vitest'
import { migrationSource } from '../../../migrations/index.ts'
import { migrate } from '../../../server/database/migrate.ts'
import { atEnd } from '../../support/at-end.ts'
import { bundledServer } from '../../support/bundled-server.ts'
import { connectTo, databaseUrl } from '../../support/cluster.ts'
import { createDatabase } from '../../support/database.ts'
import { callerTo, type Person, type Reply, SECRET, startServer } from '../../support/server.ts'

const root = fileURLToPath(new URL('../../..', import.meta.url))
const ANN = { username: 'ann', password: 'a ferry to Lisbon' }
const CHILD_MS = 120_000

/** What each test has to leave behind it: processes, databases, directories. */
describe('a server process', () => {
  test(
    'of npm start runs with only a data directory, stops on SIGTERM, and keeps all data',
    async () => {
      const env = { DATA_DIR: temporaryDir(), PORT: '0' }
      const first = await startProcess(env, START)
      const call = callerTo(first.url)
      const account = await call('POST', '/api/register/', { ...ANN, email: 'ann@example.com' })
      expect(account.status).toBe(201)
      const { access } = (await call('POST', '/api/token/', ANN)).body
      const ann = { authorization: `Bearer ${access}` }
      const made = await callerTo(first.url, ann)('POST', '/api/tasks/', { title: 'Milk' })
      expect(made.status).toBe(201)

      first.child.kill('SIGTERM')
      expect(await first.exit).toBe(0)
      expect(first.output()).toMatch(/stopping/)

      const second = await startProcess(env)
      const found = await callerTo(second.url, ann)('GET', `/api/tasks/${made.body.id}/`)
      expect(found).toMatchObject({ status: 200, body: made.body })
      expect((await callerTo(second.url)('POST', '/api/token/', ANN)).status).toBe(200)
      second.child.kill('SIGINT')
      expect(await second.exit).toBe(0)
    },
    CHILD_MS,
  )

  test(
    'finishes running requests on SIGTERM, accepts no new ones, and stops soon',
    async () => {
      const { url, db, drop } = await createDatabase()
      atEnd(drop)
      const { child, exit, ...server } = await startProcess({
        DATABASE_URL: url,
        SECRET_KEY: SECRET,
      })
      const ann = await signUp(server.url)

      const holder = await db.transaction()
      await holder.raw('select from feeds where user_id = ? for update', [ann.id])
      const waiting = ann.call('POST', '/api/tasks/', { title: 'Milk' })
      await expect.poll(() => blocked(db), { timeout: 10_000 }).toBe(1)
      child.kill('SIGTERM')
      await expect.poll(() => isRefused(server.url), { timeout: 10_000 }).toBe(true)
      expect(child.exitCode).toBeNull()
      await holder.rollback()

      const released = Date.now()
      expect(await waiting).toMatchObject({ status: 201, body: { title: 'Milk' } })
      expect(await exit).toBe(0)
      expect(Date.now() - released).toBeLessThan(3_000)
      expect(await db('tasks').count()).toEqual([{ count: '1' }])
    },
    CHILD_MS,
  )

  test(
    'is not ready on SIGTERM, and serves on until load balancers have noticed',
    async () => {
      const { url, drop } = await createDatabase()
      atEnd(drop)
      const { child, exit, ...server } = await startProcess({
        DATABASE_URL: url,
        SECRET_KEY: SECRET,
        DRAIN_SECONDS: '3',
      })
      const ann = await signUp(server.url)
      const call = callerTo(server.url)
      child.kill('SIGTERM')
      const isReady = async () => (await call('GET', '/readyz')).status
      await expect.poll(isReady, { timeout: 2_000 }).toBe(503)
      expect(await isRefused(server.url)).toBe(false)
      expect((await ann.call('POST', '/api/tasks/', { title: 'Milk' })).status).toBe(201)
      expect(await exit).toBe(0)
    },
    CHILD_MS,
  )

  test(
    'names a port that is taken',
    async () => {
      const { url, drop } = await createDatabase()
      atEnd(drop)
      const port = await occupiedPort()
      const { exit, output } = run({ DATABASE_URL: url, SECRET_KEY: SECRET, PORT: String(port) })
      expect(await exit).toBe(1)
      expect(output()).toContain(`Port ${port} is in use`)
      expect(output()).not.toMatch(TRACE)
    },
    CHILD_MS,
  )

  test.each([
    ['that does not answer', async () => `postgres://ann@127.0.0.1:${await freePort()}/tasks`],
    ['that does not exist', async () => databaseUrl(inject('adminUrl'), 'no_such_database')],
    ['on a host that does not exist', async () => 'postgres://ann@nowhere.invalid/tasks'],
  ])(
    'reports plainly that it cannot reach a database %s',
    async (_, urlOf) => {
      const url = await urlOf()
      const { exit, output, lifetime } = run({ DATABASE_URL: url, SECRET_KEY: SECRET, PORT: '0' })
      expect(await exit).toBe(1)
      expect(output()).toMatch(/database/)
      expect(output()).not.toMatch(TRACE)
      expect(lifetime()).toBeLessThan(20_000)
    },
    CHILD_MS,
  )

  test(
    'reports all errors in the environment',
    async () => {
      const { exit, output } = run({ PORT: 'eighty', LOG_LEVEL: 'loud', SECRET_KEY: 'hunter22' })
      expect(await exit).toBe(1)
      for (const name of ['PORT', 'LOG_LEVEL', 'SECRET_KEY'])
        expect(output()).toContain(`  ${name}: `)
      expect(output()).not.toMatch(TRACE)
      expect(output()).not.toContain('hunter22')
    },
    CHILD_MS,
  )
})

describe('npm run migrate', () => {
  test(
    'is required by a server in production, and can be run again',
    async () => {
      const url = await emptyDatabase()
      const env = { DATABASE_URL: url, SECRET_KEY: SECRET, PORT: '0' }
      const early = run({ ...env, NODE_ENV: 'production' })
      expect(await early.exit).toBe(1)
      expect(early.output()).toContain('npm run migrate')
      expect(early.output()).not.toMatch(TRACE)

      const first = run({ DATABASE_URL: url }, MIGRATE)
      expect(await first.exit).toBe(0)
      expect(first.output()).toMatch(/0001_accounts_and_feeds/)
      const second = run({ DATABASE_URL: url }, MIGRATE)
      expect(await second.exit).toBe(0)
      expect(second.output()).toMatch(/up to date/)

      const production = { ...env, NODE_ENV: 'production', DRAIN_SECONDS: '0' }
      const server = await startProcess(production)
      expect((await signUp(server.url)).id).toBeDefined()
      server.child.kill('SIGTERM')
      expect(await server.exit).toBe(0)
    },
    CHILD_MS,
  )

  test('succeeds for all concurrent runs on a fresh database, each step once', async () => {
    const url = await emptyDatabase()
    const migrators = Array.from({ length: 6 }, () => connectTo(url))
    atEnd(() => Promise.all(migrators.map((db) => db.destroy())))
    await Promise.all(migrators.map((db) => db.raw('select 1')))
    const names = await Promise.all(migrators.map(migrate))
    expect(names.flat().sort()).toEqual(await migrationSource.getMigrations([]))
  })

  test(
    'reports plainly that it cannot reach the database',
    async () => {
      const url = `postgres://ann@127.0.0.1:${await freePort()}/tasks`
      const { exit, output } = run({ DATABASE_URL: url }, MIGRATE)
      expect(await exit).toBe(1)
      expect(output()).toMatch(/database/)
      expect(output()).not.toMatch(TRACE)
    },
    CHILD_MS,
  )
})

describe('a lost database', () => {
  test('that closed all pooled connections is used again by the next request or the one after', async () => {
    const server = await startServer()
    atEnd(server.stop)
    const ann = await server.person()
    for (let round = 0; round < 5; round++) {
      await Promise.all(Array.from({ length: 8 }, () => ann.call('GET', '/api/tasks/')))
      const [cut, ...others] = await Promise.all([
        server.testDatabase.db.raw(CUT_OTHERS),
        ...Array.from({ length: 12 }, (_, i) =>
          i % 2 === 0
            ? ann.call('GET', '/api/tasks/')
            : ann.call('POST', '/api/tasks/', { title: `${round}.${i}` }),
        ),
      ])
      expect(cut.rowCount).toBeGreaterThan(0)
      for (const reply of others) if (reply.status >= 400) expectUnavailable(reply)
      await expect
        .poll(async () => (await ann.call('GET', '/api/tasks/')).status, { timeout: 5_000 })
        .toBe(200)
    }
  })

  test('that comes back is a 503 meanwhile, and needs no restart', async () => {
    const { url, drop } = await createDatabase()
    const line = await cuttableLine(url)
    const server = await startServer({ DATABASE_URL: line.url })
    atEnd(drop)
    atEnd(line.close)
    atEnd(server.stop)
    const ann = await server.person()
    const kept = await ann.call('POST', '/api/tasks/', { title: 'Milk' })

    line.cut()
    for (const request of everyKind(ann, kept.body.id)) expectUnavailable(await request())
    expectUnavailable(await ann.call('GET', '/readyz'))
    expect((await ann.call('GET', '/healthz')).status).toBe(200)

    line.mend()
    await expect
      .poll(async () => (await ann.call('GET', '/readyz')).status, { timeout: 10_000 })
      .toBe(200)
    expect((await ann.call('GET', `/api/tasks/${kept.body.id}/`)).body).toEqual(kept.body)
    expect((await ann.call('POST', '/api/tasks/', { title: 'Bread' })).status).toBe(201)
    expect((await server.call('POST', '/api/token/', credentialsOf(ann))).status).toBe(200)
  })

  test('that stops responding is a 503 after a while, and needs no restart', async () => {
    const { url, drop } = await createDatabase()
    const line = await cuttableLine(url)
    const server = await startServer({
      DATABASE_URL: line.url,
      DATABASE_STATEMENT_TIMEOUT_MS: '2000',
    })
    atEnd(drop)
    atEnd(line.close)
    atEnd(server.stop)
    atEnd(line.cut)
    const ann = await server.person()

    line.freeze()
    const tooLong = sleep(15_000, 'no answer', { ref: false })
    const answer = ann.call('POST', '/api/tasks/', { title: 'Milk' })
    const waited = await Promise.race([answer, tooLong])
    line.cut()
    await answer
    expect(waited).toMatchObject({ status: 503, body: { code: 'unavailable' } })

    line.mend()
    await expect
      .poll(async () => (await ann.call('GET', '/api/tasks/')).status, { timeout: 10_000 })
      .toBe(200)
  })

  test('does not keep the server from stopping', async () => {
    const { url, drop } = await createDatabase()
    const line = await cuttableLine(url)
    const server = await startServer({ DATABASE_URL: line.url })
    atEnd(drop)
    atEnd(line.close)
    const ann = await server.person()
    line.cut()
    expectUnavailable(await ann.call('GET', '/readyz'))
    await server.stop()
  })
})

const START = path.join(root, 'scripts/start.mjs')
const MIGRATE = path.join(root, 'scripts/migrate.mjs')
const WEB = await bundledServer('web')
const TRACE = /^\s+at /m
const CUT_OTHERS = `select pg_terminate_backend(pid) from pg_stat_activity
  where datname = current_database() and pid <> pg_backend_pid()`

interface Running {
  child: ChildProcess
  /** The exit code. */
  exit: Promise<number | null>
  /** All that it has written so far. */
  output(): string
  /** Milliseconds from its start to its end. */
  lifetime(): number
}

/** Runs a script as people do: with their environment, but nothing of vitest's. */
function run(settings: Record<string, string>, script = WEB): Running {
  const { PATH = '', HOME = '', SystemRoot = '', TEMP = '' } = process.env
  const env = { PATH, HOME, SystemRoot, TEMP, DATA_DIR: temporaryDir(), ...settings }
  const child = spawn(process.execPath, [script], { cwd: root, env, stdio: 'pipe' })
  const began = Date.now()
  let ended = began
  let text = ''
  for (const stream of [child.stdout, child.stderr])
    stream.on('data', (data) => {
      text += data
    })
  const exit = new Promise<number | null>((resolve) => {
    child.on('close', (code) => {
      ended = Date.now()
      resolve(code)
    })
  })
  atEnd(() => {
    child.kill('SIGKILL')
    return exit
  })
  return { child, exit, output: () => text, lifetime: () => ended - began }
}

async function startProcess(settings: Record<string, string>, script = WEB) {
  const running = run({ PORT: '0', ...settings }, script)
  const url = () => /listens on (http:\/\/localhost:\d+)/.exec(running.output())?.[1]
  const started = expect.poll(url, { timeout: 60_000, interval: 50 }).toBeDefined()
  const ended = running.exit.then((code) => {
    throw new Error(`ended with ${code} instead of starting:\n${running.output()}`)
  })
  await Promise.race([started, ended])
  ended.catch(() => {})
  return { ...running, url: url()! }
}

async function signUp(url: string): Promise<Pick<Person, 'id' | 'call'>> {
  const call = callerTo(url)
  const account = await call('POST', '/api/register/', { ...ANN, email: 'ann@example.com' })
  const { access } = (await call('POST', '/api/token/', ANN)).body
  return { id: account.body.id, call: callerTo(url, { authorization: `Bearer ${access}` }) }
}

function temporaryDir(): string {
  const dir = mkdtempSync(path.join(tmpdir(), 'tasktide-lifecycle-'))
  atEnd(() => rmSync(dir, { recursive: true, force: true, maxRetries: 5 }))
  return dir
}

/** A database with no tables in it, gone after the test. */
async function emptyDatabase(): Promise<string> {
  const name = `test_${randomBytes(6).toString('hex')}`
  const admin = connectTo(inject('adminUrl'))
  await admin.raw(`create database ${name}`)
  atEnd(async () => {
    await admin.raw(`drop database ${name} with (force)`)
    await admin.destroy()
  })
  return databaseUrl(inject('adminUrl'), name)
}

async function blocked(db: ReturnType<typeof connectTo>): Promise<number> {
  const { rows } = await db.raw(`select count(*)::int from pg_stat_activity
    where datname = current_database() and wait_event_type = 'Lock'`)
  return rows[0].count
}

function isRefused(url: string): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect(Number(new URL(url).port), 'localhost')
    socket.on('connect', () => {
      socket.destroy()
      resolve(false)
    })
    socket.on('error', () => resolve(true))
  })
}

async function occupiedPort(): Promise<number> {
  const server = await listen(createServer())
  atEnd(() => new Promise((closed) => server.close(closed)))
  return portOf(server)
}

async function freePort(): Promise<number> {
  const server = await listen(createServer())
  const port = portOf(server)
  await new Promise((closed) => server.close(closed))
  return port
}

function listen(server: Server, port = 0, host?: string): Promise<Server> {
  return new Promise((resolve, reject) => {
    server.once('error', reject).listen(port, host, () => resolve(server))
  })
}

const portOf = (server: Server) => (server.address() as AddressInfo).port

/** A line to the database that can break, fall silent and be mended. */
async function cuttableLine(databaseAddress: string) {
  const target = new URL(databaseAddress)
  const directory = target.searchParams.get('host')
  const port = Number(target.port || 5432)
  const ends = new Set<Socket>()
  let state: 'whole' | 'cut' | 'frozen' = 'whole'
  const server = await listen(
    createServer((near) => {
      keep(near)
      if (state === 'cut') return near.resetAndDestroy()
      if (state === 'frozen') return
      const far = directory?.startsWith('/')
        ? connect(`${directory}/.s.PGSQL.${port}`)
        : connect(port, target.hostname)
      keep(far)
      for (const [from, to] of [
        [near, far],
        [far, near],
      ] as const) {
        from.on('data', (data) => state === 'whole' && to.write(data))
        from.on('close', () => to.destroy())
      }
    }),
    0,
    '127.0.0.1',
  )
  const url = new URL(databaseAddress)
  url.search = ''
  url.hostname = '127.0.0.1'
  url.port = String(portOf(server))
  return {
    url: url.toString(),
    cut() {
      state = 'cut'
      for (const socket of ends) socket.destroy()
    },
    freeze() {
      state = 'frozen'
    },
    mend() {
      state = 'whole'
    },
    close() {
      for (const socket of ends) socket.destroy()
      return new Promise((closed) => server.close(closed))
    },
  }

  function keep(socket: Socket) {
    ends.add(socket)
    socket.on('error', () => {})
    socket.on('close', () => ends.delete(socket))
  }
}

function everyKind(person: Person, id: string): (() => Promise<Reply>)[] {
  const { call, refresh } = person
  return [
    () => call('GET', '/api/tasks/'),
    () => call('GET', `/api/tasks/${id}/`),
    () => call('POST', '/api/tasks/', { title: 'Bread' }),
    () => call('PATCH', `/api/tasks/${id}/`, { title: 'Bread' }),
    () => call('DELETE', `/api/tasks/${id}/`),
    () => call('GET', '/api/profile/'),
    () => call('POST', '/api/token/', credentialsOf(person)),
    () => call('POST', '/api/token/refresh/', { refresh }),
    () => call('POST', '/api/register/', { ...ANN, username: 'bob', email: 'bob@example.com' }),
  ]
}

const credentialsOf = ({ username, password }: Person) => ({ username, password })

function expectUnavailable(reply: Reply) {
  expect(reply).toMatchObject({ status: 503, body: { code: 'unavailable' } })
  expect(Number(reply.headers.get('retry-after'))).toBeGreaterThan(0)
}
