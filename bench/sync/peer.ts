/**
 * rxdb-server on memory storage, with as little in its way as it allows: no validation, no query
 * modifier, and a collection for each person, so that it has nothing to filter.
 */
import { createRequire } from 'node:module'
import path from 'node:path'
import express from 'express'
import { resources } from '../../protocol/index.ts'
import { tokenReader } from '../token.ts'

const { PORT, SECRET_KEY, BENCH_COLLECTIONS } = process.env
// Its packages are not ours (tests/peers), and only its CommonJS build can be used.
const require = createRequire(path.resolve('tests/peers/package.json'))
const { createRxDatabase } = require('rxdb')
const { getRxStorageMemory } = require('rxdb/plugins/storage-memory')
const { createRxServer } = require('rxdb-server/plugins/server')
const { RxServerAdapterExpress } = require('rxdb-server/plugins/adapter-express')

const { fields, document, required } = resources.tasks
const schema = {
  version: 0,
  primaryKey: 'id',
  type: 'object',
  properties: Object.fromEntries(
    Object.keys(document.shape).map((name) => [name, propertyOf(name)]),
  ),
  required: ['id', ...required],
}

const claimsOf = tokenReader(SECRET_KEY!)
/** It asks once for every stream and event, so what was found about a token is kept, as ours does. */
const known = new Map<string, ReturnType<typeof claimsOf>>()

const database = await createRxDatabase({
  name: 'bench',
  storage: getRxStorageMemory(),
  multiInstance: false,
})
const names = BENCH_COLLECTIONS!.split(',')
await database.addCollections(Object.fromEntries(names.map((name) => [name, { schema }])))
const server = await createRxServer({
  database,
  adapter: RxServerAdapterExpress,
  // Its own would take no more than 100 kB; and its way to set CORS is not for Express 5.
  serverApp: express().use(express.json({ limit: '5mb' })),
  cors: '',
  authHandler,
  hostname: '127.0.0.1',
  port: Number(PORT),
})
for (const name of names)
  server.addReplicationEndpoint({ name, collection: database.collections[name] })
await server.start()

/** Event streams of browsers send no headers of ours, only cookies. */
function authHandler(headers: { authorization?: string; cookie?: string }) {
  const authorization = headers.authorization ?? headers.cookie?.replace('access=', 'Bearer ')
  const claims = known.get(authorization!) ?? claimsOf(authorization)
  if (!claims || claims.expires * 1000 <= Date.now()) throw new Error('Unauthorized')
  known.set(authorization!, claims)
  return { data: { user: claims.user }, validUntil: claims.expires * 1000 }
}

function propertyOf(name: string) {
  if (name === 'id') return { type: 'string', maxLength: 36 }
  const { kind, nullable = false } = fields[name as keyof typeof fields] ?? {}
  const type = kind === 'flag' ? 'boolean' : 'string'
  return { type: nullable ? [type, 'null'] : type }
}
