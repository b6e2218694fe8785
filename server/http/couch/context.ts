import type { CouchDatabase, CouchStore } from '../../couch/database.ts'
import { DATABASES } from '../../couch/projection.ts'
import type { Answer, Call } from '../operation.ts'
import { type Databases, requireDatabase } from './databases.ts'
import { couchErrors } from './dialect.ts'
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

/** What operations that read have in common. */
export const READING = {
  // Clients send parameters that only CouchDB has.
  ignoresOthers: true,
  tag: 'couchdb',
  access: 'bearer',
  takesPassword: true,
  scopes: ['tasks:read'],
  errors: couchErrors,
  params: {
    database: {
      description:
        '`all`, or a database with the documents of one resource. `all` and `profile` also need the scope `profile`.',
      json: { type: 'string', enum: DATABASES },
      example: 'tasks',
    },
    id: {
      description: 'A UUID; in the database `all` with a prefix: `task:` and the UUID.',
      json: { type: 'string' },
      example: '0190a5c2-7a4e-7cc3-98c4-dc0c0c07398f',
    },
  },
  problems: ['not_found'],
} as const

export const WRITING = {
  ...READING,
  scopes: ['tasks:write'],
  problems: ['not_found', 'conflict'],
} as const

/** The path of a database. */
export const pathOf = ({ prefix }: Pick<CouchDependencies, 'prefix'>) => `${prefix}{database}/`

/** @throws Refusal */
export const databaseOf = (
  { databases }: Pick<CouchDependencies, 'databases'>,
  call: Call<unknown>,
): Promise<CouchDatabase> => requireDatabase(databases, call as Call)
