import { type Resource, resources } from '../../protocol/index.ts'
import { type Database, run, runOn, transactionOn } from '../database/connect.ts'
import { purgeRevisions } from './revisions.ts'
import { hidden, named } from './statements.ts'
import { LOCK } from './transaction.ts'

const BATCH = 1_000

/**
 * Deletes all documents of a user, tombstones included, in batches: statements are short, and an
 * interrupted purge keeps its progress.
 */
export async function purgeDocuments(db: Database, user: string): Promise<void> {
  for (const { table } of referringFirst()) {
    const sql = `
      delete from ${table} where user_id = $1 and id = any (array(
        select id from ${table} where user_id = $1 order by id limit ${BATCH}
      )) returning 1`
    const batch = { ...named(sql), isSlow: true }
    while ((await run(db, batch, [user])).length > 0);
  }
  await purgeRevisions(db, user)
}

/**
 * Deletes tombstones that have not changed for some days, in batches. A device that has not synced since
 * then takes a fresh snapshot (`requireCurrent` in server/sync/cursors.ts).
 *
 * @returns how many
 */
export async function purgeTombstones(db: Database, days: number): Promise<number> {
  let count = 0
  for (const { table } of referringFirst()) {
    const horizon = `now() - make_interval(days => ${days})`
    const due = {
      ...named(`
        select user_id, array_agg(id), (${horizon})::text from (
          select user_id, id from ${table} where deleted and deleted_at < ${horizon} order by deleted_at limit ${BATCH}
        ) due group by user_id`),
      isSlow: true,
      isForEveryone: true,
    }
    // The time as a value: in a case of a delete, Citus takes no now().
    const isDue = hidden('deleted and deleted_at < $3::timestamptz')
    const purge = named(
      `delete from ${table} where user_id = $1 and id = any ($2::uuid[]) and ${isDue} returning 1`,
    )
    for (;;) {
      const owners = await run<[user: string, ids: string[], horizon: string]>(db, due, [])
      if (owners.length === 0) break
      for (const [user, ids, before] of owners) {
        const purged = await transactionOn(db, LOCK, user, ({ connection }) =>
          runOn(connection, purge, [user, ids, before]),
        )
        count += purged?.length ?? 0
      }
    }
  }
  return count
}

/** Referring documents first; otherwise each reference would have to be cleared. */
export function referringFirst(
  all: Readonly<Record<string, Resource>> = resources,
): readonly Resource[] {
  const ordered: Resource[] = []
  const met = new Set<Resource>()
  for (const resource of Object.values(all)) visit(resource)
  return ordered.reverse()

  function visit(resource: Resource): void {
    if (met.has(resource)) return
    met.add(resource)
    for (const { references } of Object.values(resource.fields))
      if (references !== undefined) visit(all[references.to]!)
    ordered.push(resource)
  }
}
