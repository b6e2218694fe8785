// Does with a fresh clone what a newcomer does, `npm start`, and then what somebody who deploys it does:
// build it, leave out what only development needs, start it, use it, restart it.
import assert from 'node:assert/strict'
import { spawn, spawnSync } from 'node:child_process'
import { mkdtempSync, rmSync } from 'node:fs'
import { createServer } from 'node:net'
import { tmpdir } from 'node:os'
import path from 'node:path'

const root = path.resolve(import.meta.dirname, '..')
const work = mkdtempSync(path.join(tmpdir(), 'tasktide-clone-'))
const clone = path.join(work, 'tasktide')
const port = await freePort()
/** With the installation, beside the tests. */
const MAX_MS = 300_000
const url = `http://localhost:${port}`
const environment = {
  ...process.env,
  NODE_ENV: 'production',
  SECRET_KEY: 'only for this check: 0123456789 abcdefghij',
  DATA_DIR: path.join(work, 'data'),
  PORT: String(port),
}

let server
try {
  run('git', ['clone', '--quiet', root, clone], work)
  // The one command of the README, which installs what it needs.
  await stop(await start({ NODE_ENV: '' }))
  run('npm', ['run', '--silent', 'build'])
  run('npm', ['prune', '--silent', '--omit=dev'])
  await start()
  await call('/api/register/', {
    username: 'ann',
    email: 'ann@example.com',
    password: 'a ferry to Lisbon',
  })
  const access = await signIn()
  const made = await call('/api/tasks/', { title: 'Book the ferry' }, access)
  await stop(server)
  await start()
  const { results } = await call('/api/tasks/?search=ferry', undefined, await signIn())
  assert.deepEqual(results, [made])
  assert.match(await (await fetch(`${url}/api/docs/`)).text(), /swagger-ui/)
  assert.match(await (await fetch(url)).text(), /<title>Tasktide/)
  // gzip
  const client = new Uint8Array(await (await fetch(`${url}/client.tgz`)).arrayBuffer())
  assert.deepEqual([...client.slice(0, 2)], [0x1f, 0x8b])
  await stop(server)
  console.log('built, started, used, restarted: the task is there')
} finally {
  server?.kill('SIGTERM')
  // The database may be writing still, and an error of the check must not be hidden by one of tidying up.
  rmSync(work, { recursive: true, force: true, maxRetries: 20, retryDelay: 200 })
}

async function start(more = {}) {
  server = spawn('npm', ['start', '--silent'], {
    cwd: clone,
    env: { ...environment, ...more },
    stdio: 'inherit',
  })
  const ended = new Promise((_, reject) => {
    server.once('exit', (code) => reject(new Error(`the server ended with ${code}`)))
  })
  await Promise.race([ended, until('healthy', isHealthy)])
  ended.catch(() => {})
  return server
}

async function isHealthy() {
  const response = await fetch(`${url}/healthz`).catch(() => undefined)
  return response?.ok ?? false
}

async function until(what, holds) {
  const deadline = Date.now() + MAX_MS
  while (!(await holds())) {
    if (Date.now() > deadline) throw new Error(`the server was not ${what} in time`)
    await new Promise((again) => setTimeout(again, 100))
  }
}

async function stop(server) {
  const ended = new Promise((resolve) => server.once('exit', resolve))
  server.kill('SIGTERM')
  await ended
  // npm passes the signal on and need not wait for the server itself.
  await until('stopped', async () => !(await isHealthy()))
}

async function signIn() {
  return (await call('/api/token/', { username: 'ann', password: 'a ferry to Lisbon' })).access
}

async function call(target, body, access) {
  const response = await fetch(url + target, {
    method: body ? 'POST' : 'GET',
    headers: {
      'content-type': 'application/json',
      ...(access && { authorization: `Bearer ${access}` }),
    },
    ...(body && { body: JSON.stringify(body) }),
  })
  const text = await response.text()
  assert.ok(response.ok, `${target}: ${response.status} ${text}`)
  return JSON.parse(text)
}

function run(command, args, cwd = clone) {
  const { status } = spawnSync(command, args, { cwd, stdio: ['ignore', 'inherit', 'inherit'] })
  assert.equal(status, 0, `${command} ${args.join(' ')}`)
}

function freePort() {
  return new Promise((resolve) => {
    const probe = createServer().listen(0, () => {
      const { port } = probe.address()
      probe.close(() => resolve(port))
    })
  })
}
