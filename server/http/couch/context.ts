import * as z from 'zod'
import type { CouchDatabase, CouchStore } from '../../couch/database.ts'
import type { Answer, Call } from '../operation.ts'
import { type Databases, requireDatabase } from './databases.ts'
import type { FeedQuery } from './feeds.ts'
import type { InParts } from './parts.ts'

export interface CouchDependencies {
  /** Of the paths: `/couch/`. */
  prefix: string
  /** Of the ids of the operations. */
  name: string
  stored: CouchStore
  databases: Databases
  feeds: { serve(call: Call, database: CouchDatabase, query: FeedQuery): Promise<Answer> }
  inParts: InParts
  version: string
}

/** As clients of CouchDB may send them. */
export const BULK_BYTES = 8 * 1024 * 1024

export const anyObject = z.looseObject({})

export const ok = (description: string) => ({ 200: { description } })

/** What operations that read have in common. */
export const READING = {
  // Clients send parameters that only CouchDB has.
  ignoresOthers: true,
  tag: 'couchdb',
  access: 'bearer',
  scopes: ['tasks:read'],
  problems: [],
} as const

export const WRITING = { ...READING, scopes: ['tasks:write'] } as const

/** The path of a database. */
export const pathOf = ({ prefix }: Pick<CouchDependencies, 'prefix'>) => `${prefix}{database}/`

/** @throws Refusal */
export const databaseOf = (
  { databases }: Pick<CouchDependencies, 'databases'>,
  call: Call<unknown>,
): Promise<CouchDatabase> => requireDatabase(databases, call as Call)
