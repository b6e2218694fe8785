import { randomUUID } from 'node:crypto'
import { expect, test } from 'vitest'
import { text } from '../../protocol/field.ts'
import { defineResource } from '../../protocol/resource.ts'
import { addResource, createTable } from './added-resource.ts'
import { createDevice } from './rxdb-server-device.ts'

interface Note {
  id: string
  body: string
  created_at: string
  updated_at: string
}

const notes = (version: number) =>
  defineResource({
    name: 'notes',
    singular: 'note',
    version,
    fields: { body: text('What it says.', { max: 100 }) },
    initial: {},
    filterable: [],
    sortable: ['created_at'],
    searchable: [],
    ordering: 'created_at',
    example: { body: 'Cabins are on deck 7.' },
  })

test('a client of a former version is told so, keeps what is unsent, and sends it once updated', async () => {
  addResource(notes(0))
  const { startServer } = await import('../support/server.ts')
  const former = await startServer({ LOG_LEVEL: 'silent' })
  await createTable(former.testDatabase.db, notes(0))
  const { access, call } = await former.person()
  const phone = await createDevice<Note>({ body: { type: 'string' } })
  const id = randomUUID()
  await phone.insert({ id, body: 'sent' })
  phone.online(`${former.url}/replication/notes/0`, access)
  await phone.until(id, (note) => note?.created_at)
  const stored = async () => (await call('GET', `/api/notes/${id}/`)).body
  expect(await stored()).toMatchObject({ body: 'sent' })
  await phone.offline()
  await phone.edit(id, { body: 'unsent' })

  addResource(notes(1))
  const newer = await startServer({
    LOG_LEVEL: 'silent',
    DATABASE_URL: former.testDatabase.url,
  })
  const refused = phone.online(`${newer.url}/replication/notes/0`, access)
  await refused.outdated
  await expect.poll(refused.isStopped).toBe(true)
  expect(await phone.read(id)).toMatchObject({ body: 'unsent' })
  expect(await stored()).toMatchObject({ body: 'sent' })

  await phone.online(`${newer.url}/replication/notes/1`, access).initialReplication
  await expect.poll(stored).toMatchObject({ body: 'unsent' })
  expect(await phone.read(id)).toEqual(await stored())

  await phone.close()
  await newer.stop()
  await former.stop()
})
