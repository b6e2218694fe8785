import type { Caller } from '../../accounts/sessions.ts'
import { bareDatabase, type CouchStore, uuidOf } from '../../couch/database.ts'
import type { Databases } from './databases.ts'

/** The caller in test mode. */
export const ANYBODY: Caller = {
  user: '',
  session: '',
  generation: 0,
  // In a hundred years.
  expires: 5_000_000_000,
  role: 'user',
  isLimited: false,
}

interface TestDatabases {
  userOf(name: string): string | undefined
  create(name: string): Promise<boolean>
  drop(name: string): Promise<boolean>
}

/** Databases of documents without a form, which belong to nobody. */
export function testDatabases(stored: CouchStore, databases: TestDatabases): Databases {
  return {
    uuid: async () => uuidOf('', { epoch: '' }),
    async find(_call, name) {
      const user = databases.userOf(name)
      return user === undefined ? undefined : bareDatabase(stored, name, user)
    },
    create: databases.create,
    drop: databases.drop,
  }
}
