import { type Resource, resources } from '../../protocol/index.ts'
import { type Database, run } from '../database/connect.ts'
import { named } from './statements.ts'

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
