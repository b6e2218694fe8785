import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { connect, type Database } from '../../server/database/connect.ts'
import { startEmbeddedPostgres } from '../../server/database/embedded/embedded-postgres.ts'
import { migrate } from '../../server/database/migrate.ts'
import { postgresStore } from '../../server/store/postgres.ts'
import { referringFirst } from '../../server/store/purge.ts'
import { type Limits, LIMITS as UNLIMITED } from '../../server/sync/limits.ts'
import { memoryStore } from '../support/memory-store.ts'
import type { Backend } from './world.ts'

/** So low that runs reach them. */
const LIMITS: Limits = { ...UNLIMITED, entriesPerDocument: 3 }

export function memoryBackend(): Backend {
  let store = memoryStore(LIMITS)
  return {
    async open(users) {
      store = memoryStore(LIMITS)
      for (const user of users) store.addUser(user)
    },
    store: () => store,
    failOver: (commits) => store.failOver(commits),
    purge: async (user, upTo) => store.purge(user, upTo),
  }
}

/** Each store has its own queue of writers, like the processes of a server. */
export function postgresBackend(db: Database): Backend {
  return {
    async open(users) {
      const tables = referringFirst().map(({ table }) => table)
      await db.raw(`truncate users, ${tables} cascade`)
      for (const id of users)
        await db('users').insert({ id, username: id, email: id, password_hash: '' })
    },
    store: () => postgresStore(db, undefined, { limitsOf: () => LIMITS }),
    purge: (user_id, upTo) =>
      db.transaction(async (trx) => {
        await trx('feeds').where({ user_id }).forUpdate()
        for (const { table } of referringFirst())
          await trx(table)
            .where({ user_id, deleted: true })
            .andWhereBetween('seq', [1, upTo])
            .delete()
      }),
  }
}

/** Runs with its own Postgres, which is not durable. */
export async function withPostgres<T>(work: (backend: Backend) => Promise<T>): Promise<T> {
  const dataDir = await mkdtemp(path.join(tmpdir(), 'tasktide-simulation-'))
  const settings = { fsync: 'off', synchronous_commit: 'off', full_page_writes: 'off' }
  const postgres = await startEmbeddedPostgres({ dataDir, settings })
  const db = connect({ url: postgres.url, poolSize: 8, tls: 'off', statementTimeoutMs: 2_000 })
  try {
    await migrate(db)
    return await work(postgresBackend(db))
  } finally {
    await db.destroy()
    await postgres.stop()
    await rm(dataDir, { recursive: true, force: true })
  }
}
