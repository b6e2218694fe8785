import { randomUUID } from 'node:crypto'
import { getRxStorageMemory } from 'rxdb/plugins/storage-memory'
import { filter, firstValueFrom, type Observable } from 'rxjs'
import { type Client, type ClientOptions, createClient } from '../../client-sdk/index.ts'
import { atEnd } from '../support/at-end.ts'
import type { Person, TestServer } from '../support/server.ts'

const open = new Set<Client>()

async function closeAll(): Promise<void> {
  await Promise.all([...open].map((client) => client.close()))
  open.clear()
}

/** A client that is closed with the test, in a storage of its own. */
export async function device(
  server: Pick<TestServer, 'url'>,
  options: Partial<ClientOptions> = {},
): Promise<Client> {
  const client = await createClient({
    url: server.url,
    storage: getRxStorageMemory(),
    name: `d${randomUUID().slice(0, 8)}`,
    ...options,
  })
  if (open.size === 0) atEnd(closeAll)
  open.add(client)
  return client
}

/** Closes a client before its test ends, as when the app is closed. */
export async function shut(client: Client): Promise<void> {
  open.delete(client)
  await client.close()
}

/** A device on which this person has signed in. */
export async function deviceOf(
  server: Pick<TestServer, 'url'>,
  person: Person,
  options: Partial<ClientOptions> = {},
): Promise<Client> {
  const client = await device(server, options)
  await client.session.signIn(person)
  return client
}

/** The first value that satisfies. */
export function until<T>(values$: Observable<T>, satisfies: (value: T) => boolean): Promise<T> {
  return firstValueFrom(values$.pipe(filter(satisfies)))
}

/** All tasks of a device as plain documents, in a fixed order. */
export async function tasksOf(client: Client) {
  const documents = await client.tasks.find({ sort: [{ id: 'asc' }] }).exec()
  return documents.map((document) => document.toJSON())
}

/** All tasks of a person on the server, in the same order. */
export async function tasksAt(person: Person) {
  const { results } = (await person.call('GET', '/api/tasks/?page_size=100')).body
  return results.sort((a: { id: string }, b: { id: string }) => (a.id < b.id ? -1 : 1))
}
