import { type Resource, resources } from '../../protocol/index.ts'
import { type Database, run } from '../database/connect.ts'
import { named } from './statements.ts'

const BATCH = 1_000

/**
 * Deletes all documents of a user, tombstones too, so many at a time: none of the statements takes
 * long, and whoever is cut off has done what it did.
 */
export async function purgeDocuments(db: Database, user: string): Promise<void> {
  for (const { table } of referringFirst()) {
    const batch = named(`
      delete from ${table} where user_id = $1 and id = any (array(
        select id from ${table} where user_id = $1 order by id limit ${BATCH}
      )) returning 1`)
    while ((await run(db, batch, [user])).length > 0);
  }
}

/** What refers to others goes before those: without that, each of them would have to be let go of. */
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
