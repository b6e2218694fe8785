import type { CouchDatabase } from '../../couch/database.ts'
import { forbidden, missing } from '../../couch/refusal.ts'
import type { Call } from '../operation.ts'

/** Whose databases there are, and which. */
export interface Databases {
  /** The id of the server for this caller. */
  uuid(call: Call): Promise<string>
  /** The username of the caller. */
  usernameOf(call: Call): Promise<string>
  /** @throws Refusal for one that the caller may not use */
  find(call: Call, name: string): Promise<CouchDatabase | undefined>
  /** @returns whether there was none */
  create?(name: string): Promise<boolean>
  /** @returns whether there was one */
  drop?(name: string): Promise<boolean>
  /** Whether they may have design documents. */
  hasDesigns?: true
}

/** @throws Refusal */
export async function requireDatabase(databases: Databases, call: Call): Promise<CouchDatabase> {
  const found = await databases.find(call, call.params.database!)
  if (found) return found
  throw missing('Database does not exist.')
}

export const fixedDatabases = () =>
  forbidden('Databases are neither created nor deleted here: there is one for each kind of data.')
