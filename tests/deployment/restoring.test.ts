import { spawn } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import { once } from 'node:events'
import { text } from 'node:stream/consumers'
import { fileURLToPath } from 'node:url'
import { describe, expect, inject, test } from 'vitest'
import type { Client } from '../../client-sdk/index.ts'
import { deviceOf, tasksOf, until } from '../client-sdk/device.ts'
import { atEnd } from '../support/at-end.ts'
import { connectTo, databaseUrl } from '../support/cluster.ts'
import { callerTo, type Person, startServer, type TestServer } from '../support/server.ts'

const root = fileURLToPath(new URL('../..', import.meta.url))

describe('a database that was restored to an older point', { timeout: 60_000 }, () => {
  test('gets back what only devices have, and they agree with it and each other', async () => {
    const server = await started()
    const ann = await server.person()
    const [phone, laptop] = [await deviceOf(server, ann), await deviceOf(server, ann)]
    const shopping = await phone.categories.insert({ name: 'Shopping' } as never)
    for (const title of ['Milk', 'Bread', 'Eggs', 'Salt', 'Flour']) await phone.tasks.add({ title })
    await bothInSync(phone, laptop)
    const backup = await copyOf(server.testDatabase.url)

    // Taken by the server, and known to both devices.
    await edit(phone, 'Milk', { title: 'Oat milk', category_id: shopping.id })
    await edit(laptop, 'Salt', { description: 'Of the sea' })
    await (await taskOf(phone, 'Bread')).remove()
    await (await laptop.tasks.add({ title: 'Jam' })).remove()
    const travel = await laptop.categories.insert({ name: 'Travel' } as never)
    await laptop.tasks.add({ title: 'Ferry', category_id: travel.id } as never)
    await (await phone.profile.findOne().exec(true)).patch({ display_name: 'Ann' })
    await bothInSync(phone, laptop)
    // Taken by the server, and known to one.
    await laptop.sync.pause()
    await phone.tasks.add({ title: 'Tea' })
    await edit(phone, 'Flour', { title: 'Rye flour' })
    await phone.sync.awaitInSync()
    await phone.sync.pause()
    await server.stop()
    // Not sent.
    await edit(phone, 'Salt', { title: 'Sea salt' })
    await laptop.tasks.add({ title: 'Honey' })
    await (await taskOf(laptop, 'Eggs')).remove()

    expect(await restored(backup)).toMatchObject({ code: 0, errors: '' })
    const again = await started({ DATABASE_URL: backup, PORT: new URL(server.url).port })
    const call = personOn(again, ann)
    const statuses: string[] = []
    phone.sync.state$.subscribe(({ status, pending }) => statuses.push(`${status} ${pending}`))
    await Promise.all([laptop.sync.resume(), phone.sync.resume()])
    await bothInSync(phone, laptop)

    const all = await tasksOf(phone)
    expect(all.map(({ title }) => title).sort()).toEqual([
      'Ferry',
      'Honey',
      'Oat milk',
      'Rye flour',
      'Sea salt',
      'Tea',
    ])
    expect(all.find(({ title }) => title === 'Sea salt')).toMatchObject({
      description: 'Of the sea',
    })
    expect(all.find(({ title }) => title === 'Oat milk')).toMatchObject({
      category_id: shopping.id,
    })
    expect(await tasksOf(laptop)).toEqual(all)
    const { results } = (await call('GET', '/api/tasks/?page_size=100')).body
    expect(results.sort(byId)).toEqual(all)
    for (const name of ['categories', 'profile', 'conflicts'] as const)
      expect(await documentsOf(laptop, name), name).toEqual(await documentsOf(phone, name))
    expect((await call('GET', '/api/profile/')).body.display_name).toBe('Ann')
    expect((await call('GET', '/api/conflicts/')).body.count, 'nobody’s edits met').toBe(0)
    const jam = (await pull(call, 'tasks')).documents.find(({ title }) => title === 'Jam')
    expect(jam, 'the deletion of what the server has never had').toMatchObject({ _deleted: true })

    // And on as ever.
    await call('PATCH', `/api/tasks/${all[0]!.id}/`, { title: 'Changed since' })
    for (const device of [phone, laptop])
      await until(device.tasks.findOne(all[0]!.id).$, (task) => task?.title === 'Changed since')
  })

  test('refuses former cursors, and gives no number again', async () => {
    const server = await started()
    const ann = await server.person()
    const milk = await ann.call('POST', '/api/tasks/', { title: 'Milk' })
    const early = (await pull(ann.call, 'tasks')).checkpoint
    const backup = await copyOf(server.testDatabase.url)
    const path = `/api/tasks/${milk.body.id}/`
    const lost = await ann.call('PATCH', path, { title: 'Oat milk' })
    const { checkpoint } = await pull(ann.call, 'tasks')
    await server.stop()
    await restored(backup)

    const again = await started({ DATABASE_URL: backup })
    const call = personOn(again, ann)
    for (const { id, lwt } of [early, checkpoint, { id: milk.body.id, lwt: early.lwt }])
      for (const [method, face, body] of [
        ['GET', 'pull', undefined],
        ['POST', 'push', []],
      ] as const) {
        const reply = await call(method, `/replication/tasks/0/${face}?id=${id}&lwt=${lwt}`, body)
        expect([reply.status, reply.body.code]).toEqual([410, 'checkpoint_expired'])
      }
    const edited = await call('PATCH', path, { title: 'Soy milk' })
    expect(edited.headers.get('etag')).not.toBe(lost.headers.get('etag'))
    const headers = { 'if-none-match': lost.headers.get('etag')! }
    expect((await call('GET', path, undefined, { headers })).status).toBe(200)
    const first = await pull(call, 'tasks')
    expect(first.documents).toMatchObject([{ title: 'Soy milk' }])
    await call('POST', '/api/tasks/', { title: 'Tea' })
    expect((await pull(call, 'tasks', first.checkpoint)).documents).toMatchObject([
      { title: 'Tea' },
    ])
  })

  test.each([
    [[], { reminders: 0, mails: 0 }],
    [['--keep-mail'], { reminders: 1, mails: 1 }],
  ])('has mail that was sent after the backup: npm run restored %j', async (args, left) => {
    const server = await started()
    const ann = await server.person()
    const { db, url } = server.testDatabase
    const at = (minutes: number) => new Date(Date.now() + minutes * 60_000).toISOString()
    const soon = await ann.call('POST', '/api/tasks/', { title: 'Milk', remind_at: at(1) })
    await ann.call('POST', '/api/tasks/', { title: 'Bread', remind_at: at(60) })
    await db('mails').update({ outcome: 'sent', settled_at: at(0) })
    await server.person() // whose address is to be confirmed
    await db('reminders')
      .where({ task_id: soon.body.id })
      .update({ due_at: at(-1) })
    expect(await restored(url, args)).toMatchObject({ code: 0 })
    const count = async (query: { count(): unknown }) =>
      Number(((await query.count()) as { count: string }[])[0]!.count)
    expect({
      reminders: await count(db('reminders').where('due_at', '<', db.fn.now())),
      mails: await count(db('mails').whereNull('outcome')),
    }).toEqual(left)
    expect(await count(db('reminders').where('due_at', '>', db.fn.now())), 'to come').toBe(1)
    expect(await count(db('mails').where({ outcome: 'sent' }))).toBeGreaterThan(0)
  })

  test('deletes no account whose confirmation is lost before its owner is warned again', async () => {
    const server = await started()
    const { id } = await server.person()
    const { db, url } = server.testDatabase
    const mails = db('mails').where({ user_id: id })
    const sent = { outcome: 'sent', settled_at: new Date(), letter: 'unconfirmed_account' }
    expect(await mails.clone().update(sent)).toBe(1)
    expect(await restored(url, ['--keep-mail'])).toMatchObject({ code: 0 })
    expect(await mails.clone()).toEqual([])
  })

  test('is told by the command what it does not understand', async () => {
    expect(await restored('postgres://nowhere/', ['--keep-male'])).toMatchObject({ code: 2 })
  })
})

/** A server that is stopped with the test, unless it is before. */
async function started(environment: Record<string, string> = {}): Promise<TestServer> {
  const server = await startServer(environment)
  let stopping: Promise<void> | undefined
  const stop = () => (stopping ??= server.stop())
  atEnd(stop)
  return { ...server, stop }
}

/** Runs the command on a database. */
async function restored(url: string, args: string[] = []) {
  const child = spawn('npm', ['run', '--silent', 'restored', '--', ...args], {
    cwd: root,
    env: { ...process.env, NODE_ENV: '', DATABASE_URL: url },
  })
  const [output, errors, [code]] = await Promise.all([
    text(child.stdout),
    text(child.stderr),
    once(child, 'exit'),
  ])
  return { code, output, errors }
}

/** Twice, since what one brings the other has to get. */
async function bothInSync(...devices: Client[]): Promise<void> {
  for (const device of [...devices, ...devices]) await device.sync.awaitInSync()
}

const taskOf = (client: Client, title: string) =>
  client.tasks.findOne({ selector: { title } }).exec(true)

async function edit(client: Client, title: string, fields: object): Promise<void> {
  await (await taskOf(client, title)).patch(fields)
}

async function documentsOf(client: Client, name: 'categories' | 'profile' | 'conflicts') {
  const documents: { toJSON(): object }[] = await client[name].find().exec()
  return documents.map((document) => document.toJSON() as { id: string }).sort(byId)
}

const byId = (a: { id: string }, b: { id: string }) => (a.id < b.id ? -1 : 1)

interface Pulled {
  documents: { title?: string }[]
  checkpoint: { id: string; lwt: number }
}

async function pull(
  call: TestServer['call'],
  resource: string,
  { id, lwt }: Pulled['checkpoint'] = { id: '', lwt: 0 },
): Promise<Pulled> {
  const query = new URLSearchParams({ id, lwt: String(lwt) })
  const reply = await call('GET', `/replication/${resource}/0/pull?${query}`)
  expect(reply.status, reply.text).toBe(200)
  return reply.body
}

const personOn = (server: TestServer, { access }: Person) =>
  callerTo(server.url, { authorization: `Bearer ${access}` })

/** The database as it is now, gone after the test. @returns its address */
async function copyOf(url: string): Promise<string> {
  const name = `test_${randomBytes(6).toString('hex')}`
  const original = new URL(url).pathname.slice(1)
  const admin = connectTo(inject('adminUrl'))
  atEnd(async () => {
    await admin.raw(`drop database if exists ${name} with (force)`)
    await admin.destroy()
  })
  // Whoever is connected comes back by themselves.
  await admin.raw(`alter database ${original} allow_connections false`)
  await admin.raw('select pg_terminate_backend(pid) from pg_stat_activity where datname = ?', [
    original,
  ])
  await admin.raw(`create database ${name} template ${original}`)
  await admin.raw(`alter database ${original} allow_connections true`)
  return databaseUrl(inject('adminUrl'), name)
}
