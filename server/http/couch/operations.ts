import type { Operation } from '../operation.ts'
import { replicationOperations } from './batches.ts'
import type { CouchDependencies } from './context.ts'
import { singleOperations } from './documents.ts'
import { changesOperations, listOperations } from './lists.ts'
import { serverOperations } from './server.ts'

/** The protocol of CouchDB's replication, as PouchDB and others speak it. In the order in which paths are compared. */
export function couchOperations(own: CouchDependencies): Operation[] {
  return [
    ...serverOperations(own),
    ...changesOperations(own),
    ...listOperations(own),
    ...replicationOperations(own),
    ...singleOperations(own),
  ]
}
