// The client of rxdb-server, as an app would use it. Prints what it has seen to hold; the first thing
// that does not ends it with 1. Arguments: the server's URL, an access token, a refresh token.
const assert = require('node:assert/strict')
const { randomUUID } = require('node:crypto')
const { createRxDatabase } = require('rxdb')
const { getRxStorageMemory } = require('rxdb/plugins/storage-memory')
const { replicateServer } = require('rxdb-server/plugins/replication-server')

const [url, access, refresh] = process.argv.slice(2)
const SEEDED = 2500

const text = { type: 'string' }
const textOrNull = { type: ['string', 'null'] }
const schema = {
  version: 0,
  primaryKey: 'id',
  type: 'object',
  properties: {
    id: { type: 'string', maxLength: 36 },
    title: text,
    description: text,
    category_id: textOrNull,
    priority: text,
    due_date: textOrNull,
    due_time: textOrNull,
    remind_at: textOrNull,
    completed: { type: 'boolean' },
    completed_at: textOrNull,
    position: text,
    created_at: text,
    updated_at: text,
  },
  required: ['id', 'title'],
}

main().then(
  () => process.exit(0),
  (error) => {
    console.error(error)
    process.exit(1)
  },
)

async function main() {
  for (let batch = 0; batch < SEEDED / 500; batch++) {
    const rows = Array.from({ length: 500 }, (_, i) => ({
      newDocumentState: { id: randomUUID(), title: `seed ${batch} ${i}` },
    }))
    await call('POST', '/replication/tasks/0/push', rows)
  }

  const phone = await device('phone')
  await phone.replication.awaitInitialReplication()
  assert.equal(await phone.tasks.count().exec(), SEEDED)
  console.log('pulls 2,500 documents')

  const laptop = await device('laptop')
  await laptop.replication.awaitInitialReplication()
  const id = randomUUID()
  await phone.tasks.insert({ id, title: 'from the phone' })
  await until(() => laptop.read(id))
  await until(async () => (await phone.read(id)).position)
  console.log('sends an insert to another device, and takes over what the server filled in')

  await call('PATCH', `/api/tasks/${id}/`, { priority: 'high' })
  for (const { read } of [phone, laptop])
    await until(async () => (await read(id)).priority === 'high')
  console.log('hears of an edit by REST')

  await Promise.all([
    phone.edit(id, { title: 'by the phone' }),
    laptop.edit(id, { completed: true }),
  ])
  await until(async () => {
    const [a, b] = [await phone.read(id), await laptop.read(id)]
    return [a, b].every((task) => task.title === 'by the phone' && task.completed_at)
  })
  console.log('edits different fields at once: both stay')

  for (let i = 0; i < 30; i++) await phone.edit(id, { description: `edit ${i}` })
  await until(async () => (await laptop.read(id)).description === 'edit 29')
  console.log('loses none of thirty fast edits')

  await Promise.all([phone.offline(), laptop.offline()])
  const [made, other] = [randomUUID(), randomUUID()]
  await phone.tasks.insert({ id: made, title: 'made offline' })
  await laptop.tasks.insert({ id: other, title: 'made offline too' })
  await phone.edit(id, { due_date: '2026-12-24' })
  await laptop.edit(id, { priority: 'low' })
  await call('PATCH', `/api/tasks/${id}/`, { due_time: '08:30' })
  await Promise.all([phone.online(), laptop.online()])
  for (const { read } of [phone, laptop])
    await until(async () => {
      const task = await read(id)
      const fits = task.due_date === '2026-12-24' && task.priority === 'low'
      return fits && task.due_time === '08:30' && (await read(made)) && (await read(other))
    })
  console.log('agrees after edits of all sides while offline')

  const before = await phone.tasks.count().exec()
  await phone.tasks.bulkInsert(
    Array.from({ length: 3000 }, (_, i) => ({ id: randomUUID(), title: `bulk ${i}` })),
  )
  await until(async () => (await laptop.tasks.count().exec()) === before + 3000)
  console.log('sends 3,000 at once, in thirty pushes')

  await (await phone.tasks.findOne(id).exec()).remove()
  await until(async () => !(await laptop.read(id)))
  console.log('sends a deletion')

  const states = await Promise.all(
    [phone, laptop].map(async ({ tasks }) =>
      JSON.stringify(
        (await tasks.find().exec())
          .map((task) => task.toJSON())
          .sort((a, b) => (a.id < b.id ? -1 : 1)),
      ),
    ),
  )
  assert.equal(states[0], states[1])
  console.log('ends with the same documents on both devices')

  await call('POST', '/api/logout/', { refresh })
  let refused = false
  phone.replication.unauthorized$.subscribe(() => {
    refused = true
  })
  await phone.tasks.insert({ id: randomUUID(), title: 'after the session' })
  await until(() => refused)
  console.log('is told that its session has ended')
}

async function device(name) {
  const database = await createRxDatabase({
    name: `${name}-${randomUUID()}`,
    storage: getRxStorageMemory(),
    multiInstance: false,
  })
  const { tasks } = await database.addCollections({ tasks: { schema } })
  const start = () =>
    replicateServer({
      collection: tasks,
      replicationIdentifier: 'tasks',
      url: `${url}/replication/tasks/0`,
      headers: { Authorization: `Bearer ${access}` },
      live: true,
      retryTime: 200,
      push: {},
      pull: { batchSize: 100 },
    })
  const self = {
    tasks,
    replication: start(),
    read: (id) => tasks.findOne(id).exec(),
    async edit(id, fields) {
      await (await tasks.findOne(id).exec()).incrementalPatch({
        ...fields,
        updated_at: new Date().toISOString(),
      })
    },
    offline: () => self.replication.cancel(),
    async online() {
      self.replication = start()
    },
  }
  return self
}

async function call(method, path, body) {
  const response = await fetch(url + path, {
    method,
    headers: { 'content-type': 'application/json', authorization: `Bearer ${access}` },
    body: JSON.stringify(body),
  })
  assert.ok(response.ok, `${method} ${path}: ${response.status}`)
}

async function until(holds) {
  const deadline = Date.now() + 30_000
  for (;;) {
    const value = await holds()
    if (value) return value
    assert.ok(Date.now() < deadline, `not within 30 s: ${holds}`)
    await new Promise((again) => setTimeout(again, 10))
  }
}
