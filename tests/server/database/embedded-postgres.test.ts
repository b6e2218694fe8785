import { type ChildProcess, spawn, spawnSync } from 'node:child_process'
import { once } from 'node:events'
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs'
import { tmpdir } from 'node:os'
import { join, resolve } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import pg from 'pg'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import {
  DatabaseUnavailable,
  type EmbeddedPostgres,
  type EmbeddedPostgresOptions,
  startEmbeddedPostgres,
} from '../../../server/database/embedded/embedded-postgres.ts'
import { binaryPlaces } from '../../../server/database/embedded/postgres-binaries.ts'

const launcher = fileURLToPath(
  new URL('../../../server/database/embedded/embedded-postgres.ts', import.meta.url),
)
const systemPlaces = [...binaryPlaces(process.env)].filter(({ source }) => source === 'system')

let dataDir: string
let running: EmbeddedPostgres[]
let children: ChildProcess[]
let sockets: string[]

beforeEach(() => {
  dataDir = mkdtempSync(join(tmpdir(), 'tasktide-test-'))
  running = []
  children = []
  sockets = []
})

afterEach(async () => {
  for (const child of children) child.kill('SIGKILL')
  for (const postgres of running) await postgres.stop()
  await until('Postgres is gone', () => !existsSync(lockFile()) || !isAlive(postmasterPid()))
  for (const dir of [dataDir, ...sockets]) {
    rmSync(dir, { recursive: true, force: true, maxRetries: 5 })
  }
})

describe('the embedded database', () => {
  test('keeps its data between runs', async () => {
    const first = await start()
    await query(first, "create table kept as select 'here' as word")
    await first.stop()
    await first.stop()

    const second = await start()
    expect(await query(second, 'select word from kept')).toEqual([{ word: 'here' }])
  })

  test('uses UTF-8 in every environment', async () => {
    const postgres = await start({ env: { ...process.env, LANG: undefined, LC_ALL: 'POSIX' } })
    expect(await query(postgres, 'show server_encoding')).toEqual([{ server_encoding: 'UTF8' }])
    expect(await query(postgres, "select upper('åß') as upper")).toEqual([{ upper: 'Åß' }])
  })

  test('is private', async () => {
    const postgres = await start()
    const socketDir = socketDirOf(postgres)
    for (const path of [cluster(), socketDir]) expect(statSync(path).mode & 0o777).toBe(0o700)
    expect(statSync(`${cluster()}.log`).mode & 0o777).toBe(0o600)
    expect(await query(postgres, 'show listen_addresses')).toEqual([{ listen_addresses: '' }])
  })

  test('leaves nothing outside its directory after a stop', async () => {
    const postgres = await start()
    const socketDir = socketDirOf(postgres)
    await postgres.stop()
    expect(existsSync(socketDir)).toBe(false)
  })
})

describe('a crash', () => {
  test('of the server also stops Postgres, and the next start waits for that', async () => {
    const child = await startInChild()
    const pid = postmasterPid()
    child.kill('SIGKILL')
    const postgres = await start()
    expect(postmasterPid()).not.toBe(pid)
    expect(await query(postgres, 'select 1 as one')).toEqual([{ one: 1 }])
  })

  test('of the server leaves no orphan', async () => {
    const child = await startInChild()
    const pid = postmasterPid()
    expect(isAlive(pid)).toBe(true)
    child.kill('SIGKILL')
    await until('the postmaster is gone', () => !isAlive(pid))
  })

  test('of Postgres loses nothing', async () => {
    const first = await start({ settings: {} })
    await query(first, "create table kept as select 'here' as word")
    process.kill(postmasterPid(), 'SIGKILL')
    await first.stop()

    const second = await start()
    expect(await query(second, 'select word from kept')).toEqual([{ word: 'here' }])
  })

  test('of both loses nothing', async () => {
    const child = await startInChild()
    const [postmaster, { url }] = [postmasterPid(), child]
    await query({ url }, "create table kept as select 'here' as word")
    child.kill('SIGKILL')
    process.kill(postmaster, 'SIGKILL')

    const second = await start()
    expect(await query(second, 'select word from kept')).toEqual([{ word: 'here' }])
  })
})

test('Ctrl-C reaches Postgres only through the server', async () => {
  const child = await startInChild({ detached: true })
  process.kill(-child.pid!, 'SIGINT') // the whole group, as a terminal does
  await once(child.stdout!, 'data') // it says that it got the signal
  expect(await query({ url: child.url }, 'select 1 as one')).toEqual([{ one: 1 }])
})

test('a second server on the same files fails soon, and its error names the first one', async () => {
  await start()
  const began = Date.now()
  const refusal = await refused({})
  expect(refusal.message).toContain(String(postmasterPid()))
  expect(refusal.message).toContain('DATA_DIR')
  expect(Date.now() - began).toBeLessThan(4_000)
})

test('of two servers that start on a fresh directory, one succeeds', async () => {
  const [here, there] = await Promise.allSettled([start(), startInChild()])
  expect([here.status, there.status].sort()).toEqual(['fulfilled', 'rejected'])
})

describe('a start succeeds in spite of the remains of a crash:', () => {
  test.each([
    ['a dead pid', () => 2 ** 31 - 3],
    ['the pid of a program that is not Postgres', () => process.ppid],
    ['the pid of a Postgres of other files', anotherPostgres],
    ['the pid of a zombie', zombie],
  ])('a lock file with %s', async (_, pidOf) => {
    const first = await start()
    const left = readFileSync(lockFile(), 'utf8')
    await first.stop()
    writeFileSync(lockFile(), left.replace(/^\d+/, String(await pidOf())))

    const second = await start()
    expect(await query(second, 'select 1 as one')).toEqual([{ one: 1 }])
  })

  test('an incomplete cluster', async () => {
    const unfinished = join(dataDir, `pg18.init-${2 ** 31 - 3}`)
    mkdirSync(unfinished)
    writeFileSync(join(unfinished, 'PG_VERSION'), '18\n')
    await start()
    expect(readdirSync(dataDir).filter((name) => name.includes('init'))).toEqual([])
  })
})

describe('a failed start reports the reason:', () => {
  test('no binaries, with three remedies', async () => {
    const { message } = await refused({ places: [] })
    expect(message).toContain('set DATABASE_URL')
    expect(message).toContain('without --omit=optional')
    expect(message).toContain('install the PostgreSQL server binaries')
  })

  test('binaries that do not run', async () => {
    const { message } = await refused({ places: [{ dir: dataDir, source: 'system' }] })
    expect(message).toContain(`${dataDir}: spawnSync`)
  })

  test('files of another major version', async () => {
    mkdirSync(join(dataDir, 'pg11'))
    writeFileSync(join(dataDir, 'pg11', 'PG_VERSION'), '11\n')
    const { message } = await refused({})
    expect(message).toContain('created by Postgres 11')
    expect(readdirSync(dataDir)).not.toContain('pg18')
  })

  test('a setting that Postgres rejects, in its own words', async () => {
    const { message } = await refused({ settings: { max_connections: 'many' } })
    expect(message).toContain('invalid value for parameter "max_connections"')
  })
})

describe.skipIf(systemPlaces.length === 0)('an installed Postgres', () => {
  test('is used without the npm package, and keeps using its own files afterwards', async () => {
    const first = await start({ places: systemPlaces })
    expect(first.source).toBe('system')
    expect(await query(first, 'show server_encoding')).toEqual([{ server_encoding: 'UTF8' }])
    expect(await query(first, "select upper('åß') as upper")).toEqual([{ upper: 'Åß' }])
    await first.stop()

    const second = await start()
    expect(second.version).toBe(first.version)
  })
})

async function start(options: Partial<EmbeddedPostgresOptions> = {}): Promise<EmbeddedPostgres> {
  const settings = { fsync: 'off' }
  const postgres = await startEmbeddedPostgres({ dataDir, settings, ...options })
  running.push(postgres)
  return postgres
}

async function refused(options: Partial<EmbeddedPostgresOptions>): Promise<Error> {
  const outcome = await start(options).catch((error: unknown) => error)
  expect(outcome).toBeInstanceOf(DatabaseUnavailable)
  return outcome as Error
}

/** A server in a process of its own, to be killed; it answers SIGINT with a word and lives on. */
async function startInChild({ detached = false } = {}): Promise<ChildProcess & { url: string }> {
  const program = `
    import { startEmbeddedPostgres } from ${JSON.stringify(launcher)}
    process.on('SIGINT', () => console.log('SIGINT'))
    setInterval(() => {}, 1000)
    const { url } = await startEmbeddedPostgres({ dataDir: ${JSON.stringify(dataDir)} })
    console.log(url)
  `
  const args = ['--import', 'tsx', '--input-type=module', '-e', program]
  const child = spawn(process.execPath, args, {
    cwd: resolve(launcher, '../../..'),
    stdio: ['ignore', 'pipe', 'ignore'],
    detached,
  })
  children.push(child)
  const [first] = await Promise.race([once(child.stdout, 'data'), once(child, 'exit')])
  if (!Buffer.isBuffer(first)) throw new Error('the server ended instead of starting')
  const url = first.toString().trim()
  sockets.push(socketDirOf({ url }))
  return Object.assign(child, { url })
}

function socketDirOf({ url }: { url: string }): string {
  return new URL(url).searchParams.get('host')!
}

async function query({ url }: { url: string }, sql: string): Promise<unknown[]> {
  const client = new pg.Client(url)
  client.on('error', () => {}) // being cut off is what some of these tests are about
  await client.connect()
  const { rows } = await client.query(sql)
  await client.end()
  return rows
}

async function anotherPostgres(): Promise<number> {
  const other = join(dataDir, 'other')
  await start({ dataDir: other })
  return Number.parseInt(readFileSync(join(other, 'pg18/postmaster.pid'), 'utf8'), 10)
}

/** A process named postgres that ended under a parent who does not care. */
async function zombie(): Promise<number> {
  symlinkSync('/bin/sh', join(dataDir, 'postgres'))
  const parent = spawn('/bin/sh', ['-c', './postgres -c : & echo $!; exec sleep 60'], {
    cwd: dataDir,
  })
  children.push(parent)
  const [line] = await once(parent.stdout, 'data')
  const pid = Number(line.toString())
  await until('the zombie is one', () => !isAlive(pid))
  return pid
}

function cluster(): string {
  const found = readdirSync(dataDir).find((name) => /^pg\d+$/.test(name))
  return join(dataDir, found ?? 'pg18')
}

function lockFile(): string {
  return join(cluster(), 'postmaster.pid')
}

function postmasterPid(): number {
  return Number.parseInt(readFileSync(lockFile(), 'utf8'), 10)
}

/** A zombie is dead: in a container nobody may ever come to bury it. */
function isAlive(pid: number): boolean {
  const state = spawnSync('ps', ['-o', 'stat=', '-p', String(pid)], { encoding: 'utf8' }).stdout
  return state.trim() !== '' && !state.startsWith('Z')
}

async function until(what: string, holds: () => boolean) {
  const deadline = Date.now() + 10_000
  while (!holds()) {
    if (Date.now() > deadline) throw new Error(`waited in vain: ${what}`)
    await sleep(20)
  }
}
