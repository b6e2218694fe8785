import { randomUUID } from 'node:crypto'
import { Ajv2020 } from 'ajv/dist/2020.js'
import ajvFormats from 'ajv-formats'
import { createRxDatabase } from 'rxdb'
import { getRxStorageMemory } from 'rxdb/plugins/storage-memory'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { resources } from '../../../protocol/index.ts'
import { type Person, startServer, type TestServer } from '../../support/server.ts'

let server: TestServer
let ann: Person

beforeAll(async () => {
  server = await startServer()
  ann = await server.person()
})
afterAll(() => server.stop())

interface Listed {
  name: string
  url: string
  schema: string
}

test('a stranger finds every resource, what to pull, and a JSON Schema of what comes', async () => {
  const id = randomUUID()
  for (const title of ['Milk', 'Oat milk'])
    await ann.call('POST', '/replication/tasks/0/push', [{ newDocumentState: { id, title } }])
  await ann.call('POST', '/api/categories/', { name: 'Errands' })
  const { body } = await server.call('GET', '/replication/')
  expect(body.results.map(({ name }: Listed) => name)).toEqual(Object.keys(resources))
  for (const { name, url, schema } of body.results as Listed[]) {
    const described = (await server.call('GET', schema)).body
    const ajv = new Ajv2020({ allErrors: true, strict: true, strictTypes: false })
    ajvFormats.default(ajv)
    const isValid = ajv.compile(described.json_schema)
    const { documents } = (await ann.call('GET', `${url}/pull`)).body
    expect(documents, name).not.toEqual([])
    for (const document of documents) {
      isValid(document)
      expect(isValid.errors, name).toBeNull()
    }
    expect(isValid({ ...documents[0], updated_at: 'yesterday' }), name).toBe(false)
  }
})

test('RxDB opens a collection with each schema, and takes what was pulled', async () => {
  const { body } = await server.call('GET', '/replication/')
  for (const { name, url, schema } of body.results as Listed[]) {
    const { rxdb_schema } = (await server.call('GET', schema)).body
    const database = await createRxDatabase({ name: randomUUID(), storage: getRxStorageMemory() })
    const made = await database.addCollections({ [name]: { schema: rxdb_schema } })
    const { documents } = (await ann.call('GET', `${url}/pull`)).body
    for (const { _deleted, ...document } of documents) await made[name]!.insert(document)
    expect(await made[name]!.count().exec(), name).toBe(documents.length)
    await database.close()
  }
})
