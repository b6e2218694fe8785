import { randomBytes } from 'node:crypto'
import { inject } from 'vitest'
import type { Database } from '../../server/database/connect.ts'
import { connectTo, databaseUrl } from './cluster.ts'

export interface TestDatabase {
  url: string
  db: Database
  drop(): Promise<void>
}

/** A fresh migrated database for the calling test file: a copy of the template, dropped afterwards. */
export async function createDatabase(): Promise<TestDatabase> {
  const name = `test_${randomBytes(6).toString('hex')}`
  await asAdmin(`create database ${name} template ${inject('template')} strategy file_copy`)
  const url = databaseUrl(inject('adminUrl'), name)
  const db = connectTo(url)
  return {
    url,
    db,
    async drop() {
      await db.destroy()
      await asAdmin(`drop database ${name} with (force)`)
    },
  }
}

/** Open until the process of the tests ends. */
let admin: Database | undefined

async function asAdmin(sql: string): Promise<void> {
  admin ??= connectTo(inject('adminUrl'))
  await admin.raw(sql)
}
