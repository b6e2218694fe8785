import { spawn } from 'node:child_process'
import { randomUUID } from 'node:crypto'
import { once } from 'node:events'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { text } from 'node:stream/consumers'
import { fileURLToPath } from 'node:url'
import { io } from 'socket.io-client'
import { describe, expect } from 'vitest'
import { startEmbeddedPostgres } from '../../../server/database/embedded/embedded-postgres.ts'
import { bundledServer } from '../../support/bundled-server.ts'
import { withApp } from '../../support/factors.ts'
import { test } from '../../support/fixtures.ts'
import { SECRET, type TestServer } from '../../support/server.ts'

const root = fileURLToPath(new URL('../../..', import.meta.url))
const PASSWORD = 'a ferry to Lisbon'
const CHILD_MS = 60_000

let server: TestServer
test.beforeAll(({ server: started }) => {
  server = started
})

describe('npm run user', { timeout: CHILD_MS }, () => {
  test('creates the first admin, who can sign in and administer', async () => {
    const name = newName()
    const email = `${name}@example.com`
    const made = await user(['create', name, email, '--role', 'admin'], {
      input: `${PASSWORD}\n`,
      script: 'scripts/user.mjs',
    })
    expect(made).toMatchObject({ code: 0, errors: '' })
    expect(made.output).toContain(`Created ${name} with the role admin.`)
    expect(made.output).not.toContain(PASSWORD)
    const { body } = await signIn(name, PASSWORD)
    const headers = { authorization: `Bearer ${body.access}` }
    const audit = await server.call('GET', '/api/admin/audit/', undefined, { headers })
    expect(audit.body.results[0]).toMatchObject({
      actor_id: null,
      actor: 'command line',
      action: 'create',
      account: name,
      details: { role: 'admin' },
      request_id: null,
      address: null,
    })
    const mails = await server.testDatabase.db('mails').where({ recipient: email })
    expect(mails).toMatchObject([{ letter: 'confirm_email' }])
  })

  test('can generate a password, and prints it once', async () => {
    const name = newName()
    const made = await user(['create', name, `${name}@example.com`, '--generate'])
    const password = /^Password: (\S{24})$/m.exec(made.output)![1]!
    expect((await signIn(name, password)).status).toBe(200)
    expect(await user(['create', name, `${name}@example.com`, '--generate'])).toMatchObject({
      code: 1,
      output: '',
      errors: expect.stringMatching(/username: This username is taken/),
    })
  })

  test('changes a role, which takes effect within a second', async ({ ann }) => {
    const asked = () => ann.call('GET', '/api/admin/accounts/')
    expect((await asked()).status).toBe(403)
    const promoted = await user(['promote', ann.username.toUpperCase(), 'support'])
    expect(promoted).toMatchObject({ code: 0, output: expect.stringContaining('support') })
    await expect.poll(asked, { timeout: 10_000 }).toMatchObject({ status: 200 })
    expect(await auditedActionsOn(ann.id)).toEqual([
      ['change_role', { from: 'user', to: 'support' }],
    ])
  })

  test('removes the second factors of somebody who has lost their phone', async ({ ann }) => {
    const ask = () => signIn(ann.username, ann.password)
    await withApp(server, ann)
    expect((await ask()).status).toBe(401)
    const removed = await user(['remove-factors', ann.username])
    expect(removed).toMatchObject({ code: 0, output: expect.stringContaining('Removed') })
    expect((await ask()).status).toBe(200)
    expect((await ann.call('GET', '/api/account/')).status).toBe(401)
    expect(await auditedActionsOn(ann.id)).toEqual([['remove_factors', { factors: 1 }]])
  })

  test('deactivates somebody whose device is connected, and reactivates them', async ({ ann }) => {
    const socket = io(server.url, {
      transports: ['websocket'],
      reconnection: false,
      auth: { token: ann.access },
    })
    await once(socket as never, 'ready')
    const cut = once(socket as never, 'disconnect')
    expect(await user(['deactivate', `${ann.username}@example.com`])).toMatchObject({ code: 0 })
    await cut
    expect((await signIn(ann.username, ann.password)).status).toBe(401)
    expect(await user(['reactivate', ann.username])).toMatchObject({ code: 0 })
    expect((await signIn(ann.username, ann.password)).status).toBe(200)
    expect((await auditedActionsOn(ann.id)).map(([action]) => action)).toEqual([
      'deactivate',
      'reactivate',
    ])
  })

  test('warns when no active admin is left', async () => {
    const { db } = server.testDatabase
    await db('users').where({ role: 'admin' }).update({ role: 'user' })
    const [ann, bob] = [await server.staff('admin'), await server.staff('admin')]
    expect((await user(['deactivate', ann.username])).output).not.toContain('no active admin')
    const last = await user(['promote', bob.username, 'user'])
    expect(last).toMatchObject({ code: 0, output: expect.stringContaining('no active admin') })
  })

  test('resets a password, signs out every device, and stores the password nowhere', async ({
    ann,
  }) => {
    const next = 'another ferry to Faro'
    const reset = await user(['reset-password', ann.username], { input: next })
    expect(reset).toMatchObject({ code: 0, errors: '' })
    expect(reset.output).not.toContain(next)
    await expect
      .poll(() => ann.call('GET', '/api/tasks/'), { timeout: 10_000 })
      .toMatchObject({ status: 401 })
    expect((await signIn(ann.username, ann.password)).status).toBe(401)
    expect((await signIn(ann.username, next)).status).toBe(200)
    const { db } = server.testDatabase
    const told = await db('mails').where({ user_id: ann.id, letter: 'password_changed' })
    expect(told).toHaveLength(1)
    expect(await auditedActionsOn(ann.id)).toEqual([['reset_password', {}]])
    expect(JSON.stringify([told, await db('audit_log')])).not.toContain(next)
  })

  test('recovers an account: a pending change of its address is cancelled', async ({ ann }) => {
    const email = `eve-${ann.username}@example.com`
    const began = { email, password: ann.password }
    expect((await ann.call('POST', '/api/account/change-email/', began)).status).toBe(202)
    await user(['reset-password', ann.username], { input: 'another ferry to Faro' })
    const { body } = await signIn(ann.username, 'another ferry to Faro')
    const headers = { authorization: `Bearer ${body.access}` }
    const account = await server.call('GET', '/api/account/', undefined, { headers })
    expect(account.body).toMatchObject({ pending_email: null })
  })

  test('lists all accounts, or some', async () => {
    const [ann, bob] = [await server.person(), await server.staff('support')]
    const all = await user(['list'])
    expect(all.output).toMatch(new RegExp(`^${ann.username} .* user +active +20`, 'm'))
    expect(all.output).toMatch(new RegExp(`^${bob.username} .* support +active +20`, 'm'))
    expect((await user(['list', '--role', 'support'])).output).not.toContain(ann.username)
    expect((await user(['list', '--search', ann.username])).output).not.toContain(bob.username)
  })

  test.each<[string[], number, RegExp]>([
    [[], 2, /npm run user -- create/],
    [['remove', 'ann'], 2, /Unknown command: remove/],
    [['constructor'], 2, /Unknown command: constructor/],
    [['create', 'ann'], 2, /create: expected arguments: username, email/],
    [['create', 'ann', 'ann@example.com', PASSWORD], 2, /expected arguments: username, email/],
    [['create', 'ann', 'ann@example.com', '--password', PASSWORD], 2, /Unknown option/],
    [['deactivate', 'ann', '--generate'], 2, /unknown option --generate/],
    [['create', 'ann', 'ann@example.com', '--role', 'owner'], 1, /one of: user, support, admin/],
    [['create', 'ann@b', 'ann@example.com', '--generate'], 1, /username: Use only letters/],
    [['create', 'ann', 'ann@example.com'], 1, /No password on standard input/],
    [
      ['promote', 'nobody', 'admin'],
      1,
      /No account nobody\. List accounts with: npm run user -- list/,
    ],
    [['deactivate', 'nobody'], 1, /No account nobody/],
  ])('refuses %j with %i and a remedy', async (args, code, message) => {
    const { db } = server.testDatabase
    const before = await db('users').count()
    const refused = await user(args)
    expect(refused).toEqual({ code, output: '', errors: expect.stringMatching(message) })
    expect(refused.errors).not.toMatch(/^ +at /m)
    expect(await db('users').count()).toEqual(before)
  })

  test.each([
    ['short', /at least 8 characters/],
    ['password123', /too common/],
  ])('does not accept the password %s', async (password, message) => {
    const ann = await server.person()
    const refused = await user(['reset-password', ann.username], { input: password })
    expect(refused).toMatchObject({ code: 1, errors: expect.stringMatching(message) })
    expect((await signIn(ann.username, ann.password)).status).toBe(200)
  })

  test('prints its usage on request, and reports database errors', async () => {
    expect(await user(['--help'])).toMatchObject({
      code: 0,
      output: expect.stringContaining('reset-password <username>'),
    })
    const away = await user(['list'], { env: { DATABASE_URL: 'postgres://a@127.0.0.1:9/a' } })
    expect(away).toMatchObject({ code: 1, errors: expect.stringContaining('ECONNREFUSED') })
  })

  test('works on the embedded database, unless a server uses it', async () => {
    const dataDir = await mkdtemp(path.join(tmpdir(), 'tasktide-user-'))
    const env = { DATABASE_URL: '', DATA_DIR: dataDir }
    try {
      const made = await user(['create', 'ann', 'ann@example.com', '--generate'], { env })
      expect(made).toMatchObject({ code: 0, errors: '' })
      expect((await user(['list'], { env })).output).toMatch(/^ann +ann@example.com/m)
      const running = await startEmbeddedPostgres({ dataDir })
      try {
        const refused = await user(['list'], { env })
        expect(refused).toMatchObject({ code: 1, output: '' })
        expect(refused.errors).toMatch(
          /stop the server, run this command, and start the server again/,
        )
      } finally {
        await running.stop()
      }
    } finally {
      await rm(dataDir, { recursive: true, force: true })
    }
  })
})

/** Runs it as an operator would, beside the server. */
async function user(args: string[], { input = '', env = {}, script = '' }: Options = {}) {
  const program = script || (await bundledServer('user-command'))
  const child = spawn(process.execPath, [program, ...args], {
    cwd: root,
    env: {
      PATH: process.env.PATH,
      HOME: process.env.HOME,
      DATABASE_URL: server.testDatabase.url,
      SECRET_KEY: SECRET,
      ...env,
    },
  })
  child.stdin.end(input)
  const [output, errors, [code]] = await Promise.all([
    text(child.stdout),
    text(child.stderr),
    once(child, 'exit'),
  ])
  return { code, output, errors }
}

interface Options {
  input?: string
  env?: Record<string, string>
  /** In the place of the bundled sources. */
  script?: string
}

const newName = () => `n${randomUUID().slice(0, 8)}`

const signIn = (username: string, password: string) =>
  server.call('POST', '/api/token/', { username, password })

/** What the command line did to an account. */
async function auditedActionsOn(account_id: string): Promise<[action: string, details: object][]> {
  const rows = await server.testDatabase
    .db('audit_log')
    .where({ account_id, actor: 'command line', actor_id: null })
    .orderBy('id')
  return rows.map(({ action, details }) => [action, details])
}
