import { randomUUID } from 'node:crypto'
import { io } from 'socket.io-client'
import { describe, expect } from 'vitest'
import { beginEpoch } from '../../../server/store/epoch.ts'
import { purgeTombstones } from '../../../server/store/purge.ts'
import { test } from '../../support/fixtures.ts'
import { callerTo, type Person, startServer, type TestServer } from '../../support/server.ts'

/** Another device of the same user. */
async function deviceOf({ url, call }: TestServer, { username, password }: Person) {
  const { body } = await call('POST', '/api/token/', { username, password })
  return { access: body.access, call: callerTo(url, { authorization: `Bearer ${body.access}` }) }
}

async function explained({ call }: Pick<Person, 'call'>, id: string) {
  const { status, body } = await call('GET', `/api/explain/tasks/${id}/`)
  expect(status).toBe(200)
  return body
}

/** What each device has of a document, the current one first. */
async function onDevices(person: Pick<Person, 'call'>, id: string): Promise<string[]> {
  const { devices } = await explained(person, id)
  devices.sort((a: { current: boolean }, b: { current: boolean }) => +b.current - +a.current)
  return devices.map(({ document }: { document: string }) => document)
}

async function pulled({ call }: Pick<Person, 'call'>, from = { id: '', lwt: 0 }) {
  const { status, body } = await call(
    'GET',
    `/replication/tasks/0/pull?id=${from.id}&lwt=${from.lwt}`,
  )
  expect(status).toBe(200)
  return body.checkpoint
}

describe('for each device of its owner, whether it has the last change of a document', () => {
  test('by what it pulls', async ({ server, ann }) => {
    const phone = await deviceOf(server, ann)
    const start = await pulled(phone)
    const { body: task } = await ann.call('POST', '/api/tasks/', { title: 'Milk' })
    expect(await onDevices(phone, task.id)).toEqual(['not_sent', 'unknown'])
    const checkpoint = await pulled(phone, start)
    expect(await onDevices(phone, task.id)).toEqual(['sent', 'unknown'])
    await pulled(phone, checkpoint)
    expect(await onDevices(phone, task.id)).toEqual(['stored', 'unknown'])
    await ann.call('PATCH', `/api/tasks/${task.id}/`, { title: 'Oat milk' })
    expect(await onDevices(phone, task.id)).toEqual(['not_sent', 'unknown'])
  })

  test('by the checkpoint of its pushes', async ({ server, ann }) => {
    const phone = await deviceOf(server, ann)
    const { body: task } = await ann.call('POST', '/api/tasks/', { title: 'Milk' })
    const { id, lwt } = await pulled(ann)
    await phone.call('POST', `/replication/tasks/0/push?id=${id}&lwt=${lwt}`, [])
    expect(await onDevices(phone, task.id)).toEqual(['stored', 'sent'])
  })

  test('by what its socket and its stream send', async ({ server, ann }) => {
    const [phone, laptop] = [await deviceOf(server, ann), await deviceOf(server, ann)]
    const socket = io(server.url, { transports: ['websocket'], auth: { token: phone.access } })
    await new Promise((ready) => socket.once('ready', ready))
    const frame = new Promise((arrived) => socket.once('changes', arrived))
    const stream = await fetch(`${server.url}/replication/tasks/0/pullStream`, {
      headers: { authorization: `Bearer ${laptop.access}` },
    })
    const reader = stream.body!.getReader()
    await reader.read()
    const { body: task } = await ann.call('POST', '/api/tasks/', { title: 'Milk' })
    await Promise.all([frame, reader.read()])
    expect((await onDevices(phone, task.id)).sort()).toEqual(['sent', 'sent', 'unknown'])
    expect((await onDevices(laptop, task.id)).sort()).toEqual(['sent', 'sent', 'unknown'])
    socket.disconnect()
    await reader.cancel()
  })

  test('on every node, once that is written, which is tried until it succeeds', async ({
    server,
    other,
    ann,
  }) => {
    const { db } = server.testDatabase
    await server.app.positions.write()
    const { body: task } = await ann.call('POST', '/api/tasks/', { title: 'Milk' })
    await pulled(ann)
    const there = {
      call: callerTo(other.url, { authorization: `Bearer ${ann.access}` }),
    }
    expect(await onDevices(there, task.id)).toEqual(['unknown'])
    await db.raw('alter table sessions rename column feed_positions to away')
    await server.app.positions.write()
    await db.raw('alter table sessions rename column away to feed_positions')
    await server.app.positions.write()
    expect(await onDevices(there, task.id)).toEqual(['sent'])
    expect((await explained(there, task.id)).devices[0].pulled_at).not.toBeNull()
  })
})

test('a node that stops writes what it knows', async ({ server, ann }) => {
  const node = await startServer({ DATABASE_URL: server.testDatabase.url })
  const { body: task } = await ann.call('POST', '/api/tasks/', { title: 'Milk' })
  await pulled({ call: callerTo(node.url, { authorization: `Bearer ${ann.access}` }) })
  await node.stop()
  expect(await onDevices(ann, task.id)).toEqual(['sent'])
})

test('what became of a document: stored, deleted, with edits that lost', async ({ ann }) => {
  const { body: task } = await ann.call('POST', '/api/tasks/', { title: 'Milk' })
  expect(await explained(ann, task.id)).toMatchObject({
    state: 'stored',
    possible_causes: [],
    updated_at: task.updated_at,
    conflicts: [],
  })
  await ann.call('DELETE', `/api/tasks/${task.id}/`)
  const edit = { ...task, title: 'Oat milk', _deleted: false }
  const rows = [{ newDocumentState: edit, assumedMasterState: { ...task, _deleted: false } }]
  await ann.call('POST', '/replication/tasks/0/push', rows)
  expect(await explained(ann, task.id)).toMatchObject({
    state: 'deleted',
    conflicts: [{ cause: 'deletion', document_id: task.id, lost: { title: 'Oat milk' } }],
  })
})

test('a document that was rejected is unknown, and its entry in the journal says why', async ({
  ann,
}) => {
  const id = randomUUID()
  const rows = [{ newDocumentState: { id, title: '', _deleted: false } }]
  await ann.call('POST', '/replication/tasks/0/push', rows)
  expect(await explained(ann, id)).toMatchObject({
    state: 'unknown',
    seq: null,
    possible_causes: ['not_received'],
    conflicts: [{ cause: 'refused', errors: { title: expect.any(String) } }],
  })
})

test('of an id that is nowhere, what may have happened', async ({ serverWith }) => {
  const server = await serverWith()
  const ann = await server.person()
  const { db } = server.testDatabase
  const detail = async (id: string = randomUUID()) => {
    const { status, body } = await ann.call('GET', `/api/explain/tasks/${id}/`)
    expect(status).toBe(404)
    return body.detail
  }
  expect(await detail()).toBe('You have no task with this id: it never reached the server.')
  const { body: task } = await ann.call('POST', '/api/tasks/', { title: 'Milk' })
  await ann.call('DELETE', `/api/tasks/${task.id}/`)
  expect(await purgeTombstones(db, 0)).toBe(1)
  expect(await detail(task.id)).toMatch(
    /server, or it was deleted, and its tombstone was purged\.$/,
  )
  await beginEpoch(db)
  expect(await detail()).toMatch(/purged, or it was lost when the database went back/)
  expect(await detail('no-uuid')).toMatch(/check the id, a UUID/)
})
