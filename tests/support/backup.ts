import { type Resource, resources } from '../../protocol/index.ts'
import { beginEpoch } from '../../server/store/epoch.ts'
import type { TestDatabase } from './database.ts'
import type { Person } from './server.ts'

const REVISIONS = ['couch_feeds', 'couch_documents', 'couch_revisions', 'couch_locals']

/**
 * Backs up the documents of a user.
 *
 * @returns puts them back, as they would be in a restored database after `npm run restored`, or after a
 *   failover to a standby that has not received later commits
 */
export async function backupOf(
  { db }: Pick<TestDatabase, 'db'>,
  { id: user_id }: Pick<Person, 'id'>,
): Promise<(by?: 'command' | 'failover') => Promise<void>> {
  const documents = Object.values<Resource>(resources).map(({ table }) => table)
  const tables = ['feeds', ...documents, ...REVISIONS]
  const kept = new Map<string, string>()
  for (const table of tables) {
    const rows = `select coalesce(json_agg(t), '[]')::text as json from ${table} t where user_id = ?`
    kept.set(table, (await db.raw(rows, [user_id])).rows[0].json)
  }
  return (by = 'command') =>
    db.transaction(async (trx) => {
      // Without triggers, because a restore is not a change.
      await trx.raw('set local session_replication_role = replica')
      for (const [table, json] of kept) {
        await trx(table).where({ user_id }).delete()
        const rows = `json_populate_recordset(null::${table}, ?)`
        await trx.raw(`insert into ${table} select * from ${rows}`, [json])
      }
      if (by === 'command') await beginEpoch(trx)
      // A promotion raises the timeline of the log: here that of the last change is lowered.
      else await trx('feeds').where({ user_id }).decrement('timeline')
    })
}
