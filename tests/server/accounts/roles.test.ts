import { randomUUID } from 'node:crypto'
import { once } from 'node:events'
import { io } from 'socket.io-client'
import { describe, expect } from 'vitest'
import type { Role } from '../../../protocol/index.ts'
import { may } from '../../../server/accounts/permissions.ts'
import { createDemoData } from '../../../server/processes/demo-data.ts'
import { test as plain } from '../../support/fixtures.ts'
import {
  type Api,
  bodyOf,
  type DescribedOperation,
  PROVOKED,
  readApi,
  targetOf,
} from '../../support/openapi-walk.ts'
import { callerTo, type Person, type Reply, type TestServer } from '../../support/server.ts'

const METRICS_TOKEN = 'what Prometheus shows: 0123456789'.replaceAll(/[ :]/g, '-')

/** Who may do what to the accounts of others. What is missing here is a fault. */
const ALLOWED: Readonly<Record<string, readonly Role[]>> = {
  list_accounts: ['support', 'admin'],
  get_managed_account: ['support', 'admin'],
  invite: ['admin'],
  deactivate_account: ['admin'],
  reactivate_account: ['admin'],
  end_sessions_of_account: ['admin'],
  resend_confirmation_of_account: ['admin'],
  change_role_of_account: ['admin'],
  list_audit_entries: ['admin'],
  export_events: ['admin'],
}

/** Other nodes cache roles for a second; a busy machine may take longer. */
const SOON = { timeout: 10_000 }

const ROLES: readonly Role[] = ['user', 'support', 'admin']

const test = plain.extend('environment', { METRICS_TOKEN })

let server: TestServer
/** Another node on the same database. */
let other: TestServer
let api: Api
test.beforeAll(async ({ server: first, other: second }) => {
  server = first
  other = second
  api = await readApi(server.call)
})

describe('every operation', () => {
  test('on other accounts needs a permission, and is in the table of these tests', () => {
    const { operations } = server.app
    const about = operations.filter(
      ({ tag, path }) => tag === 'administration' || path.startsWith('/api/admin'),
    )
    expect(about.map(({ id }) => id).sort()).toEqual(Object.keys(ALLOWED).sort())
    const lax = about.filter(({ permission, access }) => !permission || access !== 'bearer')
    expect(lax.map(({ id }) => id)).toEqual([])
    const others = operations.filter((one) => one.permission && !about.includes(one))
    expect(others.map(({ id }) => id)).toEqual([])
    const declared = api.operations.filter(({ guarded }) => guarded)
    expect(declared.map(({ id }) => id).sort()).toEqual(Object.keys(ALLOWED).sort())
  })

  test.each(ROLES)(
    'on other accounts allows the role %s what it may do, and no more',
    async (role) => {
      const faults: string[] = []
      for (const operation of guarded()) {
        const reply = await tryOn(operation, (await server.staff(role)).call)
        const allowed = ALLOWED[operation.id]!.includes(role)
        const asExpected = allowed
          ? reply.status < 300
          : reply.status === 403 && reply.body.code === 'forbidden'
        if (!asExpected) faults.push(`${operation.id}: ${reply.status} ${reply.text}`)
      }
      expect(faults).toEqual([])
    },
  )

  test('with a token is open to every role, and closed to deactivated admins', async () => {
    const faults: string[] = []
    const admin = await server.staff('admin')
    await (await server.staff('admin')).call('POST', `/api/admin/accounts/${admin.id}/deactivate/`)
    for (const operation of api.operations.filter(({ bearer }) => bearer))
      for (const call of [server.call, admin.call]) {
        const reply = await tryOn(operation, call)
        if (reply.status !== 401) faults.push(`${operation.id}: ${reply.status} ${reply.text}`)
      }
    expect(faults).toEqual([])
  })

  test('on the own account is the same for every role', async () => {
    const faults: string[] = []
    const own = api.operations.filter(({ bearer, id }) => bearer && !(id in ALLOWED))
    expect(own.length).toBeGreaterThan(20)
    for (const operation of own) {
      const statuses: number[] = []
      for (const role of ROLES) {
        const { call, password } = await server.staff(role)
        const { path } = await targetOf(api, operation, call)
        const body = bodyOf(operation, { password, current_password: password })
        statuses.push((await call(operation.method, path, body)).status)
      }
      if (new Set(statuses).size > 1 || (operation.succeeds && statuses.includes(403)))
        faults.push(`${operation.id}: ${statuses}`)
    }
    expect(faults).toEqual([])
  }, 120_000)

  test.each<[string, number]>([
    ['nobody', 404],
    ['user', 404],
    ['support', 200],
    ['admin', 200],
  ])('of the metrics answers %s with %i', async (role, status) => {
    const { call } = role === 'nobody' ? server : await server.staff(role as Role)
    expect((await call('GET', '/metrics')).status).toBe(status)
  })

  test('of the metrics still takes the token of Prometheus, and no other', async () => {
    const asking = (token: string) =>
      callerTo(server.url, { authorization: `Bearer ${token}` })('GET', '/metrics')
    expect((await asking(METRICS_TOKEN)).status).toBe(200)
    expect((await asking(`${METRICS_TOKEN}x`)).status).toBe(404)
    const { refresh } = await server.staff('admin')
    expect((await asking(refresh)).status).toBe(404)
  })

  test('that is refused for the role is a warning in the log', async () => {
    const bob = await server.staff('support')
    const reply = await bob.call('GET', '/api/admin/audit/')
    const warnings = server.logged
      .map((line) => JSON.parse(line))
      .filter(({ user, msg }) => user === bob.id && msg === 'not permitted')
    expect(warnings).toMatchObject([
      { level: 40, operation: 'list_audit_entries', request_id: reply.body.request_id },
    ])
  })

  test('is forbidden to an unknown role', () => {
    expect(may('owner' as Role, 'accounts.read')).toBe(false)
    expect(may('constructor' as Role, 'accounts.read')).toBe(false)
  })
})

test('admins see no documents and no credentials of users', async () => {
  const secret = `secret${randomUUID().slice(0, 8)}`
  const ann = await server.person()
  const category = await ann.call('POST', '/api/categories/', { name: secret })
  const task = { title: secret, description: secret, category_id: category.body.id }
  const made = await ann.call('POST', '/api/tasks/', task)
  await ann.call('PATCH', '/api/profile/', { display_name: secret, bio: secret })
  for (const provoke of Object.values(PROVOKED)) await provoke(ann.call, secret)
  for (const path of ['tasks', 'categories', 'profile', 'conflicts'])
    expect((await ann.call('GET', `/api/${path}/`)).text).toContain(secret)

  const faults: string[] = []
  let found = 0
  for (const role of ['support', 'admin'] as const) {
    const { call } = await server.staff(role)
    const paths = [
      ...guarded().map(({ method, path }) => [method, path.replace('{id}', ann.id)] as const),
      ['GET', `/api/admin/accounts/?search=${ann.username}`] as const,
      ['GET', `/api/admin/accounts/?search=${secret}`] as const,
      ['GET', `/api/admin/accounts/${made.body.id}/`] as const,
      ['GET', `/api/tasks/${made.body.id}/`] as const,
      ['GET', '/metrics'] as const,
    ]
    for (const [method, path] of paths) {
      const reply = await call(method, path, method === 'PUT' ? { role: 'user' } : undefined)
      if (reply.text.includes(ann.username)) found++
      if (reveals(reply.text)) faults.push(`${role}: ${method} ${path}: ${reply.text}`)
    }
  }
  expect(faults).toEqual([])
  expect(found).toBeGreaterThan(5)
  expect(reveals(JSON.stringify(await server.testDatabase.db('audit_log')))).toBe(false)
  expect(reveals(server.logged.join('\n'))).toBe(false)

  function reveals(text: string): boolean {
    const hidden = [secret, ann.password, ann.access, ann.refresh, '$2b$']
    return hidden.some((one) => text.includes(one))
  }
})

describe('deactivating', () => {
  test('closes sockets and streams on other nodes; reactivating restores access', async ({
    admin,
    ann,
  }) => {
    await ann.call('POST', '/api/tasks/', { title: 'Milk' })
    const socket = io(other.url, {
      transports: ['websocket'],
      reconnection: false,
      auth: { token: ann.access },
    })
    await once(socket as never, 'ready')
    const stream = await fetch(`${other.url}/replication/tasks/0/pullStream`, {
      headers: { authorization: `Bearer ${ann.access}` },
    })
    expect(stream.status).toBe(200)

    const cut = once(socket as never, 'disconnect')
    expect((await admin.call('POST', at(ann, 'deactivate'))).status).toBe(204)
    await cut
    await stream.text() // to its end
    const credentials = { username: ann.username, password: ann.password }
    expect((await ann.call('GET', '/api/tasks/')).status).toBe(401)
    expect(
      (await server.call('POST', '/api/token/refresh/', { refresh: ann.refresh })).status,
    ).toBe(401)
    expect(await server.call('POST', '/api/token/', credentials)).toMatchObject({
      status: 401,
      body: { code: 'credentials_not_valid' },
    })
    await expect
      .poll(() => callAt(other, ann)('GET', '/api/tasks/'), SOON)
      .toMatchObject({ status: 401 })
    const mails = () =>
      server.testDatabase.db('mails').where({ user_id: ann.id, letter: 'account_deactivated' })
    expect(await mails()).toMatchObject([{ recipient: `${ann.username}@example.com` }])

    expect((await admin.call('POST', at(ann, 'deactivate'))).status).toBe(204)
    expect(await mails()).toHaveLength(1)

    expect((await admin.call('POST', at(ann, 'reactivate'))).status).toBe(204)
    expect((await ann.call('GET', '/api/tasks/')).status).toBe(401)
    const { body } = await server.call('POST', '/api/token/', credentials)
    const again = callerTo(server.url, { authorization: `Bearer ${body.access}` })
    expect((await again('GET', '/api/tasks/')).body.results).toMatchObject([{ title: 'Milk' }])
    expect(await auditedActionsOn(admin, ann)).toEqual(['reactivate', 'deactivate'])
  })

  test('closes connections without a hint, too', async ({ ann }) => {
    const socket = io(other.url, {
      transports: ['websocket'],
      reconnection: false,
      auth: { token: ann.access },
    })
    await once(socket as never, 'ready')
    const cut = once(socket as never, 'disconnect')
    await server.testDatabase.db('users').where({ id: ann.id }).update({ is_active: false })
    await cut
  })

  test('is not possible for the own account', async ({ admin }) => {
    expect(await admin.call('POST', at(admin, 'deactivate'))).toMatchObject({
      status: 400,
      body: {
        code: 'invalid',
        detail: 'You cannot deactivate your own account; ask another admin.',
      },
    })
    expect((await admin.call('GET', '/api/admin/audit/')).status).toBe(200)
  })
})

describe('ending sessions', () => {
  test('signs every device out, and lets them sign in again', async ({ admin, ann }) => {
    const { username, password } = ann
    await server.call('POST', '/api/token/', { username, password })
    expect((await admin.call('POST', at(ann, 'end-sessions'))).status).toBe(204)
    expect((await ann.call('GET', '/api/tasks/')).status).toBe(401)
    expect((await server.call('POST', '/api/token/', { username, password })).status).toBe(200)
    const { body } = await admin.call('GET', `/api/admin/audit/?account_id=${ann.id}`)
    expect(body.results).toMatchObject([{ action: 'end_sessions', details: { sessions: 2 } }])
  })
})

describe('the confirmation mail', () => {
  test('is sent again, but not after the confirmation', async ({ admin, ann }) => {
    const { db } = server.testDatabase
    const mails = () => db('mails').where({ user_id: ann.id, letter: 'confirm_email' })
    expect(await mails()).toHaveLength(1)
    expect((await admin.call('POST', at(ann, 'resend-confirmation'))).status).toBe(204)
    expect(await mails()).toHaveLength(2)
    await db('users').where({ id: ann.id }).update({ email_verified_at: new Date() })
    expect(await admin.call('POST', at(ann, 'resend-confirmation'))).toMatchObject({
      status: 400,
      body: { detail: 'The address is already confirmed.' },
    })
    expect(await mails()).toHaveLength(2)
  })

  test('is limited in number', async ({ admin, ann }) => {
    for (const status of [204, 204, 429, 429])
      expect((await admin.call('POST', at(ann, 'resend-confirmation'))).status).toBe(status)
  })
})

describe('a role', () => {
  test('that is granted or revoked takes effect at once on the same node', async ({
    admin,
    ann,
  }) => {
    const asked = () => ann.call('GET', '/api/admin/accounts/')
    expect((await asked()).status).toBe(403)
    expect((await admin.call('PUT', at(ann, 'role'), { role: 'support' })).status).toBe(204)
    expect((await asked()).status).toBe(200)
    expect((await admin.call('PUT', at(ann, 'role'), { role: 'user' })).status).toBe(204)
    expect((await asked()).status).toBe(403)
  })

  test('that is revoked can change nothing at once, and soon read nothing, on other nodes', async () => {
    const [admin, bob, ann] = [
      await server.staff('admin'),
      await server.staff('admin'),
      await server.person(),
    ]
    const onOther = callAt(other, bob)
    await server.testDatabase.db('users').where({ id: bob.id }).update({ role: 'support' })
    expect((await onOther('GET', '/api/admin/audit/')).status).toBe(403)
    // That node may use its cache for a second.
    await server.testDatabase.db('users').where({ id: bob.id }).update({ role: 'admin' })
    await expect
      .poll(() => onOther('GET', '/api/admin/audit/'), SOON)
      .toMatchObject({ status: 200 })
    await admin.call('PUT', at(bob, 'role'), { role: 'user' })
    expect((await onOther('POST', at(ann, 'deactivate'))).status).toBe(403)
    expect((await ann.call('GET', '/api/tasks/')).status).toBe(200)
    await expect
      .poll(() => onOther('GET', '/api/admin/audit/'), SOON)
      .toMatchObject({ status: 403 })
  })

  test('cannot be changed by its owner', async ({ admin }) => {
    for (const role of ROLES)
      expect(await admin.call('PUT', at(admin, 'role'), { role })).toMatchObject({
        status: 400,
        body: { detail: 'You cannot change your own role; ask another admin.' },
      })
  })

  test.each<[string, (admin: Person, target: Person) => () => Promise<Reply>]>([
    ['demote', (admin, of) => () => admin.call('PUT', at(of, 'role'), { role: 'user' })],
    ['deactivate', (admin, of) => () => admin.call('POST', at(of, 'deactivate'))],
  ])(
    'of admin is left to one of three admins who %s each other at the same time',
    async (_, action) => {
      const { db } = server.testDatabase
      const admins = [
        await server.staff('admin'),
        await server.staff('admin'),
        await server.staff('admin'),
      ]
      const actions = admins.map((admin, i) => action(admin, admins[(i + 1) % 3]!))
      const holding = await db.transaction()
      await holding('users')
        .whereIn(
          'id',
          admins.map(({ id }) => id),
        )
        .forUpdate()
      const replies = actions.map((act) => act())
      await expect.poll(() => blocked(), SOON).toBe(3)
      await holding.rollback()
      const statuses = (await Promise.all(replies)).map(({ status }) => status)
      expect(statuses).toContain(204)
      const left = await db('users')
        .whereIn(
          'id',
          admins.map(({ id }) => id),
        )
        .where({ role: 'admin', is_active: true })
      expect(left).toHaveLength(statuses.filter((status) => status === 403).length)
      expect(left.length).toBeGreaterThan(0)
    },
  )
})

describe('an account', () => {
  test('is shown without the documents of its owner', async () => {
    const support = await server.staff('support')
    const ann = await server.person()
    const { body } = await support.call('GET', at(ann))
    expect(body).toEqual({
      id: ann.id,
      username: ann.username,
      email: `${ann.username}@example.com`,
      email_verified_at: null,
      role: 'user',
      is_active: true,
      created_at: expect.any(String),
      deleted_at: null,
      last_seen_at: expect.any(String),
    })
    const listed = await support.call('GET', `/api/admin/accounts/?search=${ann.username}`)
    expect(listed.body).toEqual({ count: 1, next: null, previous: null, results: [body] })
  })

  test('that its owner has deleted cannot be changed', async ({ admin, ann }) => {
    const left = { deleted_at: new Date(), is_active: false }
    await server.testDatabase.db('users').where({ id: ann.id }).update(left)
    for (const action of ['deactivate', 'reactivate', 'end-sessions', 'resend-confirmation'])
      expect((await admin.call('POST', at(ann, action))).status).toBe(400)
    expect((await admin.call('PUT', at(ann, 'role'), { role: 'admin' })).status).toBe(400)
  })

  test('is found by the beginning of its name or address, in either case, and by nothing else', async () => {
    const support = await server.staff('support')
    const mark = randomUUID().slice(0, 8)
    const [ann, bob] = [await server.person(), await server.person()]
    const { db } = server.testDatabase
    const names = [`Zoë.${mark}`, `${mark}_b`]
    await db('users').where({ id: ann.id }).update({ username: names[0] })
    const email = `Zoo.${mark}@example.com`
    await db('users').where({ id: bob.id }).update({ username: names[1], email })
    const search = async (words: string) => {
      const { status, body } = await support.call(
        'GET',
        `/api/admin/accounts/?search=${encodeURIComponent(words)}`,
      )
      expect(status).toBe(200)
      return body.results.map(({ username }: Person) => username)
    }
    expect(await search(`zoë.${mark}`)).toEqual([names[0]])
    expect(await search(`ZOE\u0308.${mark.toUpperCase()}`)).toEqual([names[0]])
    expect(await search(`zoo.${mark}@EXAMPLE`)).toEqual([names[1]])
    expect(await search(`${mark}_`)).toEqual([names[1]])
    for (const none of [`${mark}%`, `${mark}__`, `oë.${mark}`, `${mark}_b\\`, "' or 1=1 --"])
      expect(await search(none), none).toEqual([])
  })

  test('is listed by role and by whether it is active, page by page, the newest first', async () => {
    const support = await server.staff('support')
    const mark = `m${randomUUID().slice(0, 8)}`
    const people = [
      await server.person(`${mark}1`),
      await server.person(`${mark}2`),
      await server.person(`${mark}3`),
    ]
    const { db } = server.testDatabase
    await db('users').where({ id: people[0]!.id }).update({ is_active: false })
    await db('users').where({ id: people[1]!.id }).update({ role: 'support' })
    const listed = async (query: string) => {
      const { body } = await support.call('GET', `/api/admin/accounts/?search=${mark}${query}`)
      return body.results.map(({ username }: Person) => username.slice(-1)).join('')
    }
    expect(await listed('')).toBe('321')
    expect(await listed('&is_active=false')).toBe('1')
    expect(await listed('&is_active=true')).toBe('32')
    expect(await listed('&role=support')).toBe('2')
    expect(await listed('&role=user&is_active=1')).toBe('3')

    const first = await support.call('GET', `/api/admin/accounts/?search=${mark}&page_size=2`)
    expect(first.body).toMatchObject({ count: 3, previous: null })
    const next = new URL(first.body.next)
    const second = await support.call('GET', next.pathname + next.search)
    expect(second.body).toMatchObject({ count: 3, next: null, results: [{ id: people[0]!.id }] })
    const previous = new URL(second.body.previous)
    expect((await support.call('GET', previous.pathname + previous.search)).body).toEqual(
      first.body,
    )
  })
})

describe('the audit log', () => {
  test('has the demo users too, whose addresses are confirmed', async ({ serverWith }) => {
    const own = await serverWith()
    const made = await createDemoData(own)
    expect(made.map(({ username }) => username)).toEqual(['demo-ann', 'demo-bob', 'demo-admin'])
    expect(await createDemoData(own)).toEqual([])
    const { access } = (await own.call('POST', '/api/token/', made[2])).body
    const call = callerTo(own.url, { authorization: `Bearer ${access}` })
    expect((await call('GET', '/api/account/')).body).toMatchObject({
      role: 'admin',
      email_verified_at: expect.stringMatching(/Z$/),
    })
    expect((await call('GET', '/api/admin/audit/')).body.results[0]).toMatchObject({
      actor: 'command line',
      action: 'create',
      account: 'demo-admin',
      details: { role: 'admin' },
    })
  })

  test('names actor, action and account, and outlives both accounts', async () => {
    const [admin, bob, ann] = [
      await server.staff('admin'),
      await server.staff('admin'),
      await server.person(),
    ]
    const reply = await bob.call('PUT', at(ann, 'role'), { role: 'support' })
    await bob.call('POST', at(ann, 'end-sessions'))
    await server.testDatabase.db('users').whereIn('id', [ann.id, bob.id]).delete()
    const read = async (query: string) =>
      (await admin.call('GET', `/api/admin/audit/?${query}`)).body.results
    const entries = await read(`account_id=${ann.id}`)
    expect(entries).toHaveLength(2)
    expect(entries[1]).toEqual({
      id: expect.any(String),
      actor_id: bob.id,
      actor: bob.username,
      action: 'change_role',
      account_id: ann.id,
      account: ann.username,
      details: { from: 'user', to: 'support' },
      request_id: reply.headers.get('x-request-id'),
      address: expect.stringContaining('127.0.0.1'),
      created_at: expect.any(String),
    })
    expect(await read(`actor_id=${bob.id}`)).toEqual(entries)
    expect(await read(`actor_id=${bob.id}&action=change_role`)).toEqual([entries[1]])
    expect((await read('page_size=1'))[0]).toEqual(entries[0])
  })

  test('is written in the transaction of the action', async ({ admin, ann }) => {
    const { db } = server.testDatabase
    await db.raw(`create trigger full_disk before insert on audit_log
      for each statement execute function keep_audit_log()`)
    try {
      expect((await admin.call('POST', at(ann, 'deactivate'))).status).toBe(500)
    } finally {
      await db.raw('drop trigger full_disk on audit_log')
    }
    expect((await ann.call('GET', '/api/tasks/')).status).toBe(200)
    expect(await db('mails').where({ user_id: ann.id, letter: 'account_deactivated' })).toEqual([])
  })

  test.each(['update audit_log set actor = null', 'delete from audit_log', 'truncate audit_log'])(
    'only grows: %s is refused',
    async (sql) => {
      await expect(server.testDatabase.db.raw(sql)).rejects.toThrow('the audit log only grows')
    },
  )

  test('can be pruned on purpose', async () => {
    const { db } = server.testDatabase
    await expect(
      db.transaction(async (trx) => {
        await trx.raw('alter table audit_log disable trigger audit_log_kept')
        await trx.raw(`delete from audit_log where created_at < now() - interval '2 years'`)
        await trx.raw('alter table audit_log enable trigger audit_log_kept')
      }),
    ).resolves.toBeUndefined()
  })

  test('has no entry for refused actions or those without a change', async () => {
    const [admin, support, ann] = [
      await server.staff('admin'),
      await server.staff('support'),
      await server.person(),
    ]
    await support.call('POST', at(ann, 'deactivate'))
    await admin.call('POST', at(ann, 'reactivate'))
    await admin.call('PUT', at(ann, 'role'), { role: 'user' })
    await admin.call('PUT', at(ann, 'role'), { role: 'owner' })
    expect(await auditedActionsOn(admin, ann)).toEqual([])
  })
})

const guarded = () => api.operations.filter(({ id }) => id in ALLOWED)

/** Asks for the operation with a fresh account in the place of the path's. */
async function tryOn(operation: DescribedOperation, call: Person['call']): Promise<Reply> {
  const { id } = operation.path.includes('{') ? await server.person() : { id: '' }
  return call(operation.method, operation.path.replace('{id}', id), bodyOf(operation))
}

const at = ({ id }: Pick<Person, 'id'>, action?: string) =>
  `/api/admin/accounts/${id}/${action ? `${action}/` : ''}`

const callAt = ({ url }: TestServer, { access }: Person) =>
  callerTo(url, { authorization: `Bearer ${access}` })

async function auditedActionsOn(admin: Person, { id }: Person): Promise<string[]> {
  const { body } = await admin.call('GET', `/api/admin/audit/?account_id=${id}`)
  return body.results.map(({ action }: { action: string }) => action)
}

async function blocked(): Promise<number> {
  const { rows } = await server.testDatabase.db.raw(`select count(*)::int from pg_stat_activity
    where datname = current_database() and wait_event_type = 'Lock'`)
  return rows[0].count
}
