import { randomUUID } from 'node:crypto'
import { type Database, ofPerson } from '../database/connect.ts'

/** Databases for the test mode of the CouchDB face. Each is a person of its own, whose feed numbers its documents. */
export function createTestDatabases(db: Database) {
  const users = new Map<string, string>()

  return {
    userOf: (name: string) => users.get(name),

    /** @returns whether there was none with this name */
    async create(name: string): Promise<boolean> {
      if (users.has(name)) return false
      const id = randomUUID()
      users.set(name, id)
      // No password has this hash.
      const person = { id, username: `couch-test ${id}`, password_hash: '', email: null }
      await db('users').insert(person)
      return true
    },

    /** @returns whether there was one */
    async drop(name: string): Promise<boolean> {
      const id = users.get(name)
      users.delete(name)
      if (id === undefined) return false
      await db('users').where({ id }).delete().options(ofPerson(id))
      return true
    },
  }
}
