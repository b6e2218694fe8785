import { expect } from 'vitest'
import type { Task } from '../../protocol/index.ts'
import { Chance } from '../simulation/chance.ts'
import { test } from '../support/fixtures.ts'
import { localDatabase, type Pouch, remoteDatabase, rxCollection } from './couch-devices.ts'
import { createDevice, taskProperties } from './rxdb-server-device.ts'

const ROUNDS = 40
const seeds = process.env.SEEDS?.split(',').map(Number) ?? [1, 2, 3]

type Fields = Partial<Task>

/** What a person does with tasks on one of their devices. */
interface Client {
  ids(): Promise<string[]>
  add(fields: Fields & { id: string }): Promise<unknown>
  edit(id: string, fields: Fields): Promise<unknown>
  remove(id: string): Promise<unknown>
  /** Goes online, or offline, or catches up, as it can. */
  toggle(): Promise<unknown>
  /** Comes online for good. */
  settle(): Promise<unknown>
  tasks(): Promise<Task[]>
  close(): Promise<unknown>
}

test.for(seeds)(
  'five clients of four kinds agree in the end, without open conflicts (seed %i)',
  { timeout: 120_000 },
  async (seed, { server, ann }) => {
    const chance = new Chance(seed)
    const token = () => ann.access
    const clients: Client[] = [
      pouchClient(remoteDatabase(`${server.url}/couch/all`, token), 'task:'),
      pouchClient(remoteDatabase(`${server.url}/couch/tasks`, token), ''),
      await rxCouchClient(server.url, token),
      await nativeClient(server.url, ann.access),
      restClient(ann.call),
    ]
    for (let round = 0; round < ROUNDS; round++) {
      const client = chance.one(clients)
      const id = chance.one([...(await client.ids()).sort(), undefined])
      const title = `Title ${round}`
      if (chance.happens(0.3)) await client.toggle()
      else if (!id) await client.add({ id: uuidBy(chance), title, description: 'New' })
      else if (chance.happens(0.2)) await client.remove(id)
      else
        await client.edit(
          id,
          chance.one([{ title }, { description: title }, { completed: chance.happens(0.5) }]),
        )
    }
    const rest = clients.at(-1)!
    const agreed = async () => {
      for (const client of clients) await client.settle()
      const listed = inOneForm(await rest.tasks())
      const others: string[] = []
      for (const client of clients) others.push(inOneForm(await client.tasks()))
      return others.map((one) => one === listed)
    }
    await expect.poll(agreed, { timeout: 60_000 }).toEqual(clients.map(() => true))
    const { rows } = await remoteDatabase(`${server.url}/couch/all`, token).allDocs({
      include_docs: true,
      conflicts: true,
    })
    expect(rows.filter(({ doc }: Pouch) => doc._conflicts)).toEqual([])
    for (const client of clients) await client.close()
  },
)

const now = () => new Date().toISOString()

/** The same of the same seed. */
const uuidBy = (chance: Chance) =>
  `${chance.between(0x10000000, 0xffffffff).toString(16)}-0000-4000-8000-${chance
    .between(0x100000000000, 0xffffffffffff)
    .toString(16)}`

function inOneForm(documents: Task[]): string {
  const byId = documents.toSorted((a, b) => (a.id < b.id ? -1 : 1))
  return JSON.stringify(byId.map((document) => Object.entries(document).sort()))
}

function pouchClient(remote: Pouch, prefix: string): Client {
  const device = localDatabase()
  let live: Pouch
  const tasks = async (): Promise<Task[]> => {
    const { rows } = await device.allDocs({
      include_docs: true,
      conflicts: true,
      startkey: prefix,
      endkey: `${prefix}\uffff`,
    })
    return rows.map(({ doc: { _id, _rev, ...fields } }: Pouch) => ({
      id: _id.slice(prefix.length),
      ...fields,
    }))
  }
  const catchUp = async () => {
    for (let round = 0; round < 2; round++) await device.sync(remote, { batch_size: 3 })
  }
  return {
    tasks,
    ids: async () => (await tasks()).map(({ id }) => id),
    add: ({ id, ...fields }) => device.put({ _id: prefix + id, ...fields }),
    async edit(id, fields) {
      // A live replication may write between the two.
      await device
        .get(prefix + id)
        .then((stored: Pouch) => device.put({ ...stored, ...fields, updated_at: now() }))
        .catch(unlessConflict)
    },
    async remove(id) {
      await device
        .get(prefix + id)
        .then((stored: Pouch) => device.remove(stored))
        .catch(unlessConflict)
    },
    async toggle() {
      if (live) live.cancel()
      live = live ? undefined : device.sync(remote, { live: true, retry: true })
    },
    async settle() {
      live?.cancel()
      live = undefined
      await catchUp()
    },
    close: () => device.destroy(),
  }
}

function unlessConflict(error: Pouch): void {
  if (error.status !== 409 && error.status !== 404) throw error
}

async function rxCouchClient(url: string, token: () => string): Promise<Client> {
  const { collection, replicate, close } = await rxCollection(url, 'tasks')
  let live: Pouch
  const find = (id: string): Promise<Pouch> => collection.findOne(id).exec()
  return {
    async tasks() {
      const found: Pouch[] = await collection.find().exec()
      return found.map((one) => one.toJSON())
    },
    ids: async () => (await collection.find().exec()).map(({ id }: Pouch) => id),
    add: (fields) =>
      collection.insert({ completed: false, created_at: now(), updated_at: now(), ...fields }),
    edit: async (id, fields) =>
      (await find(id))?.incrementalPatch({ ...fields, updated_at: now() }),
    remove: async (id) => (await find(id))?.incrementalRemove(),
    async toggle() {
      await live?.cancel()
      live = live ? undefined : replicate(token)
    },
    async settle() {
      live ??= replicate(token)
      await live.awaitInSync()
    },
    async close() {
      await live?.cancel()
      await close()
    },
  }
}

async function nativeClient(url: string, access: string): Promise<Client> {
  const device = await createDevice<Task>(taskProperties)
  let isOnline = false
  const online = async () => {
    if (!isOnline) await device.online(`${url}/replication/tasks/0`, access).initialReplication
    isOnline = true
  }
  return {
    tasks: () => device.all(),
    ids: async () => (await device.all()).map(({ id }) => id),
    add: (fields) => device.insert(fields),
    edit: (id, fields) => device.edit(id, fields),
    remove: (id) => device.remove(id),
    async toggle() {
      if (!isOnline) return online()
      await device.offline()
      isOnline = false
    },
    settle: online,
    close: () => device.close(),
  }
}

function restClient(call: Pouch): Client {
  const tasks = async (): Promise<Task[]> =>
    (await call('GET', '/api/tasks/?page_size=100')).body.results
  return {
    tasks,
    ids: async () => (await tasks()).map(({ id }) => id),
    add: (fields) => call('POST', '/api/tasks/', fields),
    edit: (id, fields) => call('PATCH', `/api/tasks/${id}/`, fields),
    remove: (id) => call('DELETE', `/api/tasks/${id}/`),
    toggle: async () => {},
    settle: async () => {},
    close: async () => {},
  }
}
