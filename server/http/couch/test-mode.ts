import type { Caller } from '../../accounts/sessions.ts'
import { bareDatabase, type CouchStore, uuidOf } from '../../couch/database.ts'
import { createValidators, type Validators } from '../../couch/validators.ts'
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
  const validators = new Map<string, Validators>()
  return {
    uuid: async () => uuidOf('', { epoch: '' }),
    usernameOf: async () => '',
    async find(_call, name) {
      const user = databases.userOf(name)
      if (user === undefined) return undefined
      const own = validators.get(user) ?? createValidators()
      validators.set(user, own)
      return bareDatabase(stored, name, user, own)
    },
    create: databases.create,
    drop: databases.drop,
    hasDesigns: true,
  }
}
