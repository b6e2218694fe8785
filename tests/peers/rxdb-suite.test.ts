import { createRequire } from 'node:module'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { number, text } from '../../protocol/field.ts'
import { defineResource } from '../../protocol/resource.ts'
import type { TestServer } from '../support/server.ts'
import { addResource, createTable } from './added-resource.ts'
import {
  type Human,
  type HumanCollection,
  humansFrom,
  replicateHumans,
} from './human-replication.ts'

/** The people of RxDB's suite, as a resource that the server has never heard of. */
const humans = defineResource({
  name: 'humans',
  singular: 'human',
  version: 0,
  fields: {
    passport_id: text('What RxDB knows the person by.', { max: 100 }),
    first_name: text('The first name.', { max: 100 }),
    last_name: text('The last name.', { max: 100 }),
    age: number('In years.'),
  },
  initial: {},
  filterable: [],
  sortable: ['created_at'],
  searchable: [],
  ordering: 'created_at',
  example: { passport_id: 'x{ö}1', first_name: 'Ann', last_name: 'Moor', age: 44 },
})

const load = createRequire(import.meta.url)
const { addRxPlugin } = load('rxdb-17')
const { disableWarnings, RxDBDevModePlugin } = load('rxdb-17/plugins/dev-mode')
const { getRxStorageMemory } = load('rxdb-17/plugins/storage-memory')
const { wrappedValidateAjvStorage } = load('rxdb-17/plugins/validate-ajv')
const { runReplicationBaseTestSuite, setConfig } = load('rxdb-17/plugins/test-utils')

disableWarnings()
addRxPlugin(RxDBDevModePlugin)
const storage = wrappedValidateAjvStorage({ storage: getRxStorageMemory() })
setConfig({ storage: { getStorage: () => storage } })

let server: TestServer
beforeAll(async () => {
  addResource(humans)
  const { startServer } = await import('../support/server.ts')
  server = await startServer({ LOG_LEVEL: 'silent' })
  await createTable(server.testDatabase.db, humans)
})
afterAll(() => server.stop())

const names: string[] = []
// The suite looks for these where mocha puts them.
Object.assign(globalThis, {
  describe,
  it(name: string, body: () => Promise<void>) {
    names.push(name)
    test(name, body)
  },
})

describe("RxDB's own suite for replications", () => {
  let url: string
  let access: string
  runReplicationBaseTestSuite({
    async cleanUpServer() {
      url = `${server.url}/replication/humans/0`
      access = (await server.person()).access
    },
    startReplication: (collection: HumanCollection) =>
      replicateHumans(collection, url, access, { live: true }),
    syncOnce: (collection: HumanCollection) =>
      replicateHumans(collection, url, access, { live: false }).awaitInitialReplication(),
    getAllServerDocs: async () => (await humansFrom(url, access)).documents,
    softDeletes: true,
    isDeleted: (human: Human) => human._deleted,
    getPrimaryOfServerDoc: (human: Human) => human.passportId,
  })

  test('is whole', () => {
    expect(names).toEqual([
      'push replication to client-server',
      'two collections',
      'should keep the master state as default conflict handler',
    ])
  })
})
